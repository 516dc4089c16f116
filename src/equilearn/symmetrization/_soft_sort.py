"""A differentiable stand-in for sorting: SoftSort made doubly stochastic by Sinkhorn rounds."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from equilearn._check import InputTypeError, positive_int, require

SMALLEST = 1e-30
"""Kernel entries below this count as zero: the potentials stay within [1/n^2, n^2], so they change nothing,
and arithmetic on denormal numbers is slow."""

CLAMP = 1e-12
"""Least probability in an entropy."""

CPU_BLOCK, GPU_BLOCK = 1 << 19, 1 << 25
"""Matrix entries worked on at a time: what fits a cache, and what fills a GPU."""


def soft_permutation(
    scores: Float[Tensor, "*batch n"],
    *,
    temperature: float = 0.1,
    rounds: int = 20,
    mask: Bool[Tensor, "*batch n"] | None = None,
) -> Float[Tensor, "*batch n n"]:
    """A doubly stochastic matrix near the permutation that sorts the scores in descending order.

    `P[i, j]`, item `i` at rank `j`, is `exp(-|s_i - s_(j)| / temperature)` after `rounds` rounds that
    bring the rows, then the columns, to sum to one. As the temperature falls it becomes the
    permutation matrix. Tied items share their ranks evenly.

    Args:
        scores: what to sort by; float16 and bfloat16 are worked on as float32.
        temperature: how soft; relative to the differences of the scores.
        rounds: of normalisation.
        mask: True at the items that are there. The others take the last ranks, one each, and have no gradient.

    Returns:
        The matrix, differentiable once in the scores.

    Raises:
        InputTypeError: scores that are not floating point, a mask that is not bool.
        InputError: a temperature that is not positive, a mask of another shape.

    Source: SoftSort: Prillo and Eisenschlos 2020, equation 2; with Sinkhorn rounds: Kim et al. 2023, section 2.3.

    Cost: O(rounds n^2) time both ways. For the gradient only the potentials of the rounds are kept,
    O(rounds n) numbers an item of the batch; the matrices are formed again on the way back, a few items
    at a time, where automatic differentiation keeps O(rounds n^2).

    Example:
        >>> soft_permutation(torch.tensor([0.6, 0.8]), temperature=0.1)
        tensor([[0.1192, 0.8808],
                [0.8808, 0.1192]])
    """
    n = _check(scores, temperature, rounds, mask)
    flat = scores.reshape(math.prod(scores.shape[:-1]), n)
    inside = None if mask is None else mask.reshape(flat.shape)
    order = descending(flat, inside)
    matrix, _ = relax(flat, order, inside, temperature=temperature, rounds=rounds)
    return matrix.reshape(*scores.shape, n)


def descending(scores: Float[Tensor, "M n"], mask: Bool[Tensor, "M n"] | None) -> Int[Tensor, "M n"]:
    """The order of descending scores, ties as they come, items that are not there last."""
    if mask is not None:
        scores = torch.where(mask, scores, torch.full_like(scores, -math.inf))
    return torch.argsort(scores, dim=-1, descending=True, stable=True)


def relax(
    scores: Float[Tensor, "M n"],
    order: Int[Tensor, "M n"],
    mask: Bool[Tensor, "M n"] | None = None,
    *,
    temperature: float,
    rounds: int,
) -> tuple[Float[Tensor, "M n n"], Float[Tensor, "M"]]:
    """The soft permutation of scores that `order` sorts, and its entropy.

    The entropy of an item of the batch is `(1/n) sum_i H(row i) + H(column i)`, in nats, over the
    items that are there.
    """
    count = None if mask is None else mask.sum(-1)
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    with torch.autocast(scores.device.type, enabled=False):
        return _Relax.apply(scores, order, count, float(temperature), int(rounds))  # type: ignore[return-value]


def _check(scores: Tensor, temperature: float, rounds: int, mask: Tensor | None) -> int:
    if not scores.is_floating_point():
        raise InputTypeError(f"Scores must be floating point, got {scores.dtype}. Convert with scores.float().")
    require(scores.ndim >= 1, "soft_permutation needs scores (*batch, n), got a single number.")
    require(
        math.isfinite(temperature) and temperature > 0,
        f"temperature must be a positive number, got {temperature!r}.",
    )
    positive_int(rounds, "rounds")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise InputTypeError(f"mask must be of dtype bool, True at items that are there; got {mask.dtype}.")
        require(
            mask.shape == scores.shape,
            f"mask must have the shape of the scores, {tuple(scores.shape)}; got {tuple(mask.shape)}.",
        )
    return scores.shape[-1]


class _Relax(torch.autograd.Function):
    """Sinkhorn in potentials: `P = diag(u) K diag(v)`, rows and columns in the order of the scores.

    There the kernel `K[a, b] = exp(-|t_a - t_b| / temperature)` is symmetric with a unit diagonal, so
    that no potential can overflow or vanish whatever the temperature, and no logarithms are needed.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, scores: Tensor, order: Tensor, count: Tensor | None, temperature: float, rounds: int
    ) -> tuple[Tensor, Tensor]:
        size, n = scores.shape
        matrix = scores.new_empty(size, n, n)
        entropy = scores.new_empty(size)
        u, v = scores.new_empty(size, rounds, n), scores.new_empty(size, rounds, n)
        ordered = scores.gather(1, order)
        for part in _parts(size, n, scores.device):
            kernel, _ = _kernel(ordered[part], None if count is None else count[part], temperature)
            right = torch.ones_like(ordered[part])
            for step in range(rounds):
                left = _times(kernel, right).reciprocal_()
                right = _times(kernel, left).reciprocal_()
                u[part, step], v[part, step] = left, right
            soft = kernel.mul_(left.unsqueeze(2)).mul_(right.unsqueeze(1))
            entropy[part] = _entropy(soft, None if count is None else count[part])
            matrix[part] = torch.empty_like(soft).scatter_(1, order[part].unsqueeze(2).expand_as(soft), soft)
        ctx.save_for_backward(ordered, order, u, v, *(() if count is None else (count,)))
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return matrix, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, matrix_grad: Tensor | None, entropy_grad: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        ordered, order, u, v, *rest = ctx.saved_tensors
        if matrix_grad is None and entropy_grad is None:
            return None, None, None, None, None
        grad = torch.empty_like(ordered)
        for part in _parts(len(ordered), ordered.shape[1], ordered.device):
            count = rest[0][part] if rest else None
            kernel, sign = _kernel(ordered[part], count, ctx.temperature)
            soft_grad = torch.zeros_like(kernel)
            if matrix_grad is not None:
                index = order[part].unsqueeze(2).expand_as(kernel)
                soft_grad = matrix_grad[part].gather(1, index)
            if entropy_grad is not None:
                soft = kernel * u[part, -1].unsqueeze(2) * v[part, -1].unsqueeze(1)
                soft_grad = soft_grad + entropy_grad[part, None, None] * _entropy_slope(soft, count)
            weight = _kernel_grad(kernel, soft_grad, u[part], v[part]).mul_(kernel).mul_(sign)
            grad[part] = (weight.sum(1) - weight.sum(2)) / ctx.temperature
        return torch.empty_like(grad).scatter_(1, order, grad), None, None, None, None


