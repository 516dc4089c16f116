"""Averaging: exact enumeration, the statistics of sampling, and what is refused."""

import itertools
import math

import pytest
import torch
from torch import nn

import equilearn as eq
from equilearn import InputError
from equilearn.actions import images, points, sets
from equilearn.symmetrization import Average, Frames, symmetrize

SO3 = eq.SO(3)
DIRECTIONS = eq.Symmetry(SO3, eq.reps.defining(SO3))


def squared_coordinate(x):
    return x[:, :1] ** 2


def unit_vectors(size, generator):
    x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("k", [2, 8, 32])
def test_error_of_k_samples(k, generator):
    # On the unit sphere x_1^2 has mean 1/3 and variance 1/5 - 1/9 = 4/45, so that the squared error is
    # exactly 4/45/k (Kim et al. 2023), and so is the mean squared standard error.
    # 20,000 draws: both are within 5% but for a probability below 1e-6.
    model = symmetrize(squared_coordinate, DIRECTIONS, Average(k))
    x = unit_vectors(20_000, generator)
    y, error = model(x, generator=generator, return_std=True)
    expected = 4 / 45 / k
    assert (y.mean() - 1 / 3).abs() < 6 * math.sqrt(expected / 20_000)
    assert (y - 1 / 3).square().mean() == pytest.approx(expected, rel=0.05)
    assert error.square().mean() == pytest.approx(expected, rel=0.05)


def test_equivariance_error_is_the_resampling_error_and_falls_with_the_root(generator):
    # Kim et al. 2023: f(gx) against f(x) differs no more than f(x) from itself, drawn again.
    symmetry = eq.Symmetry(SO3, points(), points())
    x = torch.randn(300, 4, 3, generator=generator, dtype=torch.float64)
    g = SO3.sample((300,), generator=generator)
    scaled = []
    for k in (1, 16, 64):
        model = symmetrize(torch.tanh, symmetry, Average(k))
        y = model(x, generator=generator)
        again = model(x, generator=generator)
        moved = model(symmetry.act_input(g, x), generator=generator)
        size = y.square().mean().sqrt() if k == 64 else 1.0
        resampling = (y - again).square().mean().sqrt()
        equivariance = (symmetry.act_output(g, y) - moved).square().mean().sqrt()
        # 3,600 correlated numbers each: a ratio beyond 15% has probability below 1e-4.
        assert equivariance == pytest.approx(float(resampling), rel=0.15)
        scaled.append(float(resampling) * math.sqrt(k))
        assert size > 0
    assert scaled[1] == pytest.approx(scaled[0], rel=0.15)
    assert scaled[2] == pytest.approx(scaled[0], rel=0.15)


def connected_graphs_on_six_vertices():
    """All 112, by brute force: the least code over relabellings of every graph."""
    pairs = list(itertools.combinations(range(6), 2))
    place = {pair: i for i, pair in enumerate(pairs)}
    bits = (torch.arange(2**15)[:, None] >> torch.arange(15)) & 1
    least = torch.full((2**15,), 2**15)
    for p in itertools.permutations(range(6)):
        power = torch.tensor([2 ** place[tuple(sorted((p[i], p[j])))] for i, j in pairs])
        least = torch.minimum(least, (bits * power).sum(1))
    chosen = bits[least == torch.arange(2**15)]
    a = torch.zeros(len(chosen), 6, 6, dtype=torch.float64)
    for i, (u, v) in enumerate(pairs):
        a[:, u, v] = a[:, v, u] = chosen[:, i].double()
    reachable = torch.linalg.matrix_power(a + torch.eye(6, dtype=torch.float64), 5)
    return a[(reachable > 0).all((1, 2))]


