"""What do neural kernels cost beside a plain loop over row blocks, beside Jacobians, beside neural-tangents?

neural-tangents is compared where it can be imported, on one thread as well: it needs jax 0.4.38 and tf2jax 0.3.6.
"""

from __future__ import annotations

import importlib
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

# before jax starts: one thread, as torch
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch
from torch import Tensor, nn

from _bench import compare, machine, one_thread, seconds, show
from equilearn import Symmetry, actions
from equilearn.groups import Cyclic
from equilearn.kernels import predict_symmetry_learning
from equilearn.kernels.neural import Architecture, Dense, Flatten, empirical_ntk, shift_kappa

HIDDEN, W_STD, B_STD = 3, math.sqrt(2), 0.1
BLOCK = 1 << 17


def plain_ntk(x: Tensor) -> Tensor:
    """The tangent kernel of a ReLU network as one writes it down for this case: row blocks, in place, upper half."""
    n, width = x.shape
    q = x.square().sum(1) / width * W_STD**2 + B_STD**2
    radii = [q.sqrt()]
    for _ in range(HIDDEN - 1):
        q = W_STD**2 * q / 2 + B_STD**2
        radii.append(q.sqrt())
    out, step = x.new_empty(n, n), max(1, BLOCK // n)
    memory = x.new_empty(3, step * n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        shape = (stop - start, n - start)
        k, angle, sine = (buffer[: shape[0] * shape[1]].view(shape) for buffer in memory)
        theta = out[start:stop, start:]
        torch.mm(x[start:stop], x[start:].mT, out=k).mul_(W_STD**2 / width).add_(B_STD**2)
        theta.copy_(k)
        for r in radii:
            left, right = r[start:stop, None], r[start:]
            k.div_(left).div_(right).clamp_(-1, 1)
            torch.acos(k, out=angle).neg_().add_(math.pi)
            torch.mul(k, k, out=sine).neg_().add_(1).sqrt_()
            k.mul_(angle).add_(sine).mul_(left).mul_(right).mul_(W_STD**2 / (2 * math.pi)).add_(B_STD**2)
            theta.mul_(angle).mul_(W_STD**2 / (2 * math.pi)).add_(k)
        out[stop:, start:stop] = out[start:stop, stop:].mT
        square = out[start:stop, start:stop]
        square.copy_(square.triu() + square.triu(1).mT)
    return out


def neural_tangents() -> tuple[Any, Any] | None:
    """The modules `jax` and `neural_tangents.stax`, or a line that says why not."""
    try:
        return importlib.import_module("jax"), importlib.import_module("neural_tangents.stax")
    except Exception as error:  # a wrong jax fails in many ways
        print(f"\nneural-tangents is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        return None


def peer(layers: Callable[[Any], list[Any]], x: Tensor, z: Tensor | None) -> Callable[[], object] | None:
    """neural-tangents' compiled tangent kernel of the same inputs, channels last."""
    found = neural_tangents()
    if found is None:
        return None
    jax, stax = found
    kernel = jax.jit(stax.serial(*layers(stax))[2], static_argnames="get")
    a, b = (None if t is None else jax.numpy.asarray((t.movedim(1, -1)).numpy()) for t in (x, z))
    return lambda: kernel(a, b, get="ntk").block_until_ready()


def agree(ours: Tensor, theirs: object, what: str) -> bool:
    theirs = torch.as_tensor(np.asarray(theirs).copy()).to(ours)
    error = float((ours - theirs).norm() / theirs.norm())
    print(f"\n{what}: they differ by {error:.0e}")
    return error < 1e-3


def dense() -> bool:
    x = torch.randn(2000, 784, generator=torch.Generator().manual_seed(0))
    net = Architecture.mlp(HIDDEN, W_std=W_STD, b_std=B_STD)
    sides: dict[str, Callable[[], object]] = {
        "row blocks by hand": lambda: plain_ntk(x),
        "Architecture.ntk": lambda: net.ntk(x),
    }
    kept = agree(net.ntk(x), plain_ntk(x), "dense tangent kernel, by hand")
    title = "tangent Gram matrix, 3 hidden layers, n = 2,000, d = 784, float32"
    kept &= show(title, compare(sides, rounds=15), bars={"Architecture.ntk": 1.1})

    def layers(stax: Any) -> list[Any]:
        hidden = [part for _ in range(HIDDEN) for part in (stax.Dense(1, W_STD, B_STD), stax.Relu())]
        return [*hidden, stax.Dense(1, W_STD, B_STD)]

    theirs = peer(layers, x, None)
    if theirs is None:
        return kept
    kept &= agree(net.ntk(x), theirs(), "dense tangent kernel, neural-tangents")
    sides = {"neural-tangents": theirs, "Architecture.ntk": lambda: net.ntk(x)}
    return show(title, compare(sides, rounds=15), bars={"Architecture.ntk": 1 / 3}) and kept


def pooled() -> bool:
    x, z = torch.randn(2, 4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    net = Architecture.cnn(1, pool=True)
    sides = {"pairs": lambda: net.ntk(x, z), "symmetric": lambda: net.ntk(x)}
    timings = compare(sides, rounds=5, warmup=1)
    show("pooled tangent kernel, one 3 x 3 convolution, 4 x 4 images of 28 x 28, float32", timings)
    print(f"  an entry: {seconds(timings[0].median / 16)}; half of them mirrored: {seconds(timings[1].median / 16)}")

    def layers(stax: Any) -> list[Any]:
        conv = stax.Conv(1, (3, 3), padding="CIRCULAR", W_std=W_STD, b_std=B_STD)
        return [conv, stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1, 1.0, 0.0)]

    theirs = peer(layers, x, z)
    if theirs is None:
        return True
    kept = agree(net.ntk(x, z), theirs(), "pooled tangent kernel, neural-tangents")
    sides = {"neural-tangents": theirs, "Architecture.ntk": lambda: net.ntk(x, z)}
    title = "the same beside neural-tangents"
    return show(title, compare(sides, rounds=5, warmup=1), bars={"Architecture.ntk": 0.1}) and kept


def empirical() -> bool:
    net = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 1))
    x = torch.randn(300, 784, generator=torch.Generator().manual_seed(0))
    sides = {name: (lambda name=name: empirical_ntk(net, x, method=name)) for name in ("jacobian", "structured")}
    kept = agree(empirical_ntk(net, x), empirical_ntk(net, x, method="jacobian"), "empirical tangent kernel, two forms")
    title = "empirical tangent kernel, 784-512-1, n = 300, float32"
    return show(title, compare(sides, rounds=5, warmup=1), bars={"structured": 1 / 50}) and kept


def shifted() -> bool:
    """Full orbits of shifts: the Gram matrix without its repetitions."""
    x = torch.randn(40, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    orbits = torch.stack([x.roll(d, -1) for d in range(16)], 1).flatten(0, 1)
    kept = True
    for net in (Architecture.cnn(1), Architecture([Flatten(), Dense(), *Architecture.mlp(1).layers])):
        sides = {
            "whole Gram matrix": lambda net=net: net.ntk(orbits),
            "shift_kappa": lambda net=net: shift_kappa(x, net),
        }
        title = f"{net}: 40 images of 16 x 16 and their 16 shifts, float64"
        bars = {"shift_kappa": 0.25} if net.pixel_layers else None  # without convolutions, products dominate both
        kept &= show(title, compare(sides, rounds=5, warmup=1), bars=bars)
    return kept


def predicted() -> bool:
    """1,000 images of 32 x 32, ten classes, under all their 32 shifts: a dense matrix of them takes 8 GB."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1000) % 10
    x = torch.randn(10, 1, 32, 32, generator=generator)[labels] + torch.randn(1000, 1, 32, 32, generator=generator)
    shifts = Symmetry(Cyclic(32), input=actions.shifts())
    start = time.process_time()
    predict_symmetry_learning(x, labels, shifts, Architecture.mlp(2))
    used = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # of the process so far, kB on Linux
    print(f"\nprediction for 1,000 seeds under C32: {used:.1f} s of processor time (bar: 10), {peak:.1f} GB (bar: 2)")
    return used < 10 and peak < 2


def main() -> bool:
    one_thread()
    print(machine())
    return all([predicted(), dense(), pooled(), empirical(), shifted()])


if __name__ == "__main__":
    sys.exit(not main())