def _kernel_grad(
    kernel: Float[Tensor, "M n n"],
    soft_grad: Float[Tensor, "M n n"],
    u: Float[Tensor, "M R n"],
    v: Float[Tensor, "M R n"],
) -> Float[Tensor, "M n n"]:
    """Back through the rounds. Each adds an outer product to the gradient of the kernel; they are
    collected, and added by one product of thin matrices."""
    rounds = u.shape[1]
    start = torch.ones_like(v[:, 0])
    inner = soft_grad * kernel
    u_grad = torch.bmm(inner, v[:, -1].unsqueeze(2)).squeeze(2)
    v_grad = torch.bmm(inner.mT, u[:, -1].unsqueeze(2)).squeeze(2)
    left, right = [], []
    for step in reversed(range(rounds)):
        before = v[:, step - 1] if step else start
        columns = -v[:, step].square() * v_grad  # of v = 1 / (K' u)
        u_grad = u_grad + _times(kernel, columns)
        rows = -u[:, step].square() * u_grad  # of u = 1 / (K v before)
        v_grad = _times(kernel, rows)
        u_grad = torch.zeros_like(u_grad)
        left += [u[:, step], rows]
        right += [columns, before]
    outer = soft_grad.mul(u[:, -1].unsqueeze(2)).mul_(v[:, -1].unsqueeze(1))
    return outer.baddbmm_(torch.stack(left, 2), torch.stack(right, 1))


