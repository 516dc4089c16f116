"""The noise that a learned distribution is made of: added to what its network sees, never to what the model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import torch
from jaxtyping import Bool
from torch import Tensor

from equilearn._check import InputError
from equilearn.actions import Action, CombinedAction, Data, FactorAction, PointAction, VectorAction
from equilearn.groups import Cyclic, Dihedral, Group, MatrixGroup
from equilearn.symmetrization._base import generator_device
from equilearn.symmetrization._views import cloud_mask, factors_of, mask_of, permuted_leaves


@dataclass(frozen=True)
class Noise:
    """How to draw it.

    Args:
        scale: upper end of the uniform noise on the features of nodes; standard deviation of the normal
            noise on vectors, which must be isotropic, since its law must not change under rotations.
        permuting: the factors that permute, each of which needs noise on something that it permutes.
        isotropic: whether other factors act than those that permute: normal noise on vectors in space then,
            and none on anything else, where there are some.
        count: samples an input, consecutive.
        paired: whether samples come in antithetic pairs, `e` and `-e` (`scale - e`).
    """

    scale: float
    permuting: tuple[int, ...]
    isotropic: bool
    count: int
    paired: bool


def add_noise(noise: Noise, action: Action, x: Data, generator: torch.Generator | None) -> Data:
    """`x`, every input `count` times, with noise that moves along when `x` is moved; zero at padding.

    Raises:
        InputError: there is no floating-point tensor in the data that noise could be added to (for some
            factor that permutes).
    """
    if noise.scale == 0:
        return x
    found, added = _on_space(noise, action, x, x, action, generator) if noise.isotropic else (x, False)
    for index in noise.permuting:
        if not _has_noise(action, index, x, found):
            found, one = _on_items(noise, action, found, mask_of(action, index, x), index, generator)
            if not one:
                found, one = _on_diagonals(noise, action, found, index, generator)
            if not one:
                _refuse(action)
        added = True
    if not added:
        _refuse(action)
    return found


def _refuse(action: Action) -> NoReturn:
    raise InputError(
        f"A learned distribution adds noise to floating-point features, and {action.name} on these data has none. "
        "Convert whole numbers with x.float(), give nodes a feature of ones, or describe items as sets (B, n, C): "
        "several permuted vectors side by side on one axis are no features of items."
    )


def _has_noise(action: Action, index: int, x: Data, found: Data) -> bool:
    """Whether something that factor `index` permutes has got noise."""
    before = permuted_leaves(action, index, x)
    after = permuted_leaves(action, index, found)
    return any(bool(axes) and old is not new for (old, axes), (new, _) in zip(before, after, strict=True))


def _on_items(
    noise: Noise,
    action: Action,
    x: Data,
    mask: Bool[Tensor, "M n"] | None,
    index: int,
    generator: torch.Generator | None,
) -> tuple[Data, bool]:
    """Uniform noise on the features of what factor `index` permutes; whether there are any."""
    if isinstance(action, CombinedAction):
        pairs = [
            _on_items(noise, part, piece, mask, index, generator) for part, piece in zip(action.parts, x, strict=True)
        ]
        return tuple(piece for piece, _ in pairs), any(added for _, added in pairs)
    if isinstance(action, FactorAction):
        return _on_items(noise, action.inner, x, mask, 0, generator) if index == action.index else (x, False)
    if action.is_trivial or not isinstance(x, Tensor) or not x.is_floating_point():
        return x, False
    axes = action.permuted_axes(index, x)
    if len(axes) != 1:
        return x, False
    return x + _masked(_draw(noise, x.shape, x, generator, normal=False), mask, axes[0]), True


def _on_space(
    noise: Noise, action: Action, x: Data, whole: Data, root: Action, generator: torch.Generator | None
) -> tuple[Data, bool]:
    """Normal noise on every vector in space; whether there is any."""
    if isinstance(action, CombinedAction):
        pairs = [
            _on_space(noise, part, piece, whole, root, generator) for part, piece in zip(action.parts, x, strict=True)
        ]
        return tuple(piece for piece, _ in pairs), any(added for _, added in pairs)
    if isinstance(action, FactorAction):
        return _on_space(noise, action.inner, x, whole, root, generator)
    if action.is_trivial or not isinstance(x, Tensor) or not x.is_floating_point():
        return x, False
    return _on_vectors(noise, action, x, whole, root, generator)


def _on_vectors(
    noise: Noise, action: Action, x: Tensor, whole: Data, root: Action, generator: torch.Generator | None
) -> tuple[Tensor, bool]:
    if isinstance(action, VectorAction) and not any(
        action.permuted_axes(i, x) for i in range(len(factors_of(root.group)))
    ):
        return x + _draw(noise, x.shape, x, generator, normal=True), True
    if not isinstance(action, PointAction) or not any(_turns(f) for f in factors_of(action.group)):
        return x, False
    width = x.shape[-1] - action.scalars
    e = _draw(noise, (*x.shape[:-1], width), x, generator, normal=True)
    e = _masked(e, cloud_mask(root, whole, x.shape[1]), 1)
    return x + torch.nn.functional.pad(e, (0, action.scalars)), True


def _on_diagonals(
    noise: Noise, action: Action, x: Data, index: int, generator: torch.Generator | None
) -> tuple[Data, bool]:
    """Noise on the diagonal of node pairs, where there are no features of nodes."""
    if isinstance(x, tuple | list):
        parts = action.parts if isinstance(action, CombinedAction) else (action,) * len(x)
        pairs = [_on_diagonals(noise, part, piece, index, generator) for part, piece in zip(parts, x, strict=True)]
        return tuple(piece for piece, _ in pairs), any(added for _, added in pairs)
    ((leaf, axes),) = permuted_leaves(action, index, x)
    if tuple(axes) != (1, 2) or not leaf.is_floating_point():
        return x, False
    e = _draw(noise, leaf.shape[:2], leaf, generator, normal=False)
    eye = torch.diag_embed(e)
    return leaf + eye.reshape(*eye.shape, *(1,) * (leaf.ndim - 3)), True


def _turns(group: Group) -> bool:
    return isinstance(group, MatrixGroup | Cyclic | Dihedral)


def _draw(
    noise: Noise, shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None, *, normal: bool
) -> Tensor:
    drawn = noise.count // 2 if noise.paired else noise.count
    where = generator_device(generator, like.device)
    draw = torch.randn if normal else torch.rand
    e = draw(shape[0] // noise.count, drawn, *shape[1:], generator=generator, device=where, dtype=like.dtype)
    e = e.to(like.device) * noise.scale
    if noise.paired:
        e = torch.stack((e, -e if normal else noise.scale - e), dim=2).flatten(1, 2)
    return e.reshape(shape)


def _masked(e: Tensor, mask: Bool[Tensor, "M n"] | None, axis: int) -> Tensor:
    if mask is None:
        return e
    shape = [1] * e.ndim
    shape[0], shape[axis] = mask.shape
    return e * mask.reshape(shape)
