"""What is known exactly of the machine on tables of operations: lemmas, published numbers, golden results.

Source: section 5 of the derivations for "Breaking Data Symmetry is Needed For Generalization in Feature Learning
Kernels", arXiv 2604.00316, and of "Emergence in non-neural models", arXiv 2407.20199, Theorem 5.1.
"""

from __future__ import annotations

import pytest
import torch
from kernel_twins import relative

from equilearn.data import fixed_point_split, modular_table, move_back, move_pairs, orbit_closed_split, random_split
from equilearn.kernels import Quadratic, SingularKernelWarning, circulant_deviation, fit_rfm

SURE = 1e-8
"""By how much the right output must exceed the others: on held-out fixed points all end up equal, to rounding."""


def one_hot(labels, n, dtype=torch.float64):
    return torch.eye(n, dtype=dtype)[labels]


def right(outputs, labels):
    """How many answers are right, and not by a tie."""
    chosen = outputs.gather(1, labels[:, None])
    others = outputs.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
    return int((chosen > others + SURE).sum())


def learn(table, train, iterations, dtype=torch.float64, observe=None, **given):
    """The machine on the training points of a table, and right answers on the others at every iteration."""
    x, labels = table.inputs(dtype), table.labels
    counts = []

    def look(iteration, machine):
        counts.append(right(machine(x[~train]), labels[~train]))
        if observe is not None:
            observe(iteration, machine)

    y = one_hot(labels[train], table.n, dtype)
    return fit_rfm(x[train], y, iterations=iterations, observe=look, **given), counts


def moved_one(table, train, which):
    """Hold out one more point, the `which`-th of the training points."""
    train = train.clone()
    train[torch.nonzero(train).flatten()[which]] = False
    return train


def feature_permutation(points, n):
    """The matrix P with `x[points] = x P` for a map of points that permutes the two slots' symbols (no swap)."""
    found = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    a, b = points // n, points % n
    found[torch.arange(n).repeat_interleave(n), a] = 1
    found[n + torch.arange(n).repeat(n), n + b] = 1
    return found


def swapping_permutation(points, n):
    """The same for a map that swaps the slots."""
    found = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    a, b = points // n, points % n
    found[torch.arange(n).repeat_interleave(n), n + b] = 1
    found[n + torch.arange(n).repeat(n), a] = 1
    return found


# --- equivariance ---------------------------------------------------------------------------


def test_symmetry_of_the_split_is_kept_for_ever():
    """Split whole orbits of a reflection: f is invariant, M commutes with it, and no held-out answer is right."""
    table = modular_table(17)
    s = table.reflection(3)
    train = orbit_closed_split(table, [s], 0.6, torch.Generator().manual_seed(0))
    points = table.move([s])[0]
    p, x = swapping_permutation(points, 17), table.x
    assert torch.equal(x @ p, x[points]) and bool((train[points] == train).all())

    def observe(_, machine):
        outputs = machine(x)
        assert float((outputs[points] - outputs).abs().max()) < 5e-12
        assert relative(p.mT @ machine.metric @ p, machine.metric) < 1e-8

    _, counts = learn(table, train, 40, observe=observe)
    assert counts == [0] * 41


@pytest.mark.parametrize("kernel", ["gaussian", "laplace"])
def test_symmetry_that_moves_labels_is_kept_too(kernel):
    """`(a, b) -> (3 a + 2, 3 b + 2)` takes labels `l` to `3 l + 4`: outputs are permuted along."""
    table, n = modular_table(11), 11
    points, labels = table.equivariance(2, 2, automorphism=3 * torch.arange(n) % n)
    p, x = feature_permutation(points, n), table.x
    train = fixed_point_split(table, table.reflection(0))
    assert torch.equal(x @ p, x[points]) and bool((train[points] == train).all())

    def observe(_, machine):
        outputs = machine(x)
        torch.testing.assert_close(outputs[points][:, labels], outputs, rtol=0, atol=1e-10)
        assert relative(p.mT @ machine.metric @ p, machine.metric) < 1e-9

    learn(table, train, 6, kernel=kernel, observe=observe)


