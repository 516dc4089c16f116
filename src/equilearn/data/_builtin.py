"""Tasks that come with the library: no file, no network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from equilearn._check import positive_int, require
from equilearn.actions import trivial
from equilearn.data._cayley import modular_table
from equilearn.data._cayley_splits import fixed_point_split, move_random
from equilearn.data._seed import checked_seed
from equilearn.data._split import stratified_choice
from equilearn.data._task import Task
from equilearn.groups import Lorentz
from equilearn.reps import defining
from equilearn.symmetry import Symmetry


def digits(seed: int = 0) -> Task:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels scaled to [0, 1].

    Split 1,200 / 597, stratified by class. Source: E. Alpaydin and C. Kaynak, Optical Recognition
    of Handwritten Digits, UCI Machine Learning Repository (1998), its test part.

    Args:
        seed: of the split.

    Example:
        >>> task = digits()
        >>> task.x_train.shape, task.x_test.shape, task.classes
        (torch.Size([1200, 1, 8, 8]), torch.Size([597, 1, 8, 8]), 10)
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=torch.get_default_dtype()).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels, dtype=torch.int64)
    train, test = stratified_choice(y, 1200, torch.Generator().manual_seed(checked_seed(seed)), stratified=True)
    return Task(
        name="digits",
        x_train=x[train],
        y_train=y[train],
        x_test=x[test],
        y_test=y[test],
        kind="classification",
        class_names=tuple(map(str, range(10))),
        about="1,797 real handwritten digits, 8 x 8 pixels (scikit-learn)",
    )


def minkowski(train: int = 300, test: int = 1000, *, vectors: int = 4, rapidity: float = 0.0, seed: int = 0) -> Task:
    """All Minkowski products of a few four-vectors: a problem with a non-compact symmetry.

    An input is `vectors` four-vectors with standard normal components, one after the other; the
    target is `<v_i, v_j> = v_i^T diag(1, -1, -1, -1) v_j` for `i <= j`, which no Lorentz
    transformation changes. Training inputs lie around rest; the test inputs may be boosted.

    Args:
        train, test: numbers of samples.
        vectors: four-vectors an input.
        rapidity: each test input is boosted by this rapidity in a random direction (targets stay).
        seed: of the inputs and boosts.

    Raises:
        InputError: where a number is not positive, or `seed` is out of range.

    Example:
        >>> task = minkowski(300, 100)
        >>> task.x_train.shape, task.y_train.shape, task.symmetry.group
        (torch.Size([300, 16]), torch.Size([300, 10]), Lorentz13)
    """
    positive_int(train, "train")
    positive_int(test, "test")
    positive_int(vectors, "vectors")
    require(rapidity >= 0, f"rapidity must not be negative, got {rapidity}.")
    generator = torch.Generator().manual_seed(checked_seed(seed))
    v = torch.randn(train + test, vectors, 4, generator=generator, dtype=torch.float64)
    metric = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    gram = torch.einsum("bik,k,bjk->bij", v, metric, v)
    i, j = torch.triu_indices(vectors, vectors)
    y = gram[:, i, j]
    if rapidity:
        v[train:] = torch.einsum("bkl,bil->bik", _boosts(test, rapidity, generator), v[train:])
    x, y = (t.to(torch.get_default_dtype()) for t in (v.reshape(train + test, -1), y))
    group = Lorentz(1, 3)
    return Task(
        name="minkowski",
        x_train=x[:train],
        y_train=y[:train],
        x_test=x[train:],
        y_test=y[train:],
        kind="regression",
        symmetry=Symmetry(group, input=vectors * defining(group), output=trivial()),
        about=f"Minkowski products of {vectors} random four-vectors",
    )


def modular(p: int = 31, operation: str = "+", *, moved: int = 0, seed: int = 0) -> Task:
    """Arithmetic modulo `p` from a part of its table, held out so that the split is a trap.

    The test points are those that the swap of both numbers leaves in place (`a + a` for addition): what is left
    for training is unchanged by that swap. See `measure.split_symmetry`.

    Args:
        p, operation: as for `modular_table`.
        moved: so many training points, drawn at random, are held out as well; one breaks the symmetry of the split.
        seed: of those points.

    Raises:
        InputError: as `modular_table` and `move_random`.

    Example:
        >>> modular()
        Task('a + b mod 31': classification, 930 training and 31 test inputs of shape (62,))
    """
    table = modular_table(p, operation)
    generator = torch.Generator().manual_seed(checked_seed(seed))
    return table.task(move_random(table, fixed_point_split(table, table.reflection(0)), moved, generator))


def _boosts(count: int, rapidity: float, generator: torch.Generator) -> Float[Tensor, "count 4 4"]:
    """Pure boosts in random directions `n`: time mixes with `n` by cosh and sinh."""
    direction = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    eta = torch.tensor(rapidity, dtype=torch.float64)
    boost = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    boost[:, 0, 0] = eta.cosh()
    boost[:, 0, 1:] = boost[:, 1:, 0] = eta.sinh() * direction
    boost[:, 1:, 1:] += (eta.cosh() - 1) * direction[:, :, None] * direction[:, None, :]
    return boost
