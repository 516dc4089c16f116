"""The noise that a learned distribution is made of: added to what its network sees, never to what the model sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        index: the factor that permutes; None where none does.
        isotropic: whether other factors act than those that permute: normal noise on vectors in space then,
            and none on anything else, where there are some.
        count: samples an input, consecutive.
        paired: whether samples come in antithetic pairs, `e` and `-e` (`scale - e`).
    """

    scale: float
    index: int | None
    isotropic: bool
    count: int
    paired: bool


def add_noise(noise: Noise, action: Action, x: Data, generator: torch.Generator | None) -> Data:
    """`x`, every input `count` times, with noise that moves along when `x` is moved; zero at padding.

    Raises:
        InputError: there is no floating-point tensor in the data that noise could be added to.
    """
    if noise.scale == 0:
        return x
    found, added = _walk(noise, action, x, x, action, noise.index, generator)
    if not added and noise.isotropic and noise.index is not None:
        noise = replace(noise, isotropic=False)
        found, added = _walk(noise, action, x, x, action, noise.index, generator)
    if not added and noise.index is not None:
        found, added = _on_diagonals(noise, action, x, generator)
    if not added:
        raise InputError(
            f"A learned distribution adds noise to floating-point features, and {action.name} on these data has none. "
            "Convert whole numbers with x.float(), give nodes a feature of ones, or describe items as sets (B, n, C)."
        )
    return found


def _walk(
    noise: Noise,
    action: Action,
    x: Data,
    whole: Data,
    root: Action,
    index: int | None,
    generator: torch.Generator | None,
) -> tuple[Data, bool]:
    """Noise on every part of the data that takes it; whether there was one."""
    if isinstance(action, CombinedAction):
        pairs = [
            _walk(noise, part, piece, whole, root, index, generator)
            for part, piece in zip(action.parts, x, strict=True)
        ]
        return tuple(piece for piece, _ in pairs), any(added for _, added in pairs)
    if isinstance(action, FactorAction):
        return _walk(noise, action.inner, x, whole, root, 0 if index == action.index else None, generator)
    if action.is_trivial or not isinstance(x, Tensor) or not x.is_floating_point():
        return x, False
    if noise.isotropic:
        return _on_vectors(noise, action, x, whole, root, generator)
    axes = () if index is None else action.permuted_axes(index, x)
    if len(axes) != 1:
        return x, False
    e = _draw(noise, x.shape, x, generator, normal=False)
    mask = None if noise.index is None else mask_of(root, noise.index, whole)
    return x + _masked(e, mask, axes[0]), True


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


def _on_diagonals(noise: Noise, action: Action, x: Data, generator: torch.Generator | None) -> tuple[Data, bool]:
    """Noise on the diagonal of node pairs, where there are no features of nodes."""
    if isinstance(x, tuple | list):
        parts = action.parts if isinstance(action, CombinedAction) else (action,) * len(x)
        pairs = [_on_diagonals(noise, part, piece, generator) for part, piece in zip(parts, x, strict=True)]
        return tuple(piece for piece, _ in pairs), any(added for _, added in pairs)
    ((leaf, axes),) = permuted_leaves(action, noise.index or 0, x)
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