def test_exact_average_over_s6_separates_all_connected_graphs(generator):
    graphs = connected_graphs_on_six_vertices()
    assert len(graphs) == 112
    S6 = eq.Symmetric(6)
    V = eq.reps.permutation(S6)
    torch.manual_seed(0)
    layers = [nn.Linear(36, 128), nn.Tanh(), nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 10)]
    net = nn.Sequential(*layers).double().requires_grad_(False)
    model = symmetrize(net, eq.Symmetry(S6, V * V), Average("all"))
    assert model.forward_passes() == 720
    assert model.is_exact()
    y = model(graphs.flatten(1))
    gaps = torch.pdist(y, p=1)
    assert gaps.min() > 1e-4  # of 6,216 pairs; .0012 in one published measurement, .085 the median
    p = S6.sample((112,), generator=generator)
    moved = model(model.symmetry.act_input(p, graphs.flatten(1)))
    assert (moved - y).abs().max() < 1e-14


def test_constant_features_on_a_cycle_give_constant_outputs():
    # Vertices of a cycle are alike, so an equivariant output cannot tell them apart. A canonical
    # form with a fixed order of ties does: it is not equivariant.
    n = 5
    S5 = eq.Symmetric(n)
    V = eq.reps.permutation(S5)
    ring = torch.roll(torch.eye(n, dtype=torch.float64), 1, 0)
    x = (torch.ones(1, n, 1, dtype=torch.float64), (ring + ring.T).reshape(1, -1))
    torch.manual_seed(0)
    net = nn.Linear(n + n * n, n).double()

    def model(x):
        return net(torch.cat([x[0].flatten(1), x[1]], 1)).unsqueeze(-1)

    symmetry = eq.Symmetry(S5, (sets(), V * V), sets())
    exact = symmetrize(model, symmetry, Average("all"))(x)
    assert exact.std() < 1e-14
    frames = symmetrize(model, symmetry, "frames")
    assert not frames.is_exact(x)  # equal rows, but the edges still tell their order apart

    def fixed_order(symmetry, x, generator):
        from equilearn.symmetrization import Elements

        size = len(x[0])
        return Elements(S5.identity((size, 1)), torch.ones(size, 1, dtype=torch.float64), exact=True)

    canonical = symmetrize(model, symmetry, Frames(frame=fixed_order))(x)
    assert canonical.std() > 0.01


def test_even_angles_integrate_low_harmonics_exactly(generator):
    # cos(m a) over k even angles is zero for m = 1..k-1 whatever the offset; independent angles leave 1/sqrt(2k).
    SO2 = eq.SO(2)
    symmetry = eq.Symmetry(SO2, eq.reps.defining(SO2))

    def polynomial(x):
        z = torch.complex(x[:, 0], x[:, 1])
        return torch.stack([(z**m).real for m in range(1, 8)], 1)

    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(50, 2)
    even = symmetrize(polynomial, symmetry, Average(8))(x, generator=generator)
    haar = symmetrize(polynomial, symmetry, Average(8, sampling="haar"))(x, generator=generator)
    assert even.abs().max() < 1e-14
    assert haar.square().mean() == pytest.approx(1 / 16, rel=0.4)  # 350 numbers, correlated; chance below 1e-4


@pytest.mark.parametrize("n", [1, 3, 8])
def test_even_elements_of_o2_are_haar_one_by_one(n, generator):
    O2 = eq.O(2)
    _, elements = symmetrize(lambda x: x, eq.Symmetry(O2, eq.reps.defining(O2)), Average(n))(
        torch.ones(20_000, 2), generator=generator, return_elements=True
    )
    for i in range(n):
        g = elements.g[:, i]
        # 20,000 draws, standard errors below 0.01: means beyond 0.04 have probability below 1e-4.
        assert g.mean(0).abs().max() < 0.04
        assert torch.linalg.det(g).mean().abs() < 0.04
        assert g[:, 0, 0].square().mean() == pytest.approx(0.5, abs=0.03)


def test_all_of_a_small_group_by_default_and_samples_of_a_large_one():
    assert Average().forward_passes(eq.Symmetry(eq.Dihedral(4), images())) == 8
    assert Average().is_exact(eq.Symmetry(eq.Dihedral(4), images()))
    large = eq.Symmetry(eq.Symmetric(20), sets())
    assert Average().forward_passes(large) == 8
    assert not Average().is_exact(large)
    assert Average(limit=4).forward_passes(eq.Symmetry(eq.Dihedral(4), images())) == 8
    assert not Average(limit=4).is_exact(eq.Symmetry(eq.Dihedral(4), images()))


