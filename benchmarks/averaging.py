"""Averaging over a finite group is one batched forward of the model.

Checked: the model is called once, on |G| B inputs. Timed against the same average written by hand for this
group (`torch.rot90`, `flip`, `cat`, one forward, `mean`), which is the least it can cost; and, for scale, beside
the forward alone and |G| separate forwards."""

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


def by_hand(net: nn.Module, x: torch.Tensor, order: int) -> torch.Tensor:
    """The average over four turns, or over four turns and their mirror images."""
    copies = [torch.rot90(x, i, (2, 3)) for i in range(4)]
    if order == 8:
        copies += [z.flip(2) for z in copies]
    return net(torch.cat(copies)).reshape(order, len(x), -1).mean(0)


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
                "the same average by hand": lambda net=net, order=order: by_hand(net, x, order),
                f"one plain forward on {order} x {BATCH}": lambda net=net, once=once: net(once),
                "symmetrize(..., 'average')": lambda model=model: model(x),
                f"{order} plain forwards on {BATCH}": lambda net=net, single=single: [net(z) for z in single],
                f"{order * BATCH} plain forwards on 1": lambda net=net, once=once: [net(z[None]) for z in once],
            },
            rounds=21,
        )
        gap = (model(x) - by_hand(net, x, order)).abs().max()
        kept &= bool(gap < 1e-5)
        kept &= show(
            f"{group} average of a small CNN, {BATCH} images of 28 x 28",
            timings,
            bars={"symmetrize(..., 'average')": 1.15},
        )
    return kept


if __name__ == "__main__":
    sys.exit(not main())
