"""Abelian, generalised dihedral and quaternion groups: closed-form laws, no table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputTypeError, positive_int, require
from equilearn.groups._index import IndexGroup


def _orders(orders: Sequence[int]) -> tuple[int, ...]:
    if isinstance(orders, str) or not isinstance(orders, Sequence):
        raise InputTypeError(f"orders must be a sequence of whole numbers such as (2, 4), got {orders!r}.")
    result = tuple(positive_int(n, "Each order") for n in orders)
    require(len(result) > 0, "orders is empty: name at least one cyclic factor, such as (4,).")
    require(math.prod(result) < 2**31, f"orders {result} give a group of {math.prod(result)} elements, above 2^31.")
    return result


class _MixedRadix:
    """Digits of an index, the first factor most significant."""

    def __init__(self, orders: tuple[int, ...]):
        self.orders = orders
        self.size = math.prod(orders)
        self.strides = tuple(math.prod(orders[i + 1 :]) for i in range(len(orders)))

    def digits(self, g: Tensor) -> Tensor:
        return torch.stack([(g // s) % n for n, s in zip(self.orders, self.strides, strict=True)], dim=-1)

    def index(self, digits: Tensor) -> Tensor:
        wrapped = ((digits[..., i] % n) * s for i, (n, s) in enumerate(zip(self.orders, self.strides, strict=True)))
        total = next(wrapped)
        for term in wrapped:
            total = total + term
        return total

    def add(self, g: Tensor, h: Tensor, sign: Tensor | int = 1) -> Tensor:
        """`g + sign * h`, digit by digit; `sign` is 1 or -1."""
        if len(self.orders) == 1:
            return (g + sign * h) % self.size
        total: Tensor | int = 0
        for n, s in zip(self.orders, self.strides, strict=True):
            total = total + (((g // s) + sign * (h // s)) % n) * s
        return total  # type: ignore[return-value]

    def unit_indices(self) -> list[int]:
        return [s for n, s in zip(self.orders, self.strides, strict=True) if n > 1]


def turn_matrix(k: Int[Tensor, "*batch"], n: int) -> Float[Tensor, "*batch 2 2"]:
    """The rotation of the plane by `2 pi k / n`, float64, with exact entries at quarter turns."""
    angle = k.to(torch.float64) * (2 * math.pi / n)
    quarter = torch.where((4 * k) % n == 0, ((4 * k) // n) % 4, -1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    for turn, (c, s) in enumerate(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))):
        cos = torch.where(quarter == turn, c, cos)
        sin = torch.where(quarter == turn, s, sin)
    # 0 - sin, not -sin: no negative zeros.
    return torch.stack([torch.stack([cos, 0.0 - sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)


class Abelian(IndexGroup):
    """The direct product of cyclic groups of the given orders.

    An element is one mixed-radix index, the first factor most significant: `digits` and
    `from_digits` translate. No table: every law costs O(number of factors) an element.

    Args:
        orders: the order of each cyclic factor, such as `(2, 4)`.

    Raises:
        InputError: if an order is not a whole number >= 1, or the group has 2^31 elements or more.

    Example:
        >>> group = Abelian((2, 4))
        >>> group.order
        8
        >>> group.digits(torch.tensor(7))
        tensor([1, 3])
        >>> group.compose(torch.tensor(7), torch.tensor(6))  # (1, 3) + (1, 2) = (0, 1)
        tensor(1)
    """

    def __init__(self, orders: Sequence[int]):
        self.orders = _orders(orders)
        self._radix = _MixedRadix(self.orders)

    @property
    def name(self) -> str:
        return f"Abelian({','.join(map(str, self.orders))})"

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.orders

    @property
    def order(self) -> int:
        return self._radix.size

    @property
    def is_abelian(self) -> bool:
        return True

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return self._radix.add(g, h)

    def inverse(self, g: Tensor) -> Tensor:
        return self._radix.add(torch.zeros_like(g), g, -1)

    def digits(self, g: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch factors"]:
        """The component of each element in every cyclic factor."""
        return self._radix.digits(g)

    def from_digits(self, digits: Int[Tensor, "*batch factors"]) -> Int[Tensor, "*batch"]:
        """The element with the given components; each is taken modulo the order of its factor."""
        require(
            digits.shape[-1] == len(self.orders),
            f"{self.name} has {len(self.orders)} cyclic factors, but digits has shape {tuple(digits.shape)}.",
        )
        return self._radix.index(digits)

    def _generator_indices(self) -> list[int]:
        return self._radix.unit_indices()


class Cyclic(Abelian):
    """The cyclic group of `n` elements; index `k` is the `k`-th power of the generator.

    Args:
        n: the order, at least 1.

    Raises:
        InputError: if `n` is not a whole number >= 1.

    Example:
        >>> group = Cyclic(4)
        >>> group.compose(torch.tensor([1, 3]), torch.tensor([1, 2]))
        tensor([2, 1])
        >>> group.plane_matrix(torch.tensor(1))
        tensor([[ 0., -1.],
                [ 1.,  0.]], dtype=torch.float64)
    """

    def __init__(self, n: int):
        super().__init__((positive_int(n, "The order n of Cyclic(n)"),))
        self.n = self.orders[0]

    @property
    def name(self) -> str:
        return f"C{self.n}"

    def plane_matrix(self, g: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
        """The rotation of the plane by `2 pi g / n`, float64; entries are exact at quarter turns."""
        return turn_matrix(g % self.n, self.n)

    def angle(self, g: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """`2 pi g / n` in `[0, 2 pi)`, float64."""
        return (g % self.n).to(torch.float64) * (2 * math.pi / self.n)


class GeneralizedDihedral(IndexGroup):
    """`Dih(A)`: an abelian group `A` and one more element `s` of order 2 with `s a s = a^-1`.

    Index `a` in `[0, |A|)` is the element `a` of `A` (mixed radix as in `Abelian`), index
    `|A| + a` is `a s`. Every `a s` is a reflection, of order 2. Source: the symmetry group of
    modular addition in "Breaking Data Symmetry is Needed For Generalization in Feature
    Learning Kernels", Theorem A.2.

    Args:
        orders: the orders of the cyclic factors of `A`.

    Raises:
        InputError: as `Abelian`.

    Example:
        >>> group = GeneralizedDihedral((2, 3))
        >>> group.order
        12
        >>> reflection = torch.tensor(9)
        >>> group.compose(reflection, reflection)
        tensor(0)
    """

    def __init__(self, orders: Sequence[int]):
        self.orders = _orders(orders)
        self._radix = _MixedRadix(self.orders)

    @property
    def name(self) -> str:
        return f"Dih({','.join(map(str, self.orders))})"

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.orders

    @property
    def order(self) -> int:
        return 2 * self._radix.size

    @property
    def is_abelian(self) -> bool:
        return all(n <= 2 for n in self.orders)

    @property
    def rotations(self) -> Abelian:
        """The abelian group `A`; its indices are this group's first `|A|` indices."""
        return Abelian(self.orders)

    def is_reflection(self, g: Int[Tensor, "*batch"]) -> Tensor:
        """Which elements are reflections `a s`."""
        return g >= self._radix.size

    def split(self, g: Int[Tensor, "*batch"]) -> tuple[Tensor, Tensor]:
        """`(a, e)` with `g = a s^e`, `e` in {0, 1}."""
        return g % self._radix.size, g // self._radix.size

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        (a, e), (b, f) = self.split(g), self.split(h)
        return self._radix.add(a, b, 1 - 2 * e) + ((e + f) % 2) * self._radix.size

    def inverse(self, g: Tensor) -> Tensor:
        a, e = self.split(g)
        # A reflection is its own inverse.
        return torch.where(e == 1, g, self._radix.add(torch.zeros_like(a), a, -1))

    def _generator_indices(self) -> list[int]:
        return [*self._radix.unit_indices(), self._radix.size]


