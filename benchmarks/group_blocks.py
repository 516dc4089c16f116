"""What does a group that block-diagonalises a kernel matrix save, beside a dense Cholesky solve?"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from _bench import compare, machine, one_thread, show
from equilearn.groups import Cyclic, Dihedral, Group, cayley_table
from equilearn.kernels import block_solve, group_kernel_ridge, kappa_from_function
from equilearn.reps import GroupFourier

CASES = (
    # group, orbits, bar of the solve, bar of the whole regression: ratios to the dense side
    (Cyclic(30), 60, 0.15, 0.25),  # n = 1,800
    (Dihedral(15), 60, 0.15, 0.25),  # n = 1,800, not abelian
    (Cyclic(61), 66, 0.06, 0.15),  # n = 4,026
)
RIDGE = 1e-3


def points(group: Group, orbits: int) -> tuple[Tensor, Tensor]:
    """Random functions on the group and everything that it makes of them, `(n, order)`; where they go, `(order, n)`."""
    order = group.order or 1
    seeds = torch.randn(orbits, order, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = cayley_table(group)
    inverses = (table == 0).int().argmax(1)
    x = seeds[:, table[inverses]].flatten(0, 1)  # (g f)(h) = f(g^-1 h)
    place = torch.arange(orbits * order).reshape(orbits, order)
    return x, place[:, table].transpose(0, 1).flatten(1)  # g takes h x_i to g h x_i


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """A Gaussian kernel, invariant under everything that permutes coordinates."""
    distance = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.mT
    return torch.exp(-distance / (2 * a.shape[1]))


def case(group: Group, orbits: int, bar_solve: float, bar_all: float) -> bool:
    x, permutations = points(group, orbits)
    n, order = permutations.shape[1], permutations.shape[0]
    y = torch.randn(n, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gram = kernel(x, x)
    gram.diagonal().add_(RIDGE)
    fourier = GroupFourier(group)
    layout = torch.arange(n).reshape(orbits, order)
    kappa, right = kappa_from_function(kernel, x, group, layout), y.reshape(orbits, order, -1)

    def dense() -> Tensor:
        return torch.cholesky_solve(y, torch.linalg.cholesky(gram))

    def dense_regression() -> Tensor:
        full = kernel(x, x)
        full.diagonal().add_(RIDGE)
        return torch.cholesky_solve(y, torch.linalg.cholesky(full))

    def blocks() -> Tensor:
        return block_solve(kappa, right, fourier, ridge=RIDGE)[0].reshape(n, -1)

    def blocks_regression() -> Tensor:
        return group_kernel_ridge(kernel, x, y, fourier, permutations, ridge=RIDGE)[0]

    reference = dense()
    error = max(float((side() - reference).norm() / reference.norm()) for side in (blocks, blocks_regression))
    print(
        f"\n{group}: {orbits} orbits, n = {n:,}; blocks and dense differ by {error:.0e}; "
        f"memory of the matrix {kappa.numel() / gram.numel():.4f} of dense (1/{order})"
    )
    rounds = 5
    solve = compare({"dense Cholesky": dense, "block_solve": blocks}, rounds=rounds, warmup=1)
    kept = show("solve, 10 right-hand sides", solve, bars={"block_solve": bar_solve})
    sides = {"dense Gram and Cholesky": dense_regression, "group_kernel_ridge": blocks_regression}
    whole = compare(sides, rounds=rounds, warmup=1)
    return show("kernel and solve", whole, bars={"group_kernel_ridge": bar_all}) and kept and error < 1e-8


def main() -> bool:
    one_thread()
    print(machine())
    results = [case(*given) for given in CASES]
    return all(results)


if __name__ == "__main__":
    sys.exit(not main())
