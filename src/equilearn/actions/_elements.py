"""Checks on the elements that are handed to an action."""

from __future__ import annotations

from torch import Tensor

from equilearn._check import InputError, InputTypeError
from equilearn.groups import Element, Group, Product


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


def _kind(g: object) -> str:
    return f"a tuple of {len(g)}" if isinstance(g, tuple) else type(g).__name__
