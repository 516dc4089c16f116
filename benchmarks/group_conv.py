"""Group convolution against the plain convolution of equal width.

C8, 8 -> 8 regular fields (64 channels), 64 images of 32 x 32: forward in training and in
evaluation, forward and backward, and the time to build a layer of 64 fields. Printed beside it:
how far a quarter turn and an eighth of a turn are from exact."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import nn

import equilearn as eq
from _bench import compare, measure, one_thread, show, show_seconds

FIELDS = 8
GROUP = eq.Cyclic(8)


def evaluated(layer: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Forward, without gradients."""

    def call() -> torch.Tensor:
        with torch.no_grad():
            return layer(x)

    return call


def speed(kernel: int, x: torch.Tensor) -> bool:
    """The three comparisons; bars for the kernel of 3 only."""
    channels = FIELDS * 8
    plain = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
    ours = eq.nn.GroupConv2d(GROUP, FIELDS, FIELDS, kernel)
    ours_eval = eq.nn.GroupConv2d(GROUP, FIELDS, FIELDS, kernel).eval()
    settings = {
        "forward, training": (lambda: plain(x).detach(), lambda: ours(x).detach(), 1.10),
        "forward, evaluation": (evaluated(plain, x), evaluated(ours_eval, x), 1.03),
        "forward and backward": (lambda: plain(x).sum().backward(), lambda: ours(x).sum().backward(), None),
    }
    kept = True
    for name, (theirs, mine, bar) in settings.items():
        bars = {} if bar is None or kernel != 3 else {"GroupConv2d": bar}
        kept &= show(f"{name}, kernel {kernel}", compare({"Conv2d": theirs, "GroupConv2d": mine}), bars=bars)
    return kept


def errors() -> bool:
    """The equivariance error on images blurred with a standard deviation of 2 pixels, centre crop."""
    taps = torch.exp(-0.5 * (torch.arange(-8.0, 9.0) / 2) ** 2)
    kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(FIELDS * 8, 1, -1, -1)
    noise = torch.randn(4, FIELDS * 8, 57, 57, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.conv2d(noise, kernel, groups=FIELDS * 8)
    layer = eq.nn.GroupConv2d(GROUP, FIELDS, FIELDS, 3, generator=torch.Generator().manual_seed(0)).eval()
    kept = True
    for dtype, bar in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        quarter = relative_error(layer.to(dtype), smooth.to(dtype), 2)
        kept &= quarter < bar
        eighth = relative_error(layer.to(dtype), smooth.to(dtype), 1)
        print(f"\n{dtype}: relative error at 90 degrees {quarter:.1e} (bar {bar:.0e}), at 45 degrees {eighth:.3f}")
    return kept


@torch.no_grad()
def relative_error(layer: nn.Module, x: torch.Tensor, g: int) -> float:
    """`|f(g x) - g f(x)| / |g f(x)|` away from the border, transforms in float64, bicubic."""
    move = eq.nn.feature_maps(FIELDS * eq.reps.regular(GROUP), "bicubic")
    element = torch.tensor(g)
    moved = layer(move(element, x.double()).to(x.dtype)).double()[..., 12:-12, 12:-12]
    expected = move(element, layer(x).double())[..., 12:-12, 12:-12]
    return float((moved - expected).norm() / expected.norm())


def main() -> bool:
    one_thread()
    x = torch.randn(64, FIELDS * 8, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = speed(3, x)
    kept &= speed(5, x)
    built = measure(lambda: eq.nn.GroupConv2d(GROUP, 64, 64, 3)).median
    kept &= show_seconds("building a layer of 64 -> 64 fields", built, bar=0.5)
    return errors() and kept


if __name__ == "__main__":
    sys.exit(not main())
