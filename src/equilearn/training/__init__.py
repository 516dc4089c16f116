"""Training: one short loop with exact resume, prediction in batches, metrics."""

from equilearn.training._fit import Fitted, fit
from equilearn.training._metrics import accuracy, predict, relative_error

__all__ = ["Fitted", "accuracy", "fit", "predict", "relative_error"]
