"""Feature matrices in closed form: those that a symmetric split leads to, and random circulant ones."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equilearn._check import InputError, positive_int, require
from equilearn.groups import Cyclic, Group, cayley_table, orbits
from equilearn.kernels._metric import psd_power


def imposed_features(
    permutations: Int[Tensor, "*K D"],
    *,
    slots: int | Int[Tensor, " D"] = 2,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "D D"]:
    """The features that see everything but what a group H of permutations leaves alone.

    `M = 2 scale (I - E) Q`, with E the projection onto vectors that H fixes (the mean of its permutation
    matrices) and Q the one that takes the mean of each slot away. For a reflection P (of order 2) it is
    `scale (I - P) Q`: for a table with the reflection `s r^k`,
    `[[a (I - J), -a (P_k - J)^T], [-a (P_k - J), a (I - J)]]`, `J = 1 1^T / n`, of rank n - 1 with eigenvalue 2 a,
    to which a recursive feature machine converges where the fixed points of the reflection are held out and n is
    prime. For a larger H it is the same formula, and no statement about a limit.

    Args:
        permutations: permutations that generate H, `(K, D)` or `(D,)`; `permutations[k, i]` is the image of
            coordinate `i`.
        slots: number of slots of equal length that the coordinates fall into (2 for pairs of symbols), or the
            slot of each coordinate, `(D,)`. H must take slots to slots.
        scale: the factor `a`.
        dtype: of the result.

    Raises:
        InputError: no permutations, or slots that they tear apart.

    Source: "Breaking Data Symmetry is Needed For Generalization in Feature Learning Kernels", arXiv 2604.00316,
    section 4 (imposed features); the closed form follows from the 2-transitive symmetry of that split. O(D^2).

    Example:
        >>> import torch
        >>> swap = torch.tensor([[3, 4, 5, 0, 1, 2]])
        >>> M = imposed_features(swap)
        >>> torch.linalg.eigvalsh(M).round().abs().int().tolist()
        [0, 0, 0, 0, 2, 2]
    """
    require_permutations(permutations, "permutations")
    labels = slot_labels(slots, permutations.shape[-1])
    require(
        keeps_slots(permutations, labels),
        "The permutations tear the slots apart: coordinates of one slot must go to one slot. Give slots=1 where the "
        "coordinates are all alike, or the slot of each coordinate.",
    )
    one = torch.eye(permutations.shape[-1], dtype=dtype)
    return (
        2
        * scale
        * (one - block_mean(orbits(permutations.reshape(-1, len(labels))), dtype))
        @ (one - block_mean(labels, dtype))
    )


def random_circulant_features(
    group: Group | int,
    *,
    generator: torch.Generator,
    hankel: bool = False,
    power: float | None = 0.5,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "D D"]:
    """A random metric for pairs of group elements of the form that generic splits lead to: no learning needed.

    `M = [[I - J, C^T], [C, I - J]]`, `J = 1 1^T / n`, with `C[a, b] = c(a^-1 b)` for c uniform on [0, 1] less its
    mean. M is *indefinite*; its power is taken with negative eigenvalues set to 0 (which is the real part of the
    complex root).

    Args:
        group: a finite group of order n, or n for `Cyclic(n)`.
        generator: where c comes from.
        hankel: for the quotient instead of the product, `C[a, b] = c(a b)`.
        power: of M; the source uses the metric `M^(1/2)`. None: M itself.
        dtype: of the result.

    Raises:
        InputError: a group that is not finite, or a power that is not positive.

    Source: "Emergence in non-neural models", arXiv 2407.20199, section 5, there for Z_p. O(n^3).

    Example:
        >>> import torch
        >>> M = random_circulant_features(7, generator=torch.Generator().manual_seed(0), power=None)
        >>> M.shape, float(torch.linalg.eigvalsh(M)[0]) < 0
        (torch.Size([14, 14]), True)
    """
    group = Cyclic(positive_int(group, "n")) if isinstance(group, int) else group
    require(power is None or power > 0, f"power must be positive, or None for M itself; got {power!r}.")
    table = cayley_table(group)
    inverses = (table == 0).int().argmax(1)
    c = torch.rand(len(table), generator=generator, dtype=torch.float64)
    C = (c - c.mean())[table if hankel else table[inverses]]
    one = torch.eye(len(table), dtype=torch.float64) - 1.0 / len(table)
    M = torch.cat([torch.cat([one, C.mT], 1), torch.cat([C, one], 1)])
    return (M if power is None else psd_power(M, power)).to(dtype)


# --- parts ------------------------------------------------------------------------------------


def require_permutations(permutations: Tensor, name: str) -> None:
    """An `InputError` where the rows are not permutations."""
    require(
        isinstance(permutations, Tensor) and not permutations.is_floating_point() and permutations.ndim >= 1,
        f"{name} must be an integer tensor of permutations, (K, D), row k the images of all coordinates.",
    )
    points = torch.arange(permutations.shape[-1], device=permutations.device)
    wrong = (permutations.sort(-1).values != points).any(-1).reshape(-1)
    if bool(wrong.any()):
        raise InputError(
            f"Row {int(wrong.int().argmax())} of {name} is not a permutation of 0..{len(points) - 1}: every "
            "coordinate must occur exactly once."
        )


def slot_labels(slots: int | Tensor, width: int) -> Int[Tensor, " D"]:
    """The slot of each coordinate, numbered from 0."""
    if isinstance(slots, Tensor):
        require(
            tuple(slots.shape) == (width,) and not slots.is_floating_point(),
            f"slots must say the slot of each of the {width} coordinates, got shape {tuple(slots.shape)}.",
        )
        return torch.unique(slots, return_inverse=True)[1]
    slots = positive_int(slots, "slots")
    require(width % slots == 0, f"{width} coordinates do not fall into {slots} slots of equal length.")
    return torch.arange(width) // (width // slots)


def keeps_slots(permutations: Int[Tensor, "*K D"], labels: Int[Tensor, " D"]) -> bool:
    """Whether coordinates of one slot always go to one slot."""
    images = labels.to(permutations.device)[permutations].reshape(-1, len(labels))
    count = int(labels.max()) + 1
    first = torch.stack([torch.nonzero(labels == s)[0, 0] for s in range(count)]).to(permutations.device)
    return bool((images == images[:, first][:, labels.to(permutations.device)]).all())


def block_mean(labels: Int[Tensor, " D"], dtype: torch.dtype) -> Float[Tensor, "D D"]:
    """The projection onto vectors that are constant on each label."""
    same = (labels[:, None] == labels).to(dtype)
    return same / same.sum(1, keepdim=True)
