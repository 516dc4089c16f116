"""Groups by name, as on the command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from equilearn._check import InputError, InputTypeError
from equilearn.groups._abelian import Abelian, Cyclic, Dihedral, GeneralizedDihedral, Quaternion
from equilearn.groups._affine import Euclidean, SpecialEuclidean, Translation
from equilearn.groups._base import Group
from equilearn.groups._linear import GL, SL, Scaling
from equilearn.groups._lorentz import Lorentz
from equilearn.groups._orthogonal import SO, O
from equilearn.groups._product import Product
from equilearn.groups._symmetric import Alternating, Symmetric

_ONE_NUMBER: dict[str, Callable[[int], Group]] = {
    "c": Cyclic,
    "z": Cyclic,
    "cyclic": Cyclic,
    "d": Dihedral,
    "dihedral": Dihedral,
    "s": Symmetric,
    "symmetric": Symmetric,
    "a": Alternating,
    "alternating": Alternating,
    "q": Quaternion,
    "quaternion": Quaternion,
    "so": SO,
    "o": O,
    "se": SpecialEuclidean,
    "specialeuclidean": SpecialEuclidean,
    "e": Euclidean,
    "euclidean": Euclidean,
    "t": Translation,
    "translation": Translation,
    "sl": SL,
    "gl": GL,
    "scaling": Scaling,
}

_EXAMPLES = ("C4", "D4", "S5", "A5", "Q8", "SO2", "SO3", "O2", "O3", "SE3", "E2", "T2", "SL2", "GL2", "Lorentz13")
_EXAMPLES = (*_EXAMPLES, "Scaling", "Abelian(2,4)", "Dih(2,4)", "SO3xS5")


def parse(name: str) -> Group:
    """The group with the given name; upper or lower case, products with `x` or `*`.

    `C4` (cyclic), `D4` (order 8), `S5`, `A5`, `Q8`, `SO2`, `O3`, `SE3`, `E2`, `T2` (translations),
    `SL2`, `GL2`, `Lorentz13`, `Scaling`, `Abelian(2,4)`, `Dih(2,4)`, and products such as
    `SO3xS5`. Every group of the catalogue reads back from its `name`; the parameters of its
    sampling law take their defaults.

    Raises:
        InputError: for a name that is none of these; the message lists the nearest.

    Example:
        >>> parse("SO3xS5")
        SO3xS5
        >>> parse("lorentz(1,3)").lie_dim
        6
    """
    if not isinstance(name, str):
        raise InputTypeError(f"A group is named by a string such as 'C4', got {type(name).__name__}.")
    parts = [_parse_one(part, name) for part in re.split(r"[x*×]", name.strip().lower())]
    return parts[0] if len(parts) == 1 else Product(*parts)


def _parse_one(text: str, whole: str) -> Group:
    compact = re.sub(r"[\s_]", "", text)
    match = re.fullmatch(r"([a-z]+)\(?([\d,.+]*)\)?", compact)
    if match is None:
        raise _unknown(text, whole)
    family, digits = match.groups()
    numbers = [int(n) for n in re.split(r"[,.+]", digits) if n]
    if family == "lorentz" and len(numbers) == 1 and len(digits) == 2:
        numbers = [int(digits[0]), int(digits[1])]
    try:
        if family == "lorentz" and len(numbers) in (0, 2):
            return Lorentz(*numbers)
        if family == "abelian" and numbers:
            return Abelian(numbers)
        if family == "dih" and numbers:
            return GeneralizedDihedral(numbers)
        if family in ("scaling", "quaternion") and not numbers:
            return _ONE_NUMBER[family](1 if family == "scaling" else 8)
        if family in _ONE_NUMBER and len(numbers) == 1:
            return _ONE_NUMBER[family](numbers[0])
    except InputError as error:
        raise InputError(f"The group {whole!r} does not exist. {error}") from error
    raise _unknown(text, whole)


def _unknown(text: str, whole: str) -> InputError:
    lookup = {example.lower(): example for example in _EXAMPLES}
    near = difflib.get_close_matches(text.strip(), lookup, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(lookup[n]) for n in near)}?" if near else ""
    return InputError(f"Unknown group {whole!r}.{hint} Known, for example: {', '.join(_EXAMPLES)}.")
