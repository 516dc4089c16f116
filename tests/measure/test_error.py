"""`equivariance_error`: the norm, the verdict, the floors, and what it says about bad models."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import equilearn as eq
from equilearn.measure import equivariance_error, interpolation_floor

TURNS = eq.Symmetry(eq.Cyclic(4), eq.actions.images())


def mlp(seed: int = 0, size: int = 6) -> nn.Module:
    """A free network with random weights."""
    rng = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(size * size, 48), nn.ReLU(), nn.Linear(48, 10))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / p.shape[-1] ** 0.5)
    return net


class Averaged(nn.Module):
    """The mean over quarter turns: exactly invariant."""

    def __init__(self, body: nn.Module, noise: float = 0.0):
        super().__init__()
        self.body, self.noise = body, noise

    def forward(self, x: Tensor) -> Tensor:
        y = torch.stack([self.body(torch.rot90(x, k, (-2, -1))) for k in range(4)]).mean(0)
        return y + self.noise * torch.randn_like(y) if self.noise else y


@pytest.fixture
def x(dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randn(100, 1, 6, 6, dtype=dtype, generator=generator)


def test_the_norm_is_the_one_written_down(x: Tensor, dtype: torch.dtype) -> None:
    """Against a loop that follows the formula."""
    net = mlp().to(dtype)
    found = equivariance_error(net, TURNS, x)
    for k, entry in enumerate(found.per_element, start=1):
        with torch.no_grad():
            before, after = net(x).double(), net(torch.rot90(x, k, (-2, -1))).double()
        expected = float((((after - before) ** 2).sum() / (before**2).sum()).sqrt())
        assert entry.error == pytest.approx(expected, rel=1e-6)
    assert found.mean == pytest.approx(sum(e.error for e in found.per_element) / 3)
    assert found.maximum == found.worst.error == max(e.error for e in found.per_element)
    assert [e.label for e in found.per_element] == ["quarter turn", "half turn", "three-quarter turn"]
    assert found.samples == 3 and found.inputs == 100 and found.exhaustive


def test_an_invariant_model_is_exact_and_the_error_shrinks_with_precision(x: Tensor, dtype: torch.dtype) -> None:
    found = equivariance_error(Averaged(mlp()).to(dtype), TURNS, x)
    assert found.verdict == "exact"
    assert found.maximum < (1e-5 if dtype == torch.float32 else 1e-14)
    assert found.floor_method == ("float64 twin" if dtype == torch.float32 else "float32 twin, scaled")
    assert found.dtype == str(dtype).removeprefix("torch.")
    assert "-> invariant up to rounding" in str(found)


def test_a_free_model_is_not_equivariant(x: Tensor, dtype: torch.dtype) -> None:
    found = equivariance_error(mlp().to(dtype), TURNS, x)
    assert found.verdict == "absent" and "NOT invariant" in str(found)
    assert found.chance is not None and found.mean == pytest.approx(found.chance, rel=0.2)
    assert found.interval is not None and found.interval[0] <= found.mean <= found.interval[1]


def test_averaging_with_noise_is_invariant_within_the_noise(x: Tensor, dtype: torch.dtype) -> None:
    found = equivariance_error(Averaged(mlp(), noise=1e-2).to(dtype), TURNS, x, generator=torch.Generator())
    assert found.verdict == "stochastic"
    assert found.resampling == pytest.approx(found.mean, rel=0.2)
    assert found.floor_method == "estimate"
    assert "no larger than the model's own randomness" in str(found)
    assert "-> invariant within its randomness" in str(found)


def test_a_model_that_averages_over_random_turns_is_not_accused(x: Tensor, dtype: torch.dtype) -> None:
    """Its error is as large as that of a free model, and all of it is sampling."""
    model = eq.symmetrize(mlp().to(dtype), TURNS, "average", samples=1)
    found = equivariance_error(model, TURNS, x, generator=torch.Generator())
    assert found.mean > 0.7 and found.resampling > 0.7
    assert found.verdict == "stochastic" and found.excess is not None
    assert found.excess_interval is not None and found.excess_interval[0] < 0 < found.excess_interval[1]
    plain = found.as_dict()
    assert plain["verdict"] == "stochastic" and plain["excess"] == found.excess
    json.dumps(plain, allow_nan=False)
    vector = eq.reps.defining(eq.SO(3))
    frames = eq.Symmetry(eq.SO(3), vector, vector)
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=dtype)
    sampled = eq.symmetrize(lambda v: torch.tanh(v * scale), frames, "average", samples=4)
    turned = equivariance_error(sampled, frames, x[:, 0, :1, :3].squeeze(1), generator=torch.Generator())
    assert turned.verdict == "stochastic" and "-> equivariant within its randomness" in str(turned)


def test_noise_hides_no_breach(x: Tensor, dtype: torch.dtype) -> None:
    """The excess is the error of the mean model, however loud the noise."""
    free, fair = mlp().to(dtype), Averaged(mlp()).to(dtype)
    for share, verdict in ((0.3, "approximate"), (3.0, "absent")):

        def silent(t: Tensor, share: float = share) -> Tensor:
            return fair(t) + share * free(t)

        def loud(t: Tensor, share: float = share) -> Tensor:
            y = silent(t, share)
            return y + 0.2 * torch.randn_like(y)

        truth = equivariance_error(silent, TURNS, x)
        found = equivariance_error(loud, TURNS, x, generator=torch.Generator())
        assert truth.excess is None and truth.verdict == found.verdict == verdict
        assert found.excess is not None and found.excess_interval is not None
        assert found.excess_interval[0] < truth.mean < found.excess_interval[1] * 1.1
        assert "beyond the model's own randomness" in str(found)


def test_one_noisy_input_is_no_evidence(x: Tensor) -> None:
    found = equivariance_error(Averaged(mlp(), noise=0.1).to(x.dtype), TURNS, x[:1], generator=torch.Generator())
    assert found.excess_interval is None and found.verdict in ("stochastic", "approximate")
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize("shared", [False, True])
def test_false_accusations_of_stochastic_models(shared: bool) -> None:
    """At 95 % an invariant model is denied the verdict in 2.5 % of cases; 30 trials, at most 5 (more has
    probability 2e-3 at 4 %, which 32 resampled calls give). Also where all inputs of a call share their draw."""
    body, rng = mlp(1), torch.Generator().manual_seed(0)

    def turned(t: Tensor) -> Tensor:
        return body(torch.rot90(t, int(torch.randint(4, ())), (-2, -1)))

    model = turned if shared else eq.symmetrize(body, TURNS, "average", samples=2)
    alarms = 0
    for _ in range(30):
        found = equivariance_error(model, TURNS, torch.randn(96, 1, 6, 6, generator=rng), generator=rng)
        alarms += found.verdict != "stochastic"
    assert alarms <= 5


def test_interpolation_is_told_apart_from_randomness() -> None:
    """On noise images random rotations average what the grid has spoilt: no invariance, and the note says why."""
    rng = torch.Generator().manual_seed(0)
    circle = eq.Symmetry(eq.SO(2), eq.actions.images())
    x = torch.randn(64, 1, 6, 6, generator=rng)
    model = eq.symmetrize(mlp(), circle, "average", samples=60)
    found = equivariance_error(model, circle, x, samples=4, generator=rng)
    assert found.verdict == "approximate" and "that of interpolating on the grid" in str(found)
    assert found.interpolation_floor is not None and found.excess is not None
    assert 0.3 * found.excess < found.interpolation_floor < 3 * found.excess


def test_half_an_average_is_approximate(x: Tensor, dtype: torch.dtype) -> None:
    free, fair = mlp().to(dtype), Averaged(mlp()).to(dtype)
    found = equivariance_error(lambda t: fair(t) + 0.1 * free(t), TURNS, x)
    assert found.verdict == "approximate" and found.resampling == 0.0


def test_a_constant_is_exact_and_called_a_constant(x: Tensor) -> None:
    found = equivariance_error(lambda t: torch.full((len(t), 3), 7.0), TURNS, x)
    assert found.verdict == "exact" and found.mean == 0.0 and found.variation == 0.0
    assert "do not depend on the input" in str(found)
    nothing = equivariance_error(lambda t: torch.zeros(len(t), 3), TURNS, x)
    assert nothing.verdict == "exact" and nothing.mean == 0.0


def test_something_out_of_nothing_is_an_error_of_one() -> None:
    x = torch.zeros(8, 1, 2, 2)
    x[..., 0, 0] = 1.0
    found = equivariance_error(lambda t: t[:, :, 1, 0], TURNS, x)  # zero on x, one on the quarter turn
    assert found.per_element[0].error == 1.0 and found.verdict != "exact"
    json.dumps(found.as_dict(), allow_nan=False)


def test_variance_is_blind_to_added_constants(x: Tensor) -> None:
    net = mlp().to(x.dtype)
    plain = equivariance_error(net, TURNS, x, normalisation="variance", generator=torch.Generator())
    lifted = equivariance_error(
        lambda t: net(t) + 100.0, TURNS, x, normalisation="variance", generator=torch.Generator()
    )
    assert lifted.mean == pytest.approx(plain.mean, rel=1e-3)
    assert plain.mean == pytest.approx(1.0, abs=0.25)  # unrelated outputs give 1
    # Under the plain norm the constant hides the error, but not from the verdict.
    hidden = equivariance_error(lambda t: net(t) + 100.0, TURNS, x)
    assert hidden.mean < 0.05 and hidden.verdict == "absent"


def test_variance_of_a_linear_function_in_closed_form(dtype: torch.dtype, generator: torch.Generator) -> None:
    """f(x) = w.x of white noise: outputs at x and gx correlate by w.gw / |w|^2."""
    w = torch.randn(1, 1, 4, 4, dtype=dtype, generator=generator)
    x = torch.randn(20_000, 1, 4, 4, dtype=dtype, generator=generator)
    found = equivariance_error(
        lambda t: (t * w).sum((1, 2, 3))[:, None], TURNS, x, normalisation="variance", batch_size=20_000
    )
    for k, entry in enumerate(found.per_element, start=1):
        correlation = float((w * torch.rot90(w, k, (-2, -1))).sum() / w.square().sum())
        assert entry.error**2 == pytest.approx(1 - correlation, abs=0.05)


def test_equivariance_to_a_representation(dtype: torch.dtype, generator: torch.Generator) -> None:
    G = eq.SO(3)
    V = eq.reps.defining(G)
    symmetry = eq.Symmetry(G, 2 * V, V)
    x = torch.randn(60, 6, dtype=dtype, generator=generator)
    cross = equivariance_error(lambda t: torch.linalg.cross(t[:, :3], t[:, 3:]), symmetry, x, generator=generator)
    assert cross.verdict == "exact" and cross.samples == 8 and not cross.exhaustive
    assert "equivariant up to rounding" in str(cross)
    square = equivariance_error(lambda t: t[:, :3] ** 2, symmetry, x, generator=generator)
    assert square.verdict == "absent"


def test_boosts_do_not_fool_the_floor(generator: torch.Generator) -> None:
    """Minkowski products of boosted vectors lose digits to cancellation: the floor must know."""
    G = eq.Lorentz(1, 3)
    symmetry = eq.Symmetry(G, 2 * eq.reps.defining(G))
    metric = torch.tensor([1.0, -1.0, -1.0, -1.0])
    x = torch.randn(60, 8, generator=generator)

    class Product(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            return (t[:, :4] * metric.to(t) * t[:, 4:]).sum(-1, keepdim=True)

    found = equivariance_error(Product(), symmetry, x, generator=generator)
    assert found.verdict == "exact"


def test_tuples_in_and_out(generator: torch.Generator) -> None:
    G = eq.SO(3) * eq.Symmetric(4)
    cloud = eq.actions.points(4)
    symmetry = eq.Symmetry(G, (cloud, cloud), (cloud, eq.actions.trivial()))
    x = tuple(torch.randn(20, 4, 3, generator=generator) for _ in range(2))

    def model(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return pair[0] + 2 * pair[1], (pair[0] * pair[1]).sum((1, 2))[:, None]

    assert equivariance_error(model, symmetry, x, generator=generator).verdict == "exact"


def test_the_model_and_the_random_state_are_left_alone(x: Tensor, generator: torch.Generator) -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(0.5), nn.Linear(36, 2)).to(x.dtype)
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    found = equivariance_error(net, TURNS, x, generator=generator)
    assert found.resampling == 0.0  # measured in evaluation mode
    assert net.training and net[2].training and not net[1].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in net.parameters())


def test_modes_come_back_after_an_error(x: Tensor) -> None:
    class Fails(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            raise RuntimeError("no")

    net = Fails()
    with pytest.raises(RuntimeError, match="no"):
        equivariance_error(net, TURNS, x)
    assert net.training


def test_a_seed_decides_everything(x: Tensor) -> None:
    symmetry = eq.Symmetry(eq.SO(2), eq.actions.images())
    model = Averaged(mlp(), noise=1e-2).to(x.dtype)
    first, second = (
        equivariance_error(model, symmetry, x, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert first == second


def test_batches_do_not_matter(x: Tensor) -> None:
    net = mlp().to(x.dtype)
    whole, pieces = (
        equivariance_error(net, TURNS, x, batch_size=size, generator=torch.Generator()) for size in (100, 7)
    )
    assert whole.mean == pytest.approx(pieces.mean, rel=1e-5)


def test_given_elements_are_measured_and_checked(x: Tensor) -> None:
    net = mlp().to(x.dtype)
    found = equivariance_error(net, TURNS, x, elements=torch.tensor([2, 2]))
    assert [e.label for e in found.per_element] == ["half turn", "half turn"]
    with pytest.raises(eq.InputError, match="do not lie in C4"):
        equivariance_error(net, TURNS, x, elements=torch.tensor([7]))
    with pytest.raises(eq.InputError, match="batch shape"):
        equivariance_error(net, TURNS, x, elements=torch.tensor(1))


def test_large_groups_are_sampled(generator: torch.Generator) -> None:
    symmetry = eq.Symmetry(eq.Symmetric(20), eq.actions.sets())
    x = torch.randn(10, 20, generator=generator)
    found = equivariance_error(lambda t: t.sort(-1).values, symmetry, x, samples=5, generator=generator)
    assert found.verdict == "exact" and found.samples == 5 and not found.exhaustive
    assert all(e.label.startswith("permutation") for e in found.per_element)


def test_one_input_has_no_interval(x: Tensor) -> None:
    found = equivariance_error(mlp().to(x.dtype), TURNS, x[:1])
    assert found.interval is None and found.chance is None and found.variation is None
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)


def test_the_interval_holds_what_it_promises() -> None:
    """Coverage of the true error by 95 % intervals over 60 data sets of 60 inputs: at least 50 of 60
    (the chance of fewer is below 1e-3 at a coverage of 0.92, which small samples give)."""
    net = mlp(1)
    rng = torch.Generator().manual_seed(3)
    truth = equivariance_error(net, TURNS, torch.randn(20_000, 1, 6, 6, generator=rng), batch_size=20_000).mean
    hits = 0
    for _ in range(60):
        found = equivariance_error(net, TURNS, torch.randn(60, 1, 6, 6, generator=rng), generator=rng)
        assert found.interval is not None
        hits += found.interval[0] <= truth <= found.interval[1]
    assert hits >= 50


BAD: list[tuple[Callable[[Tensor], object], str]] = [
    (lambda t: t.mean(0, keepdim=True).flatten(1), "for 100 inputs"),
    (lambda t: t.sum(), "for 100 inputs"),
    (lambda t: t.flatten(1).argmax(1), "class indices"),
    (lambda t: "no", "got str"),
    (lambda t: torch.where(t.flatten(1) > 2, torch.nan, t.flatten(1)), r"model's output on x.* NaN"),
    (lambda t: 1 / (t.flatten(1) * 0), "infinite"),
]


@pytest.mark.parametrize(("model", "message"), BAD)
def test_models_that_cannot_be_measured_are_named(model: Callable[[Tensor], object], message: str, x: Tensor) -> None:
    with pytest.raises(eq.InputError, match=message):
        equivariance_error(model, TURNS, x)  # type: ignore[arg-type]


def test_a_nan_after_a_transformation_says_which() -> None:
    x = torch.rand(6, 1, 4, 4) + 1.0
    x[..., 0, 0] = 0.0
    with pytest.raises(eq.InputError, match="x moved by 'half turn'"):
        equivariance_error(lambda t: 1 / t[:, :, 3, 3], TURNS, x, elements=torch.tensor([2]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(0, 1, 4, 4), "x is empty"),
        (torch.full((2, 1, 4, 4), torch.nan), "32 NaN"),
        (torch.zeros(2, 4, 4), "unsqueeze"),
        ([[1.0]], "must be a tensor"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: object, message: str) -> None:
    with pytest.raises(eq.InputError, match=message):
        equivariance_error(lambda t: t.flatten(1), TURNS, x)


def test_settings_that_do_not_fit_are_refused(x: Tensor) -> None:
    def model(t: Tensor) -> Tensor:
        return t.flatten(1)

    with pytest.raises(eq.InputError, match="variance"):
        equivariance_error(model, TURNS, x, normalisation="varianz")  # type: ignore[arg-type]
    with pytest.raises(eq.InputError, match="confidence"):
        equivariance_error(model, TURNS, x, confidence=95)
    with pytest.raises(eq.InputError, match="one element only"):
        equivariance_error(model, eq.Symmetry(eq.Cyclic(1), eq.actions.images()), x)
    with pytest.raises(eq.InputError, match="B, C, H, W"):
        equivariance_error(model, eq.Symmetry(eq.Cyclic(4), eq.actions.images(), eq.actions.images()), x)
    with pytest.raises(eq.InputError, match="two inputs"):
        equivariance_error(model, TURNS, x[:1], normalisation="variance")


def test_the_interpolation_floor_falls_with_smoothness() -> None:
    """Of the data, and of the outputs of a model on them; a quarter turn has none."""
    turn = eq.actions.images().on(eq.SO(2))
    symmetry = eq.Symmetry(eq.SO(2), eq.actions.images())
    grid = torch.linspace(-1, 1, 24)
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(12, 1, 24, 24, generator=rng)
    floors, models = [], []
    for width in (0.06, 0.12, 0.24):
        middle = 0.1 * torch.randn(12, 2, 1, 1, generator=torch.Generator().manual_seed(1))
        x = torch.exp(-((grid[:, None] - middle[:, :1]) ** 2 + (grid - middle[:, 1:]) ** 2) / (2 * width**2))
        floors.append(interpolation_floor(turn, x, generator=torch.Generator()))
        found = equivariance_error(lambda t: t.square().sum((2, 3)), symmetry, x, generator=torch.Generator())
        assert found.interpolation_floor is not None
        models.append(found.interpolation_floor)
    assert interpolation_floor(turn, noise, generator=rng) > floors[0] > 2 * floors[1] > 4 * floors[2]
    assert models[0] > models[1] > models[2]
    exact = eq.actions.images().on(eq.Cyclic(4))
    assert interpolation_floor(exact, noise) == 0.0
    assert equivariance_error(lambda t: t.sum((2, 3)), TURNS, noise).interpolation_floor is None


def test_an_error_within_the_grid_is_said_to_be() -> None:
    x = torch.randn(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    symmetry = eq.Symmetry(eq.SO(2), eq.actions.images(), eq.actions.images())
    found = equivariance_error(lambda t: 2 * t, symmetry, x, generator=torch.Generator())
    assert found.verdict == "exact"  # acting on outputs and on inputs is the same interpolation
    smoothed = nn.AvgPool2d(3, 1, 1)
    blurred = equivariance_error(smoothed, symmetry, x, generator=torch.Generator())
    assert blurred.verdict == "approximate" and "that of interpolating on the grid" in str(blurred)
