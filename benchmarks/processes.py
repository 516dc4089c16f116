"""Neural processes: a training step, a large field, the memory of attention over differences, beside neuralprocesses.

The package neuralprocesses is compared where it can be imported (`pip install neuralprocesses`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from _bench import clock, compare, machine, one_thread, seconds, show
from equilearn.data.fields import FieldTask, PointSet, topography_tasks
from equilearn.processes import ConvCNP, negative_log_likelihood
from equilearn.processes._attention import Attention, Difference
from pair_linear import peak

SPACING, WIDTH = 1 / 8, 32
STEPS = 100
THOUSAND_BAR = 12.0
"""Seconds of a thousand training steps of 16 tasks, drawing them included."""
FIELD_BAR = 1.0
"""Seconds of one forward pass for a field of 128 x 128 from 1,000 points."""
PEER_BAR = 1.0
"""Largest multiple of the time of a training step of neuralprocesses, of equal width, depth and lattice."""
BATCH, QUERIES, TOKEN, HEADS, HIDDEN = 8, 256, 128, 8, 128
MEMORY_BAR = 0.5
"""Largest share of the memory of attention that keeps (batch, queries, keys, hidden) for the backward pass."""


class KeptAttention(nn.Module):
    """The twin: the same layer, with everything that its score network makes kept."""

    def __init__(self, layer: Attention):
        super().__init__()
        self.layer = layer

    def forward(self, to: Tensor, of: Tensor, mask: Tensor, difference: Difference) -> Tensor:
        layer = self.layer
        q, k, v = (
            part(x).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for part, x in ((layer.query, to), (layer.key, of), (layer.value, of))
        )
        plain = q @ k.mT / q.shape[-1] ** 0.5
        found = layer._bent(plain, difference.to, difference.of, False).softmax(-1) @ v
        return layer.out(found.transpose(1, 2).flatten(-2))


def attention_memory(kept: bool) -> None:
    """Print the megabytes that a forward and backward pass needs beyond what stood before."""
    one_thread()
    torch.manual_seed(0)
    layer = Attention(TOKEN, HEADS, 2, HIDDEN)
    run = KeptAttention(layer) if kept else layer
    tokens = torch.randn(BATCH, QUERIES, TOKEN)
    x = torch.randn(BATCH, QUERIES, 2)
    mask = torch.ones(BATCH, QUERIES, dtype=torch.bool)
    before = peak()
    run(tokens, tokens, mask, Difference(x, x)).square().mean().backward()
    print(json.dumps(peak() - before))


def memory(kept: bool) -> float:
    code = f"import processes as p; p.attention_memory({kept})"
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
    return float(json.loads(done.stdout.splitlines()[-1]))


def training() -> bool:
    """A thousand steps, from a hundred."""
    family, generator = topography_tasks(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = ConvCNP(1, spacing=SPACING, width=WIDTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)  # as fit_process has it

    def step() -> None:
        loss = negative_log_likelihood(model, family.tasks(16, generator))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(5):
        step()
    spent = 1000 / STEPS * min(clock(lambda: [step() for _ in range(STEPS)]) for _ in range(3))
    kept = spent <= THOUSAND_BAR
    print(f"  1,000 steps of 16 tasks: {spent:.1f} s   bar {THOUSAND_BAR:g} s: {'kept' if kept else 'MISSED'}")
    return kept


def large_field() -> bool:
    """128 x 128 targets from 1,000 points by a U-Net."""
    torch.manual_seed(0)
    model = ConvCNP(2, spacing=1.0, net="unet", width=16, depth=3).eval()
    axis = torch.arange(128.0)
    grid = torch.cartesian_prod(axis, axis)[None]
    seen = 127 * torch.rand(1, 1000, 2)
    task = FieldTask(PointSet(seen, torch.randn(1, 1000, 1)), PointSet(grid, torch.zeros(1, len(grid[0]), 1)))
    with torch.no_grad():
        model(task)
        spent = min(clock(lambda: model(task)) for _ in range(5))
    kept = spent <= FIELD_BAR
    print(f"  one forward pass: {seconds(spent)}   bar {FIELD_BAR:g} s: {'kept' if kept else 'MISSED'}")
    return kept


def peer() -> bool:
    """A training step beside that of neuralprocesses: the same tasks, receptive field, width and lattice."""
    try:
        import neuralprocesses.torch as nps
    except ImportError:
        print("  neuralprocesses is not installed: not compared")
        return True
    task = topography_tasks().tasks(16, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    ours = ConvCNP(1, spacing=SPACING, width=WIDTH)
    theirs = nps.construct_convgnp(
        dim_x=1,
        dim_y=1,
        likelihood="het",
        points_per_unit=1 / SPACING,
        conv_arch="conv",
        conv_channels=WIDTH,
        conv_layers=5,
        conv_receptive_field=41 * SPACING,
        dtype=torch.float32,
    )
    xc, yc, xt, yt = (part.mT for part in (task.context.x, task.context.y, task.target.x, task.target.y))

    def our_step() -> None:
        negative_log_likelihood(ours, task).backward()

    def their_step() -> None:
        (-nps.loglik(theirs, xc, yc, xt, yt, normalise=True).mean()).backward()

    their_step()
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    print(f"  parameters: ours {sizes[0]:,}, neuralprocesses {sizes[1]:,}")
    timings = compare({"neuralprocesses": their_step, "ConvCNP": our_step}, rounds=15)
    return show("Forward and backward pass of 16 tasks", timings, bars={"ConvCNP": PEER_BAR})


def main() -> bool:
    one_thread()
    print(machine())
    print("\nTraining a ConvCNP")
    kept = training()
    print("\nA field of 128 x 128 from 1,000 points, U-Net")
    kept &= large_field()
    print(f"\nAttention over differences, {BATCH} x {QUERIES} x {QUERIES}, width {TOKEN}, {HEADS} heads: peak memory")
    ours, twin = memory(False), memory(True)
    share = ours / twin
    print(
        f"  ours {ours:.0f} MB, with everything kept {twin:.0f} MB: {share:.2f}   bar {MEMORY_BAR:g}: "
        f"{'kept' if share <= MEMORY_BAR else 'MISSED'}"
    )
    kept &= share <= MEMORY_BAR
    print("\nBeside neuralprocesses")
    return peer() and kept


if __name__ == "__main__":
    sys.exit(not main())
