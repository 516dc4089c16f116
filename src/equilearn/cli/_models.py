"""A user's model as a callable on tensors: a function of theirs, or an ONNX file of any framework."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilearn._check import InputError, InputTypeError, extra, require
from equilearn.actions import Data, batch_size, map_data
from equilearn.data import load_function, user_code
from equilearn.io import existing_file

Model = Callable[[Data], Data]

ONNX_TYPES = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


def load_model(source: str) -> Model:
    """The model that the command line names.

    Args:
        source: `package.module:function`, where the function takes nothing and returns a module or a
            callable (or the name is one itself), or a path that ends in `.onnx`.

    Raises:
        InputError: nothing there, no model, or a file that is not ONNX.
    """
    if source.lower().endswith(".onnx"):
        return OnnxModel(source)
    require(
        ":" in source,
        f"MODEL must be package.module:function (a function that returns a model) or a .onnx file; got {source!r}.",
    )
    found: Any = load_function(source)
    model = found if isinstance(found, nn.Module) else _made(found, source)
    if isinstance(model, nn.Module):
        return model.eval()
    if not callable(model):
        raise InputTypeError(f"{source} returned a {type(model).__name__}; a torch module or a callable is needed.")
    return model


def _made(found: Any, source: str) -> Any:
    """What the user's function returns; its own errors come out as `InputError`s that name it."""
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise InputError(f"{source} must be callable without arguments and return a model: {error}.") from error
    except ValueError:
        pass  # built-in functions may hide their arguments
    with user_code(source):
        return found()


def like_model(x: Data, model: Model) -> Data:
    """`x` in the precision that the model computes in, and on its device; as it is where that is not known."""
    if isinstance(model, OnnxModel):
        return map_data(lambda t: t.to(model.dtype) if t.is_floating_point() else t, x)
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if weight is None or not weight.is_floating_point():
        return x
    return map_data(lambda t: t.to(weight.device, weight.dtype if t.is_floating_point() else t.dtype), x)


class OnnxModel:
    """An ONNX file behind onnxruntime: data in, data out, on the CPU. None of the model's own code runs.

    A batch size that the file fixes is kept: batches are cut to it, the last one filled up.
    """

    def __init__(self, path: str):
        runtime = extra("onnxruntime", "onnx", "Auditing an ONNX model")
        file = existing_file(path, "ONNX file")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class below Exception
            raise InputError(f"{path} cannot be read as an ONNX model: {_first_line(error)}") from error
        self._path = Path(path)
        self._inputs = self._session.get_inputs()
        for given in self._inputs:
            require(
                given.type in ONNX_TYPES, f"Input {given.name!r} of {path} is a {given.type}, which is not supported."
            )

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the first floating-point input."""
        found = (np.dtype(ONNX_TYPES[given.type]) for given in self._inputs)
        first = next((dtype for dtype in found if dtype.kind == "f"), np.dtype(np.float32))
        return torch.from_numpy(np.zeros(0, first)).dtype

    def __call__(self, x: Data) -> Data:
        """The model's outputs: a tensor, or a tuple where it has several; dtype as the model gives."""
        parts = x if isinstance(x, tuple | list) else (x,)
        self._check(parts)
        fixed = self._fixed_batch()
        total = batch_size(parts)
        step = fixed or max(total, 1)
        chunks = [self._run([p[i : i + step] for p in parts], step if fixed else None) for i in range(0, total, step)]
        outputs = [torch.cat([chunk[k] for chunk in chunks]) for k in range(len(chunks[0]))]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _run(self, parts: list[Tensor], fill_to: int | None) -> list[Tensor]:
        size = parts[0].shape[0]
        feed = {}
        for given, part in zip(self._inputs, parts, strict=True):
            if fill_to is not None and size < fill_to:
                part = torch.cat([part, part[-1:].expand(fill_to - size, *part.shape[1:])])
            feed[given.name] = part.detach().cpu().numpy().astype(ONNX_TYPES[given.type])
        try:
            outputs = self._session.run(None, feed)
        except Exception as error:  # as above
            raise InputError(f"{self._path} failed on inputs like these: {_first_line(error)}") from error
        for name, value in zip(self._session.get_outputs(), outputs, strict=True):
            require(
                isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == (fill_to or size),
                f"Output {name.name!r} of {self._path} has no batch axis in front: shape {np.shape(value)} for a batch "
                f"of {fill_to or size}.",
            )
        return [torch.from_numpy(np.array(value[:size])) for value in outputs]

    def _fixed_batch(self) -> int | None:
        """The batch size that the file insists on, None where it is free."""
        sizes = {given.shape[0] for given in self._inputs if given.shape and isinstance(given.shape[0], int)}
        return min(sizes) if sizes else None

    def _check(self, parts: tuple[Tensor, ...] | list[Tensor]) -> None:
        require(
            len(parts) == len(self._inputs),
            f"{self._path} takes {len(self._inputs)} inputs ({', '.join(i.name for i in self._inputs)}), "
            f"but the data have {len(parts)}.",
        )
        for given, part in zip(self._inputs, parts, strict=True):
            wanted = tuple(given.shape[1:])
            fits = len(wanted) == part.ndim - 1 and all(
                not isinstance(w, int) or w == have for w, have in zip(wanted, part.shape[1:], strict=True)
            )
            shape = ", ".join(["batch", *(str(w) if isinstance(w, int) else "any" for w in wanted)])
            require(
                fits,
                f"Input {given.name!r} of {self._path} has shape ({shape}), but the data have {tuple(part.shape)}"
                + (_same_count(wanted, part) + "."),
            )


def _same_count(wanted: tuple[Any, ...], part: Tensor) -> str:
    """A hint where only the arrangement differs."""
    if all(isinstance(w, int) for w in wanted) and math.prod(wanted) == math.prod(part.shape[1:]):
        return " (as many numbers: reshape the data, or the model's input)"
    return ""


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
