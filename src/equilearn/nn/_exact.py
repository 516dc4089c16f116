"""Constants that keep their full precision through `.double()`, `.half()` and moves between devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class ExactModule(nn.Module):
    """A module with constants (bases, matrices) that are known in float64.

    A plain buffer that has once been float32 stays rounded after `.double()`, and the layer is
    then equivariant to 1e-7 only. Here the float64 original is kept on the CPU, and the working
    copy is cast from it anew whenever the module is moved or cast. The working copies are
    non-persistent buffers: they follow the inputs' device and are no part of the state.
    """

    def __init__(self) -> None:
        super().__init__()
        self._originals: dict[str, Tensor] = {}

    def register_constant(self, name: str, value: Tensor) -> None:
        """Keep `value` (float64, or integer indices) as `self.name`, in the default dtype."""
        value = value.detach().cpu()
        self._originals[name] = value
        dtype = torch.get_default_dtype() if value.is_floating_point() else value.dtype
        self.register_buffer(name, value.to(dtype), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name, value in self._originals.items():
            moved: Any = self._buffers[name]
            self._buffers[name] = value.to(device=moved.device, dtype=moved.dtype)
        return self


class ExpandedWeight(ExactModule, ABC):
    """A module whose large weight is a linear function of few parameters, cached where that is safe.

    A subclass has a parameter `weight` and states `_expand(weight)`. `expanded()` is the result.
    In evaluation without gradients it is computed once and kept beside the parameter's values it
    was made from, which are compared at each call: however the parameter is changed (optimizer,
    `load_state_dict`, writes through `.data`), a stale result is never used. The cache is a plain
    attribute: state keys are the same in training and evaluation, copies work. It is used on the
    CPU only, since comparing on an accelerator would wait for it.
    """

    weight: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self._cached: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def _expand(self, weight: Tensor) -> Tensor:
        """The large weight, linear in the small one."""

    def expanded(self) -> Tensor:
        """The expanded weight, from the cache where it is valid."""
        weight = self.weight
        differentiable = torch.is_grad_enabled() and weight.requires_grad
        if self.training or differentiable or weight.device.type != "cpu" or torch.compiler.is_compiling():
            return self._expand(weight)
        cached = self._cached
        if cached is None or cached[0].dtype != weight.dtype or not torch.equal(cached[0], weight):
            # Outside inference mode, so that a later call that needs input gradients can use it.
            with torch.inference_mode(False), torch.no_grad():
                cached = (weight.detach().clone(), self._expand(weight.detach()).contiguous())
            self._cached = cached
        return cached[1]

    def train(self, mode: bool = True) -> Self:
        self._cached = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._cached = None
        return super()._apply(fn, recurse)
