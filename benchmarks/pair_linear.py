"""All 15 linear maps between node pairs: sums and gathers, beside the dense matrices of the intertwiner basis."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from _bench import compare, machine, one_thread, seconds, show
from equilearn import reps
from equilearn.groups import Symmetric
from equilearn.nn import PairLinear

BATCH, CHANNELS = 8, 8
SIZES = (6, 10, 16)
MEMORY_SIZE = 24
TIME_BARS = {6: 2.0, 10: 0.2, 16: 0.1}
"""Largest share of the dense layer's time that a forward and backward pass may take, by the number of nodes; with
six the matrix is small and a dozen little calls cost as much."""
MEMORY_BAR = 0.05


class DensePairLinear(nn.Module):
    """The twin: `sum_k W_k (x) M_k` as one matrix on all entries; the M_k are the intertwiners, n^4 numbers each."""

    def __init__(self, n: int, channels: int):
        super().__init__()
        P = reps.permutation(Symmetric(n))
        self.register_buffer("basis", reps.intertwiners(P * P, P * P).to(torch.get_default_dtype()))
        self.weight = nn.Parameter(torch.randn(len(self.basis), channels, channels) / (15 * channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _, c = x.shape
        matrix = torch.einsum("kpq,kcd->qcpd", self.basis, self.weight)
        y = x.reshape(b, n * n * c) @ matrix.reshape(n * n * c, -1)
        return y.reshape(b, n, n, -1)


def step(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """One forward and backward pass."""

    def timed() -> None:
        layer.zero_grad(set_to_none=True)
        layer(x).square().sum().backward()

    return timed


def peak_memory(side: str, n: int) -> float:
    """MB that a forward and backward pass adds to a fresh process's peak, the basis of the dense side included."""
    code = f"import pair_linear as p; p.report_memory({side!r}, {n})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sys.path[0])
    return float(done.stdout)


def report_memory(side: str, n: int) -> None:
    """In the child process: build the layer, run it, print what that added to the peak."""
    one_thread()
    x = torch.randn(BATCH, n, n, CHANNELS)
    PairLinear(2, 2)(torch.randn(1, 3, 3, 2)).sum().backward()
    gc.collect()
    before = peak()
    if side == "dense":
        # The basis of a group this large is made of the layer itself: solving for it would need far more memory.
        layer = _from_layer(n)
    else:
        layer = PairLinear(CHANNELS, CHANNELS)
    step(layer, x)()
    print(peak() - before)


def peak() -> float:
    """MB at this process's peak so far (Linux; `getrusage` would count the parent's too)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def _from_layer(n: int) -> DensePairLinear:
    dense = DensePairLinear.__new__(DensePairLinear)
    nn.Module.__init__(dense)
    one = PairLinear(1, 1, bias=False)
    basis = torch.empty(15, n * n, n * n)
    with torch.no_grad():
        for k in range(15):
            one.weight.zero_()
            one.weight[k] = 1
            basis[k] = one(torch.eye(n * n).reshape(-1, n, n, 1)).reshape(n * n, n * n).mT
    dense.register_buffer("basis", basis)
    dense.weight = nn.Parameter(torch.randn(15, CHANNELS, CHANNELS))
    return dense


def main() -> bool:
    one_thread()
    print(machine())
    kept = True
    for n in SIZES:
        x = torch.randn(BATCH, n, n, CHANNELS)
        sides = {
            "dense intertwiners": step(DensePairLinear(n, CHANNELS), x),
            "PairLinear": step(PairLinear(CHANNELS, CHANNELS), x),
        }
        timings = compare(sides, rounds=5, warmup=1)
        kept &= show(f"n = {n}, forward and backward", timings, bars={"PairLinear": TIME_BARS[n]})
    for n in (64, 188):
        x = torch.randn(BATCH, n, n, CHANNELS)
        alone = compare({"PairLinear": step(PairLinear(CHANNELS, CHANNELS), x)}, rounds=3, warmup=1)[0]
        size = 4 * 15 * n**4 / 2**30
        print(f"\nn = {n}: PairLinear {seconds(alone.median)}; the dense basis alone would take {size:,.0f} GB")
    dense, ours = peak_memory("dense", MEMORY_SIZE), peak_memory("ours", MEMORY_SIZE)
    ratio = ours / dense
    verdict = "kept" if ratio <= MEMORY_BAR else "MISSED"
    print(f"\nn = {MEMORY_SIZE}, peak memory: dense {dense:.0f} MB, PairLinear {ours:.1f} MB   x {ratio:.3f}")
    print(f"  bar {MEMORY_BAR:.2f}: {verdict}")
    return kept and ratio <= MEMORY_BAR


if __name__ == "__main__":
    sys.exit(not main())
