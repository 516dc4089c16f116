"""How many fixed inputs are enough for a linear map: Theorem 2 of Ashman et al. 2024 for finite groups and matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import InputTypeError, finite, positive_int, require
from equilearn.reps import Rep, equivariant_part


@dataclass(frozen=True, eq=False)
class SplitMap:
    """A linear map as an equivariant one and the rest.

    Args:
        equivariant: the average of `rho_out(g) T rho_in(g)^-1` over the group, which is the nearest equivariant map;
            or the one that was chosen.
        residual: `T` less that. Of the average it is orthogonal to every equivariant map (Frobenius), and zero exactly
            where `T` is equivariant.
        singular_values: of the residual, falling.
        rank: how many of them are not rounding.
    """

    equivariant: Float[Tensor, "D_out D_in"]
    residual: Float[Tensor, "D_out D_in"]
    singular_values: Float[Tensor, "R"]
    rank: int

    @property
    def fixed_inputs(self) -> int:
        """How many fixed inputs suffice beside this equivariant map, two for each rank of the residual; beside another
        one fewer may do."""
        return 2 * self.rank


def split_map(
    T: Float[Tensor, "D_out D_in"],
    rep_in: Rep,
    rep_out: Rep,
    *,
    equivariant: Float[Tensor, "D_out D_in"] | None = None,
    tolerance: float | None = None,
) -> SplitMap:
    """A linear map as the sum of an equivariant one and a residual.

    Args:
        T: the map.
        rep_in, rep_out: orthogonal representations of one group.
        equivariant: the equivariant map; default the average of `T` over the group, which makes the residual small,
            but not its rank: where you know a map that differs from `T` at a few places, give it.
        tolerance: singular values of the residual below this share of the largest of `T` count as rounding; default
            16 times the larger side times the unit roundoff of the dtype.

    Raises:
        InputError: a map that is not finite, not of floating point or of another shape; representations that are not
            orthogonal; a map given as equivariant that is not.

    Cost: the projection, and one singular value decomposition.

    Source: Ashman et al. 2024, Theorem 2 and the reading after it; the average is the Reynolds operator.

    Example:
        >>> import equilearn as eq
        >>> shifts = eq.reps.regular(eq.Cyclic(4))
        >>> T = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0]))
        >>> split = split_map(T, shifts, shifts)
        >>> split.equivariant[0, 0].item(), split.rank, split.fixed_inputs
        (1.25, 4, 8)
        >>> split_map(T, shifts, shifts, equivariant=torch.eye(4)).fixed_inputs  # one entry is singled out
        2
    """
    for rep in (rep_in, rep_out):
        require(
            rep.is_orthogonal,
            f"{rep.name} is not orthogonal; the average over the group is the nearest equivariant map for orthogonal "
            "representations only. Choose a basis in which it is.",
        )
    _check_map(T)
    average = equivariant_part(T, rep_in, rep_out)
    rounding = 16 * max(T.shape) * torch.finfo(T.dtype).eps
    if equivariant is None:
        equivariant = average
    else:
        off, large = commutation_error(equivariant, rep_in, rep_out), _norm(equivariant)
        require(
            off <= rounding * large,
            f"The map given as equivariant is not: it is {off:.2g} from commuting with the group. Project it, with "
            "reps.equivariant_part.",
        )
        equivariant = equivariant.to(T)
    residual = T - equivariant
    values = torch.linalg.svdvals(residual)
    share, size = rounding if tolerance is None else tolerance, max(_norm(T), _norm(equivariant))
    return SplitMap(equivariant, residual, values, int((values > share * size).sum()))


def fixed_inputs_sufficient(
    T: Float[Tensor, "D_out D_in"],
    rep_in: Rep,
    rep_out: Rep,
    *,
    equivariant: Float[Tensor, "D_out D_in"] | None = None,
    tolerance: float | None = None,
) -> int:
    """A number of fixed inputs with which an equivariant model can be `T` exactly: twice the rank of the residual.

    Sufficient beside the group average, or the equivariant map given; another one may leave a lower rank. Zero is
    sharp: it says that `T` is equivariant.

    Arguments and errors are those of `split_map`.

    Example:
        >>> import equilearn as eq
        >>> shifts = eq.reps.regular(eq.Cyclic(4))
        >>> flat = torch.ones(4, 4)
        >>> fixed_inputs_sufficient(flat, shifts, shifts)
        0
        >>> flat[0] += 1  # the first row is singled out: rank one
        >>> fixed_inputs_sufficient(flat, shifts, shifts)
        2
    """
    return split_map(T, rep_in, rep_out, equivariant=equivariant, tolerance=tolerance).fixed_inputs


def fixed_inputs_of(
    T: Float[Tensor, "D_out D_in"], rank: int
) -> tuple[Float[Tensor, "n D_in"], Float[Tensor, "n D_out"]]:
    """The `2 rank` fixed inputs `tau_i = T^t e_i` and `e_i` whose `joint_map` is nearest to `T`.

    Args:
        T: any map, such as the residual of `split_map`.
        rank: how many pairs; at most the smaller side.

    Returns:
        `tau` and `e`, the first left singular vectors.

    Example:
        >>> tau, e = fixed_inputs_of(torch.diag(torch.tensor([4.0, 2.0, 1.0])), rank=2)
        >>> torch.linalg.matrix_norm(joint_map(torch.eye(3), tau, e).T - torch.diag(torch.tensor([4.0, 2.0, 1.0])), 2)
        tensor(1.)
    """
    _check_map(T)
    require(
        positive_int(rank, "rank", 0) <= min(T.shape),
        f"A map of shape {tuple(T.shape)} has no {rank} singular vectors.",
    )
    e = torch.linalg.svd(T, full_matrices=False).U[:, :rank].T
    return e @ T, e


def joint_map(
    f: Float[Tensor, "*batch D_in"], tau: Float[Tensor, "n D_in"], e: Float[Tensor, "n D_out"]
) -> Float[Tensor, "*batch D_out"]:
    """`E_n(f, tau, e) = sum_i e_i <tau_i, f>`: equivariant when `f`, `tau` and `e` move together.

    With `tau` and `e` held fixed it is a map of rank n, which need not be equivariant: that is how fixed inputs break
    a symmetry.

    Args:
        f: vectors.
        tau, e: the fixed inputs, such as those of `fixed_inputs_of`.

    Raises:
        InputError: where the shapes do not fit.

    Source: Ashman et al. 2024, Theorem 2.
    """
    for name, value in (("f", f), ("tau", tau), ("e", e)):
        _check_floating(value, name)
    require(
        f.dtype == tau.dtype == e.dtype,
        f"f, tau and e must share one dtype, got {f.dtype}, {tau.dtype} and {e.dtype}. Use .to(...).",
    )
    require(
        tau.ndim == e.ndim == 2 and len(tau) == len(e) and f.ndim > 0 and f.shape[-1] == tau.shape[-1],
        f"Vectors (..., D_in) go with tau (n, D_in) and e (n, D_out), got {tuple(f.shape)}, {tuple(tau.shape)} and "
        f"{tuple(e.shape)}.",
    )
    return (f @ tau.T) @ e


def commutation_error(T: Float[Tensor, "D_out D_in"], rep_in: Rep, rep_out: Rep | None = None) -> float:
    """The largest entry of `rho_out(g) T - T rho_in(g)` over the generators of the group: zero where `T` commutes.

    For the projector onto `span(e_1 ... e_n)` this is condition (*) of Theorem 3: whether every element keeps the
    span. Where it does not, the theorem asks for projected inputs instead.

    Args:
        T: a map.
        rep_in, rep_out: representations of one group; `rep_out` defaults to `rep_in`.

    Raises:
        InputError: where shapes or groups do not fit.

    Example:
        >>> import equilearn as eq
        >>> shifts = eq.reps.regular(eq.Cyclic(4))
        >>> commutation_error(torch.full((4, 4), 0.25), shifts)
        0.0
        >>> commutation_error(torch.diag(torch.tensor([1.0, 0.0, 0.0, 0.0])), shifts)
        1.0
    """
    rep_out = rep_in if rep_out is None else rep_out
    _check_floating(T, "The map")
    require(
        rep_in.group == rep_out.group,
        f"Both representations must be of one group; got {rep_in.group} and {rep_out.group}.",
    )
    require(
        tuple(T.shape) == (rep_out.dim, rep_in.dim),
        f"A map from {rep_in.name} to {rep_out.name} has shape ({rep_out.dim}, {rep_in.dim}), got {tuple(T.shape)}.",
    )
    finite(T, "The map")
    left = torch.cat([rep_out.generator_matrices(), rep_out.lie_matrices()]).to(T)
    right = torch.cat([rep_in.generator_matrices(), rep_in.lie_matrices()]).to(T)
    apart = left @ T - T @ right
    return float(apart.abs().max()) if apart.numel() else 0.0


def _check_map(T: Tensor) -> None:
    _check_floating(T, "The map")
    require(T.ndim == 2, f"A map is a matrix (D_out, D_in), got {tuple(T.shape)}.")
    finite(T, "The map")


def _check_floating(value: Tensor, name: str) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise InputTypeError(f"{name} must be a floating-point tensor, got {kind}. Use torch.as_tensor(...).double().")


def _norm(T: Tensor) -> float:
    return float(torch.linalg.matrix_norm(T, 2)) if T.numel() else 0.0
