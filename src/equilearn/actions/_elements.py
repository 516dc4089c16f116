"""Checks on the elements that are handed to an action."""

from __future__ import annotations

import torch
from torch import Tensor

from equilearn._check import InputError, InputTypeError
from equilearn.groups import Alternating, Element, Group, Product, Symmetric


def paired(group: Group, g: Element, size: int) -> bool:
    """Whether `g` holds one element a sample (True) or one element for all samples (False).

    Raises:
        InputError: `g` has another batch shape than `()` or `(size,)`, or is no element of `group`.
    """
    _check_form(group, g)
    batch = group.batch_shape(g)
    if batch == ():
        return False
    if batch == (size,):
        return True
    raise InputError(
        f"Elements of {group} have batch shape {tuple(batch)}, but the data hold {size} samples. "
        f"Give one element (batch shape ()) or one a sample (batch shape ({size},)); "
        "orbit(g, x) moves every sample by every element."
    )


def _check_form(group: Group, g: Element) -> None:
    if isinstance(group, Product):
        if not isinstance(g, tuple) or len(g) != len(group.factors):
            raise InputTypeError(
                f"An element of {group} is a tuple of {len(group.factors)} elements, one of each factor; "
                f"got {_kind(g)}."
            )
        for factor, part in zip(group.factors, g, strict=True):
            _check_form(factor, part)
        return
    if not isinstance(g, Tensor):
        raise InputTypeError(
            f"An element of {group} is a tensor with trailing shape {group.element_shape}; got {_kind(g)}."
        )
    shape = group.element_shape
    if shape and tuple(g.shape[-len(shape) :]) != shape:
        raise InputError(f"Elements of {group} have trailing shape {shape}, got a tensor of shape {tuple(g.shape)}.")
    if not shape and g.is_floating_point():
        raise InputTypeError(f"Elements of {group} are whole-number indices, got dtype {g.dtype}.")
    if isinstance(group, Symmetric | Alternating):
        _check_permutations(group, g)


def _check_permutations(group: Symmetric | Alternating, p: Tensor) -> None:
    """Whole numbers, each of `0..n-1` once. O(n) a permutation, which is less than moving data by it."""
    if p.is_floating_point() or p.is_complex() or p.dtype == torch.bool:
        raise InputTypeError(
            f"Elements of {group} are permutations p, where p[i] is the place of i: whole numbers, got {p.dtype}. "
            "Round to the nearest permutation first, for example by scores.argsort()."
        )
    if torch.compiler.is_compiling():
        return  # traced code cannot look at values
    inside = p.clamp(0, group.n - 1)
    seen = torch.zeros(p.shape, dtype=torch.bool, device=p.device).scatter_(-1, inside.to(torch.int64), True)
    if bool(seen.all() & (inside == p).all()):
        return
    wrong = (~seen | (inside != p)).any(-1)
    first = p.reshape(-1, group.n)[int(wrong.flatten().to(torch.int8).argmax())].tolist()
    fault = "negative" if min(first) < 0 else "out of range" if max(first) >= group.n else "repeated"
    shown = ", ".join(map(str, first[:12])) + (", ..." if group.n > 12 else "")
    raise InputError(
        f"Elements of {group} name each of 0..{group.n - 1} once; {int(wrong.sum())} of {wrong.numel()} do not: the "
        f"first, [{shown}], has {fault} entries."
    )


def _kind(g: object) -> str:
    return f"a tuple of {len(g)}" if isinstance(g, tuple) else type(g).__name__
