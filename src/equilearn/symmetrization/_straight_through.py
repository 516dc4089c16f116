"""Hard on the way forward, soft on the way back: gradients for permutations that moved some data."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from equilearn._check import require


def straight_through(
    moved: Tensor,
    soft: Float[Tensor, "M n n"],
    p: Int[Tensor, "M n"],
    axes: tuple[int, ...] = (1,),
    *,
    inverse: bool = True,
) -> Tensor:
    """Let the gradient of data that a permutation moved reach the soft permutation as well.

    `moved` is `P^-1 x` (`inverse`) or `P y`, where `P[p[j], j] = 1` acts on each of `axes`; it was made
    by looking entries up, so its values are exact. The result has these values, and the gradient that
    matrix products with `soft` in place of `P` would have where `soft` equals `P`: the straight-through
    estimator `stopgrad(P - soft) + soft`, without forming a product.

    Args:
        moved: data of any shape `(M, ...)`, floating point.
        soft: soft permutations, `soft[i, j]` being item `i` at rank `j`.
        p: the permutations that were used, `p[rank] = item`.
        axes: which axes of `moved` the permutation moves: `(1,)` for node features, `(1, 2)` for node pairs.
        inverse: whether it was the inverse that moved the data, or the permutation itself.

    Returns:
        `moved`, in value.

    Raises:
        InputError: an axis whose length is not that of the permutation.

    Source: Kim et al. 2023. Cost: nothing forward; backward one product of
    `n x m` and `m x n` matrices an axis, with `m` the other entries of an item.

    Example:
        >>> p, x = torch.tensor([[1, 0]]), torch.tensor([[[2.0], [5.0]]])
        >>> soft = torch.full((1, 2, 2), 0.5, requires_grad=True)
        >>> y = straight_through(x[:, [1, 0]], soft, p)
        >>> (y * torch.tensor([[[1.0], [10.0]]])).sum().backward()
        >>> soft.grad  # of item i at rank j: x_i times the gradient at j
        tensor([[[ 2., 20.],
                 [ 5., 50.]]])
    """
    n = p.shape[-1]
    fitting = all(moved.shape[axis] == n for axis in axes)
    require(fitting, f"Axes {axes} of data of shape {tuple(moved.shape)} are not those that {n} items were moved on.")
    if not axes or not torch.is_grad_enabled() or not soft.requires_grad:
        return moved
    return _StraightThrough.apply(moved, soft, p, tuple(axis % moved.ndim for axis in axes), inverse)  # type: ignore[return-value]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moved: Tensor, soft: Tensor, p: Tensor, axes: tuple[int, ...], inverse: bool) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(moved, p)
        ctx.axes, ctx.inverse, ctx.dtype = axes, inverse, soft.dtype
        return moved.view_as(moved)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        moved, p = ctx.saved_tensors
        soft_grad: Tensor | None = None
        if ctx.needs_input_grad[1]:
            total = torch.zeros(*p.shape, p.shape[-1], dtype=ctx.dtype, device=p.device)
            for axis in ctx.axes:
                ours = moved.movedim(axis, 1).flatten(2) if moved.ndim > 2 else moved.unsqueeze(2)
                theirs = grad.movedim(axis, 1).flatten(2) if moved.ndim > 2 else grad.unsqueeze(2)
                left, right = (ours, theirs) if ctx.inverse else (theirs, ours)
                total += torch.bmm(left.to(ctx.dtype), right.to(ctx.dtype).mT)
            if ctx.inverse:  # rows are ranks of the items: back to the items
                soft_grad = torch.empty_like(total).scatter_(1, p.unsqueeze(2).expand_as(total), total)
            else:  # columns are items: to their ranks
                soft_grad = total.gather(2, p.unsqueeze(1).expand_as(total))
        return grad, soft_grad, None, None, None
