"""Training: one short loop with exact resume, on arrays or on a stream; prediction in batches, metrics."""

from equilearn.training._fit import fit
from equilearn.training._metrics import accuracy, predict, relative_error
from equilearn.training._run import Fitted
from equilearn.training._stream import fit_stream

__all__ = ["Fitted", "accuracy", "fit", "fit_stream", "predict", "relative_error"]
