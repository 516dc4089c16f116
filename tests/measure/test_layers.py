"""Layer by layer, and generator by generator."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

import equilearn as eq
from equilearn.measure import layer_errors, lie_derivative_error

TURNS = eq.Symmetry(eq.Cyclic(4), eq.actions.images())


def invariant_convolution(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Kernels that are their own quarter turns, then sums over the image."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).to(dtype)
    with torch.no_grad():
        kernel = torch.randn(4, 1, 3, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
        net[0].weight.copy_(sum(torch.rot90(kernel, k, (-2, -1)) for k in range(4)) / 4)
    return net


def test_laws_are_recognised_layer_by_layer(dtype: torch.dtype, generator: torch.Generator) -> None:
    x = torch.randn(12, 1, 6, 6, dtype=dtype, generator=generator)
    errors = layer_errors(invariant_convolution(dtype), TURNS, x)
    assert [e.layer for e in errors] == ["0", "1", "2", "3", "4"]
    assert [e.kind for e in errors] == ["Conv2d", "ReLU", "AdaptiveAvgPool2d", "Flatten", "Linear"]
    small = 1e-5 if dtype == torch.float32 else 1e-13
    assert all(e.error < small for e in errors)
    assert [e.law for e in errors[:2]] == ["moves like the input"] * 2
    assert errors[0].shape == (4, 6, 6) and errors[0].candidates["unchanged"] > 0.1
    assert {e.law for e in errors[2:]} <= {"unchanged", "moves like the input"}
    json.dumps([e.as_dict() for e in errors])


def test_the_layer_that_breaks_the_symmetry_stands_out(generator: torch.Generator) -> None:
    net = invariant_convolution()
    net[2] = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2))  # a stride on an even grid
    net[4] = nn.Linear(16, 3)
    errors = layer_errors(net, TURNS, torch.randn(12, 1, 6, 6, generator=generator))
    broken = [e.layer for e in errors if e.error > 1e-4]
    assert broken[0] == "2.1"
    assert str(errors[0]).startswith("0 (Conv2d)")


def test_fields_of_a_group_convolution_are_recognised(generator: torch.Generator) -> None:
    class Lift(nn.Module):
        """One kernel in four poses: channels (field, element)."""

        def forward(self, x: Tensor) -> Tensor:
            kernel = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)).to(x)
            bank = torch.stack([torch.rot90(kernel, k, (-2, -1)) for k in range(4)], dim=1).flatten(0, 1)
            return nn.functional.conv2d(x, bank, padding=1)

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    errors = layer_errors(nn.Sequential(Lift(), Mean()), TURNS, torch.randn(12, 1, 6, 6, generator=generator))
    assert errors[0].law == "moves, fields permuted" and errors[0].error < 1e-5
    assert errors[1].law == "fields permuted" and errors[1].error < 1e-5


def test_points_are_followed_through_their_permutation(generator: torch.Generator) -> None:
    G = eq.SO(3) * eq.Symmetric(5)
    symmetry = eq.Symmetry(G, eq.actions.points(5), eq.actions.points(5))

    class Norms(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(-1, keepdim=True).expand(-1, -1, 7)

    class Radial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms, self.keep = Norms(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.keep(x * self.norms(x)[..., :1])

    errors = layer_errors(Radial(), symmetry, torch.randn(6, 5, 3, generator=generator), generator=generator)
    assert errors[0].law == "points permuted" and errors[0].error < 1e-5
    assert errors[1].law in ("moves like the input", "moves like the output") and errors[1].error < 1e-5


def test_hooks_go_away_and_repeated_calls_are_told_apart(generator: torch.Generator) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.act(x - 0.1) - 0.1).flatten(1)

    net = Twice()
    errors = layer_errors(net, TURNS, torch.randn(4, 1, 4, 4, generator=generator))
    assert [e.layer for e in errors] == ["act", "act#2"]
    assert not net.act._forward_hooks
    with pytest.raises(ValueError, match="shape"):
        layer_errors(net, TURNS, torch.randn(4, 4, 4))
    with pytest.raises(eq.InputError, match="looks inside a torch.nn.Module"):
        layer_errors(lambda t: t, TURNS, torch.randn(4, 1, 4, 4))  # type: ignore[arg-type]


def test_the_lie_derivative_of_a_known_function(dtype: torch.dtype) -> None:
    """f(x) = x_1 on the unit circle: L f = -x_2, whose mean square is that of f."""
    G = eq.SO(2)
    angle = torch.arange(64, dtype=dtype) * 2 * math.pi / 64
    x = torch.stack([angle.cos(), angle.sin()], dim=-1)
    found = lie_derivative_error(lambda t: t[:, :1], eq.Symmetry(G, eq.reps.defining(G)), x)
    assert found.mean == pytest.approx(1.0, abs=1e-3)
    assert found.per_generator[0].label == "SO2" and found.inputs == 64
    assert found.interval is not None and found.interval[0] <= found.mean <= found.interval[1]
    json.dumps(found.as_dict(), allow_nan=False)


def test_equivariant_functions_have_none(dtype: torch.dtype, generator: torch.Generator) -> None:
    for G in (eq.SO(3), eq.Lorentz(1, 3), eq.SL(3)):
        V = eq.reps.defining(G)
        x = torch.randn(20, V.dim, dtype=dtype, generator=generator)
        scale = nn.Linear(1, 1).to(dtype)

        class Scaled(nn.Module):
            def __init__(self, inner: nn.Module):
                super().__init__()
                self.inner = inner

            def forward(self, t: Tensor) -> Tensor:
                return t * self.inner.weight[0, 0]

        found = lie_derivative_error(Scaled(scale), eq.Symmetry(G, V, V), x)
        assert found.dtype == "float64"  # a module is measured in a float64 copy
        assert found.maximum < 1e-6 and len(found.per_generator) == G.lie_dim
        free = nn.Sequential(nn.Linear(V.dim, 16), nn.Tanh(), nn.Linear(16, V.dim)).to(dtype)
        assert lie_derivative_error(free, eq.Symmetry(G, V, V), x).mean > 0.1


def test_products_name_their_generators(generator: torch.Generator) -> None:
    G = eq.SO(3) * eq.SO(2)
    rep = eq.reps.factor(G, 0, eq.reps.defining(eq.SO(3))) + eq.reps.factor(G, 1, eq.reps.defining(eq.SO(2)))
    x = torch.randn(10, 5, generator=generator)
    found = lie_derivative_error(lambda t: t[:, 3:].square().sum(-1, keepdim=True), eq.Symmetry(G, rep), x)
    assert [e.label for e in found.per_generator] == [f"SO3 generator {i}" for i in (1, 2, 3)] + ["SO2"]
    assert found.maximum < 1e-3


def test_images_turn_by_a_small_angle() -> None:
    grid = torch.linspace(-1, 1, 32, dtype=torch.float64)
    ring = torch.exp(-8 * (grid[:, None] ** 2 + grid**2))
    bar = torch.exp(-20 * grid[:, None] ** 2 - 4 * grid**2)
    symmetry = eq.Symmetry(eq.SO(2), eq.actions.images())
    x = torch.stack([ring, bar]).unsqueeze(1)
    moment = (grid[:, None] + grid) ** 2  # sees the direction
    found = lie_derivative_error(lambda t: (t * moment).sum((2, 3)), symmetry, x[1:])
    same = lie_derivative_error(lambda t: (t * moment).sum((2, 3)), symmetry, x[:1])
    assert found.mean > 0.2 and same.mean < 0.01


def test_discrete_groups_are_refused() -> None:
    with pytest.raises(eq.InputError, match="discrete"):
        lie_derivative_error(lambda t: t.flatten(1), TURNS, torch.zeros(2, 1, 4, 4))
