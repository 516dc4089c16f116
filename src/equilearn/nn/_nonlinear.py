"""Nonlinearities that commute with a representation: pointwise, gated, by the norm."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equilearn._check import require
from equilearn.nn._linear import check_reps
from equilearn.reps import Rep, direct_sum, trivial

# Square roots of E[silu(z)^2] and E[sigmoid(z)^2] for standard normal z: dividing by them keeps
# the mean square of a layer's output where its input is white.
SILU_SCALE = 0.3557761655**0.5
SIGMOID_SCALE = 0.2933790220**0.5


def silu(x: Tensor) -> Tensor:
    """`x sigmoid(x)`, scaled so that white inputs keep their mean square."""
    return functional.silu(x) / SILU_SCALE


class GatedNonlinearity(nn.Module):
    """Scalars and permuted coordinates through SiLU; every other summand times a gate of its own.

    Arguments:
        rep: representation of the output.

    The input is `rep_in`, that is `rep` and then one scalar a gate; `rep_in == rep` where every
    summand is a permutation representation (trivial ones are). Works for any group and for
    representations that are not orthogonal, since a gate only multiplies. White inputs keep
    their mean square.

    Raises `InputError` where the last axis does not fit. Cost O(D).

    Source: Weiler et al. 2018, section 4.3; Finzi et al. 2021, section 5.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> act = eq.nn.GatedNonlinearity(4 * eq.reps.trivial(eq.SO(3)) + 2 * V)
        >>> act.rep_in.dim, act(torch.randn(5, act.rep_in.dim)).shape  # 4 + 2 * 3, and two gates
        (12, torch.Size([5, 10]))
    """

    def __init__(self, rep: Rep):
        super().__init__()
        check_reps(rep)
        self.rep = rep
        self._gated = [(count, term.dim, not term.is_permutation) for count, term in rep.terms()]
        self.gates = sum(count for count, _, gated in self._gated if gated)
        self.rep_in = direct_sum(rep, self.gates * trivial(rep.group)) if self.gates else rep

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D"]:
        check_width(x, self.rep_in, "GatedNonlinearity")
        if not self.gates:
            return silu(x)
        gates = torch.sigmoid(x[..., self.rep.dim :]) / SIGMOID_SCALE
        parts, start, used = [], 0, 0
        for count, dim, gated in self._gated:
            part = x[..., start : start + count * dim]
            if gated:
                gate = gates[..., used : used + count].unsqueeze(-1)
                part = (part.unflatten(-1, (count, dim)) * gate).flatten(-2)
                used += count
            else:
                part = silu(part)
            parts.append(part)
            start += count * dim
        return torch.cat(parts, dim=-1)

    def extra_repr(self) -> str:
        return f"{self.rep.name}, {self.gates} gates"


class NormNonlinearity(nn.Module):
    """Scalars through SiLU; every other summand scaled by a sigmoid of its norm.

    Arguments:
        rep: an orthogonal representation, that of the input and of the output.

    `v -> v sigmoid(a |v| / sqrt(d) + b)`, with `a` and `b` trainable for each copy. Needs no
    extra gates, but norms that the group keeps.

    Raises `InputError` for a representation that is not orthogonal (use `GatedNonlinearity`),
    and where the last axis does not fit. Cost O(D).

    Source: Worrall et al. 2017, section 4.1.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> V = eq.reps.defining(eq.SO(3))
        >>> eq.nn.NormNonlinearity(2 * V)(torch.randn(5, 6)).shape
        torch.Size([5, 6])
    """

    def __init__(self, rep: Rep):
        super().__init__()
        check_reps(rep)
        require(
            rep.is_orthogonal,
            f"{rep.group} does not keep the norms of {rep.name}, so a function of the norm is not equivariant. "
            "Use GatedNonlinearity.",
        )
        self.rep = rep
        self._shapes = [(count, term.dim) for count, term in rep.terms()]
        vectors = sum(count for count, dim in self._shapes if dim > 1)
        self.slope = nn.Parameter(torch.ones(vectors))
        self.shift = nn.Parameter(torch.zeros(vectors))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        check_width(x, self.rep, "NormNonlinearity")
        parts, start, used = [x[..., :0]], 0, 0
        for count, dim in self._shapes:
            part = x[..., start : start + count * dim]
            start += count * dim
            if dim == 1:
                # A one-dimensional orthogonal summand may be a sign: an odd function suits both.
                parts.append(self._scalars(part))
                continue
            vectors = part.unflatten(-1, (count, dim))
            # The small number keeps the gradient of the norm finite at zero.
            norm = (vectors.square().mean(-1) + 1e-12).sqrt()
            gate = torch.sigmoid(self.slope[used : used + count] * norm + self.shift[used : used + count])
            parts.append((vectors * (gate / SIGMOID_SCALE).unsqueeze(-1)).flatten(-2))
            used += count
        return torch.cat(parts, dim=-1)

    def _scalars(self, part: Tensor) -> Tensor:
        return part * torch.tanh(part.abs())

    def extra_repr(self) -> str:
        return self.rep.name


def check_width(x: Tensor, rep: Rep, layer: str) -> None:
    """The last axis of `x` is that of `rep`."""
    require(
        x.ndim >= 1 and x.shape[-1] == rep.dim,
        f"{layer} takes vectors of {rep.name}, of length {rep.dim}; got shape {tuple(x.shape)}.",
    )
