"""The average gradient outer product of a kernel machine, without the Jacobian of every point.

For `f_c(x) = sum_i dual_ic k_M(x, z_i)` the AGOP is `G = 1/n sum_j sum_c grad f_c(x_j) grad f_c(x_j)^T`. Its square
root is the next metric of a recursive feature machine (Radhakrishnan et al. 2024). *Centred* gradients, as in the
published code though not in its formula, have their mean over the points subtracted, a separate one for each c.

Write `phi_ji = dk/dD` at the pair, `W = phi dual`. A radial kernel has `grad f_c(x_j) = 2 M r_jc` with
`r_jc = W_jc x_j - sum_i phi_ji dual_ic z_i`, hence `G = 4/n M (sum_jc r_jc r_jc^T) M`. The inner sum is had in the
cheapest of three ways: from the r themselves (O(N K C D)), from K x K matrices whatever C is (O(N K^2)), or, for
one-hot rows, from sums over each symbol (O(N K C)).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import one_of, require
from equilearn.kernels._kernel import Generalized, Kernel, Quadratic, RadialKernel, row_blocks
from equilearn.kernels._metric import psd_power, times_metric
from equilearn.kernels._slots import Slots, bucket_sum, find_slots

FORMS = ("direct", "gram", "slots")
"""The three ways to the inner sum of a radial kernel."""

CHUNK = 1 << 24
"""Entries of the largest temporary, in numbers; the form `"gram"` has a K x K matrix besides."""

CACHED = 1 << 22
"""The same where numbers are moved more often than multiplied: what a processor's caches hold."""

GRAM_CENTERS = 20_000
"""Most centers for which the form `"gram"` is taken of itself: its matrix is as large as that of the direct solver."""


def kernel_agop(
    kernel: Kernel,
    x: Float[Tensor, "N D"],
    centers: Float[Tensor, "K D"] | None,
    dual: Float[Tensor, "K C"],
    metric: Tensor,
    *,
    centered: bool = True,
    form: str | None = None,
) -> Tensor:
    """The AGOP of `f(x) = k_M(x, centers) dual` over the rows of `x`, `(D, D)`; `(D,)` for a diagonal metric.

    Args:
        kernel: radial, generalised or quadratic.
        x: points at which gradients are averaged.
        centers: of the kernel machine; None where they are the rows of `x`.
        dual: its coefficients.
        metric: `(D, D)` or `(D,)`.
        centered: whether each output's mean gradient is subtracted.
        form: of a radial kernel: `"direct"`, `"gram"` or `"slots"` (one-hot centers); default the cheapest.

    Raises:
        InputError: no points, or a form that there is not.

    Cost: see the file's docstring; quadratic O((N + K) C D^2 + C D^3), without any term in N K.
    """
    require(len(x) > 0, "x is empty: gradients are averaged over at least one point.")
    if isinstance(kernel, Quadratic):
        return _quadratic(x, x if centers is None else centers, dual, metric, centered)
    if isinstance(kernel, Generalized) and not kernel.is_radial:
        return _p_norm(kernel, x, centers, dual, metric, centered)
    if not isinstance(kernel, RadialKernel):
        raise TypeError(f"No closed form of the AGOP is known for {kernel.name}.")
    inner = _radial(kernel, x, centers, dual, metric, centered, form)
    return _around(metric, inner.mul_(4 / len(x)))


def _around(metric: Tensor, inner: Tensor) -> Tensor:
    """`M inner M`."""
    if metric.ndim == 1:
        return metric.square() * inner
    found = metric @ inner @ metric
    return (found + found.mT) / 2


# --- radial kernels -------------------------------------------------------------------------


