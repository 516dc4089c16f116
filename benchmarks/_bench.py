"""A small harness: one thread, sides interleaved, medians, ratios.

    from _bench import compare, show

    result = compare({"Conv2d": plain, "GroupConv2d": ours}, baseline="Conv2d")
    show("C8 group convolution, forward", result, bars={"GroupConv2d": 1.10})

Absolute times depend on the machine and its neighbours; a ratio of sides that take turns does much less.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one side: the median, the quartiles, and its ratio to the baseline."""

    name: str
    median: float
    quartiles: tuple[float, float]
    ratio: float
    rounds: int


def one_thread() -> None:
    """Make timings comparable: one thread for everything that torch does."""
    torch.set_num_threads(1)


def synchronize() -> None:
    """Wait for a GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock(fn: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    synchronize()
    start = time.perf_counter()
    fn()
    synchronize()
    return time.perf_counter() - start


def compare(
    sides: Mapping[str, Callable[[], object]], *, baseline: str | None = None, rounds: int = 31, warmup: int = 3
) -> list[Timing]:
    """Time every side once a round, in turns (the order reverses each round), `rounds` times.

    The ratio is the median over rounds of `side / baseline` within a round, so that a slow spell of
    the machine hits both. The default baseline is the first side.
    """
    one_thread()
    names = list(sides)
    base = names[0] if baseline is None else baseline
    for fn in sides.values():
        for _ in range(warmup):
            fn()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds[name].append(clock(sides[name]))
    timings = []
    for name in names:
        ordered = sorted(seconds[name])
        ratios = [mine / other for mine, other in zip(seconds[name], seconds[base], strict=True)]
        quartiles = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
        timings.append(Timing(name, statistics.median(ordered), quartiles, statistics.median(ratios), rounds))
    return timings


def measure(fn: Callable[[], object], *, rounds: int = 7, warmup: int = 1, name: str = "") -> Timing:
    """The median time of one side alone."""
    return compare({name: fn}, rounds=rounds, warmup=warmup)[0]


def seconds(value: float) -> str:
    """A duration that reads well."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def show(title: str, timings: list[Timing], *, bars: Mapping[str, float] | None = None) -> bool:
    """Print a table; True where every ratio keeps its bar."""
    print(f"\n{title} ({timings[0].rounds} rounds)")
    kept = True
    for t in timings:
        bar = (bars or {}).get(t.name)
        note = "" if bar is None else f"   bar {bar:.2f}: {'kept' if t.ratio <= bar else 'MISSED'}"
        kept &= bar is None or t.ratio <= bar
        low, high = (seconds(q) for q in t.quartiles)
        print(f"  {t.name:<34} {seconds(t.median):>9}  [{low}, {high}]   x {t.ratio:.3f}{note}")
    return kept


def show_seconds(title: str, value: float, *, bar: float) -> bool:
    """Print one duration against its bar in seconds; True where it is kept."""
    kept = value <= bar
    print(f"\n{title}: {seconds(value)}   bar {seconds(bar)}: {'kept' if kept else 'MISSED'}")
    return kept


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
    )
