"""Fit a process to the field in a file, predict with it, and say whether the place matters."""

from equilearn.processes.field._data import FieldData
from equilearn.processes.field._model import FieldConfig, FieldModel
from equilearn.processes.field._moments import Moments
from equilearn.processes.field._predict import (
    Learned,
    Predicted,
    departure_map,
    predict_at,
    predict_held_out,
    require_fitting,
    require_times,
    stamps,
)
from equilearn.processes.field._run import FieldFit, fit_field
from equilearn.processes.field._view import View
from equilearn.processes.field._words import answer, symmetry_of, trust, verdict

__all__ = [
    "FieldConfig",
    "FieldData",
    "FieldFit",
    "FieldModel",
    "Learned",
    "Moments",
    "Predicted",
    "View",
    "answer",
    "departure_map",
    "fit_field",
    "predict_at",
    "predict_held_out",
    "require_fitting",
    "require_times",
    "stamps",
    "symmetry_of",
    "trust",
    "verdict",
]
