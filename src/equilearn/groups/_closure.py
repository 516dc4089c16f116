"""From generators to all elements and the multiplication table."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equilearn._check import InputError, require

Locate = Callable[[Tensor, Tensor], Tensor]


def _too_many(limit: int, what: str) -> InputError:
    return InputError(
        f"The {what} generate more than {limit} elements. If the group is infinite, it needs a matrix group "
        "such as SO(n); if it is larger on purpose, raise limit= (the table takes 8 limit^2 bytes)."
    )


def table_from_links(right: Tensor, parents: list[tuple[int, int]]) -> Tensor:
    """The table from the Cayley graph: `x (p s) = (x p) s`, one column gather an element.

    `right[x, s]` is `x` times generator `s`; element `i` is element `parents[i][0]` times
    generator `parents[i][1]`.
    """
    order = len(right)
    # Built transposed, so that a column is contiguous.
    columns = torch.empty(order, order, dtype=torch.int64)
    columns[0] = torch.arange(order)
    by_generator = right.T.contiguous()
    for i in range(1, order):
        parent, s = parents[i]
        columns[i] = by_generator[s][columns[parent]]
    return columns.T.contiguous()


def _useful(right: Tensor) -> list[int]:
    """The element that each generator is, without the identity and repetitions."""
    return list(dict.fromkeys(i for i in right[0].tolist() if i != 0))


def close_permutations(generators: Tensor, limit: int) -> tuple[Tensor, Tensor, list[int]]:
    """All products of permutations `(K, n)`: elements `(order, n)`, table, generators' indices."""
    n = generators.shape[1]
    elements = [torch.arange(n)]
    known = {elements[0].numpy().tobytes(): 0}
    parents = [(0, 0)]
    right: list[list[int]] = []
    position = 0
    while position < len(elements):
        row = []
        # (x s)[i] = x[s[i]], for all generators at once.
        for s, product in enumerate(elements[position][generators]):
            key = product.numpy().tobytes()
            if key not in known:
                if len(elements) >= limit:
                    raise _too_many(limit, "permutations")
                known[key] = len(elements)
                elements.append(product)
                parents.append((position, s))
            row.append(known[key])
        right.append(row)
        position += 1
    links = torch.tensor(right, dtype=torch.int64).reshape(len(elements), -1)
    return torch.stack(elements), table_from_links(links, parents), _useful(links)


def close_matrices(generators: Tensor, limit: int, tolerance: float) -> tuple[Tensor, Tensor, list[int]]:
    """All products of matrices `(K, n, n)`: elements `(order, n, n)`, table, generators' indices."""
    _require_finite_order(generators, tolerance)
    count, n, _ = generators.shape
    elements = torch.eye(n, dtype=torch.float64).unsqueeze(0)
    parents = [(0, 0)]
    links: list[Tensor] = []
    done = 0
    while done < len(elements):
        level = elements[done:]
        products = (level.unsqueeze(1) @ generators).reshape(-1, n, n)
        found = _locate(products, elements, tolerance)
        fresh, label = _group_close(products[found < 0], tolerance)
        if len(elements) + len(fresh) > limit:
            raise _too_many(limit, "matrices")
        missing = torch.nonzero(found < 0).reshape(-1)
        found[missing] = len(elements) + label
        for j in range(len(fresh)):
            source = int(missing[(label == j).int().argmax()])
            parents.append((done + source // count, source % count))
        links.append(found.reshape(-1, count))
        done = len(elements)
        elements = torch.cat([elements, fresh])
    right = torch.cat(links)
    return elements, table_from_links(right, parents), _useful(right)


def _require_finite_order(generators: Tensor, tolerance: float) -> None:
    """A matrix of finite order has all its eigenvalues on the unit circle."""
    off = (torch.linalg.eigvals(generators).abs() - 1).abs().amax(-1)
    # A defective eigenvalue moves by the root of a rounding error: leave room for it.
    bad = off > max(tolerance, 1e-4)
    if bool(bad.any()):
        k = int(bad.int().argmax())
        raise InputError(
            f"Generator {k} has an eigenvalue whose modulus is off 1 by {float(off[k]):.3g}: its powers never return "
            "to the identity, so it generates no finite group."
        )


def _locate(products: Tensor, elements: Tensor, tolerance: float, chunk: int = 4096) -> Tensor:
    """Index of the element equal to each product, -1 where there is none."""
    flat = elements.flatten(1)
    parts = []
    for part in products.flatten(1).split(chunk):
        distance, index = torch.cdist(part, flat, p=float("inf")).min(dim=1)
        require(
            not bool(((distance > tolerance) & (distance < 10 * tolerance)).any()),
            f"Two products differ by between {tolerance:g} and {10 * tolerance:g}: too far for one element, too near "
            "for two. Give the generators more exactly, or the group is infinite.",
        )
        parts.append(torch.where(distance <= tolerance, index, -1))
    return torch.cat(parts)


def _group_close(matrices: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Distinct matrices among the given ones, in order of appearance, and the label of each."""
    labels = torch.full((len(matrices),), -1, dtype=torch.int64)
    distinct: list[Tensor] = []
    while bool((labels < 0).any()):
        first = int((labels < 0).int().argmax())
        same = (matrices - matrices[first]).abs().amax((-2, -1)) <= tolerance
        labels[same & (labels < 0)] = len(distinct)
        distinct.append(matrices[first])
    empty = matrices[:0]
    return (torch.stack(distinct) if distinct else empty), labels
