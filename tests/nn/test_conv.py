"""Group convolutions: exact where pixels go to pixels, near elsewhere, and never stale."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from equilearn import Cyclic, Dihedral, InputError, Symmetry, reps
from equilearn.actions import images, trivial
from equilearn.groups import SO
from equilearn.nn import (
    Downsample,
    FieldBatchNorm,
    FieldNorm,
    GroupCNN,
    GroupConv2d,
    GroupPool,
    LiftingConv2d,
    TurnedCNN,
    feature_maps,
)
from equilearn.nn._kernels import kernel_basis
from equilearn.testing import CheckFailed, check_layer

QUARTERS = [Cyclic(1), Cyclic(2), Cyclic(4), Dihedral(1), Dihedral(2), Dihedral(4)]
BAR = {torch.float32: 1e-6, torch.float64: 1e-14}


def fields(group, count, interpolation="bilinear"):
    return feature_maps(count * reps.regular(group), interpolation)


def on_grid(group):
    """Elements that take pixels to pixels."""
    elements = group.elements()
    matrix = group.plane_matrix(elements)
    return [g for g, m in zip(elements, matrix, strict=True) if float((m - m.round()).abs().max()) < 1e-12]


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


# --- exact equivariance ---------------------------------------------------------------------


@pytest.mark.parametrize("group", QUARTERS, ids=str)
def test_layers_conform(group, generator):
    x = torch.randn(3, 2, 7, 7, generator=generator)
    lift = LiftingConv2d(group, 2, 3, 3, generator=generator)
    check_layer(lift, Symmetry(group, images(), fields(group, 3)), x)
    maps = torch.randn(3, 2 * group.order, 7, 7, generator=generator)
    conv = GroupConv2d(group, 2, 3, 3, generator=generator)
    check_layer(conv, Symmetry(group, fields(group, 2), fields(group, 3)), maps)
    for norm in (FieldNorm, FieldBatchNorm):
        check_layer(norm(2, group.order), Symmetry(group, fields(group, 2), fields(group, 2)), maps)
    check_layer(GroupPool(group), Symmetry(group, fields(group, 2), images()), maps)
    check_layer(GroupPool(group, "mean"), Symmetry(group, fields(group, 2), images()), maps)
    check_layer(Downsample(), Symmetry(group, fields(group, 2), fields(group, 2)), maps)
    check_layer(GroupCNN(group, 2, 5, fields=2, generator=generator), Symmetry(group, images(), trivial()), x)


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Cyclic(8), Dihedral(8), Cyclic(12)], ids=str)
@pytest.mark.parametrize(("kernel", "size", "stride"), [(3, 9, 1), (5, 10, 1), (4, 8, 2), (3, 9, 2), (1, 6, 1)])
def test_quarter_turns_are_exact(group, kernel, size, stride, dtype, generator):
    net = nn.Sequential(
        LiftingConv2d(group, 1, 3, kernel, padding=1, stride=stride, generator=generator),
        nn.ReLU(),
        GroupConv2d(group, 3, 4, 3, generator=generator),
    ).to(dtype)
    x = torch.randn(2, 1, size, size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = net(x.to(dtype)).double()
        for g in on_grid(group):
            moved = net(images().on(group)(g, x).to(dtype)).double()
            assert relative(moved, fields(group, 4)(g, y)) < BAR[dtype]


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Cyclic(8)], ids=str)
def test_turned_images_conform(group, generator):
    net = TurnedCNN(group, 2, 5, width=4, features=8)
    x = torch.randn(3, 2, 8, 8, generator=generator)
    check_layer(net, Symmetry(Cyclic(4), images(), trivial()), x)


@pytest.mark.parametrize("size", [8, 9, 20])
def test_turned_images_are_exact_at_quarter_turns(size, dtype, generator):
    net = TurnedCNN(Dihedral(8), 1, 5, width=4, features=8).to(dtype).eval()
    x = torch.rand(3, 1, size, size, generator=generator).to(dtype)
    with torch.no_grad():
        y = net(x)
        for moved in (torch.rot90(x, 1, (2, 3)), torch.rot90(x, 2, (2, 3)), x.flip(2), x.flip(3)):
            assert relative(net(moved), y) < BAR[dtype]


def test_turned_images_are_the_images_turned(generator):
    group = Cyclic(8)
    x = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    turned = TurnedCNN(group, 3, 1).double().turned(x)
    action = images("bicubic").on(group)
    torch.testing.assert_close(turned, action.orbit(group.inverse(group.elements()), x))


def test_functions_on_the_group_are_shifted_by_it(generator):
    group = Dihedral(4)
    net = TurnedCNN(group, 1, 5, width=4, features=8).double().eval()
    x = torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    h = torch.tensor(5)
    shifted = reps.regular(group).apply(h, net.functions(x))
    torch.testing.assert_close(net.functions(images().on(group)(h, x)), shifted)


@given(group=st.sampled_from(QUARTERS), seed=st.integers(0, 2**31 - 1), kernel=st.sampled_from([1, 3, 5]))
def test_group_convolution_commutes_with_its_group(group, seed, kernel):
    generator = torch.Generator().manual_seed(seed)
    conv = GroupConv2d(group, 2, 2, kernel, generator=generator).double()
    x = torch.randn(2, 2 * group.order, 6, 6, generator=generator, dtype=torch.float64)
    g = group.sample(2, generator=generator)
    move = fields(group, 2)
    assert relative(conv(move(g, x)), move(g, conv(x))) < 1e-14


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_eighth_turns_are_near_on_smooth_images(kernel):
    """Without interpolation: a random smooth image is a sum of plane waves, which can be sampled turned.

    Waves as of white noise blurred with a standard deviation of 2 pixels; the output is compared
    at the centre, over 40 images. Measured 0.011, 0.0085 and 0.0055.
    """
    group, generator = Cyclic(8), torch.Generator().manual_seed(0)
    conv = GroupConv2d(group, 2, 4, kernel, padding=0, bias=False, generator=generator).double()
    wave = torch.randn(40, 16, 200, 2, generator=generator, dtype=torch.float64) / (2 * 2**0.5)
    phase = 6.283 * torch.rand(40, 16, 200, generator=generator, dtype=torch.float64)
    steps = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    row, column = torch.meshgrid(steps, steps, indexing="ij")
    position = torch.stack([column, -row], -1)

    def sampled(turn: Tensor) -> Tensor:
        return torch.cos(torch.einsum("bcki,hwi->bckhw", wave, position @ turn) + phase[..., None, None]).sum(2)

    one = torch.tensor(1)
    regular = 2 * reps.regular(group)
    turned = regular.apply(one, sampled(group.plane_matrix(one)).movedim(1, -1)).movedim(-1, 1)
    with torch.no_grad():
        expected = (4 * reps.regular(group)).apply(one, conv(sampled(torch.eye(2).double())).flatten(1))
        assert relative(conv(turned).flatten(1), expected) < 0.013


def test_against_the_definition():
    """`(K F)(g, x) = sum_{h, y} psi(g^-1 h, g^-1 y) F(h, x + y)`, by loops over a free C4 kernel."""
    group = Cyclic(4)
    conv = GroupConv2d(group, 1, 1, 3, bias=False).double()
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    psi = conv.weight.detach()[0, 0].reshape(4, 3, 3)  # on the identity, the pixel basis is the pixels
    expected = torch.zeros(1, 4, 6, 6, dtype=torch.float64)
    for g in range(4):
        for h in range(4):
            kernel = torch.rot90(psi[(h - g) % 4], g, (0, 1))
            expected[:, g] += nn.functional.conv2d(x[:, h : h + 1], kernel[None, None], padding=1)[:, 0]
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("group", [Cyclic(4), Cyclic(8), Dihedral(6)], ids=str)
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
def test_kernel_bases_are_orthonormal_on_average(group, kernel):
    basis = kernel_basis(group, kernel)
    gram = torch.einsum("gmp,gnp->mn", basis, basis) / len(basis)
    torch.testing.assert_close(gram, torch.eye(basis.shape[1], dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", [Cyclic(4), Cyclic(8), Dihedral(4)], ids=str)
def test_variance_is_kept(group, generator):
    """Mean square of 64 x 8 x 8 x 8+ nearly independent outputs over 20 draws of weights: 1 +- 0.1."""
    moments = []
    for _ in range(20):
        conv = GroupConv2d(group, 4, 8, 3, padding=0, generator=generator)
        x = torch.randn(16, 4 * group.order, 8, 8, generator=generator)
        moments.append(conv(x).detach().square().mean())
    assert abs(float(torch.stack(moments).mean()) - 1) < 0.1


# --- the expanded kernel ----------------------------------------------------------------------


def test_evaluation_gives_what_training_gives(generator):
    conv = GroupConv2d(Cyclic(8), 2, 2, 3, generator=generator)
    x = torch.randn(2, 16, 5, 5, generator=generator)
    trained = conv(x)
    conv.eval()
    with torch.no_grad():
        assert torch.equal(conv(x), trained)
        assert conv._cached is not None
        assert torch.equal(conv(x), trained)
    assert torch.equal(conv(x), trained)  # gradients on


def change_in_place(conv):
    conv.weight.mul_(2.0)


def change_behind_autograd(conv):
    conv.weight.data.mul_(2.0)


def change_the_tensor(conv):
    conv.weight.data = conv.weight.data * 2.0


def change_by_loading(conv):
    state = {k: v * 2.0 if k == "weight" else v for k, v in conv.state_dict().items()}
    conv.load_state_dict(state)


def change_the_parameter(conv):
    conv.weight = nn.Parameter(conv.weight.detach() * 2.0)


@pytest.mark.parametrize(
    "change",
    [change_in_place, change_behind_autograd, change_the_tensor, change_by_loading, change_the_parameter],
    ids=lambda f: f.__name__,
)
def test_the_cache_is_never_stale(change, generator):
    conv = GroupConv2d(Cyclic(4), 2, 2, 3, bias=False, generator=generator).eval()
    x = torch.randn(2, 8, 5, 5, generator=generator)
    with torch.no_grad():
        before = conv(x)
        change(conv)
        torch.testing.assert_close(conv(x), 2 * before)


def test_a_cache_made_in_inference_mode_serves_input_gradients(generator):
    conv = GroupConv2d(Cyclic(4), 1, 1, 3, generator=generator).eval().requires_grad_(False)
    x = torch.randn(2, 4, 5, 5, generator=generator)
    with torch.inference_mode():
        conv(x)
    x.requires_grad_()
    conv(x).sum().backward()
    assert x.grad is not None


def test_gradients_reach_the_weights_in_evaluation(generator):
    conv = GroupConv2d(Cyclic(4), 1, 1, 3, generator=generator).eval()
    x = torch.randn(2, 4, 5, 5, generator=generator)
    with torch.no_grad():
        conv(x)
    for _ in range(2):
        conv(x).sum().backward()
    assert conv.weight.grad is not None


def test_state_and_copies(generator):
    conv = GroupConv2d(Cyclic(8), 1, 1, 3, generator=generator)
    keys = set(conv.state_dict())
    assert keys == {"weight", "bias"}
    conv.eval()
    conv(torch.randn(1, 8, 5, 5))
    with torch.no_grad():
        conv(torch.randn(1, 8, 5, 5))
    assert set(conv.state_dict()) == keys
    copy.deepcopy(conv)
    conv.train()
    assert conv._cached is None


def test_double_has_full_precision(generator):
    """The basis is known in float64: casting a float32 layer does not leave float32 rounding in it."""
    conv = GroupConv2d(Cyclic(8), 1, 1, 3, generator=generator).half().double()
    exact = kernel_basis(Cyclic(8), 3).transpose(0, 1).reshape(6, -1)
    assert torch.equal(conv.basis, exact)


COMPILE = """
import torch
from equilearn import SO, Cyclic, reps
from equilearn.nn import EquivariantMLP, GroupCNN, GroupConv2d
V = reps.defining(SO(3))
for net, shape in [
    (GroupConv2d(Cyclic(8), 1, 2, 3), (2, 8, 6, 6)),
    (GroupCNN(Cyclic(4), 1, 3, fields=2), (2, 1, 8, 8)),
    (EquivariantMLP(2 * V, V, width=16, depth=2), (2, 6)),
]:
    for mode in (net.train(), net.eval()):
        compiled = torch.compile(mode, backend="eager", fullgraph=True)
        x = torch.randn(*shape)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), mode(x))
