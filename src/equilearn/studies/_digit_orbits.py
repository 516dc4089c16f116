"""What the studies of neural kernels share: real digits, their orbits, and the networks that are trained on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from equilearn._check import InputError, one_of, positive_int, require
from equilearn.data import load
from equilearn.nn import TokenTransformer
from equilearn.training import fit, predict

DIGITS = "digits"
"""The embedded digits of 8 x 8 pixels; any other `data` is a file or folder that `data.load` reads."""
NETWORKS = ("MLP", "CNN", "ViT")
PATCH = 4


def pictures(data: str, per_class: int = 1) -> tuple[Float[Tensor, "n 1 side side"], Int[Tensor, " n"]]:
    """All images of one channel, float64, and their classes.

    Raises:
        InputError: no such data, other than square images of one channel with two classes or more, or a class with
            fewer images than `per_class`.
    """
    task = load(data)
    x, y = torch.cat([task.x_train, task.x_test]), torch.cat([task.y_train, task.y_test])
    require(
        task.kind == "classification" and x.ndim == 4 and x.shape[1] == 1,
        f"data={data!r} must hold images of one channel with classes; its samples have shape {tuple(x.shape[1:])}.",
    )
    require(
        x.shape[-1] == x.shape[-2],
        f"data={data!r} must hold square images, which can be turned; its images are {x.shape[-2]} pixels high and "
        f"{x.shape[-1]} wide. Pad or crop them.",
    )
    require(len(y.unique()) > 1, f"data={data!r} holds one class only; two are needed to tell apart.")
    require(
        fewest(y) >= per_class,
        f"data={data!r} has a class of {fewest(y)} images; {per_class} of each are needed. Ask for fewer a class.",
    )
    return x.to(torch.float64), y


def fewest(labels: Int[Tensor, " n"]) -> int:
    """How many images the smallest class has."""
    return int(labels.unique(return_counts=True)[1].min())


def known_class(digit: int, labels: Int[Tensor, " n"], data: str) -> None:
    """Raise `InputError` where no image is of the class `digit`."""
    known = labels.unique().tolist()
    require(
        digit in known,
        f"digit must be a class of data={data!r}, got {digit}; choose from {', '.join(map(str, known))}.",
    )


def with_room(x: Float[Tensor, "n 1 H W"]) -> Float[Tensor, "n 1 h w"]:
    """Images that can be turned: the embedded digits, which fill their 8 x 8 pixels, doubled and with a margin."""
    if x.shape[-1] > 8:
        return x
    larger = nn.functional.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
    return nn.functional.pad(larger, (2, 2, 2, 2))


def chosen(labels: Int[Tensor, " n"], per_class: int, generator: torch.Generator, classes: Sequence[int]) -> Tensor:
    """Places of `per_class` images of each class, drawn without replacement.

    Raises:
        InputError: a class with fewer.
    """
    found = []
    for c in classes:
        members = torch.nonzero(labels == c).flatten()
        require(
            len(members) >= per_class,
            f"{per_class} images of each class are needed; class {c} has {len(members)}. Ask for fewer.",
        )
        found.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return torch.cat(found)


def turned(x: Float[Tensor, "n 1 H W"], order: int) -> Float[Tensor, "order n D"]:
    """Every image turned by multiples of `2 pi / order` (cubic splines), then without its mean and of norm 1.

    The preprocessing of arXiv 2412.11521.
    """
    from scipy.ndimage import rotate

    flat = x[:, 0].numpy()
    turns = [rotate(flat, 360 * k / order, axes=(2, 1), reshape=False, order=3) for k in range(order)]
    points = torch.as_tensor(turns[0]).new_empty(order, *x.shape[:1], flat[0].size)
    for k, turn in enumerate(turns):
        points[k] = torch.as_tensor(turn).flatten(1)
    points -= points.mean(-1, keepdim=True)
    return points / points.norm(dim=-1, keepdim=True)


def to_norm(x: Float[Tensor, "n *shape"], norm: float) -> Float[Tensor, "n *shape"]:
    """Each sample scaled to one norm."""
    lengths = x.flatten(1).norm(dim=1).clamp_min(1e-12)
    return x * (norm / lengths).reshape(-1, *[1] * (x.ndim - 1))


class Patches(nn.Module):
    """Images to square patches, `(B, C, H, W)` to `(B, tokens, C size^2)`."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T features"]:
        return nn.functional.unfold(x, self.size, stride=self.size).mT


def network(name: str, side: int, classes: int, seed: int) -> nn.Module:
    """A classifier of square images of one channel, its weights drawn from `seed`; torch's own source is left alone.

    The MLP and the CNN are those of arXiv 2412.11521 without dropout; the transformer has its patches and depth, and
    a quarter of its width.
    """
    one_of(name, NETWORKS, "network")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "MLP":
            layers = [nn.Linear(side**2, 512), nn.ReLU(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, classes)]
            return nn.Sequential(nn.Flatten(), *layers)
        if name == "ViT":
            if side % PATCH:
                raise InputError(f"Patches of {PATCH} pixels do not tile images of {side} x {side}.")
            tokens = (side // PATCH) ** 2
            body = TokenTransformer(PATCH**2, classes, tokens=tokens, width=64, depth=2, heads=4, feedforward=64)
            return nn.Sequential(Patches(PATCH), body)
        inside = (math.ceil(side / 2) + 1) // 2
        return nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(32 * inside**2, 256),
            nn.ReLU(),
            nn.Linear(256, classes),
        )


def trained_without(
    model: nn.Module,
    orbits: Float[Tensor, "order m *shape"],
    labels: Int[Tensor, " m"],
    held_out: Tensor,
    *,
    steps: int,
    seed: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
) -> nn.Module:
    """Train on all points but those held out, `(order, m)`: Adam, cross-entropy, a constant learning rate."""
    positive_int(steps, "steps")
    seen = ~held_out.flatten()
    x = orbits.flatten(0, 1)[seen]
    y = labels.expand(len(orbits), -1).flatten()[seen]
    fit(
        model,
        x,
        y,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.0,
        schedule="constant",
        clip=None,
        seed=seed,
    )
    return model


def share_right(model: nn.Module, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]) -> float:
    """The share of samples that get their class."""
    return float((predict(model, x).argmax(1) == labels).double().mean())


def class_errors(outputs: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """`1 - (own - best other) / 2` of outputs for targets of 1 and -1: below 1 the class is right."""
    own = outputs.gather(1, labels[:, None]).flatten()
    return 1 - (own - outputs.scatter(1, labels[:, None], -math.inf).amax(1)) / 2


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank; 0 where one side is constant, which ranks nothing, and not a number
    where there are fewer than two values."""
    import numpy as np
    from scipy.stats import rankdata

    if len(a) < 2:
        return math.nan
    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