class Dihedral(GeneralizedDihedral):
    """The symmetries of the regular `n`-gon, `2 n` elements.

    Index `k` in `[0, n)` is the rotation `r^k` by `2 pi k / n`; index `n + k` is `r^k s`, first
    the reflection `s: (x, y) -> (x, -y)`, then the rotation. Closed-form law, no table.

    Args:
        n: the number of rotations, at least 1 (the order is `2 n`).

    Raises:
        InputError: if `n` is not a whole number >= 1.

    Example:
        >>> group = Dihedral(4)
        >>> group.order
        8
        >>> group.compose(torch.tensor(4), torch.tensor(1))  # s r = r^3 s
        tensor(7)
        >>> group.plane_matrix(torch.tensor(4))
        tensor([[ 1.,  0.],
                [ 0., -1.]], dtype=torch.float64)
    """

    def __init__(self, n: int):
        super().__init__((positive_int(n, "The number n of rotations of Dihedral(n)"),))
        self.n = self.orders[0]

    @property
    def name(self) -> str:
        return f"D{self.n}"

    def plane_matrix(self, g: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
        """The plane isometry, float64; entries are exact at quarter turns."""
        k, flip = self.split(g)
        sign = (1 - 2 * flip).to(torch.float64)
        # r^k diag(1, -1): the second column changes sign. Adding 0 turns -0 into 0.
        columns = torch.stack([torch.ones_like(sign), sign], dim=-1)
        return turn_matrix(k, self.n) * columns.unsqueeze(-2) + 0.0

    def _generator_indices(self) -> list[int]:
        return [*([1] if self.n > 1 else []), self.n]


class Quaternion(IndexGroup):
    """The quaternion group Q_8 = {1, i, -1, -i, j, k, -j, -k}, or a generalised (dicyclic) one.

    With `m = order / 4`: index `k` in `[0, 2m)` is `a^k`, index `2m + k` is `a^k b`, where
    `b^2 = a^m` and `b a b^-1 = a^-1`. For Q_8, `a = i` and `b = j`.

    Args:
        order: a multiple of 4, at least 8.

    Raises:
        InputError: for any other order.

    Example:
        >>> group = Quaternion()
        >>> i, j = torch.tensor(1), torch.tensor(4)
        >>> group.compose(i, j), group.compose(j, i)  # k and -k
        (tensor(5), tensor(7))
    """

    def __init__(self, order: int = 8):
        order = positive_int(order, "The order of Quaternion(order)", 8)
        require(order % 4 == 0, f"The order of a quaternion group is a multiple of 4 (8, 12, 16, ...), got {order}.")
        self._half = order // 2

    @property
    def name(self) -> str:
        return f"Q{self.order}"

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self._half,)

    @property
    def order(self) -> int:
        return 2 * self._half

    @property
    def is_abelian(self) -> bool:
        return False

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        half = self._half
        a, e, b, f = g % half, g // half, h % half, h // half
        # a^x b^e a^y b^f = a^(x +- y) b^(e + f), and b^2 = a^m.
        power = a + (1 - 2 * e) * b + (e * f) * (half // 2)
        return power % half + ((e + f) % 2) * half

    def inverse(self, g: Tensor) -> Tensor:
        half = self._half
        a, e = g % half, g // half
        # (a^k b)^-1 = a^(k + m) b.
        return torch.where(e == 1, (a + half // 2) % half + half, (-a) % half)

    def _generator_indices(self) -> list[int]:
        return [1, self._half]
