"""Does a representation keep its laws?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equilearn.reps import Rep
from equilearn.testing._failed import CheckFailed

_SAMPLES = 6


def check_representation(rep: Rep, *, generator: torch.Generator | None = None, tolerance: float | None = None) -> None:
    """Check the laws of a representation on random elements.

    Homomorphism, identity, inverse; `lie_matrices` are the derivative (`rho(exp a) = exp(d rho a)`
    for random `a`); `permutation` agrees with `matrix`; `is_orthogonal` is true where it is
    claimed; `apply` agrees with `matrix`, for one element and one a vector, in float32 as well;
    `character` is the trace; `terms` add up and are the blocks of `matrix`; dtype and shape;
    equal objects have equal hashes.

    Args:
        rep: what to check.
        generator: source of randomness; a fixed one by default.
        tolerance: largest relative breach; default 1e-10 (float64) and 1e-4 (float32).

    Raises:
        CheckFailed: naming the law that does not hold, and by how much.

    Example:
        >>> import equilearn.reps as reps
        >>> from equilearn.groups import Dihedral
        >>> from equilearn.testing import check_representation
        >>> check_representation(reps.regular(Dihedral(3)))
    """
    generator = generator or torch.Generator().manual_seed(0)
    tight = 1e-10 if tolerance is None else tolerance
    group = rep.group
    g, h = group.sample((_SAMPLES,), generator=generator), group.sample((_SAMPLES,), generator=generator)
    _check_shapes(rep)
    _check_homomorphism(rep, g, h, tight)
    _check_lie_algebra(rep, generator, max(tight, 1e-9))
    _check_permutation(rep, g, tight)
    _check_orthogonality(rep, g, tight)
    _check_apply(rep, g, generator, tight, 1e-4 if tolerance is None else max(tolerance, 1e-4))
    _check_structure(rep, g, tight)


def _check_shapes(rep: Rep) -> None:
    group = rep.group
    for batch in ((), (2, 3), (0,)):
        shape = tuple(rep.matrix(group.identity(batch)).shape)
        _demand(shape == (*batch, rep.dim, rep.dim), rep, f"matrix() of batch {batch} has shape {shape}")
    _demand(rep.matrix(group.identity()).dtype == torch.float64, rep, "matrix() of a float64 element is not float64")
    lie = rep.lie_matrices()
    _demand(
        tuple(lie.shape) == (group.lie_dim, rep.dim, rep.dim) and lie.dtype == torch.float64,
        rep,
        f"lie_matrices() must be float64 of shape ({group.lie_dim}, {rep.dim}, {rep.dim}), not {tuple(lie.shape)}",
    )
    small = rep.matrix(group.identity(dtype=torch.float32))
    floating = any(leaf.dtype == torch.float32 for leaf in _leaves(group.identity(dtype=torch.float32)))
    _demand(
        small.dtype == (torch.float32 if floating else torch.float64),
        rep,
        f"matrix() must have the dtype of a matrix element and float64 otherwise, not {small.dtype}",
    )


def _check_homomorphism(rep: Rep, g: object, h: object, tolerance: float) -> None:
    group = rep.group
    left, right = rep.matrix(g), rep.matrix(h)
    one = torch.eye(rep.dim, dtype=left.dtype)
    _close(rep.matrix(group.identity()), one, rep, "rho(e) = 1", tolerance)
    size = _size(left) * _size(right)
    _close(left @ right, rep.matrix(group.compose(g, h)), rep, "rho(gh) = rho(g) rho(h)", tolerance, size)
    back = rep.matrix(group.inverse(g))
    _close(left @ back, one, rep, "rho(g) rho(g^-1) = 1", tolerance, _size(left) * _size(back))
    generators = rep.matrix(group.generators())
    given = tuple(rep.generator_matrices().shape)
    _demand(given == tuple(generators.shape), rep, f"generator_matrices() has shape {given}")
    _close(rep.generator_matrices(), generators, rep, "generator_matrices() = matrix(generators())", tolerance)


def _check_lie_algebra(rep: Rep, generator: torch.Generator, tolerance: float) -> None:
    group = rep.group
    if not group.lie_dim:
        return
    for scale in (0.1, 0.7):
        coefficients = scale * torch.randn(3, group.lie_dim, generator=generator, dtype=torch.float64)
        expected = torch.linalg.matrix_exp(torch.einsum("bk,kij->bij", coefficients, rep.lie_matrices()))
        given = rep.matrix(group.exp(coefficients))
        _close(given, expected, rep, "rho(exp a) = exp(d rho a), lie_matrices() the derivative", tolerance)


def _check_permutation(rep: Rep, g: object, tolerance: float) -> None:
    if not rep.is_permutation:
        _demand(_refuses(lambda: rep.permutation(g)), rep, "permutation() answers although is_permutation is False")
        return
    matrix, image = rep.matrix(g), rep.permutation(g)
    _demand(image.dtype == torch.int64, rep, f"permutation() must be int64, not {image.dtype}")
    points = torch.arange(rep.dim, device=image.device)
    expected = (image.unsqueeze(-2) == points.unsqueeze(-1)).to(matrix.dtype)  # column i has its one in row p[i]
    _close(matrix, expected, rep, "rho(g) e_i = e_p[i] for p = permutation(g)", tolerance)
    lie = rep.lie_matrices()
    _close(lie, torch.zeros_like(lie), rep, "a permutation representation has no derivative", tolerance)


def _check_orthogonality(rep: Rep, g: object, tolerance: float) -> None:
    if not rep.is_orthogonal:
        return
    matrix = rep.matrix(g)
    one = torch.eye(rep.dim, dtype=matrix.dtype)
    _close(matrix.mT @ matrix, one, rep, "rho(g)^T rho(g) = 1, for is_orthogonal is True", tolerance)
    lie = rep.lie_matrices()
    _close(lie, -lie.mT, rep, "lie_matrices() are skew, for is_orthogonal is True", tolerance)


def _check_apply(rep: Rep, g: object, generator: torch.Generator, tight: float, loose: float) -> None:
    matrix = rep.matrix(g)
    one = rep.group.take(g, 0)
    for dtype, tolerance in ((torch.float64, tight), (torch.float32, loose)):
        v = torch.randn(_SAMPLES, rep.dim, generator=generator, dtype=torch.float64).to(dtype)
        moved = rep.apply(g, v)
        _demand(moved.dtype == dtype, rep, f"apply() on {dtype} gives {moved.dtype}")
        expected = (matrix.to(dtype) @ v.unsqueeze(-1)).squeeze(-1)
        size = _size(matrix) * _size(v)
        _close(moved, expected, rep, f"apply(g, v) = rho(g) v in {dtype}", tolerance, size)
        expected = (matrix[0].to(dtype) @ v.unsqueeze(-1)).squeeze(-1)
        _close(rep.apply(one, v), expected, rep, f"apply of one element to many vectors, {dtype}", tolerance, size)
        _demand(tuple(rep.apply(g, v[0]).shape) == (_SAMPLES, rep.dim), rep, "apply of many elements to one vector")


def _check_structure(rep: Rep, g: object, tolerance: float) -> None:
    matrix = rep.matrix(g)
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    _close(rep.character(g), trace, rep, "character(g) = trace rho(g)", tolerance, _size(matrix) * max(1, rep.dim))
    terms = rep.terms()
    total = sum(count * term.dim for count, term in terms)
    _demand(total == rep.dim, rep, f"terms() have {total} dimensions together, not {rep.dim}")
    expected, start = torch.zeros_like(matrix), 0
    for count, term in terms:
        block = term.matrix(g)
        for _ in range(count):
            expected[..., start : start + term.dim, start : start + term.dim] = block
            start += term.dim
    _close(matrix, expected, rep, "terms() are the diagonal blocks of matrix()", tolerance)
    dual = rep.dual.matrix(g) @ rep.matrix(rep.group.inverse(g)).mT.inverse()
    _close(dual, torch.eye(rep.dim, dtype=dual.dtype), rep, "dual = rho(g^-1)^T", 1e3 * tolerance, _size(matrix) ** 2)
    _demand(rep == rep and hash(rep) == hash(rep), rep, "a representation must equal itself and be hashable")
    _demand(rep.group == rep.dual.group, rep, "the dual belongs to another group")


# --- parts ----------------------------------------------------------------------------------


def _size(x: Tensor) -> float:
    """The scale of a tensor, at least 1: breaches are relative to it."""
    return max(1.0, float(x.abs().max())) if x.numel() else 1.0


def _close(a: Tensor, b: Tensor, rep: Rep, law: str, tolerance: float, size: float | None = None) -> None:
    breach = (a - b).abs()
    if not breach.numel():
        return
    relative = float(breach.max()) / (size if size is not None else max(_size(a), _size(b)))
    # "not <=" so that NaN fails too
    _demand(relative <= tolerance, rep, f"{law} is broken by {relative:.2g} (relative; allowed {tolerance:.1g})")


def _demand(holds: bool, rep: Rep, breach: str) -> None:
    if not holds:
        raise CheckFailed(f"{rep.name!r} is not a sound representation of {rep.group}: {breach}.")


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except TypeError:
        return True
    return False


def _leaves(g: object) -> list[Tensor]:
    return [g] if isinstance(g, Tensor) else [leaf for part in g for leaf in _leaves(part)]  # type: ignore[union-attr]
