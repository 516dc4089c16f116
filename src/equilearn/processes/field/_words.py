"""What came out of fitting a field, in sentences."""

from __future__ import annotations

import math
from typing import Any

from equilearn.processes.field._networks import FREE
from equilearn.processes.field._predict import Predicted
from equilearn.processes.field._run import FieldFit
from equilearn.processes.field._score import INSIDE

WORTH = 0.02
"""Nats a target below which place is said not to matter, however sure the figure."""
LONG = {"equivcnp": "symmetry under shifts, turns and mirrors"}


def symmetry_of(model: str) -> str:
    """The symmetry of a process in words."""
    return "no symmetry" if model in FREE else LONG.get(model, "shift symmetry")


def verdict(fit: FieldFit) -> str:
    """`departs`, `holds`, `harmed` (using place made it worse) or `not asked`."""
    gain = fit.gain()
    if gain is None:
        return "not asked"
    mean, error = gain["mean"] or 0.0, doubt(gain)
    if abs(mean) <= max(2 * error, WORTH):
        return "holds"
    return "departs" if mean > 0 else "harmed"


def doubt(found: dict[str, float | None]) -> float:
    """The larger of both standard errors."""
    return max(found["over_tasks"] or 0.0, found["over_days"] or 0.0)


def answer(fit: FieldFit) -> list[str]:
    """Two sentences: does the field depart from the symmetry and what does place pay; how good is the prediction."""
    return [_first(fit), _second(fit)]


def _first(fit: FieldFit) -> str:
    name, symmetry, gain = fit.data.name, symmetry_of(fit.model.config.model), fit.gain()
    if gain is None:
        kept = "has no symmetry" if fit.model.config.model in FREE else "keeps its symmetry exactly"
        return f"Whether {name} departs from a symmetry was not asked: the process that was fitted {kept}."
    against = "the strict process" if fit.strict is not None else "the same process with its knowledge of place off"
    figure = f"{plain(gain['mean'])} nats a target ({_errors(gain)}) against {against}"
    found = verdict(fit)
    if found == "departs":
        return f"{name} departs from {symmetry}: using the place pays {figure}."
    if found == "harmed":
        return f"Using the place does harm on the days held out, {figure}: take the strict process, --strict."
    return f"No departure of {name} from {symmetry} was found: using the place pays {figure}."


def _errors(found: dict[str, float | None]) -> str:
    over_days = "" if found["over_days"] is None else f", {found['over_days']:.2g} over days"
    over_tasks = "unknown" if found["over_tasks"] is None else f"{found['over_tasks']:.2g}"
    return f"standard error {over_tasks} over tasks{over_days}"


def plain(value: float | None, digits: int = 2) -> str:
    """With so many decimals."""
    return "-" if value is None else f"{value:.{digits}f}"


def _second(fit: FieldFit) -> str:
    rows = {row["method"]: row for row in fit.rows}
    main, unit = rows["fitted"], fit.data.units
    said = f"Where nothing was observed it is off by {_size(main, unit)} (root mean square)"
    if "off" in rows:
        said += f", by {_size(rows['off'], unit)} with its knowledge of place off"
    others = [row for key, row in rows.items() if key not in ("fitted", "off", "strict")]
    if not others:
        return said + "."
    best = max(others, key=lambda row: row["log_likelihood"]["mean"])
    less = -best["less"]["mean"]
    if abs(less) <= 2 * doubt(best["less"]):
        return f"{said}; the best of the simpler methods, {best['label']}, predicts as well."
    than = "better" if less > 0 else "worse"
    return f"{said}; {abs(less):.2f} nats a target {than} than the best of the simpler methods, {best['label']}."


def _size(row: dict[str, Any], unit: str) -> str:
    return f"{row['rmse']:.3g}" + (f" {unit}" if unit else "")


def trust(predicted: Predicted, unit: str) -> str:
    """How far the observed stations lie from what the others predict there; empty where there are none."""
    lines = [s for s in predicted.stations if s["observed"] is not None and math.isfinite(s["mean"])]
    if not lines:
        return ""
    away = [(line["mean"] - line["observed"], line["std"]) for line in lines]
    rmse = math.sqrt(sum(error**2 for error, _ in away) / len(away))
    inside = sum(abs(error) <= INSIDE * std for error, std in away) / len(away)
    return (
        f"Predicted from the others, {len(away)} observations of stations are off by {_size({'rmse': rmse}, unit)} "
        f"(root mean square), and {inside:.0%} of them lie in the 90 % interval."
    )
