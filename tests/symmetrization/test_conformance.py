"""The public check on every strategy and kind of data here, and on broken strategies, which it must catch."""

import pytest
import torch
from torch import nn

import equilearn as eq
from equilearn.actions import graphs, images, pairs, points, sets, vectors
from equilearn.symmetrization import Average, Canonicalize, Elements, Frames, Learned, Strategy, small_energy
from equilearn.testing import CheckFailed, check_symmetrizer


def cloud(n=5, width=3, size=4, seed=0):
    return torch.randn(size, n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def picture(height=6, width=6, size=4, channels=1, seed=0):
    return torch.rand(size, channels, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def momenta(size=4, count=3):
    x = cloud(count, 4, size)
    x[..., 0] = x[..., 1:].norm(dim=-1) + 0.5
    return x.reshape(size, count * 4)


def mlp(width_in, shape_out):
    """A net that sees every input number and whose every parameter matters."""

    def build():
        torch.manual_seed(3)
        width = torch.Size(shape_out).numel()
        net = nn.Sequential(nn.Flatten(), nn.Linear(width_in, 16), nn.Tanh(), nn.Linear(16, width))
        return nn.Sequential(net, nn.Unflatten(1, shape_out)).double()

    return build


SO3, O3, SE3, E3, S5 = eq.SO(3), eq.O(3), eq.SpecialEuclidean(3), eq.Euclidean(3), eq.Symmetric(5)
L13, S4 = eq.Lorentz(1, 3), eq.Symmetric(4)
V3, V4 = eq.reps.defining(SO3), eq.reps.defining(L13)

SYMMETRIES = {
    "C4 images": (eq.Symmetry(eq.Cyclic(4), images()), picture(), (3,)),
    "D4 images to images": (eq.Symmetry(eq.Dihedral(4), images(), images()), picture(), (1, 6, 6)),
    "C2 rectangles": (eq.Symmetry(eq.Cyclic(2), images()), picture(4, 6), (2,)),
    "C8 images": (eq.Symmetry(eq.Cyclic(8), images()), picture(), (3,)),
    "SO2 images": (eq.Symmetry(eq.SO(2), images()), picture(), (3,)),
    "O2 images": (eq.Symmetry(eq.O(2), images(), images()), picture(), (1, 6, 6)),
    "SO3 points": (eq.Symmetry(SO3, points(), points()), cloud(), (5, 3)),
    "O3 points to vector": (eq.Symmetry(O3, points(), eq.reps.defining(O3)), cloud(), (3,)),
    "SO3 vectors": (eq.Symmetry(SO3, 4 * V3, V3 + eq.reps.trivial(SO3)), cloud(4).flatten(1), (4,)),
    "O2 points": (eq.Symmetry(eq.O(2), points(), points()), cloud(5, 2), (5, 2)),
    "S5 sets": (eq.Symmetry(S5, sets()), cloud(), (2,)),
    "S5 sets to sets": (eq.Symmetry(S5, sets(), sets()), cloud(), (5, 2)),
    "S4 vectors": (
        eq.Symmetry(S4, vectors(3 * eq.reps.permutation(S4)), eq.reps.permutation(S4)),
        cloud(3, 4).flatten(1),
        (4,),
    ),
    "A4 vectors": (
        eq.Symmetry(eq.Alternating(4), eq.reps.permutation(eq.Alternating(4))),
        cloud(1, 4).flatten(1),
        (2,),
    ),
    "Q8 regular": (eq.Symmetry(eq.Quaternion(), eq.reps.regular(eq.Quaternion())), cloud(1, 8).flatten(1), (2,)),
    "SO3 x S5 points": (eq.Symmetry(SO3 * S5, points(5), points(5)), cloud(), (5, 3)),
    "S5 x O3 points": (eq.Symmetry(S5 * O3, points(5)), cloud(), (2,)),
    "C4 x S3 points": (eq.Symmetry(eq.Cyclic(4) * eq.Symmetric(3), points(), points()), cloud(3, 2), (3, 2)),
}
NOT_COMPACT = {
    "SE3 points": (eq.Symmetry(SE3, points(), points()), cloud(), (5, 3)),
    "E3 points, velocities, charges": (eq.Symmetry(E3, points(vectors=1, scalars=1), points()), cloud(5, 7), (5, 3)),
    "SE3 x S5 points": (eq.Symmetry(SE3 * S5, points(), points()), cloud(), (5, 3)),
    "T3 points": (eq.Symmetry(eq.Translation(3), points(), points()), cloud(), (5, 3)),
    "scaled points": (eq.Symmetry(eq.Scaling(), points(), points()), cloud(), (5, 3)),
    "scaled and turned points": (eq.Symmetry(eq.Scaling() * SO3, points(), points()), cloud(), (5, 3)),
    "Lorentz": (eq.Symmetry(L13, 3 * V4, V4), momenta(), (4,)),
    "Lorentz, tensors": (eq.Symmetry(L13, 3 * V4, V4 * V4), momenta(), (16,)),
    "SE2 images": (eq.Symmetry(eq.SpecialEuclidean(2), images()), picture(), (2,)),
    "E2 images": (eq.Symmetry(eq.Euclidean(2), images()), picture(), (2,)),
    "T2 images": (eq.Symmetry(eq.Translation(2), images()), picture(), (2,)),
    "scaled images": (eq.Symmetry(eq.Scaling(), images()), picture(), (2,)),
}
ALL = SYMMETRIES | NOT_COMPACT


def check(strategy, name, dtype=torch.float64):
    symmetry, x, out = ALL[name]
    build = mlp(x[0].numel(), out)
    check_symmetrizer(strategy, symmetry, lambda: build().to(dtype), x.to(dtype))


@pytest.mark.parametrize("name", SYMMETRIES)
def test_average(name):
    check("average", name)


@pytest.mark.parametrize("name", ["SO3 points", "S5 sets", "D4 images to images", "SO2 images"])
def test_average_of_three_samples(name):
    check(Average(3, sampling="haar"), name)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("strategy", ["frames", "canonicalize"])
def test_poses(strategy, name, dtype):
    check(strategy, name, dtype)


@pytest.mark.parametrize("name", ["SO3 points", "SE3 x S5 points", "C4 images", "Lorentz"])
def test_random_poses_of_a_frame(name):
    check(Frames(2), name)


@pytest.mark.parametrize("name", ["C4 images", "SO2 images", "O2 images", "SO3 points", "SE3 x S5 points"])
def test_learned_energy(name):
    torch.manual_seed(0)
    check(Canonicalize(energy=small_energy(ALL[name][1]).double()), name)


LEARNED = [
    "C4 images",
    "D4 images to images",
    "C8 images",
    "SO3 points",
    "O3 points to vector",
    "SO3 vectors",
    "O2 points",
    "S5 sets",
    "S5 sets to sets",
    "Q8 regular",
    "SO3 x S5 points",
    "S5 x O3 points",
    "C4 x S3 points",
    "SE3 points",
    "E3 points, velocities, charges",
    "SE3 x S5 points",
    "T3 points",
]


@pytest.mark.parametrize("name", LEARNED)
def test_learned(name, dtype):
    torch.manual_seed(0)
    check(Learned(samples=4, eval_samples=4), name, dtype)


@pytest.mark.parametrize("name", ["C4 images", "D4 images to images"])
def test_learned_weights_of_all_elements(name):
    torch.manual_seed(0)
    check(Learned(samples="all"), name)


@pytest.mark.parametrize("name", ["SO3 points", "S5 sets to sets", "SE3 x S5 points"])
def test_learned_canonical_form(name):
    torch.manual_seed(0)
    check(Learned(noise=0), name)


class Tuples(nn.Module):
    """A net on tuples: one value a node."""

    def __init__(self, numbers):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(numbers, 16), nn.Tanh(), nn.Linear(16, 10)).double()

    def forward(self, x):
        flat = torch.cat([part.double().flatten(1) for part in x], 1)
        return self.net(flat).unflatten(1, (5, 2))


def graph_batch(mask=True):
    links = (cloud(5, 5) > 0).double().triu(1)
    links = links + links.mT
    there = torch.arange(5) < torch.tensor([[3], [4], [5], [2]])
    if not mask:
        return cloud(5, 2), links
    return cloud(5, 2) * there[..., None], links * there[:, None] * there[..., None], there


@pytest.mark.parametrize("strategy", ["learned", "average"])
def test_graphs(strategy):
    torch.manual_seed(0)
    build = Learned(samples=4, eval_samples=4) if strategy == "learned" else Average(4)
    check_symmetrizer(build, eq.Symmetry(S5, graphs(), sets()), lambda: Tuples(40), graph_batch())
    check_symmetrizer(build, eq.Symmetry(S5, graphs(mask=False), sets()), lambda: Tuples(35), graph_batch(False))
    ends = torch.tensor([[0, 1], [1, 0], [1, 2], [2, 1], [3, 4], [4, 3], [-1, -1]]).expand(4, 7, 2)
    lists = eq.Symmetry(S5, graphs(edge_lists=True, mask=False), sets())
    check_symmetrizer(build, lists, lambda: Tuples(24), (cloud(5, 2), ends))


@pytest.mark.parametrize("strategy", ["learned", "average"])
def test_masked_sets_and_points(strategy):
    torch.manual_seed(0)
    build = Learned(samples=4, eval_samples=4) if strategy == "learned" else Average(4)
    x, _, there = graph_batch()
    check_symmetrizer(build, eq.Symmetry(S5, (sets(), sets()), sets()), lambda: Tuples(15), (x, there))
    group = SO3 * S5
    data = (cloud() * there[..., None], there)
    check_symmetrizer(build, eq.Symmetry(group, (points(), sets()), sets()), lambda: Tuples(20), data)


def test_node_pairs_alone():
    torch.manual_seed(0)
    symmetry = eq.Symmetry(S5, pairs(), pairs())
    check_symmetrizer(Learned(samples=4, eval_samples=4), symmetry, mlp(25, (5, 5)), cloud(5, 5))


def test_tuples():
    symmetry = eq.Symmetry(eq.Cyclic(4), (images(), eq.reps.regular(eq.Cyclic(4))), (images(), eq.actions.trivial()))

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.image, self.vector = nn.Linear(40, 36).double(), nn.Linear(40, 2).double()

        def forward(self, x):
            flat = torch.cat([x[0].flatten(1), x[1]], 1)
            return self.image(flat).reshape(-1, 1, 6, 6), self.vector(flat)

    x = (picture(), cloud(1, 4)[:, 0])
    for strategy in ("average", "frames", "canonicalize"):
        check_symmetrizer(strategy, symmetry, Pair, x)


# --- broken on purpose --------------------------------------------------------------------------------


class Broken(Strategy):
    """All elements of C4; `how` says what is wrong with it."""

    name = "broken"

    def __init__(self, how=None):
        super().__init__()
        self.how = how
        self.last = None

    def check(self, symmetry):
        pass

    def is_exact(self, symmetry, x=None):
        return self.how != "biased"

    def forward_passes(self, symmetry):
        return 4

    def sample(self, symmetry, x, k=None, generator=None):
        size = len(x)
        g = torch.arange(4).expand(size, 4)
        weight = torch.full((size, 4), 0.25, dtype=x.dtype)
        if self.how == "weights":
            weight = weight * 1.1
        if self.how == "one pose only":
            g, weight = g[:, :1], torch.ones(size, 1, dtype=x.dtype)
        if self.how == "biased":
            g, weight = torch.randint(0, 2, (size, 1), generator=generator), torch.ones(size, 1, dtype=x.dtype)
        if self.how == "global randomness":
            g = torch.randint(0, 4, (size, 4))
        if self.how == "outside":
            g = g + 1
        if self.how == "memory":
            self.last = x[0].clone()
        return Elements(g, weight)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("weights", "sum to one"),
        ("one pose only", "says that it is exact"),
        ("biased", "not equivariant on average"),
        ("global randomness", "same seed differ"),
        ("outside", "do not lie in C4"),
        ("memory", "changed strategy.last"),
    ],
)
def test_a_broken_strategy_is_caught(how, message):
    symmetry, x, out = SYMMETRIES["C4 images"]
    with pytest.raises(CheckFailed, match=message):
        check_symmetrizer(Broken(how), symmetry, mlp(36, out), x)


def test_the_mended_strategy_passes():
    symmetry, x, out = SYMMETRIES["C4 images"]
    check_symmetrizer(Broken(), symmetry, mlp(36, out), x)


def test_a_model_without_gradient_is_caught():
    symmetry, x, _ = SYMMETRIES["C4 images"]

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(36, 2).double(), nn.Linear(2, 2).double()

        def forward(self, x):
            return self.used(x.flatten(1))

    with pytest.raises(CheckFailed, match=r"unused\.weight, unused\.bias"):
        check_symmetrizer("average", symmetry, Cut, x)
