"""Where in a model a symmetry is lost: the error of every layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from equilearn._check import InputTypeError, positive_int
from equilearn.actions import Data, first_leaf
from equilearn.actions import batch_size as count_samples
from equilearn.groups import Element
from equilearn.measure._error import elements_to_measure
from equilearn.measure._evaluate import (
    cast,
    check_inputs,
    evaluation,
    isolated_randomness,
    leaves,
    model_dtype,
    move_input,
    take,
)
from equilearn.measure._laws import Law, laws
from equilearn.symmetry import Symmetry

Activations = dict[str, Tensor]


@dataclass(frozen=True)
class LayerError:
    """How far the activations of one layer are from following a law.

    Args:
        layer: the name of the module, `"conv1"` or `"body.2"`; `"#2"` is added for its second call.
        kind: the class of the module.
        shape: of its activations, without the batch.
        law: the law that it comes closest to.
        error: the relative L2 error of that law, averaged over elements.
        candidates: the errors of all laws that fit activations of this shape.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    law: str
    error: float
    candidates: dict[str, float] = field(hash=False)

    def as_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and dictionaries only, ready for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "shape": list(self.shape),
            "law": self.law,
            "error": self.error,
            "candidates": dict(self.candidates),
        }

    def __str__(self) -> str:
        return f"{self.layer} ({self.kind}): {self.error:.2g} from {self.law!r}"


def layer_errors(
    model: nn.Module,
    symmetry: Symmetry,
    x: Data,
    *,
    samples: int = 4,
    elements: Element | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
) -> tuple[LayerError, ...]:
    """The equivariance error after every layer (module without submodules), in the order of the calls.

    What a hidden layer should do under the group is not known from outside, so its activations `h` are
    held against every law `h(g x) = law(g) h(x)` that fits their shape: "unchanged", "moves like the
    input" (image activations turn as images do, whatever their channels), "moves, fields permuted"
    (what a group convolution does), "fields permuted", "points permuted", "moves like the output". The
    error of a layer is that of the law it comes closest to, in the norm of `equivariance_error`; all of
    them are in `candidates`. The first layer whose error leaves the noise floor is where the symmetry is
    lost: a layer may follow a law that is not listed, so a large error in the middle of a model with a
    small error at its end means that the layer's own law is none of these.

    Args:
        model: any module.
        symmetry, x, samples, elements, generator, batch_size: as in `equivariance_error`.

    Returns:
        One entry a call of a layer. Layers whose outputs do not have the batch as first axis are left out.

    Raises:
        InputError: as `equivariance_error`; `InputTypeError` where `model` is no module.

    Cost: G + 1 evaluations of the model, with the activations of one batch in memory.

    Example:
        >>> import torch, equilearn as eq
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> turns = eq.Symmetry(eq.Cyclic(4), input=eq.actions.images())
        >>> errors = eq.measure.layer_errors(net, turns, torch.randn(8, 1, 4, 4))
        >>> errors[0].law, errors[0].error, errors[2].error > 0.1
        ('moves like the input', 0.0, True)
    """
    limit = positive_int(batch_size, "batch_size")
    if not isinstance(model, nn.Module):
        raise InputTypeError(
            f"layer_errors looks inside a torch.nn.Module, got {type(model).__name__}. For other callables use "
            "equivariance_error, which needs their outputs only."
        )
    check_inputs(symmetry, x)
    device, dtype = first_leaf(x).device, model_dtype(model, x)
    g, _ = elements_to_measure(symmetry, elements, samples, generator, device)
    (count,) = symmetry.group.batch_shape(g)
    table = _Table()
    with evaluation(model), isolated_randomness(generator, device), recording(model) as record:
        for piece in batches(x, limit):
            plain = record(cast(piece, dtype))
            for i in range(count):
                element = symmetry.group.take(g, i)
                moved = record(move_input(symmetry, element, piece, dtype))
                for name in plain.keys() & moved.keys():
                    table.add(symmetry, element, i, name, plain[name], moved[name])
    return table.summary(record.order, record.kinds, count)


def batches(x: Data, limit: int) -> Iterator[Data]:
    """Consecutive pieces of at most `limit` samples."""
    for start in range(0, count_samples(x), limit):
        yield take(x, slice(start, start + limit))


class Recorder:
    """Runs a model and gives back what its layers put out."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.order: list[str] = []
        self.kinds: dict[str, str] = {}
        self._seen: Activations = {}

    def __call__(self, x: Data) -> Activations:
        self._seen = {}
        size = count_samples(x)
        self.model(x)
        return {name: h for name, h in self._seen.items() if h.ndim > 0 and h.shape[0] == size}

    def keep(self, name: str, module: nn.Module, output: Any) -> None:
        tensors = [leaf for leaf in leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if not tensors:
            return
        calls = sum(1 for seen in self._seen if seen == name or seen.startswith(f"{name}#"))
        label = name if calls == 0 else f"{name}#{calls + 1}"
        self._seen[label] = tensors[0].detach().clone()  # the next layer may work in place
        if label not in self.kinds:
            self.order.append(label)
            self.kinds[label] = type(module).__name__


@contextlib.contextmanager
def recording(model: nn.Module) -> Iterator[Recorder]:
    """Hooks on every module without submodules; removed on the way out, whatever happens."""
    recorder = Recorder(model)
    handles = []
    try:
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                label = name or "model"
                handles.append(
                    module.register_forward_hook(
                        lambda module, inputs, output, label=label: recorder.keep(label, module, output)
                    )
                )
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


class _Table:
    """Sums of squares by layer, law and element."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, int], list[float]] = {}
        self.laws: dict[str, dict[str, Law]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def add(self, symmetry: Symmetry, g: Element, index: int, name: str, plain: Tensor, moved: Tensor) -> None:
        if name not in self.laws:
            self.laws[name] = laws(symmetry, plain)
            self.shapes[name] = tuple(plain.shape[1:])
        if plain.shape != moved.shape:
            return
        before, after = plain.to(torch.float64), moved.to(torch.float64)
        for law_name, law in self.laws[name].items():
            target = law(g, before)
            entry = self.sums.setdefault((name, law_name, index), [0.0, 0.0])
            entry[0] += float((after - target).square().sum())
            entry[1] += float(target.square().sum())

    def summary(self, order: list[str], kinds: dict[str, str], count: int) -> tuple[LayerError, ...]:
        found = []
        for name in order:
            errors = {
                law: sum(_relative(*self.sums.get((name, law, i), [0.0, 0.0])) for i in range(count)) / count
                for law in self.laws.get(name, {})
            }
            if errors:
                best = min(errors, key=errors.__getitem__)
                found.append(LayerError(name, kinds[name], self.shapes[name], best, errors[best], errors))
        return tuple(found)


def _relative(difference: float, size: float) -> float:
    """`sqrt(difference / size)`, 0 where nothing differs, 1 where something comes out of nothing."""
    if difference == 0.0:
        return 0.0
    return (difference / size) ** 0.5 if size > 0.0 else 1.0
