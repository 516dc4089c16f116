"""The relaxation behind sorting, at the size of the largest molecules: n = 444.

Beside `soft_permutation` stands the published relaxation, written again from its description: SoftSort and 20 Sinkhorn
rounds in the logarithmic domain, left to automatic differentiation. Measured: time of forward and backward; memory
kept for backward; on a GPU, where there is one, the peak as well. Values and gradients are compared first."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from _bench import compare, one_thread, show
from equilearn.symmetrization import soft_permutation

NODES, SAMPLES, TEMPERATURE, ROUNDS = 444, 4, 0.1, 20
MEMORY_BAR, SPEED_BAR = 4.0, 3.0


def published(scores: Tensor) -> Tensor:
    """SoftSort, then rows and columns normalised in turn, all in logarithms."""
    ordered = scores.sort(dim=-1, descending=True).values
    logs = -(scores.unsqueeze(-1) - ordered.unsqueeze(-2)).abs() / TEMPERATURE
    for _ in range(ROUNDS):
        logs = logs - torch.logsumexp(logs, dim=-1, keepdim=True)
        logs = logs - torch.logsumexp(logs, dim=-2, keepdim=True)
    return logs.exp()


def lean(scores: Tensor) -> Tensor:
    return soft_permutation(scores, temperature=TEMPERATURE, rounds=ROUNDS)


def unit_scores(n: int, samples: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    scores = torch.randn(samples, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (scores / scores.norm(dim=-1, keepdim=True)).to(device=device, dtype=dtype).requires_grad_()


def both_ways(fn: Callable[[Tensor], Tensor], scores: Tensor, target: Tensor) -> Tensor:
    """Gradient of a loss that weighs every entry."""
    (gradient,) = torch.autograd.grad((fn(scores) * target).sum(), scores)
    return gradient


def kept(fn: Callable[[Tensor], Tensor], scores: Tensor) -> int:
    """Bytes that the forward pass keeps for the backward pass, every storage once."""
    storages: dict[int, int] = {}

    def note(t: Tensor) -> Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = fn(scores)  # alive while counted, so that no storage is used twice
    del out
    return sum(storages.values())


def peak(fn: Callable[[Tensor], Tensor], scores: Tensor, target: Tensor) -> int:
    """Peak bytes on the GPU of forward and backward, above what was there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    both_ways(fn, scores, target)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def gap(dtype: torch.dtype) -> tuple[float, float]:
    """Largest difference of values and relative difference of gradients."""
    scores = unit_scores(NODES, 2, dtype)
    target = torch.rand(NODES, NODES, generator=torch.Generator().manual_seed(1), dtype=dtype)
    with torch.no_grad():
        values = float((lean(scores) - published(scores)).abs().max())
    ours, theirs = both_ways(lean, scores, target), both_ways(published, scores, target)
    return values, float((ours - theirs).norm() / theirs.norm())


def on(device: str, samples: int, rounds: int) -> bool:
    scores = unit_scores(NODES, samples, device=device)
    target = torch.rand(samples, NODES, NODES, generator=torch.Generator().manual_seed(1)).to(device)
    sides = {
        "published relaxation": lambda: both_ways(published, scores, target),
        "soft_permutation": lambda: both_ways(lean, scores, target),
    }
    return show(
        f"Forward and backward, {samples} samples of {NODES} scores, {device}",
        compare(sides, rounds=rounds, warmup=1),
        bars={"soft_permutation": 1 / SPEED_BAR},
    )


def main() -> bool:
    one_thread()
    values, gradients = gap(torch.float64)
    print(f"\ndifference in float64: values {values:.1e}, gradients {gradients:.1e} (relative)")
    kept_ok = values < 1e-10 and gradients < 1e-10
    theirs, ours = (kept(fn, unit_scores(NODES, SAMPLES)) / SAMPLES for fn in (published, lean))
    print(f"\nkept for backward, per sample: published {theirs / 1e6:.1f} MB, soft_permutation {ours / 1e6:.3f} MB")
    print(f"  ratio {theirs / ours:.0f}   bar {MEMORY_BAR:g}: {'kept' if theirs >= MEMORY_BAR * ours else 'MISSED'}")
    kept_ok &= theirs >= MEMORY_BAR * ours
    kept_ok &= on("cpu", SAMPLES, 7)
    if torch.cuda.is_available():
        samples = 128
        scores = unit_scores(NODES, samples, device="cuda")
        target = torch.ones(samples, NODES, NODES, device="cuda").cumsum(-1)
        first, second = (peak(fn, scores, target) / samples for fn in (published, lean))
        print(f"\npeak on the GPU, per sample: published {first / 1e6:.1f} MB, soft_permutation {second / 1e6:.1f} MB")
        print(
            f"  ratio {first / second:.1f}   bar {MEMORY_BAR:g}: {'kept' if first >= MEMORY_BAR * second else 'MISSED'}"
        )
        kept_ok &= first >= MEMORY_BAR * second
        kept_ok &= on("cuda", samples, 15)
    return bool(kept_ok)


if __name__ == "__main__":
    sys.exit(not main())
