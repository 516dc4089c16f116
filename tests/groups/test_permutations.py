"""S_n and A_n, without tables at any size."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilearn._check import InputError
from equilearn.groups import Alternating, Symmetric, permutation_matrix, permutation_sign
from equilearn.testing import check_group


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_elements_are_in_lexicographic_order(n):
    expected = torch.tensor(list(itertools.permutations(range(n))))
    assert torch.equal(Symmetric(n).elements(), expected)
    assert torch.equal(Symmetric(n).index_of(expected), torch.arange(math.factorial(n)))
    even = expected[torch.linalg.det(permutation_matrix(expected)) > 0]
    assert torch.equal(Alternating(n).elements(), even)
    assert torch.equal(Alternating(n).index_of(even), torch.arange(len(even)))


def test_s8_is_listed_and_s9_is_not():
    group = Symmetric(8)
    assert torch.equal(group.index_of(group.elements()), torch.arange(40_320))
    with pytest.raises(InputError, match="362880 elements"):
        Symmetric(9).elements()


@given(st.integers(1, 9), st.integers(0, 2**31))
def test_matrices_are_a_representation(n, seed):
    group = Symmetric(n)
    p, q = group.sample((2, 4), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(group.matrix(group.compose(p, q)), group.matrix(p) @ group.matrix(q))
    assert torch.equal(group.matrix(group.inverse(p)), group.matrix(p).mT)
    assert torch.equal(permutation_sign(p).double(), torch.linalg.det(group.matrix(p)).round())
    # M e_i = e_{p[i]}
    assert torch.equal(group.matrix(p).argmax(-2), p)


def test_compose_convention():
    p, q = torch.tensor([1, 2, 0]), torch.tensor([0, 2, 1])
    assert Symmetric(3).compose(p, q).tolist() == [int(p[i]) for i in q]


@pytest.mark.parametrize("n", [20, 100])
def test_large_groups_need_no_table(n):
    group = Symmetric(n)
    assert group.order == math.factorial(n)
    check_group(group)
    g = group.sample(10_000, generator=torch.Generator().manual_seed(0))
    assert bool(group.contains(g).all())
    # Each point goes to each place equally often: 10,000 / n, binomial; 6.5 sigma, false alarm 1e-10 a cell.
    counts = torch.bincount((g * n + torch.arange(n)).reshape(-1), minlength=n * n).double()
    assert float((counts - 10_000 / n).abs().max()) < 6.5 * (10_000 / n) ** 0.5
    # The number of fixed points has mean and variance 1 (matching problem), standard errors 0.01 and 0.015.
    fixed = (g == torch.arange(n)).sum(-1).double()
    assert abs(float(fixed.mean()) - 1) < 0.065 and abs(float(fixed.var()) - 1) < 0.12


def test_rank_at_the_edge_of_64_bits():
    group = Symmetric(20)
    last = torch.arange(20).flip(0)
    assert int(group.index_of(last)) == math.factorial(20) - 1
    assert int(group.index_of(group.identity())) == 0
    with pytest.raises(InputError, match="does not fit into 64 bits"):
        Symmetric(21).index_of(Symmetric(21).identity())


def test_alternating_samples_are_even_and_uniform():
    group = Alternating(4)
    g = group.sample(12_000, generator=torch.Generator().manual_seed(0))
    assert bool((group.sign(g) == 1).all())
    counts = torch.bincount(group.index_of(g), minlength=12).double()
    assert float((counts - 1000).abs().max()) < 6.5 * 1000**0.5  # false alarm 1e-9
    assert int(group.contains(Symmetric(4).elements()).sum()) == 12


def test_bad_permutations_are_not_contained():
    group = Symmetric(3)
    bad = torch.tensor([[0, 1, 1], [0, 1, 3], [-1, 1, 2], [2, 0, 1]])
    assert group.contains(bad).tolist() == [False, False, False, True]
    assert not group.contains(bad.double()).any()
    with pytest.raises(InputError, match=r"3 of 4 given elements do not lie in S3.*permutations of 0\.\.2"):
        group.validate(bad)
    with pytest.raises(InputError, match="last axis"):
        group.contains(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="last axis"):
        group.contains([0, 1, 2])


def test_zero_size_batches():
    group = Symmetric(4)
    empty = group.sample((0, 3))
    assert group.compose(empty, empty).shape == (0, 3, 4)
    assert group.inverse(empty).shape == (0, 3, 4)
    assert group.index_of(empty).shape == (0, 3)
    assert group.contains(empty).shape == (0, 3)
