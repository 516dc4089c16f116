"""Seeds that a generator takes."""

from __future__ import annotations

from equilearn._check import positive_int, require

TORCH_SEEDS = 2**64
"""As many seeds as a `torch.Generator` has."""
LEGACY_SEEDS = 2**32
"""As many as NumPy's legacy generator has."""


def checked_seed(seed: object, seeds: int = TORCH_SEEDS) -> int:
    """`seed` as an `int` from 0 to below `seeds`; raises `InputError` where it is none."""
    number = positive_int(seed, "seed", 0)
    require(number < seeds, f"seed must be a whole number from 0 to {seeds - 1}, got {number}. Take a smaller one.")
    return number