def test_relabelled_points_learn_the_same():
    """`×` mod 19 by residue and `+` mod 18 are one task, and so is `-` with `b` negated: same answers, M permuted."""
    n = 18
    plus, minus, times = modular_table(n), modular_table(n, "-"), modular_table(19, "×")
    train = random_split(plus, 0.8, torch.Generator().manual_seed(0))
    one = torch.arange(n)
    wanted, counts = learn(plus, train, 12)
    assert counts[0] == 0 and counts[-1] == int((~train).sum())  # it groks on the way
    x, y = plus.x, one_hot(plus.labels, n)
    residue = times.symbols - 1  # of the element with this discrete logarithm
    cases = {
        "×": (residue, residue, residue),
        "-": (one, -one % n, one),
    }
    by_hand = {
        "×": lambda a, b: (a + 1) * (b + 1) % 19 - 1,
        "-": lambda a, b: (a - b) % n,
    }
    assert torch.equal(minus.labels.reshape(n, n), by_hand["-"](one[:, None], one))
    for name, (first, second, label) in cases.items():
        order = torch.cat([first, n + second])
        x_new, y_new = torch.zeros_like(x), torch.zeros_like(y)
        x_new[:, order], y_new[:, label] = x, y
        a, b = x_new[:, :n].argmax(1), x_new[:, n:].argmax(1)
        assert torch.equal(y_new.argmax(1), by_hand[name](a, b)), name
        found = []
        machine = fit_rfm(
            x_new[train],
            y_new[train],
            iterations=12,
            observe=lambda _, m: found.append(right(m(x_new[~train]), y_new[~train].argmax(1))),  # noqa: B023
        )
        assert found == counts, name
        assert relative(machine.metric[order][:, order], wanted.metric) < 2e-10, name


# --- the null space -------------------------------------------------------------------------


def test_null_space_is_permanent():
    """`G = M S M`: what M is blind to stays unseen."""
    table = modular_table(13)
    train = random_split(table, 0.7, torch.Generator().manual_seed(0))
    blind = torch.zeros(26, 1, dtype=torch.float64)
    blind[[2, 5, 20]] = torch.tensor([[1.0], [2.0], [-1.0]], dtype=torch.float64)
    metric = torch.eye(26, dtype=torch.float64) - blind @ blind.mT / blind.square().sum()
    sizes = []
    learn(table, train, 8, metric=metric, observe=lambda _, m: sizes.append(float((m.metric @ blind).abs().max())))
    assert max(sizes) < 1e-7
    assert float((fit_rfm(table.x, one_hot(table.labels, 13), iterations=1).metric @ blind).abs().max()) > 0.1


@pytest.mark.parametrize("kernel", ["gaussian", "laplace"])
def test_constants_of_a_slot_are_lost_in_one_step(kernel):
    """Differences of pairs sum to 0 in each slot, so from `M = I` the first gradients do, and all that follow."""
    table = modular_table(13)
    train = random_split(table, 0.7, torch.Generator().manual_seed(0))
    ones = torch.block_diag(torch.ones(13, 1), torch.ones(13, 1)).double()
    sizes = []
    learn(table, train, 5, kernel=kernel, observe=lambda _, m: sizes.append(float((m.metric @ ones).abs().max())))
    assert sizes[0] == 1 and max(sizes[1:]) < 1e-7


# --- held-out fixed points, p prime ---------------------------------------------------------


def two_scalar_metric(p, k, alpha, beta):
    """`[[a (I - J), -b (P_k - J)^T], [-b (P_k - J), a (I - J)]]`, P_k with 1 at row `a + k`, column `a`."""
    eye, mean = torch.eye(p, dtype=torch.float64), torch.full((p, p), 1 / p, dtype=torch.float64)
    shift = eye.roll(k, 0) - mean
    diagonal = alpha * (eye - mean)
    return torch.cat([torch.cat([diagonal, -beta * shift.mT], 1), torch.cat([-beta * shift, diagonal], 1)])


LIMITS = {23: (0.98246, -0.0468, 0.0477, 0.0508), 29: (0.984273, -0.0365, 0.0371, 0.04029)}
"""p: limit of alpha and beta; logits at iteration 0, right and wrong; logit of every class in the limit."""


