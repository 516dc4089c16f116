"""The operation table of a finite group as a data set: learn `a b` from a part of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equilearn._check import InputError, InputTypeError, one_of, positive_int, require
from equilearn.data._cayley_symmetry import index_tensor, label_symmetry, moved
from equilearn.data._task import Task
from equilearn.groups import Cyclic, Group, cayley_table
from equilearn.symmetry import Symmetry

LARGEST = 512
"""Largest order whose table is made: it has the square of that many points."""

OPERATIONS = {"*": "*", "+": "*", "×": "*", "·": "*", "/": "/", "-": "/", "−": "/", "÷": "/"}
"""What may stand for the product and for the right quotient."""


@dataclass(frozen=True, eq=False, repr=False)
class OperationTable:
    """All pairs of elements of a finite group, and the product or quotient of each: `operation_table` makes one.

    Elements of the group are addressed by their index in `group.elements()`, `n` of them. Point `a n + b` is the
    pair `(a, b)`.

    Args:
        group: whose table it is.
        operation: `"*"`, the label of `(a, b)` is `a b`; or `"/"`, the label is `a b^-1`.
        table: the product of each pair, `(n, n)`.
        inverses: the inverse of each element, `(n,)`.
        symbols: what each element is called, `(n,)`: its index, or its residue in a modular table.
        name: for reports.
        dtype: of `x`.

    Source: section 3 of "Breaking Data Symmetry is Needed For Generalization in Feature Learning Kernels",
    arXiv 2604.00316, there for abelian groups.
    """

    group: Group
    operation: str
    table: Int[Tensor, "n n"]
    inverses: Int[Tensor, " n"]
    symbols: Int[Tensor, " n"]
    name: str
    dtype: torch.dtype = torch.float64

    @property
    def n(self) -> int:
        """Order of the group."""
        return len(self.table)

    @property
    def a(self) -> Int[Tensor, " N"]:
        """Index of the left element of each point, `(N,)` with `N = n^2`."""
        return torch.arange(self.n).repeat_interleave(self.n)

    @property
    def b(self) -> Int[Tensor, " N"]:
        """Index of the right element of each point, `(N,)`."""
        return torch.arange(self.n).repeat(self.n)

    @property
    def labels(self) -> Int[Tensor, " N"]:
        """Index of the product or quotient at each point, `(N,)`."""
        return (self.table if self.operation == "*" else self.table[:, self.inverses]).reshape(-1)

    @property
    def x(self) -> Float[Tensor, "N width"]:
        """The inputs `e_a + e_b`, one-hot side by side, `(N, 2 n)`."""
        return self.inputs(self.dtype)

    def inputs(self, dtype: torch.dtype) -> Float[Tensor, "N width"]:
        """`x` in another precision."""
        one = torch.eye(self.n, dtype=dtype)
        return torch.cat([one[self.a], one[self.b]], dim=1)

    @cached_property
    def symmetry(self) -> Symmetry:
        """All label-preserving symmetries that relabel each slot and perhaps swap the slots.

        For an abelian group `A` these are the generalised dihedral group of order `2 n`, `r^x` for the product
        `(a, b) -> (a x, b x^-1)` and for the quotient `(a x, b x)`; the reflection `s` swaps the slots, and for the
        quotient inverts both. Index `x` in `[0, n)` is `r^x`, index `n + x` is `r^x s`, as in
        `GeneralizedDihedral`; `reflection(x)` is the index of `s r^x`, which the source writes.

        For another group they are that group, `g (a, b) = (a g^-1, g b)`, and `(a g^-1, b g^-1)` for the quotient.

        Source: Theorem A.2 of the paper above, in the form that holds for maps of this kind.
        """
        return label_symmetry(self.group, self.operation, self.table, self.inverses)

    @property
    def point_permutations(self) -> Int[Tensor, "order N"]:
        """Where each element of `symmetry.group` takes each point, `(order, N)`. 8 `order n^2` bytes."""
        order = self.symmetry.group.order or 1
        return self.move(torch.arange(order))

    def move(self, elements: Int[Tensor, " K"] | Sequence[int]) -> Int[Tensor, "K N"]:
        """Where the elements of `symmetry.group` of these indices take each point, `(K, N)`.

        Raises:
            InputError: an index out of range.
        """
        group = self.symmetry.group
        index = index_tensor(elements, group.order or 1, f"elements of {group}")
        return moved(self.symmetry, group.take(group.elements(), index), self.n)

    def reflection(self, x: int) -> int:
        """The index of `s r^x` in `symmetry.group.elements()`; it fixes `(a, a x)`, for the quotient `(a, (a x)^-1)`.

        Raises:
            InputError: the group is not abelian, so that there are no reflections.
        """
        require(
            self.group.is_abelian,
            f"{self.group} is not abelian: its table has no reflections, only the symmetries of {self.group} itself.",
        )
        (index,) = index_tensor([x], self.n, f"elements of {self.group}").tolist()
        return self.n + int(self.inverses[index])

    def equivariance(
        self,
        left: int = 0,
        right: int = 0,
        *,
        automorphism: Int[Tensor, " n"] | None = None,
        swap: bool = False,
    ) -> tuple[Int[Tensor, " N"], Int[Tensor, " n"]]:
        """A symmetry that moves labels: what it does to points `(N,)` and to labels `(n,)`.

        Without more, `(a, b) -> (left a, b right)` and a label `l` becomes `left l right` (for the quotient
        `(left a, right^-1 b)`). An automorphism acts first, on both slots and on the label. `swap` comes before
        that: `(a, b) -> (b^-1, a^-1)` (for the quotient `(b, a)`), which inverts labels.

        Args:
            left, right: indices of elements.
            automorphism: the image of each element, `(n,)`; for `Cyclic(n)` the map `u a + k` of both slots is
                `automorphism=u * torch.arange(n) % n` with `left=k`, `right=k`.
            swap: whether to swap the slots.

        Raises:
            InputError: an index out of range, or no automorphism.

        O(n^2).

        Example:
            >>> from equilearn.groups import Symmetric
            >>> table = operation_table(Symmetric(3))
            >>> points, labels = table.equivariance(1, 2, swap=True)
            >>> bool((table.labels[points] == labels[table.labels]).all())
            True
        """
        g, h = index_tensor([left, right], self.n, f"elements of {self.group}").tolist()
        one = torch.arange(self.n)
        phi = one if automorphism is None else self._automorphism(automorphism)
        first, second, label = self.a, self.b, one
        if swap:
            first, second = (self.inverses[second], self.inverses[first]) if self.operation == "*" else (second, first)
            label = self.inverses
        first = self.table[g, phi[first]]
        second = self.table[phi[second], h] if self.operation == "*" else self.table[self.inverses[h], phi[second]]
        return first * self.n + second, self.table[self.table[g, phi[label]], h]

    def _automorphism(self, images: Tensor) -> Tensor:
        phi = index_tensor(images, self.n, f"elements of {self.group}")
        fine = len(phi) == self.n and len(phi.unique()) == self.n
        require(
            fine and torch.equal(phi[self.table], self.table[phi][:, phi]),
            f"automorphism must give the image of each of the {self.n} elements of {self.group}, each once, with the "
            "image of a product the product of the images; this one does not.",
        )
        return phi

    @property
    def natural_order(self) -> Int[Tensor, " n"]:
        """The indices of the elements by ascending symbol: `M[order][:, order]` sorts a matrix over elements."""
        return self.symbols.argsort()

    def discrete_log(self, symbols: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The index of the element that each symbol stands for.

        Raises:
            InputError: a symbol that no element has.

        Example:
            >>> table = modular_table(7, "×")
            >>> table.discrete_log(torch.tensor([1, 3, 2]))  # 3 is the smallest primitive root of 7
            tensor([0, 1, 2])
        """
        order = self.natural_order
        sorted_symbols = self.symbols[order]
        place = torch.searchsorted(sorted_symbols, symbols.contiguous()).clamp(max=self.n - 1)
        unknown = symbols[sorted_symbols[place] != symbols]
        require(unknown.numel() == 0, f"{unknown[:4].tolist()} are no symbols of the table of {self.name}.")
        return order[place]

    def task(self, train: Bool[Tensor, " N"], dtype: torch.dtype | None = None) -> Task:
        """The classification with these training points, the others held out; its symmetry is `symmetry`.

        Args:
            train: which points are for training; the split builders make such masks.
            dtype: of the inputs; default the default dtype.

        Raises:
            InputError: a mask of another shape, or nothing in one split.

        Example:
            >>> from equilearn.data import fixed_point_split
            >>> table = modular_table(5, "+")
            >>> table.task(fixed_point_split(table, table.reflection(0)))
            Task('a + b mod 5': classification, 20 training and 5 test inputs of shape (10,))
        """
        train = self.mask(train)
        require(
            bool(train.any()) and not bool(train.all()), "Both splits need a point: train is True or False throughout."
        )
        x, y = self.inputs(torch.get_default_dtype() if dtype is None else dtype), self.labels
        return Task(
            name=self.name,
            x_train=x[train],
            y_train=y[train],
            x_test=x[~train],
            y_test=y[~train],
            kind="classification",
            symmetry=self.symmetry,
            class_names=tuple(map(str, self.symbols.tolist())),
            about=f"the table of {self.name}: {int(train.sum()):,} of its {len(train):,} entries for training",
        )

    def mask(self, points: Bool[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """`points` if it is a mask of the points; otherwise an `InputError`."""
        if not isinstance(points, Tensor) or points.dtype != torch.bool:
            kind = str(points.dtype) if isinstance(points, Tensor) else type(points).__name__
            raise InputTypeError(f"A split is a Boolean mask of the {self.n**2} points, got {kind}.")
        require(
            tuple(points.shape) == (self.n**2,),
            f"A split of {self.name} is a mask of its {self.n**2} points, got shape {tuple(points.shape)}.",
        )
        return points

    def __repr__(self) -> str:
        return f"OperationTable({self.name}: {self.n**2} points under {self.symmetry.group})"


def operation_table(
    group: Group,
    operation: str = "*",
    *,
    symbols: Int[Tensor, " n"] | None = None,
    name: str | None = None,
    dtype: torch.dtype = torch.float64,
) -> OperationTable:
    """The table of any finite group as data to learn from.

    Args:
        group: a finite group of at most 512 elements.
        operation: the product, `"*"` (or `"+"`, `"×"`), or the right quotient `a b^-1`, `"/"` (or `"-"`, `"÷"`).
        symbols: distinct whole numbers that the elements stand for, `(n,)`; default their indices.
        name: for reports.
        dtype: of the inputs `x`.

    Raises:
        InputError: the group is infinite or too large, an unknown operation, symbols that repeat.

    O(n^2) memory; `x` holds `2 n^3` numbers and is made when asked for.

    Example:
        >>> from equilearn.groups import Symmetric
        >>> table = operation_table(Symmetric(3), "/")
        >>> table, table.x.shape
        (OperationTable(a / b in S3: 36 points under S3), torch.Size([36, 12]))
    """
    law = OPERATIONS[one_of(operation, OPERATIONS, "operation")]
    require(
        group.is_finite and (group.order or 0) <= LARGEST,
        f"The table of {group} would have {group.order or 'infinitely many'} rows; up to {LARGEST} are made.",
    )
    table = cayley_table(group)
    order = len(table)
    inverses = (table == 0).int().argmax(dim=1)
    symbols = torch.arange(order) if symbols is None else torch.as_tensor(symbols).detach().cpu()
    require(
        tuple(symbols.shape) == (order,) and not symbols.is_floating_point() and len(symbols.unique()) == order,
        f"symbols must be {order} distinct whole numbers, one an element of {group}.",
    )
    return OperationTable(group, law, table, inverses, symbols, name or f"a {operation} b in {group}", dtype)


def modular_table(p: int, operation: str = "+", *, dtype: torch.dtype = torch.float64) -> OperationTable:
    """The table of arithmetic modulo `p`.

    `"+"` and `"-"` are tables of `Cyclic(p)`. `"×"` (or `"*"`) and `"÷"` (or `"/"`) are tables of `Cyclic(p - 1)`
    through the discrete logarithm to the smallest primitive root: element `k` is its `k`-th power, which `symbols`
    holds. Zero has no quotient and is left out of both.

    Args:
        p: the modulus, at most 512; a prime, at least 3, for `"×"` and `"÷"`.
        operation: one of `"+"`, `"-"`, `"×"`, `"÷"`, in Unicode or not.
        dtype: of the inputs `x`.

    Raises:
        InputError: an unknown operation, or a modulus that does not fit.

    Example:
        >>> table = modular_table(7, "×")
        >>> table, table.symbols
        (OperationTable(a × b mod 7: 36 points under Dih(6)), tensor([1, 3, 2, 6, 4, 5]))
    """
    one_of(operation, OPERATIONS, "operation")
    p = positive_int(p, "The modulus p", 2)
    require(p <= LARGEST, f"The modulus p is at most {LARGEST}, got {p}: the table has p^2 points.")
    sign = {"*": "×", "·": "×", "/": "÷", "-": "−"}.get(operation, operation)
    if sign in ("+", "−"):
        return operation_table(Cyclic(p), operation, name=f"a {sign} b mod {p}", dtype=dtype)
    powers = _powers_of_root(p)
    return operation_table(Cyclic(p - 1), operation, symbols=powers, name=f"a {sign} b mod {p}", dtype=dtype)


def _powers_of_root(p: int) -> Int[Tensor, " p_minus_1"]:
    """The powers `g^0 .. g^(p-2)` of the smallest primitive root modulo the prime `p`."""
    prime = p > 2 and all(p % d for d in range(2, int(p**0.5) + 1))
    require(
        prime, f"Multiplication needs a prime modulus of at least 3, got {p}. For other tables see operation_table."
    )
    for root in range(2, p):
        powers = torch.ones(1, dtype=torch.int64)
        while len(powers) < p - 1:
            powers = torch.cat([powers, powers * pow(root, len(powers), p) % p])
        powers = powers[: p - 1]
        if len(powers.unique()) == p - 1:
            return powers
    raise InputError(f"{p} has no primitive root.")  # no prime does this