def _kernel(
    ordered: Float[Tensor, "M n"], count: Int[Tensor, "M"] | None, temperature: float
) -> tuple[Float[Tensor, "M n n"], Float[Tensor, "M n n"]]:
    """`exp(-|t_a - t_b| / temperature)` and the sign of the difference; the identity at items that are
    not there."""
    if count is not None:
        there = torch.arange(ordered.shape[1], device=ordered.device) < count.unsqueeze(1)
        ordered = torch.where(there, ordered, torch.zeros_like(ordered))
    difference = ordered.unsqueeze(2) - ordered.unsqueeze(1)
    sign = difference.sign()
    kernel = difference.abs_().mul_(-1 / temperature).exp_()
    kernel = torch.threshold_(kernel, SMALLEST, 0.0)
    if count is not None:
        both = there.unsqueeze(2) & there.unsqueeze(1)
        kernel = torch.where(both, kernel, torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device))
    return kernel, sign


def _times(kernel: Float[Tensor, "M n n"], vector: Float[Tensor, "M n"]) -> Float[Tensor, "M n"]:
    return torch.bmm(kernel, vector.unsqueeze(2)).squeeze(2)


def _parts(size: int, n: int, device: torch.device) -> list[slice]:
    step = max(1, (CPU_BLOCK if device.type == "cpu" else GPU_BLOCK) // max(n * n, 1))
    return [slice(start, start + step) for start in range(0, size, step)]


# --- entropy --------------------------------------------------------------------------------------


def _entropy(soft: Float[Tensor, "M n n"], count: Int[Tensor, "M"] | None) -> Float[Tensor, "M"]:
    total = soft.new_zeros(len(soft))
    for axis in (1, 2):
        logs, share = _normalised(soft, axis)
        total -= _of_items(share.mul_(logs), count).sum((1, 2))
    return total / _items(soft, count)


def _entropy_slope(soft: Float[Tensor, "M n n"], count: Int[Tensor, "M"] | None) -> Float[Tensor, "M n n"]:
    """Derivative of the entropy: for a row `q = p / S`, `dH/dp = -(log q + H) / S`."""
    slope = torch.zeros_like(soft)
    for axis in (1, 2):
        total = soft.clamp_min(CLAMP).sum(axis, keepdim=True)
        logs, share = _normalised(soft, axis)
        entropy = -(share * logs).sum(axis, keepdim=True)
        slope -= (logs + entropy) / total
    slope = _of_items(torch.where(soft >= CLAMP, slope, torch.zeros_like(slope)), count)
    return slope / _items(soft, count)[:, None, None]


def _normalised(soft: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Logarithm of, and the distribution along an axis."""
    share = soft.clamp_min(CLAMP)
    share = share / share.sum(axis, keepdim=True)
    return share.log(), share


def _of_items(values: Float[Tensor, "M n n"], count: Int[Tensor, "M"] | None) -> Float[Tensor, "M n n"]:
    if count is None:
        return values
    there = torch.arange(values.shape[1], device=values.device) < count.unsqueeze(1)
    return values * (there.unsqueeze(2) & there.unsqueeze(1))


def _items(soft: Tensor, count: Tensor | None) -> Tensor:
    if count is None:
        return soft.new_full((len(soft),), max(soft.shape[1], 1))
    return count.clamp_min(1).to(soft.dtype)