"""


@pytest.mark.slow
def test_compiles_without_a_break():
    """In a process of its own: the shape checks of the tests are not for compilers. What matters
    is one graph without a break, not generated code, hence the eager backend."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILE], check=True, timeout=300)


# --- sizes and errors -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_downsampling_commutes_with_turns(size):
    x = torch.randn(1, 1, size, size + 1)
    half = Downsample()
    torch.testing.assert_close(half(torch.rot90(x, 1, (2, 3))), torch.rot90(half(x), 1, (2, 3)))


def test_sizes_without_a_turning_grid_are_refused():
    with pytest.raises(InputError, match="multiple of the stride"):
        LiftingConv2d(Cyclic(4), 1, 2, 3, stride=2)(torch.randn(1, 1, 8, 8))
    with pytest.raises(InputError, match="multiple"):
        LiftingConv2d(Cyclic(4), 1, 2, 5, padding=0)(torch.randn(1, 1, 4, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupConv2d(SO(2), 1, 1, 3), "Cyclic"),
        (lambda: GroupConv2d(Cyclic(4), 0, 1, 3), "in_fields"),
        (lambda: GroupConv2d(Cyclic(4), 1, 0, 3), "out_fields"),
        (lambda: GroupConv2d(Cyclic(4), 1, 1, 0), "kernel_size"),
        (lambda: GroupConv2d(Cyclic(4), 1, 1, 4), "odd"),
        (lambda: GroupConv2d(Cyclic(4), 1, 1, 3)(torch.randn(1, 3, 5, 5)), r"\(B, 4, H, W\)"),
        (lambda: GroupPool(Cyclic(4))(torch.randn(1, 3, 5, 5)), "fields"),
        (lambda: GroupPool(Cyclic(4), "median"), "reduction"),  # type: ignore[arg-type]
        (lambda: GroupCNN(Cyclic(4), 1, 10)(torch.randn(3, 8, 8)), "images"),
        (lambda: feature_maps(reps.regular(Cyclic(4)))(torch.tensor(1), torch.randn(1, 3, 5, 5)), "channels"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("kind", [GroupCNN, TurnedCNN])
def test_small_batches(kind, size):
    net = kind(Cyclic(4), 1, 10, 2).eval()
    assert net(torch.randn(size, 1, 8, 8)).shape == (size, 10)


# --- broken layers are caught -----------------------------------------------------------------


class Staling(nn.Module):
    """Keeps the first kernel it expanded."""

    def __init__(self):
        super().__init__()
        self.conv = GroupConv2d(Cyclic(4), 1, 1, 3)
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.conv(x)
        if self.kept is None:
            self.kept = self.conv.expanded().detach()
        return nn.functional.conv2d(x, self.kept.to(x), padding=1)


class Tilted(nn.Module):
    """Equivariant up to a trace of something else."""

    def __init__(self, size: float):
        super().__init__()
        self.conv = GroupConv2d(Cyclic(4), 1, 1, 3)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.size * x.roll(1, -1)


class Mixing(nn.Module):
    """Lets samples influence each other."""

    def __init__(self):
        super().__init__()
        self.conv = GroupConv2d(Cyclic(4), 1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x - x.mean(0, keepdim=True))


class Detached(nn.Module):
    """Cuts the gradient of its input."""

    def __init__(self):
        super().__init__()
        self.conv = GroupConv2d(Cyclic(4), 1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.detach())


class Uncopyable(nn.Module):
    """Keeps a tensor with a graph, as caches are wont to."""

    def __init__(self):
        super().__init__()
        self.conv = GroupConv2d(Cyclic(4), 1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.conv.expanded()
        return self.conv(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), "not equivariant"),
        (Tilted(1e-6), "float64"),
        (Mixing(), "on its own"),
        (Detached(), "gets no gradient"),
        (Uncopyable(), "cannot be copied"),
        (Staling(), "outlives"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_broken_layers_are_caught(layer, message):
    group = Cyclic(4)
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(CheckFailed, match=message):
        check_layer(layer, Symmetry(group, fields(group, 1), fields(group, 1)), x)


def test_check_layer_says_what_it_needs():
    group = Cyclic(8)
    conv = GroupConv2d(group, 1, 1, 3)
    symmetry = Symmetry(group, fields(group, 1), fields(group, 1))
    x = torch.randn(2, 8, 6, 6)
    with pytest.raises(InputError, match="tolerance"):
        check_layer(conv, symmetry, x)
    with pytest.raises(InputError, match="two samples"):
        check_layer(conv, symmetry, x[:1])
    check_layer(conv, symmetry, x, tolerance=2.0)
