"""A differentiable stand-in for sorting: SoftSort made doubly stochastic by Sinkhorn rounds."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from equilearn._check import InputTypeError, positive_int, require
from equilearn.symmetrization._sorted_kernel import dense_kernel, products_with_kernel

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

    Source: SoftSort: Prillo and Eisenschlos 2020, equation 2; with Sinkhorn rounds: Kim et al. 2023.

    Cost: O(n^2 + rounds n) time both ways, as products with the kernel of sorted scores are running
    sums. For the gradient only the potentials of the rounds are kept, O(rounds n) numbers an item of the batch,
    and the matrix is formed again on the way back, a few items at a time; automatic differentiation of the
    plain recipe takes O(rounds n^2) time and memory.

    Example:
        >>> soft_permutation(torch.tensor([0.6, 0.8]), temperature=0.1)
        tensor([[0.1192, 0.8808],
                [0.8808, 0.1192]])
    """
    n = _check(scores, temperature, rounds, mask)
    flat = scores.reshape(math.prod(scores.shape[:-1]), n)
    inside = None if mask is None else mask.reshape(flat.shape)
    order = descending(flat, inside)
    matrix, _ = relax(flat, order, inside, temperature=temperature, rounds=rounds, entropy=False)
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
    entropy: bool = True,
) -> tuple[Float[Tensor, "M n n"], Float[Tensor, "M"]]:
    """The soft permutation of scores that `order` sorts, and its entropy (zero where that is not wanted).

    The entropy of an item of the batch is `(1/n) sum_i H(row i) + H(column i)`, in nats, over the
    items that are there.
    """
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    with torch.autocast(scores.device.type, enabled=False):
        return _Relax.apply(scores, order, mask, float(temperature), int(rounds), entropy)  # type: ignore[return-value]


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
        ctx: Any,
        scores: Tensor,
        order: Tensor,
        there: Tensor | None,
        temperature: float,
        rounds: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        ordered = scores.gather(1, order)
        if there is not None:  # what is not there takes the last score, so that no gap is large
            there = there.gather(1, order)
            last = ordered.gather(1, (there.sum(1, keepdim=True) - 1).clamp_min(0))
            ordered = torch.where(there, ordered, torch.where(there.any(1, keepdim=True), last, 0.0))
        # Near ties may have been put in any order; from here on they are ties.
        ordered = ordered.cummin(1).values if ordered.numel() else ordered
        u, v = _potentials(ordered, there, temperature, rounds)
        matrix = scores.new_empty(*scores.shape, scores.shape[1])
        entropy = scores.new_zeros(len(scores))
        for part in _parts(scores):
            inside = None if there is None else there[part]
            soft, _ = dense_kernel(ordered[part], inside, temperature)
            soft.mul_(u[part, -1].unsqueeze(2)).mul_(v[part, -1].unsqueeze(1))
            if with_entropy:
                entropy[part] = _entropy(soft, inside)
            matrix[part].scatter_(1, order[part].unsqueeze(2).expand_as(soft), soft)
        ctx.save_for_backward(ordered, order, u, v, *(() if there is None else (there,)))
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return matrix, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, matrix_grad: Tensor | None, entropy_grad: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        ordered, order, u, v, *rest = ctx.saved_tensors
        there = rest[0] if rest else None
        rows, columns, grad = (torch.zeros_like(ordered, dtype=torch.float64) for _ in range(3))
        for part in _parts(ordered):
            inside = None if there is None else there[part]
            kernel, sign = dense_kernel(ordered[part], inside, ctx.temperature)
            left, right = u[part, -1], v[part, -1]
            inner = torch.zeros_like(kernel)
            if matrix_grad is not None:
                inner = matrix_grad[part].gather(1, order[part].unsqueeze(2).expand_as(kernel))
            if entropy_grad is not None:
                soft = kernel * left.unsqueeze(2) * right.unsqueeze(1)
                inner = inner + entropy_grad[part, None, None] * _entropy_slope(soft, inside)
            inner = inner.mul_(kernel)
            rows[part], columns[part] = _sums(inner, left, right)
            up, down = _sums(inner.mul_(sign), left, right)
            grad[part] = down * right - up * left
        grad += _through_rounds(ordered, there, ctx.temperature, rows, columns, u.double(), v.double())
        grad = (grad / ctx.temperature).to(ordered.dtype)
        return torch.empty_like(grad).scatter_(1, order, grad), None, None, None, None, None


def _sums(
    matrix: Float[Tensor, "M n n"], left: Float[Tensor, "M n"], right: Float[Tensor, "M n"]
) -> tuple[Float[Tensor, "M n"], Float[Tensor, "M n"]]:
    """`A r` and `A' l`."""
    return torch.bmm(matrix, right.unsqueeze(2)).squeeze(2), torch.bmm(left.unsqueeze(1), matrix).squeeze(1)


