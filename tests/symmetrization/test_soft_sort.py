"""Soft permutations against a plain twin in logarithms, and against values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn import InputError
from equilearn.symmetrization import _sorted_kernel, soft_permutation
from equilearn.symmetrization._soft_sort import descending, relax


def twin(scores, temperature=0.1, rounds=20):
    """The published sequence, left to automatic differentiation."""
    ordered = scores.sort(-1, descending=True).values
    logs = -(scores.unsqueeze(-1) - ordered.unsqueeze(-2)).abs() / temperature
    for _ in range(rounds):
        logs = logs - logs.logsumexp(-1, keepdim=True)
        logs = logs - logs.logsumexp(-2, keepdim=True)
    return logs.exp()


def twin_entropy(p):
    p = p.clamp_min(1e-12)
    rows, columns = p / p.sum(-1, keepdim=True), p / p.sum(-2, keepdim=True)
    return -((rows * rows.log()).sum((-1, -2)) + (columns * columns.log()).sum((-1, -2))) / p.shape[-1]


def both(scores, mask=None, temperature=0.1, rounds=20):
    return relax(scores, descending(scores, mask), mask, temperature=temperature, rounds=rounds)


def unit(size, n, seed=0, dtype=torch.float64):
    s = torch.randn(size, n, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return s / s.norm(dim=-1, keepdim=True)


# --- exact values -----------------------------------------------------------------------------------


def test_two_scores():
    p, entropy = both(torch.tensor([[0.6, 0.8]], dtype=torch.float64))
    s = 1 / (1 + math.exp(-2))
    need = torch.tensor([[[1 - s, s], [s, 1 - s]]], dtype=torch.float64)
    torch.testing.assert_close(p, need, atol=1e-12, rtol=0)
    h = -s * math.log(s) - (1 - s) * math.log(1 - s)
    assert float(entropy) == pytest.approx(2 * h, abs=1e-12) == pytest.approx(0.73067, abs=1e-5)


@given(st.floats(0.0, 1.0), st.sampled_from([0.01, 0.1, 1.0]))
def test_two_scores_have_the_logistic_of_their_difference(d, temperature):
    p = soft_permutation(torch.tensor([0.3 + d, 0.3], dtype=torch.float64), temperature=temperature)
    assert float(p[0, 0]) == pytest.approx(1 / (1 + math.exp(-d / temperature)), abs=1e-12)


def test_three_scores():
    p, entropy = both(torch.tensor([[3.0, 1.0, 2.0]], dtype=torch.float64) / math.sqrt(14))
    need = torch.tensor([[0.9331, 0.0624, 0.0045], [0.0045, 0.0624, 0.9331], [0.0624, 0.8752, 0.0624]])
    torch.testing.assert_close(p[0].float(), need, atol=5e-5, rtol=0)
    assert p[0].argmax(-1).tolist() == [0, 2, 1]
    assert float(entropy) == pytest.approx(0.65776, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_tied_scores_share_all_ranks(n):
    p, entropy = both(torch.full((1, n), 0.3, dtype=torch.float64))
    torch.testing.assert_close(p, torch.full((1, n, n), 1 / n, dtype=torch.float64))
    assert float(entropy) == pytest.approx(2 * math.log(n), abs=1e-12)


# --- the twin ---------------------------------------------------------------------------------------


@pytest.fixture(params=["running sums", "dense products"], autouse=True)
def way(request, monkeypatch):
    """Both ways to multiply by the kernel, whatever the number of scores."""
    monkeypatch.setattr(_sorted_kernel, "FEW", 0 if request.param == "running sums" else 1000)


@given(st.integers(1, 20), st.sampled_from([0.01, 0.1, 1.0]), st.sampled_from([1, 5, 20]), st.integers(0, 99))
def test_values_and_gradients_are_those_of_the_twin(n, temperature, rounds, seed):
    scores = unit(3, n, seed).requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, n, n, dtype=torch.float64, generator=generator)
    lean, entropy = both(scores, None, temperature, rounds)
    plain = twin(scores, temperature, rounds)
    torch.testing.assert_close(lean, plain, atol=1e-10, rtol=0)
    torch.testing.assert_close(entropy, twin_entropy(plain), atol=1e-10, rtol=0)
    for a, b in (
        ((lean * weight).sum(), (plain * weight).sum()),
        (entropy.sum(), twin_entropy(plain).sum()),
        ((lean * weight).sum() - 3 * entropy.sum(), (plain * weight).sum() - 3 * twin_entropy(plain).sum()),
    ):
        (x,) = torch.autograd.grad(a, scores, retain_graph=True)
        (y,) = torch.autograd.grad(b, scores, retain_graph=True)
        torch.testing.assert_close(x, y, atol=1e-10 / temperature**2, rtol=1e-8)


@pytest.mark.parametrize("scale", [50.0, 2e4])
def test_scores_far_apart_agree_with_the_twin_too(scale):
    """Beyond the range of running sums products are dense."""
    scores = scale * unit(3, 9)
    scores[:, 4] = scores[:, 3] + 0.004  # some nearer than a temperature
    scores = scores.requires_grad_()
    weight = torch.randn(3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lean, plain = soft_permutation(scores, temperature=0.01), twin(scores, 0.01)
    torch.testing.assert_close(lean, plain, atol=1e-10, rtol=0)
    (x,) = torch.autograd.grad((lean * weight).sum(), scores)
    (y,) = torch.autograd.grad((plain * weight).sum(), scores)
    torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-6)


def test_ties_have_the_gradient_of_the_twin():
    scores = torch.tensor([[0.5, 0.1, 0.5, -0.2, 0.1, 0.5], [0.3] * 6], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = weight * torch.linspace(-1, 1, 6, dtype=torch.float64)
    (x,) = torch.autograd.grad((soft_permutation(scores) * weight).square().sum(), scores)
    (y,) = torch.autograd.grad((twin(scores) * weight).square().sum(), scores)
    for row in (0, 1):  # sorting hands what tied ranks get to tied items in one order or another: sums agree
        for value in scores[row].detach().unique():
            same = scores[row] == value
            torch.testing.assert_close(x[row][same].sum(), y[row][same].sum(), atol=1e-9, rtol=1e-9)


def test_float32_agrees_with_float64():
    scores, weight = unit(8, 50), torch.linspace(-1, 1, 50, dtype=torch.float64).cos()
    single = scores.float().requires_grad_()
    double = scores.clone().requires_grad_()
    for temperature in (0.01, 0.1):
        a, b = (soft_permutation(s, temperature=temperature) for s in (single, double))
        assert float((a.double() - b).detach().abs().max()) < 1e-4
        (x,) = torch.autograd.grad((a * weight).square().sum(), single)
        (y,) = torch.autograd.grad((b * weight).square().sum(), double)
        assert float((x.double() - y).norm() / y.norm()) < 1e-2


def test_scores_far_apart_neither_overflow_nor_vanish(dtype):
    scores = torch.tensor([[1e3, -1e3, 0.0, 1e-3]], dtype=dtype, requires_grad=True)
    p = soft_permutation(scores, temperature=0.01)
    p[:, 0].square().sum().backward()
    torch.testing.assert_close(p.detach().argmax(-1), torch.tensor([[0, 3, 2, 1]]))
    assert scores.grad is not None and bool(torch.isfinite(scores.grad).all())


def test_gradcheck():
    scores = unit(3, 6).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 0, 0, 1, 0, 0]]).bool()
    assert torch.autograd.gradcheck(lambda s: both(s, None, 0.3), (scores,))
    assert torch.autograd.gradcheck(lambda s: both(s, mask, 0.3), (scores,))


@given(st.integers(0, 99))
def test_permuted_scores_permute_the_rows(seed):
    scores = unit(1, 7, seed)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    a, b = soft_permutation(scores[:, order]), soft_permutation(scores)[:, order]
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_blocks_of_a_large_batch_agree_with_single_items():
    scores = unit(40, 150).requires_grad_()  # beyond one block
    weight = torch.linspace(-1, 1, 150, dtype=torch.float64)
    whole = soft_permutation(scores)
    (together,) = torch.autograd.grad((whole * weight).square().sum(), scores)
    for i in (0, 23, 39):
        one = scores[i].detach().requires_grad_()
        p = soft_permutation(one)
        torch.testing.assert_close(p, whole[i])
        torch.testing.assert_close(torch.autograd.grad((p * weight).square().sum(), one)[0], together[i])


# --- masks, shapes, memory --------------------------------------------------------------------------


def test_items_that_are_not_there_come_last_and_change_nothing():
    scores = unit(1, 4)
    padded = torch.full((1, 7), math.nan, dtype=torch.float64)
    mask = torch.tensor([[False, True, True, False, True, True, False]])
    padded[mask] = scores[0]  # NaN in the padding
    padded.requires_grad_()
    p, entropy = both(padded, mask)
    alone, own_entropy = both(scores)
    torch.testing.assert_close(p[0][mask[0]][:, :4], alone[0])
    assert not p[0][~mask[0]][:, :4].any()
    assert p[0][~mask[0]][:, 4:].sum(0).tolist() == [1, 1, 1]
    torch.testing.assert_close(entropy, own_entropy)
    (p[:, 1].sum() + p.square().sum() + entropy.sum()).backward()
    assert padded.grad is not None and not padded.grad[~mask].any()


def test_nothing_there():
    p, entropy = both(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    assert torch.equal(p, torch.eye(3)[None])
    assert float(entropy) == 0


def test_any_batch_shape():
    assert soft_permutation(torch.rand(4)).shape == (4, 4)
    assert soft_permutation(torch.rand(2, 3, 4)).shape == (2, 3, 4, 4)
    assert soft_permutation(torch.rand(0, 4)).shape == (0, 4, 4)
    assert soft_permutation(torch.rand(2, 0)).shape == (2, 0, 0)
    assert soft_permutation(torch.rand(2, 5).bfloat16()).dtype == torch.float32


def test_little_is_kept_for_the_way_back():
    def kept(fn):
        sizes = {}

        def keep(t):
            sizes[t.data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            fn(torch.rand(2, 64, requires_grad=True))
        return sum(sizes.values())

    assert kept(lambda s: soft_permutation(s).sum()) * 20 < kept(lambda s: twin(s).sum())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"rounds": 0}, "rounds must be a whole number >= 1"),
        ({"mask": torch.ones(2, 3)}, "mask must be of dtype bool"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, r"shape of the scores, \(2, 3\); got \(2, 4\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        soft_permutation(torch.rand(2, 3), **options)


def test_whole_numbers_are_refused():
    with pytest.raises(InputError, match="floating point"):
        soft_permutation(torch.arange(3))
