"""The plainest network on tuples: everything in one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equilearn._check import InputTypeError, one_of, positive_int, require
from equilearn.actions import Data

_ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class FlatMLP(nn.Module):
    """A multilayer perceptron on all numbers of its input in one vector: it knows no symmetry.

    Arguments:
        in_features: how many numbers a sample holds, over all parts of a tuple.
        out_shape: shape of the result of a sample; a number for vectors.
        width: of the hidden layers.
        depth: number of hidden layers.
        activation: `"relu"`, `"silu"` or `"tanh"`.

    The input is a tensor `(B, ...)` or a tuple of them; every part is flattened and cast to the dtype of
    the weights (a mask becomes zeros and ones), and the parts stand one after the other.

    Raises `InputError` where a sample holds another count of numbers.

    Example:
        >>> import torch
        >>> import equilearn as eq
        >>> graph = torch.ones(2, 4, 1), torch.zeros(2, 4, 4), torch.ones(2, 4) > 0
        >>> eq.nn.FlatMLP(4 + 16 + 4, (4, 3))(graph).shape
        torch.Size([2, 4, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_shape: int | Sequence[int],
        width: int = 128,
        depth: int = 2,
        activation: str = "silu",
    ):
        super().__init__()
        self.in_features = positive_int(in_features, "in_features")
        sizes = (out_shape,) if isinstance(out_shape, int) else tuple(out_shape)
        self.out_shape = tuple(positive_int(size, "out_shape") for size in sizes)
        one_of(activation, _ACTIVATIONS, "activation")
        positive_int(width, "width")
        layers: list[nn.Module] = []
        widths = [in_features, *[width] * positive_int(depth, "depth", 0)]
        for a, b in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(a, b), _ACTIVATIONS[activation]()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.out_shape)))

    def forward(self, x: Data) -> Float[Tensor, "B *out_shape"]:
        """`(B, *out_shape)`."""
        like = next(self.parameters())
        parts = [_flattened(leaf).to(like.dtype) for leaf in _leaves(x)]
        flat = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        require(
            flat.shape[1] == self.in_features,
            f"FlatMLP takes samples of {self.in_features} numbers in all, got {flat.shape[1]} from shapes "
            f"{', '.join(str(tuple(leaf.shape)) for leaf in _leaves(x))}.",
        )
        return self.body(flat).reshape(len(flat), *self.out_shape)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_shape}"


def _flattened(leaf: Tensor) -> Tensor:
    return leaf.reshape(len(leaf), math.prod(leaf.shape[1:]))


def _leaves(x: Data) -> list[Tensor]:
    if isinstance(x, tuple | list):
        return [leaf for part in x for leaf in _leaves(part)]
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise InputTypeError(f"FlatMLP takes tensors (B, ...) or a tuple of them, got {type(x).__name__}.")
    return [x]