def _radial(
    kernel: RadialKernel,
    x: Tensor,
    centers: Tensor | None,
    dual: Tensor,
    metric: Tensor,
    centered: bool,
    form: str | None,
) -> Tensor:
    z = x if centers is None else centers
    slots = find_slots(z) if form in (None, "slots") else None
    form = cheapest_form(len(x), len(z), dual.shape[1], x.shape[1], slots) if form is None else form
    one_of(form, FORMS, "form of the AGOP")
    require(form != "slots" or slots is not None, 'form="slots" needs centers that are one-hot in a few slots.')
    entries = CACHED if form == "slots" else CHUNK
    rows = max(1, entries // max(1, len(z) + dual.shape[1] * x.shape[1] * (form != "gram")))
    if form == "gram":
        return _from_gram(kernel, x, centers, dual, metric, centered, rows)
    residuals = _slot_residuals(slots, centers is None) if form == "slots" and slots else _direct_residuals
    diagonal = metric.ndim == 1
    inner = x.new_zeros(x.shape[1]) if diagonal else x.new_zeros(x.shape[1], x.shape[1])
    total = x.new_zeros(dual.shape[1], x.shape[1])
    for start in range(0, len(x), rows):
        part = slice(start, min(start + rows, len(x)))
        phi = kernel.slope(x[part], z, metric, start if centers is None else None)
        r = residuals(phi, part, x, z, dual)  # (D, B, C)
        total += r.sum(1).mT
        flat = r.flatten(1)
        inner = inner.add_(flat.square_().sum(1)) if diagonal else inner.addmm_(flat, flat.mT)
    return _minus_mean(inner, total, len(x)) if centered else inner


def cheapest_form(points: int, centers: int, outputs: int, width: int, slots: Slots | None) -> str:
    """The form with the fewest multiplications of those whose memory is bounded; see the file's docstring."""
    outer = points * outputs * width**2
    costs = {"direct": points * centers * outputs * width + outer}
    if centers <= GRAM_CENTERS:
        costs["gram"] = points * centers * centers
    if slots is not None:
        costs["slots"] = points * centers * (outputs * slots.count + 2) + outer
    return min(costs, key=lambda name: costs[name])


def _direct_residuals(phi: Tensor, part: slice, x: Tensor, z: Tensor, dual: Tensor) -> Float[Tensor, "D B C"]:
    r = (phi @ dual)[:, :, None] * x[part, None, :]
    step = max(1, CHUNK // max(z.numel(), 1))
    for some, here in zip(dual.split(step, dim=1), r.split(step, dim=1), strict=True):
        weighted = (some[:, :, None] * z[:, None, :]).flatten(1)  # (K, C D), for some of the outputs
        here.sub_((phi @ weighted).unflatten(1, (some.shape[1], z.shape[1])))
    return r.permute(2, 0, 1)


def _slot_residuals(slots: Slots, own: bool) -> Callable[[Tensor, slice, Tensor, Tensor, Tensor], Tensor]:
    """`own`: the points are the centers, one-hot as they."""
    starts = slots.index.amin(0).tolist()
    ends = [*starts[1:], slots.width]

    def residuals(phi: Tensor, part: slice, x: Tensor, z: Tensor, dual: Tensor) -> Float[Tensor, "D B C"]:
        """Less the residuals: only their products are asked for."""
        weights = phi @ dual
        r = phi.new_empty(slots.width, len(phi), dual.shape[1])
        r[: starts[0]] = 0
        for slot, (start, end) in enumerate(zip(starts, ends, strict=True)):
            bucket_sum(phi, dual, slots.index[:, slot] - start, end - start, r[start:end])
        if not own:
            return r.addcmul_(x[part].mT[:, :, None], weights, value=-1)
        rows = torch.arange(len(phi), device=phi.device)
        for columns in slots.index[part].unbind(1):  # one-hot rows: one column a slot
            r[columns, rows] -= weights
        return r

    return residuals


def _from_gram(
    kernel: RadialKernel,
    x: Tensor,
    centers: Tensor | None,
    dual: Tensor,
    metric: Tensor,
    centered: bool,
    rows: int,
) -> Tensor:
    """`X^T diag(sum_c W^2) X - X^T (phi * W dual^T) Z - (...)^T + Z^T ((phi^T phi) * (dual dual^T)) Z`."""
    z = x if centers is None else centers
    square = x.new_zeros(len(z), len(z))
    cross = x.new_zeros(x.shape[1], x.shape[1])
    own = torch.zeros_like(cross)
    total = x.new_zeros(dual.shape[1], x.shape[1])
    for start in range(0, len(x), rows):
        part = slice(start, min(start + rows, len(x)))
        phi, here = kernel.slope(x[part], z, metric, start if centers is None else None), x[part]
        weights = phi @ dual
        own += here.mT @ (weights.square().sum(1, keepdim=True) * here)
        square.addmm_(phi.mT, phi)
        total += weights.mT @ here - (phi.sum(0)[:, None] * dual).mT @ z
        cross += here.mT @ (phi.mul_(weights @ dual.mT) @ z)
    inner = own - cross - cross.mT + z.mT @ (square.mul_(dual @ dual.mT) @ z)
    inner = inner.diagonal().clone() if metric.ndim == 1 else inner
    return _minus_mean(inner, total, len(x)) if centered else inner


def _minus_mean(inner: Tensor, total: Float[Tensor, "C D"], count: int) -> Tensor:
    """A sum of outer products with each output's mean taken out: a correction of rank C."""
    if inner.ndim == 1:
        return inner - total.square().sum(0) / count
    return inner - total.mT @ total / count


# --- the quadratic kernel -------------------------------------------------------------------


def _quadratic(x: Tensor, z: Tensor, dual: Tensor, metric: Tensor, centered: bool) -> Tensor:
    """`grad f_c(x) = 2 M A_c M x` with `A_c = Z^T diag(dual_c) Z`, so `G = 4/n M [sum_c A_c (M S M) A_c] M`, where S is
    the scatter matrix of x."""
    width = x.shape[1]
    centred = x - x.mean(0) if centered else x
    scatter = centred.mT @ centred
    sandwich = metric[:, None] * scatter * metric if metric.ndim == 1 else metric @ scatter @ metric
    forms = _quadratic_forms(z, dual)
    inner = x.new_zeros(width, width)
    for part in forms.split(max(1, CHUNK // max(width * width, 1))):
        # sum_c A_c S A_c, as one product of (D, C D) and (C D, D).
        inner += (part @ sandwich).transpose(0, 1).flatten(1) @ part.flatten(0, 1)
    inner.mul_(4 / len(x))
    return _around(metric, inner.diagonal().clone() if metric.ndim == 1 else inner)


def _quadratic_forms(z: Float[Tensor, "K D"], dual: Float[Tensor, "K C"]) -> Float[Tensor, "C D D"]:
    """`Z^T diag(dual_c) Z` for every output."""
    width, outputs = z.shape[1], dual.shape[1]
    slots = find_slots(z)
    if slots is None:
        step = max(1, CHUNK // max(z.numel(), 1))
        parts = [torch.einsum("kd,kc,ke->cde", z, part, z) for part in dual.split(step, dim=1)]
        return torch.cat(parts) if parts else z.new_zeros(0, width, width)
    flat = z.new_zeros(width * width, outputs)
    pairs = slots.index[:, :, None] * width + slots.index[:, None, :]  # (K, S, S)
    for pair in pairs.flatten(1).unbind(1):
        flat.index_add_(0, pair, dual)
    return flat.mT.reshape(outputs, width, width)


# --- the generalised kernel, p < 2 ------------------------------------------------------------


def _p_norm(
    kernel: Generalized, x: Tensor, centers: Tensor | None, dual: Tensor, metric: Tensor, centered: bool
) -> Tensor:
    """With `u = A (x - z)`: `grad k = -k q / L^q |u|_p^(q - p) A (|u|^(p - 1) sign u)`, a coordinate and a block of
    pairs at a time. O(N K D C).

    Where u is rounding, so is its sign, at full weight: such entries are 0.
    """
    root = psd_power(metric, 0.5)
    left = times_metric(x, root)
    right = left if centers is None else times_metric(centers, root)
    rounding = 16 * torch.finfo(x.dtype).eps * times_metric(x.abs(), root.abs())
    columns = right.mT.contiguous()
    g = x.new_empty(len(x), dual.shape[1], x.shape[1])
    for part in row_blocks(len(x), len(right), CACHED // 16):
        here, noise = left[part], rounding[part]
        size = torch.cdist(here, right, p=kernel.p)
        apart = size > torch.linalg.vector_norm(noise, ord=kernel.p, dim=1, keepdim=True)
        size = torch.where(apart, size, 1.0)
        factor = torch.exp(-((size / kernel.length) ** kernel.q)).mul_(-kernel.q / kernel.length**kernel.q)
        factor.mul_(size ** (kernel.q - kernel.p)).mul_(apart)
        for d, column in enumerate(columns):
            u = here[:, d, None] - column
            u.masked_fill_(u.abs() <= noise[:, d, None], 0.0)
            bent = u.sign() if kernel.p == 1 else u.abs().pow_(kernel.p - 1).mul_(u.sign())
            g[part, :, d] = bent.mul_(factor) @ dual
    g = (g - g.mean(0) if centered else g).flatten(0, 1)
    if metric.ndim == 1:
        return metric * g.square().sum(0) / len(x)
    found = root @ (g.mT @ g / len(x)) @ root
    return (found + found.mT) / 2
