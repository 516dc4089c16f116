"""How values are written: numbers with sensible digits, text that cannot break a page.

Everything here accepts whatever a summary may hold (None, NaN, a string where a number is
expected) and answers with something fit to be shown; a report must never fail on a bad row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MISSING = "–"
_CONTROL = {code: None for code in range(32) if code not in (9, 10, 13)} | {127: None}


def text(value: object, default: str = "") -> str:
    r"""`value` as clean text: no control characters, no lone surrogates.

    >>> text(None, "unknown"), text("a\x00b"), text(3)
    ('unknown', 'ab', '3')
    """
    if value is None:
        return default
    clean = str(value).translate(_CONTROL).encode("utf-8", "replace").decode("utf-8")
    return clean if clean.strip() else default


def shorten(value: str, length: int = 40) -> str:
    """`value` on one line, at most `length` characters."""
    line = " ".join(value.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def number(value: object) -> float | None:
    """`value` as a finite float, or None where it is no such thing.

    >>> number(2), number(float("nan")), number("many"), number(True)
    (2.0, None, None, None)
    """
    if value is None or isinstance(value, bool | str):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def records(value: object) -> list[Mapping[str, Any]]:
    """The mappings in `value` where it is a list of them; nothing else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def record(value: object) -> Mapping[str, Any]:
    """`value` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def strings(value: object) -> list[str]:
    """The non-empty texts of a list; a lone string is a list of one."""
    if isinstance(value, str):
        value = [value]
    return [shown for item in value if (shown := text(item))] if isinstance(value, list | tuple) else []


def significant(value: object, digits: int = 3) -> str:
    """`value` with `digits` significant digits.

    >>> significant(0.95312), significant(2.13e-7, 2), significant(1234567), significant(-0.5, 2), significant(None)
    ('0.953', '2.1e-7', '1,234,567', '−0.50', '–')
    """
    x = number(value)
    if x is None:
        return MISSING
    if x == 0:
        return "0"
    if abs(x) < 1e-3 or abs(x) >= 1e9:
        return scientific(x, digits)
    # Round first: 0.9996 to three digits is 1.00, not 1.000.
    x = float(f"{x:.{digits - 1}e}") if abs(x) < 10**digits else x
    return fixed(x, max(0, digits - 1 - math.floor(math.log10(abs(x)))))


def scientific(x: float, digits: int) -> str:
    """`x` as mantissa and exponent without padding: `2.1e-7`."""
    mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−", 1) if x < 0 else f"{mantissa}e{int(exponent)}"


def fixed(x: float, decimals: int) -> str:
    """`x` with `decimals` places, thousands separated, a true minus sign and no negative zero."""
    shown = f"{x:,.{decimals}f}"
    if shown.startswith("-"):
        shown = "−" + shown[1:] if any(c in "123456789" for c in shown) else shown[1:]
    return shown


def with_interval(mean: object, low: object, high: object) -> tuple[str, str]:
    """A mean and its interval, to the same place: three for scores, significant digits for the rest.

    >>> with_interval(0.95312, 0.94, 0.9662), with_interval(2.0e-7, 1.8e-7, 2.21e-7), with_interval(0.5, None, None)
    (('0.953', '[0.940, 0.966]'), ('2.0e-7', '[1.8e-7, 2.2e-7]'), ('0.500', ''))
    """
    m, lo, hi = number(mean), number(low), number(high)
    if m is None:
        return MISSING, ""
    largest = max(abs(v) for v in (m, lo, hi) if v is not None)
    if largest == 0:
        return "0", "" if lo is None or hi is None else "[0, 0]"
    if largest < 1e-3 or largest >= 1e6:
        show = lambda v: "0" if v == 0 else scientific(v, 2)  # noqa: E731
    else:
        # One number of places for all of ordinary size: a column of scores should line up.
        digits = 2 if largest > 1 else 1
        decimals = 3 if 0.01 <= largest <= 1 else max(0, digits - math.floor(math.log10(largest)))
        show = lambda v: fixed(v, decimals)  # noqa: E731
    return show(m), "" if lo is None or hi is None else f"[{show(lo)}, {show(hi)}]"


def count(value: object) -> str:
    """A whole number with its thousands separated."""
    x = number(value)
    return MISSING if x is None else f"{round(x):,}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """`n` with its noun.

    >>> plural(1, "seed"), plural(3, "seed"), plural(2, "class", "classes")
    ('1 seed', '3 seeds', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def seconds(value: object) -> str:
    """A duration for reading.

    >>> seconds(0.0421), seconds(12.3456), seconds(134), seconds(7300)
    ('42 ms', '12.3 s', '2 min 14 s', '2 h 2 min')
    """
    x = number(value)
    if x is None:
        return MISSING
    if x < 1:
        return f"{significant(1000 * x, 2)} ms"
    if x < 100:
        return f"{significant(x, 3)} s"
    if x < 3600:
        return "{} min {} s".format(*divmod(round(x), 60))
    return "{} h {} min".format(*divmod(round(x / 60), 60))


def p_value(value: object) -> str:
    """A p-value as a statement: `p = 0.03`, `p < 0.001`."""
    x = number(value)
    if x is None:
        return "p not measured"
    return "p < 0.001" if x < 0.001 else f"p = {significant(x, 2)}"


def listing(items: list[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""


def sentence(value: str) -> str:
    """`value` with a full stop where it lacks an end."""
    stripped = value.rstrip()
    return stripped if not stripped or stripped[-1] in ".!?:…" else stripped + "."
