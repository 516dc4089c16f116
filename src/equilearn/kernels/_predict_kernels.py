"""From what a user calls an architecture to a kernel on its inputs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, one_of, positive_int, require
from equilearn.kernels._orbit_layout import KernelFunction

Which = Literal["ntk", "nngp"]

ONE_NETWORK = (
    "The kernel is that of one finite network as it stands; another draw of its weights gives another (give a function "
    "that builds it for a band over draws)."
)


@dataclass(frozen=True)
class KernelSource:
    """A kernel and where it comes from.

    Attributes:
        name: of the architecture.
        source: such as "ntk in closed form".
        kernel: on float64 inputs.
        remark: what it assumes, where that is not what the theory assumes.
    """

    name: str
    source: str
    kernel: KernelFunction
    remark: str | None = None


def kernel_sources(
    architecture: Any,
    which: Which,
    draws: int,
    generator: torch.Generator | None,
    sample: Tensor,
    name: str | None = None,
) -> list[KernelSource]:
    """The kernels that an architecture stands for: one, or one for each draw of a factory.

    Args:
        sample: one input, `(1, ...)`, on which a module is tried.
    """
    one_of(which, ("ntk", "nngp"), "kernel")
    function: Any = architecture
    if isinstance(architecture, nn.Module):
        return [_of_module(architecture, which, name, sample)]
    if callable(getattr(architecture, which, None)) and not isinstance(architecture, type):
        title = name or _title(architecture)
        return [KernelSource(title, f"{which} in closed form", _closed_form(architecture, which))]
    if callable(architecture) and _takes(architecture, 0):
        return _of_factory(function, which, positive_int(draws, "draws"), generator, name)
    if callable(architecture) and _takes(architecture, 2) and not isinstance(architecture, type):
        return [KernelSource(name or _title(architecture), "given kernel", function)]
    raise InputTypeError(
        f"No kernel is known for {type(architecture).__name__}. Give an architecture with .ntk(x, z), a "
        "torch.nn.Sequential, any module (its empirical kernel is used), a function kernel(x, z) that returns the "
        "matrix, a function without arguments that builds a fresh module, or a dictionary of these by name."
    )


# --- parts ------------------------------------------------------------------------------------


def _of_module(module: nn.Module, which: Which, name: str | None, sample: Tensor) -> KernelSource:
    from equilearn.kernels.neural import architecture_of

    title = name or type(module).__name__
    _try_on(module, sample, title)
    try:
        found = architecture_of(module)
        if found.head is None and sample.ndim > 2:
            raise InputError("Its layers act on the last axis of inputs that have several: put nn.Flatten() first.")
    except InputError as error:
        if which == "nngp":
            raise InputError(
                f'{title} has no closed-form nngp: {error} Use kernel="ntk", which falls back on the empirical kernel '
                "of the module as it is."
            ) from error
        return _empirical(module, title, ONE_NETWORK)
    return KernelSource(name or repr(found), f"{which} in closed form", _closed_form(found, which))


def _try_on(module: nn.Module, sample: Tensor, title: str) -> None:
    """Say where a module does not take these inputs: its kernel in closed form would not notice."""
    twin = copy.deepcopy(module).to(torch.float64).eval()
    try:
        with torch.no_grad():
            twin(sample)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{title} fails on one input of shape {tuple(sample.shape[1:])}: {type(error).__name__}: {error}"
        ) from error


def _closed_form(architecture: Any, which: Which) -> KernelFunction:
    kernel = getattr(architecture, which)
    # One without a head reads vectors: images are given to it as such, whatever stands before it in a comparison.
    if getattr(architecture, "head", kernel) is None:
        return lambda x, z: kernel(x.flatten(1), z.flatten(1))
    return kernel


def _of_factory(
    factory: Callable[[], nn.Module], which: Which, draws: int, generator: torch.Generator | None, name: str | None
) -> list[KernelSource]:
    require(
        which == "ntk",
        'Draws of a network have an empirical ntk, no nngp: use kernel="ntk", or give an architecture in closed form.',
    )
    source = torch.Generator().manual_seed(0) if generator is None else generator
    found = []
    for _ in range(draws):
        seed = int(torch.randint(2**62, (), generator=source, device=source.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = factory()
        if not isinstance(module, nn.Module):
            raise InputTypeError(
                f"A function without arguments must build a torch module, this one gave {type(module).__name__}."
            )
        found.append(_empirical(module, name or type(module).__name__, None))
    return found


def _empirical(module: nn.Module, title: str, remark: str | None) -> KernelSource:
    from equilearn.kernels.neural import empirical_ntk

    # In single precision the rounding of the kernel is larger than its smallest eigenvalues.
    twin = copy.deepcopy(module).to(torch.float64).eval()
    return KernelSource(
        title,
        "empirical ntk",
        lambda x, z: empirical_ntk(twin, x, z),
        remark,
    )


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _title(thing: Any) -> str:
    from equilearn.kernels.neural import Architecture

    if isinstance(thing, Architecture):
        return repr(thing)
    name = getattr(thing, "name", None) or getattr(thing, "__name__", None)
    if isinstance(name, str):
        return "the kernel" if name == "<lambda>" else name
    return type(thing).__name__
