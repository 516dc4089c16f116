"""The kernel `exp(-|t_a - t_b| / temperature)` of sorted scores, and fast products with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST = 1e-30
"""Entries below this count as zero: the potentials stay within [1/n^2, n^2], so they change nothing, and
arithmetic on denormal numbers is slow."""

WIDEST = 1000.0
"""Largest range of scores, in units of the temperature, for which running sums stay within float64."""

FEW = 40
"""Scores up to which dense products are quicker than running sums."""

DENSE_BLOCK = 1 << 20
"""Matrix entries worked on at a time where running sums would overflow."""

Times: TypeAlias = Callable[[Tensor], Tensor]


def dense_kernel(
    ordered: Float[Tensor, "M n"], there: Bool[Tensor, "M n"] | None, temperature: float
) -> tuple[Float[Tensor, "M n n"], Float[Tensor, "M n n"]]:
    """The kernel itself, and the signs of the differences; the identity at items that are not there."""
    difference = ordered.unsqueeze(2) - ordered.unsqueeze(1)
    sign = difference.sign()
    kernel = difference.abs_().mul_(-1 / temperature).exp_()
    kernel = torch.threshold_(kernel, SMALLEST, 0.0)
    if there is not None:
        both = there.unsqueeze(2) & there.unsqueeze(1)
        kernel = torch.where(both, kernel, torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device))
    return kernel, sign


def products_with_kernel(
    ordered: Float[Tensor, "M n"], there: Bool[Tensor, "M n"] | None, temperature: float
) -> Iterator[tuple[slice, Times, Times]]:
    """For parts of the batch: `x -> K x`, and `x -> S x` with `S[a, b] = sign(t_a - t_b) K[a, b]`.

    Both take float64 `(*lead, M, n)`. As `K[a, b] = exp(-t_b) exp(t_a)` for `b` before `a`, in units of the
    temperature, they are running sums, O(n); dense products for few scores, and where the exponentials
    would overflow.
    """
    t = ordered.to(torch.float64) / temperature
    if t.numel() == 0 or (t.shape[1] > FEW and float((t[:, 0] - t[:, -1]).max()) < WIDEST):
        yield slice(None), *_running(t, there)
        return
    step = max(1, DENSE_BLOCK // t.shape[1] ** 2)
    for start in range(0, len(t), step):
        part = slice(start, start + step)
        kernel, sign = dense_kernel(t[part], None if there is None else there[part], 1.0)
        yield part, _dense(kernel), _dense(kernel * sign)


def _dense(matrix: Float[Tensor, "M n n"]) -> Times:
    return lambda x: torch.einsum("mab,...mb->...ma", matrix, x)


def _running(t: Float[Tensor, "M n"], there: Bool[Tensor, "M n"] | None) -> tuple[Times, Times]:
    n = t.shape[1]
    t = t - 0.5 * (t[:, :1] + t[:, -1:]) if n else t
    rising, falling = (-t).exp(), t.exp()
    if there is not None:
        rising, falling = rising * there, falling * there
    both = torch.stack((rising, falling.flip(-1)))
    shape = both.shape

    def sums(x: Tensor) -> tuple[Tensor, Tensor]:
        """`sum exp(-t_b) x_b` over `b` up to each place, and `sum exp(t_b) x_b` from each place on, backwards."""
        lead = x.shape[:-2]
        weights = both.reshape(2, *(1,) * len(lead), *shape[1:])
        run = (weights * torch.stack((x, x.flip(-1)))).cumsum(-1)
        return run[0], run[1]

    def times(x: Tensor) -> Tensor:
        up, down = sums(x)
        product = falling * up + rising * down.flip(-1)
        if there is None:
            return product.sub_(x)  # its own place was counted twice
        return torch.where(there, product - x, x)

    first, last_backwards = _first_of_ties(t), _first_of_ties(t.flip(-1))

    def signed(x: Tensor) -> Tensor:
        up, down = (torch.nn.functional.pad(s, (1, 0)) for s in sums(x))  # sums up to, but not at, each place
        larger = up.gather(-1, first.expand(x.shape))
        smaller = down.gather(-1, last_backwards.expand(x.shape)).flip(-1)
        return rising * smaller - falling * larger

    return times, signed


def _first_of_ties(t: Float[Tensor, "M n"]) -> Tensor:
    """For each place: the first of the run of equal entries that it lies in."""
    place = torch.arange(t.shape[1], device=t.device).expand(t.shape)
    if t.numel() == 0:
        return place
    new = torch.cat((torch.ones_like(t[:, :1], dtype=torch.bool), t[:, 1:] != t[:, :-1]), -1)
    return torch.where(new, place, 0).cummax(-1).values