@pytest.mark.parametrize(("p", "k"), [(23, 0), (23, 5), (29, 0)])
def test_two_numbers_describe_the_metric(p, k):
    """Affine maps act doubly transitively on the symbols: M has two free numbers, and held-out points share a fate."""
    limit, first_right, first_wrong, last = LIMITS[p]
    table = modular_table(p)
    train = fixed_point_split(table, table.reflection(k))
    held, labels = table.x[~train], table.labels[~train]
    assert bool(((table.b - table.a) % p == k)[~train].all())
    is_label = torch.nn.functional.one_hot(labels, p).bool()
    pairs, logits = [], []

    def observe(iteration, machine):
        outputs, metric = machine(held), machine.metric
        logits.append((outputs[is_label], outputs[~is_label]))
        for values in logits[-1]:
            assert float(values.max() - values.min()) < 1e-7
        if iteration:
            alpha = float(metric[:p, :p].trace()) / (p - 1)
            beta = -float(metric[p:, :p].roll(-k, 0).trace()) / (p - 1)
            pairs.append((alpha, beta))
            assert float((metric - two_scalar_metric(p, k, alpha, beta)).abs().max()) < 1e-7
        assert float((machine(table.x[train]) - one_hot(table.labels[train], p)).square().mean()) < 1e-23

    machine, counts = learn(table, train, 24, observe=observe)
    assert counts == [0] * 25
    if p == 23:
        torch.testing.assert_close(
            torch.tensor(pairs[:3]),
            torch.tensor([[0.8997, 0.0205], [0.9081, 0.0604], [0.9094, 0.1362]]),
            rtol=0,
            atol=6e-5,
        )
    assert pairs[-1] == pytest.approx((limit, limit), abs=5e-6)
    assert float(logits[0][0].mean()) == pytest.approx(first_right, abs=2e-4)
    assert float(logits[0][1].mean()) == pytest.approx(first_wrong, abs=2e-4)
    for values in logits[-1]:
        assert float((values - last).abs().max()) < 5e-5
    spectrum = torch.linalg.eigvalsh(machine.metric)
    assert int((spectrum > 1e-8).sum()) == p - 1
    assert float((spectrum[-(p - 1) :] - 2 * limit).abs().max()) < 1e-5
    if p == 29:
        assert float(spectrum[-1]) == pytest.approx(1.96855, abs=5e-6)
        assert float(machine.metric.trace()) == pytest.approx(55.119, abs=5e-4)
    # All held-out points are the same point to the machine: the zero vector.
    assert float((held @ machine.metric).abs().max()) < 1e-8


def test_trap_holds_in_float32():
    table = modular_table(23)
    train = fixed_point_split(table, table.reflection(0))
    machine, _ = learn(table, train, 20, dtype=torch.float32)
    assert float((machine.metric.double() - two_scalar_metric(23, 0, 0.98246, 0.98246)).abs().max()) < 1e-4


def test_quadratic_kernel_has_four_numbers():
    """Diagonal block `u I + v J`, off-diagonal `w P_k + z J`, at every iteration; K becomes singular on the way."""
    p, k = 13, 2
    table = modular_table(p)
    train = fixed_point_split(table, table.reflection(k))
    ranks = []

    def observe(_, machine):
        a, c = machine.metric[:p, :p], machine.metric[p:, :p].roll(-k, 0)
        assert relative(machine.metric[p:, p:], a) < 1e-6
        assert relative(machine.metric[:p, p:], machine.metric[p:, :p].mT) < 1e-6
        scale = float(machine.metric.abs().max())
        for block in (a, c):
            apart = block[~torch.eye(p, dtype=torch.bool)]
            assert float(apart.max() - apart.min()) < 1e-6 * scale
            assert float(block.diagonal().max() - block.diagonal().min()) < 1e-6 * scale

    with pytest.warns(SingularKernelWarning, match="numerically singular"):
        machine, counts = learn(table, train, 20, kernel="quadratic", observe=observe)
    ranks = [record["rank"] for record in machine.history]
    assert counts == [0] * 21
    assert ranks[0] == len(table.x[train]) > ranks[-1] > 0
    assert float(machine.metric.trace()) < 1e3  # a solve by LU lets it explode to 1e9


# --- one point moved ------------------------------------------------------------------------

GOLDEN = {23: 19, 31: 27, 37: 35}
"""p: right answers among the p + 1 held out, once learned."""