def test_samples_differ_between_training_and_evaluation(generator):
    model = symmetrize(squared_coordinate, DIRECTIONS, Average(2, eval_samples=5))
    x = unit_vectors(3, generator)
    assert model.forward_passes() == 2
    assert model(x, return_elements=True)[1].count == 2
    model.eval()
    assert model.forward_passes() == 5
    assert model(x, return_elements=True)[1].count == 5
    assert model(x, k=7, return_elements=True)[1].count == 7


def test_k_all_makes_a_sampled_model_exact():
    symmetry = eq.Symmetry(eq.Cyclic(4), images())
    model = symmetrize(nn.Flatten(), symmetry, Average(1))
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    y, error, elements = model(x, k="all", return_std=True, return_elements=True)
    assert elements.exact
    assert error.abs().max() == 0
    assert torch.allclose(y, torch.stack([torch.rot90(x, i, (2, 3)).flatten(1) for i in range(4)]).mean(0))


@pytest.mark.parametrize("group", [eq.Lorentz(1, 3), eq.SL(2), eq.Scaling(), eq.SO(3) * eq.Scaling()], ids=str)
def test_a_group_that_is_not_compact_is_refused(group):
    with pytest.raises(InputError, match="no average over .* is not compact,.* 'frames' or 'canonicalize'"):
        Average().check(
            eq.Symmetry(group, points()) if group != eq.Lorentz(1, 3) else eq.Symmetry(group, eq.reps.defining(group))
        )