def _potentials(
    ordered: Float[Tensor, "M n"], there: Bool[Tensor, "M n"] | None, temperature: float, rounds: int
) -> tuple[Float[Tensor, "M R n"], Float[Tensor, "M R n"]]:
    """Those of every round: `u = 1 / (K v)`, then `v = 1 / (K u)`, `v` one before the first."""
    size, n = ordered.shape
    u, v = (ordered.new_empty(size, rounds, n) for _ in range(2))
    for part, times, _ in products_with_kernel(ordered, there, temperature):
        right = torch.ones_like(ordered[part], dtype=torch.float64)
        for step in range(rounds):
            left = times(right).reciprocal_()
            right = times(left).reciprocal_()
            u[part, step], v[part, step] = left.to(u.dtype), right.to(v.dtype)
    return u, v


def _through_rounds(
    ordered: Float[Tensor, "M n"],
    there: Bool[Tensor, "M n"] | None,
    temperature: float,
    u_grad: Float[Tensor, "M n"],
    v_grad: Float[Tensor, "M n"],
    u: Float[Tensor, "M R n"],
    v: Float[Tensor, "M R n"],
) -> Float[Tensor, "M n"]:
    """The gradient of the ordered scores, times the temperature, through all rounds.

    Each step `v = 1 / (K' u)` adds an outer product `u c'` to the gradient of the kernel, `u = 1 / (K v)`
    another one; with the signs of the differences they are contracted without being formed.
    """
    grad = torch.zeros_like(u_grad)
    rounds = u.shape[1]
    for part, times, signed in products_with_kernel(ordered, there, temperature):
        to_u, to_v = u_grad[part], v_grad[part]
        left, right = [], []
        for step in reversed(range(rounds)):
            before = v[part, step - 1] if step else torch.ones_like(to_v)
            columns = -v[part, step].square() * to_v
            rows = -u[part, step].square() * (times(columns) + to_u)
            to_u, to_v = torch.zeros_like(to_u), times(rows)
            left += [u[part, step], rows]
            right += [columns, before]
        a, b = torch.stack(left), torch.stack(right)
        grad[part] = -(a * signed(b) + b * signed(a)).sum(0)
    return grad


def _parts(x: Float[Tensor, "M n"]) -> list[slice]:
    """Some items of the batch at a time, for what is quadratic in `n`."""
    size, n = x.shape
    step = max(1, (CPU_BLOCK if x.device.type == "cpu" else GPU_BLOCK) // max(n * n, 1))
    return [slice(start, start + step) for start in range(0, size, step)]


# --- entropy --------------------------------------------------------------------------------------


def _entropy(soft: Float[Tensor, "M n n"], there: Bool[Tensor, "M n"] | None) -> Float[Tensor, "M"]:
    """For a row `q = p / S`: `H = log S - sum p log p / S`."""
    share = _clamped(soft, there)
    products = torch.special.xlogy(share, share)
    total = soft.new_zeros(len(soft))
    for axis in (1, 2):
        whole = share.sum(axis).clamp_min(CLAMP)
        total += (whole.log() - products.sum(axis) / whole).mul_(_ones(whole, there)).sum(1)
    return total / _items(soft, there)


def _entropy_slope(soft: Float[Tensor, "M n n"], there: Bool[Tensor, "M n"] | None) -> Float[Tensor, "M n n"]:
    """Derivative of the entropy: for a row `q = p / S`, `dH/dp = -(log q + H) / S`."""
    share = _clamped(soft, there)
    logs = share.clamp_min(CLAMP).log()
    slope = torch.zeros_like(soft)
    for axis in (1, 2):
        whole = share.sum(axis, keepdim=True).clamp_min(CLAMP)
        mean = (share * logs).sum(axis, keepdim=True) / whole
        slope -= (logs - mean) / whole
    slope = slope.mul_((soft >= CLAMP) & (share > 0))
    return slope / _items(soft, there)[:, None, None]


def _clamped(soft: Float[Tensor, "M n n"], there: Bool[Tensor, "M n"] | None) -> Float[Tensor, "M n n"]:
    """No probability below `CLAMP`; zero at items that are not there."""
    share = soft.clamp_min(CLAMP)
    return share if there is None else share.mul_(there.unsqueeze(2) & there.unsqueeze(1))


def _ones(values: Float[Tensor, "M n"], there: Bool[Tensor, "M n"] | None) -> Float[Tensor, "M n"]:
    return torch.ones_like(values) if there is None else there.to(values.dtype)


def _items(soft: Float[Tensor, "M n n"], there: Bool[Tensor, "M n"] | None) -> Float[Tensor, "M"]:
    if there is None:
        return soft.new_full((len(soft),), max(soft.shape[1], 1))
    return there.sum(1).clamp_min(1).to(soft.dtype)
