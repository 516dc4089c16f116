"""The state of a training run in one safetensors file: enough to go on bit for bit."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import require
from equilearn.actions import Data, map_data
from equilearn.io import as_json, load_state, save

FORMAT = 2
"""Since 2 the settings tell the seed and the data."""


def content_hash(data: Data) -> str:
    """A short hash of shapes, dtypes and bytes: tells whether data are the same. Cost: one pass over them."""
    digest = hashlib.sha256()

    def visit(tensor: Tensor) -> Tensor:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().resolve_conj().contiguous().flatten().view(torch.uint8).numpy().data)
        return tensor

    map_data(visit, data)
    return digest.hexdigest()[:16]


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor] | None,
    random: dict[str, Tensor],
    progress: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Write weights, optimizer, best weights and random states, with progress and settings as JSON."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (best or {}).items()}
    tensors |= {f"random.{name}": value for name, value in random.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    save(tensors, path, {"checkpoint": FORMAT, "progress": progress, "settings": settings})


def load_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> tuple[dict[str, Tensor] | None, dict[str, Tensor], dict[str, Any]]:
    """Put the saved weights and optimizer state in place; returns best weights, random states, progress.

    Raises:
        InputError: where the file is damaged, no checkpoint, or of a run with other settings.
    """
    tensors, metadata = load_state(path, with_metadata=True)
    require(
        metadata.get("checkpoint") == FORMAT,
        f"{path} is not a training checkpoint of this version. Give another path, or remove the file to start again.",
    )
    held, given = metadata["settings"], as_json(settings)
    differing = [name for name in {**held, **given} if given.get(name) != held.get(name)]
    shown = "; ".join(f"{name}: {held.get(name)!r} there, {given.get(name)!r} now" for name in differing)
    require(
        not differing,
        f"{path} belongs to a run with other settings or data ({shown}). Use those, another path, or remove the file.",
    )
    weights, own = _under(tensors, "model."), model.state_dict()
    require(
        weights.keys() == own.keys() and all(weights[name].shape == own[name].shape for name in own),
        f"{path} holds the weights of another model. Build the same model, give another path, or remove the file.",
    )
    model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        index, _, entry = name.partition(".")
        state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return _under(tensors, "best.") or None, _under(tensors, "random."), metadata["progress"]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def random_states(generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """The states of the generator given, and of the streams that dropout draws from."""
    states = {"generator": generator.get_state(), "cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(states: dict[str, Tensor], generator: torch.Generator, device: torch.device) -> None:
    """The reverse of `random_states`."""
    generator.set_state(states["generator"])
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