@pytest.mark.parametrize(
    "group",
    [eq.SpecialEuclidean(3), eq.Euclidean(2), eq.Translation(3) * eq.Symmetric(4), eq.Euclidean(3) * eq.Symmetric(4)],
    ids=str,
)
def test_rigid_motions_are_averaged_about_the_centroid(group, generator):
    d = 2 if group == eq.Euclidean(2) else 3
    symmetry = eq.Symmetry(group, points(4), points(4))
    cubes = symmetrize(lambda x: x.pow(3) + x.flip(1), symmetry, "average", samples=20_000)
    x = torch.randn(1, 4, d, generator=generator, dtype=torch.float64)
    g = group.sample(generator=generator)
    y, error = cubes(x, generator=generator, return_std=True)
    moved, error_moved = cubes(symmetry.act_input(g, x), generator=generator, return_std=True)
    # 12 coordinates within 6 standard errors of a difference of two means: false alarms below 1e-7.
    spread = (error.square().max() + error_moved.square().max()).sqrt()
    assert (moved - symmetry.act_output(g, y)).abs().max() < 6 * spread
    assert not cubes.is_exact()
    # Shifts alone are gone in every single sample.
    far = symmetrize(lambda x: x.pow(3), symmetry, "average", samples=2)
    shifted = far(x + 100, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(shifted - 100, far(x, generator=torch.Generator().manual_seed(1)), atol=1e-9)


def test_shifts_alone_leave_one_exact_sample(generator):
    symmetry = eq.Symmetry(eq.Translation(3), points(), points())
    model = symmetrize(lambda x: x.pow(3), symmetry, "average")
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    assert model.forward_passes() == 1 and model.is_exact()
    assert torch.allclose(model(x + 7), model(x) + 7, atol=1e-9)


def test_a_window_of_a_group_that_is_not_compact(generator):
    T1 = eq.Translation(1)
    symmetry = eq.Symmetry(T1, points())
    x = torch.zeros(4000, 1, 1, dtype=torch.float64)
    inside = symmetrize(lambda x: x.flatten(1), symmetry, Average(4, window=0.5))
    y, elements = inside(x, generator=generator, return_elements=True)
    assert T1.shift(elements.g).abs().max() <= 0.5
    assert y.square().mean() == pytest.approx(0.25 / 3 / 4, rel=0.1)  # 4,000 draws; chance below 1e-5
    assert not inside.is_exact()
    own = Average(4, window=lambda batch, generator: T1.sample(batch, generator=generator))
    assert symmetrize(lambda x: x.flatten(1), symmetry, own)(x, generator=generator).square().mean() > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be a whole number >= 1"),
        ({"samples": 1.5}, "samples must be a whole number"),
        ({"sampling": "random"}, "Unknown sampling 'random'"),
        ({"window": -1.0}, "window must be a positive number"),
        ({"window": "wide"}, "window must be a positive number or a function"),
        ({"limit": 0}, "limit must be a whole number"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Average(**options)


def test_requests_that_cannot_be_served():
    with pytest.raises(InputError, match="infinitely many elements"):
        Average("all").check(DIRECTIONS)
    with pytest.raises(InputError, match="3628800 elements, more than"):
        Average("all").check(eq.Symmetry(eq.Symmetric(10), sets()))
    with pytest.raises(InputError, match="Evenly spaced sampling is for SO\\(2\\) and O\\(2\\), not SO3"):
        Average(sampling="even").check(DIRECTIONS)


PADDED = (
    torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    torch.tensor([[True, False, True, False], [True, True, True, True], [False, False, False, False]]),
)


def weighted_places(data):
    """Sees where every item stands, what padding holds, and where it is."""
    x, mask = data
    return (x.sum(-1) * torch.tensor([1.0, 10, 100, 1000]).to(x) * (1 + mask)).sum(1, keepdim=True)


def test_all_orders_of_a_masked_set_have_the_padding_last_as_random_ones_have(generator):
    symmetry = eq.Symmetry(eq.Symmetric(4), (sets(), sets()))
    model = symmetrize(weighted_places, symmetry, Average("all"))
    y, elements = model(PADDED, return_elements=True)
    expected = []
    for x, mask in zip(*PADDED, strict=True):
        orders = [
            list(p) for p in itertools.permutations(range(4)) if mask[list(p)].tolist() == sorted(mask.tolist())[::-1]
        ]
        expected.append(torch.stack([weighted_places((x[p][None], mask[p][None]))[0] for p in orders]).mean(0))
    torch.testing.assert_close(y, torch.stack(expected))
    assert elements.exact and elements.weight.count_nonzero(1).tolist() == [4, 24, 24]
    p = eq.Symmetric(4).sample((3,), generator=generator)
    torch.testing.assert_close(model(symmetry.act_input(p, PADDED)), y)
    # 4,000 draws: a mean 5 standard errors off has probability below 1e-6.
    sampled, error = model(PADDED, k=4000, generator=generator, return_std=True)
    assert bool(((sampled - y).abs() < 5 * error).all())


def test_all_elements_of_a_product_with_a_mask(generator):
    symmetry = eq.Symmetry(eq.Cyclic(4) * eq.Symmetric(4), eq.actions.combine(points(), sets()), points())
    model = symmetrize(lambda data: data[0].pow(3).cumsum(1), symmetry, Average("all", limit=96))
    y, elements = model(PADDED, return_elements=True)
    assert elements.count == 96 and elements.weight.count_nonzero(1).tolist() == [16, 96, 96]
    g = symmetry.group.sample((3,), generator=generator)
    torch.testing.assert_close(model(symmetry.act_input(g, PADDED)), symmetry.act_output(g, y))
    assert model((PADDED[0][:0], PADDED[1][:0])).shape == (0, 4, 2)


def test_samples_of_a_group_that_could_be_listed_are_no_exact_result(generator):
    model = symmetrize(nn.Flatten(), eq.Symmetry(eq.Cyclic(4), images()), "average")
    x = torch.rand(2, 1, 3, 3, generator=generator)
    _, error, elements = model(x, k=3, generator=generator, return_std=True, return_elements=True)
    assert not elements.exact and float(error.max()) > 0
