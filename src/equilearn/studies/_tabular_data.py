"""The data sets of the study `tabular`: four real ones that come with scikit-learn, three made ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from equilearn._check import one_of, positive_int

REAL = ("diabetes", "breast_cancer", "wine", "digits")
MADE = ("housing", "multi_index", "steps")
NAMES = (*REAL, *MADE)
CLASSES = frozenset({"breast_cancer", "wine", "digits"})

Array = np.ndarray
_Drawn = tuple[Array, Array]


@dataclass(frozen=True)
class Table:
    """A table of numbers and what is to be predicted: numbers, or labels where `classes`."""

    x: Array
    y: Array
    classes: bool

    def loss(self, found: Array) -> float:
        """Share of wrong classes, or the mean squared error over the variance of the targets."""
        if self.classes:
            return float((found != self.y).mean())
        return float(((found - self.y) ** 2).mean() / self.y.var())

    def parted(self, share: float, rng: np.random.Generator) -> tuple[Table, Table]:
        """A random part that holds `share` of the rows, of each class where there are classes; and the rest."""
        first = np.zeros(len(self.y), dtype=bool)
        for label in np.unique(self.y) if self.classes else [None]:
            rows = np.arange(len(self.y)) if label is None else np.flatnonzero(self.y == label)
            first[rng.permutation(rows)[: round(share * len(rows))]] = True
        return Table(self.x[first], self.y[first], self.classes), Table(self.x[~first], self.y[~first], self.classes)


def load(name: str, samples: int, seed: int) -> Table:
    """The data set of that name; a made one is drawn from `seed`, with so many samples.

    Raises:
        InputError: no such data set, or fewer than 50 samples.
    """
    one_of(name, NAMES, "data set")
    positive_int(samples, "samples", 50)
    if name in MADE:
        x, y = {"housing": housing, "multi_index": multi_index, "steps": steps}[name](samples, seed)
        return Table(x, y, classes=False)
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    return Table(bunch.data.astype(np.float64), bunch.target, classes=name in CLASSES)


def housing(samples: int, seed: int) -> _Drawn:
    """Prices of homes by district, made after the tables of a census; nothing of a real one is in them.

    Eight features: two coordinates, age, rooms, bedrooms, population, people a household and income. They are
    skewed, correlated and have outliers; a dozen towns lie along a coast, each with a wealth of its own. The price
    depends on the place, on income more so near the coast, on age more so near a town; its noise grows with it.
    """
    rng = np.random.default_rng(seed)
    towns = 12
    along = rng.uniform(0, 8, towns)
    inland = rng.gamma(1.5, 1.0, towns)
    spread, wealth = rng.uniform(0.15, 0.6, towns), rng.normal(size=towns)
    home = rng.choice(towns, samples, p=rng.dirichlet(np.full(towns, 1.5)))
    rural = rng.random(samples) < 0.15
    u = np.where(rural, rng.uniform(-0.5, 8.5, samples), along[home] + spread[home] * rng.normal(size=samples))
    v = np.where(rural, rng.gamma(2.0, 1.2, samples), inland[home] + spread[home] * rng.normal(size=samples))
    coast = np.abs(v)
    away = np.sqrt((u[:, None] - along) ** 2 + (v[:, None] - inland) ** 2)
    near = np.exp(-away)  # one column a town
    town = near.max(1)

    income = np.exp(1.2 + 0.25 * (near * wealth).sum(1) - 0.05 * coast + 0.4 * rng.normal(size=samples))
    age = np.clip(12 + 25 * town + 9 * rng.normal(size=samples), 1, 52).round()
    rooms = np.exp(1.6 + 0.25 * np.log(income / 3.3) - 0.1 * town + 0.2 * rng.normal(size=samples))
    bedrooms = rooms / 5 * np.exp(0.1 * rng.normal(size=samples))
    people = np.exp(7 + 0.4 * town + 0.6 * rng.normal(size=samples))
    household = np.exp(1.05 - 0.1 * np.log(income / 3.3) + 0.2 * rng.normal(size=samples))
    household *= np.where(rng.random(samples) < 0.005, np.exp(1.5 * rng.gamma(2.0, 0.5, samples)), 1.0)

    level = 0.55 * np.log(income) + 0.3 * (near * wealth).sum(1) + 0.5 * np.exp(-coast / 1.5) * np.log(income)
    level += 0.012 * (age - 25) * (town - 0.5) - 0.4 * np.log(household / 2.8) + 0.3 * np.log(5 * bedrooms / rooms)
    price = np.exp(level) * (1 + 0.12 * rng.normal(size=samples))
    longitude, latitude = (v - u) / math.sqrt(2), (u + v) / math.sqrt(2)
    return np.stack([income, age, rooms, bedrooms, people, household, latitude, longitude], 1), price


def multi_index(samples: int, seed: int) -> _Drawn:
    """Of 20 features only three directions matter, and none is an axis: `sin 2a + b c`, a twentieth of it noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 20))
    directions = np.linalg.qr(rng.normal(size=(20, 3)))[0]
    a, b, c = (x @ directions).T
    y = np.sin(2 * a) + b * c
    return x, y + 0.05 * y.std() * rng.normal(size=samples)


def steps(samples: int, seed: int) -> _Drawn:
    """Of 10 features six matter, by whether they are above a threshold: what trees are made of."""
    rng = np.random.default_rng(seed)
    x = rng.random((samples, 10))
    above = x[:, rng.permutation(10)[:6]] > rng.uniform(0.3, 0.7, 6)
    a, b, c, d, e, f = above.T.astype(float)
    y = 2 * a + 1.5 * b * c - d * (1 - a) + e * f
    return x, y + 0.05 * y.std() * rng.normal(size=samples)
