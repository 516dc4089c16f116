"""Averaging over a finite group is one batched forward of the model: against |G| single forwards, and
against one plain forward on |G| B inputs, which is the least it can cost."""

from __future__ import annotations

import sys

import torch
from torch import nn

import equilearn as eq
from _bench import compare, one_thread, show

BATCH = 16


def small_network(channels: int = 1, width: int = 16) -> nn.Module:
    """A small classifier of 28 x 28 images."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 10),
    ).eval()


def calls_of_the_model(symmetry: eq.Symmetry, x: torch.Tensor) -> list[int]:
    """On how many inputs the model was called, call by call."""
    sizes: list[int] = []
    net = small_network()

    def counted(z: torch.Tensor) -> torch.Tensor:
        sizes.append(len(z))
        return net(z)

    eq.symmetrize(counted, symmetry, "average")(x)
    return sizes


@torch.no_grad()
def main() -> bool:
    one_thread()
    torch.manual_seed(0)
    kept = True
    x = torch.rand(BATCH, 1, 28, 28)
    for group in (eq.Cyclic(4), eq.Dihedral(4)):
        order = int(group.order or 0)
        symmetry = eq.Symmetry(group, eq.actions.images())
        net = small_network()
        model = eq.symmetrize(net, symmetry, "average")
        elements = group.elements()
        once = x.repeat(order, 1, 1, 1)
        single = [symmetry.act_input(group.take(elements, i), x) for i in range(order)]
        sizes = calls_of_the_model(symmetry, x)
        print(f"\n{group}: the model is called {len(sizes)} time(s), on {sizes} inputs")
        kept &= sizes == [order * BATCH]
        timings = compare(
            {
                f"one plain forward on {order} x {BATCH}": lambda net=net, once=once: net(once),
                "average (one call, with its copies)": lambda model=model: model(x),
                f"{order} plain forwards on {BATCH}": lambda net=net, single=single: [net(z) for z in single],
                f"{order * BATCH} plain forwards on 1": lambda net=net, once=once: [net(z[None]) for z in once],
            },
            rounds=21,
        )
        kept &= show(
            f"{group} average of a small CNN, {BATCH} images of 28 x 28",
            timings,
            bars={"average (one call, with its copies)": 1.15},
        )
    return kept


if __name__ == "__main__":
    sys.exit(not main())