@pytest.mark.parametrize("p", sorted(GOLDEN))
def test_one_moved_point_lets_it_learn(p):
    table = modular_table(p)
    train = fixed_point_split(table, table.reflection(0))
    _, none = learn(table, train, 15)
    _, counts = learn(table, moved_one(table, train, 7), 15)
    assert none == [0] * 16
    assert counts[:5] == [0] * 5 and counts[-3:] == [GOLDEN[p]] * 3


def test_which_point_is_moved_does_not_matter():
    """The affine maps that fix the split take any point that is not held out to any other."""
    table = modular_table(13)
    train = fixed_point_split(table, table.reflection(4))
    results = [learn(table, moved_one(table, train, which), 12) for which in (0, 40, 155)]
    metric = torch.linalg.eigvalsh(results[0][0].metric)
    for machine, counts in results[1:]:
        assert counts == results[0][1]
        torch.testing.assert_close(torch.linalg.eigvalsh(machine.metric), metric, rtol=0, atol=1e-7)


@pytest.mark.parametrize("how", ["pairs", "back"])
def test_what_keeps_the_symmetry_helps_nothing(how, generator):
    """Pairs moved out and fixed points given back: the published figure shows about 0.

    The seed is fixed; of seeds 0 to 19 each gives 1 right answer at most for pairs and none for points given back.
    """
    table = modular_table(19)
    s = table.reflection(0)
    train = fixed_point_split(table, s)
    train = move_pairs(table, train, s, 3, generator) if how == "pairs" else move_back(table, train, 5, generator)
    _, counts = learn(table, train, 14)
    assert max(counts) <= (1 if how == "pairs" else 0)


def test_two_held_out_points(generator):
    """Learned where no reflection fixes both: `(0, 0)` with `(5, 5)` or with `(5, 7)`."""
    table = modular_table(23)
    found = {}
    for other in ((5, 5), (5, 7)):
        train = torch.ones(23**2, dtype=torch.bool)
        train[0] = train[other[0] * 23 + other[1]] = False
        found[other] = learn(table, train, 15)[1][-1]
    assert found == {(5, 5): 0, (5, 7): 2}


# --- closed solutions -----------------------------------------------------------------------


@pytest.mark.parametrize("p", [5, 7])
def test_quadratic_solution_of_the_whole_table(p):
    """With `M_l = [[0, C^l], [C^-l, 0]]` the coefficients are `C^(3 l) / 2 - 1 / (2 p + 2)`.

    The circulated text has `-2 / (2 p + 2)`.
    """
    table = modular_table(p, "-")
    shift = torch.eye(p, dtype=torch.float64).roll(1, 1)  # C[i, i + 1] = 1
    for label in range(p):
        power = torch.linalg.matrix_power(shift, label)
        metric = torch.zeros(2 * p, 2 * p, dtype=torch.float64)
        metric[:p, p:], metric[p:, :p] = power, power.mT
        gram = Quadratic().gram(table.x, None, metric)
        assert int(torch.linalg.matrix_rank(gram)) == p * p
        dual = torch.linalg.solve(gram, (table.labels == label).double()).reshape(p, p)
        wanted = torch.linalg.matrix_power(shift, 3 * label) / 2 - 1 / (2 * p + 2)
        torch.testing.assert_close(dual, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("p", [4, 7])
def test_fourier_identity(p):
    """`F e_a * F e_b = F e_(a+b) / sqrt(p)`: why the machine of a circulant can add."""
    f = torch.fft.fft(torch.eye(p, dtype=torch.complex128), norm="ortho")
    table = modular_table(p)
    torch.testing.assert_close(f[table.a] * f[table.b], f[table.labels] / p**0.5)


def test_learned_off_diagonal_block_is_nearly_circulant():
    """What a random split learns: the deviation of the block falls to nearly that of a circulant."""
    table = modular_table(19)
    train = random_split(table, 0.85, torch.Generator().manual_seed(0))
    seen = []
    learn(table, train, 14, observe=lambda _, machine: seen.append(machine.metric[19:, :19]))
    deviations = [float(circulant_deviation(block)) for block in seen[1:]]
    assert deviations[0] > 0.2 and deviations[-1] < 0.003
