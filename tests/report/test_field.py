"""The page of a field: what it says, and what it does with too little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from equilearn.report import render
from equilearn.report._maps import Ground, packed_map, spans, unpacked_map, world_map


def errors(mean: float) -> dict[str, Any]:
    return {"mean": mean, "over_tasks": 0.012, "over_days": 0.034}


@pytest.fixture
def field() -> dict[str, Any]:
    """The summary of a small run."""
    values = torch.linspace(270, 290, 12).view(3, 4)
    return {
        "kind": "field",
        "command": "equilearn field uk.nc --var t2m",
        "seed": 0,
        "answer": ["t2m departs from shift symmetry: using the place pays 0.20 nats a target", "It is off by 0.6 K"],
        "verdict": "departs",
        "model": {"name": "convcnp", "variable": "t2m", "units": "K", "relaxed": True, "parameters": 22596},
        "field": {"file": "uk.nc", "places": 12, "days": 7, "patch": [16, 16], "context": [5, 100]},
        "tasks": 280,
        "rows": [
            {
                "method": "fitted",
                "label": "convcnp, relaxed",
                "log_likelihood": errors(0.249),
                "less": None,
                "rmse": 0.63,
            },
            {
                "method": "off",
                "label": "the same, switched off",
                "log_likelihood": errors(0.047),
                "less": errors(-0.203),
                "rmse": 0.69,
                "coverage": 0.86,
            },
        ],
        "maps": {
            "lat": [58.0, 57.5],
            "lon": [-10.0, -9.25],
            "time": "2019-03-28T15:00:00",
            "observed": [[58.0, -10.0]],
            **{key: packed_map(values) for key in ("mean", "truth", "training_mean")},
            "std": packed_map(values - 269),
            "error": packed_map(values - 280),
            "departure": packed_map(values - 281),
            "departure_from": "where nothing was observed",
            "correlation": 0.57,
        },
        "prediction": {"from": "uk.nc", "count": 1, "first": "2019-03-28T15:00:00", "last": "2019-03-28T15:00:00"},
        "notes": ["3 of 9 observations lie outside"],
        "files": ["predictions.nc", "model.safetensors"],
    }


def test_says_the_answer_the_figures_and_the_units(field: dict[str, Any], read: Any) -> None:
    page = read(render(field))
    text = page.text
    assert "Place matters: t2m" in text and "pays 0.20 nats a target." in text
    assert "0.249 ± 0.012, 0.034" in text and "−0.203" in text and "root mean square, K" in text
    assert "3 of 9 observations lie outside." in text
    assert "correlation of the two maps over cells is 0.57" in text
    uids = [svg.get("aria-labelledby") for svg in page.all("svg") if svg.get("role") == "img"]
    assert uids == [f"map-{name}-title" for name in ("truth", "mean", "std", "error", "departure", "training-mean")]
    assert page.all("image") and all(str(image.get("href")).startswith("data:") for image in page.all("image"))
    assert render(field) == page.source


@pytest.mark.parametrize(
    "left", ["rows", "maps", "model", "field", "prediction", "answer", "notes", "files", "verdict"]
)
def test_goes_without(left: str, field: dict[str, Any], read: Any) -> None:
    del field[left]
    assert "t2m" in read(render(field)).text


def test_shows_hostile_text_as_text_and_bad_maps_not_at_all(field: dict[str, Any], read: Any) -> None:
    field["model"]["variable"] = "<script>alert(1)</script>"
    field["maps"]["mean"] = {"values": "no"}
    field["maps"]["departure"] = None
    field["maps"]["observed"] = [["a", 1], 3, None]
    page = read(render(field))
    assert "<script>alert(1)</script>" in page.text
    assert not [svg for svg in page.all("svg") if svg.get("role") == "img"]


def test_stations_stand_in_a_table_and_on_the_map(field: dict[str, Any], read: Any) -> None:
    line = {"station": "s1", "time": "2019-03-28T15:00", "lat": 57.7, "lon": -9.5, "observed": 281.0, "mean": 280.2}
    field["prediction"]["stations"] = [{**line, "std": 0.4}] * 70
    for key in ("truth", "error"):
        del field["maps"][key]
    field["maps"]["errors"] = [[57.7, -9.5, -0.8], [57.9, -9.6, 0.5]]
    page = read(render(field))
    assert "The first 60 of 70 lines; stations.csv has all." in page.text
    assert "Predicted less held out, at stations" in page.text and "280.2" in page.text


def test_maps_are_packed_with_what_is_missing() -> None:
    values = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    values[0, 0] = torch.nan
    again = unpacked_map(packed_map(values))
    assert again is not None and np.isnan(again[0, 0]) and np.isnan(again).sum() == 1
    assert np.nanmax(abs(again - values.numpy())) < 0.003
    assert packed_map(torch.full((2, 2), torch.nan)) == {} and unpacked_map({}) is None and unpacked_map(3) is None
    big = unpacked_map(packed_map(torch.rand(700, 10)))
    assert big is not None and big.shape == (140, 2)


def test_ground_puts_north_up_and_tells_degrees_from_metres() -> None:
    values = np.arange(4.0).reshape(2, 2)
    assert Ground((50, 51), (0, 1)).upright(values).tolist() == [[2, 3], [0, 1]]
    assert Ground((51, 50), (1, 0)).upright(values).tolist() == [[1, 0], [3, 2]]
    assert Ground((51, 50), (0, 1)).extent((2, 2)) == (-0.5, 1.5, 49.5, 51.5)
    assert Ground((0, 4e5), (0, 6e5)).names == ("easting", "northing")
    assert spans([np.array([-3.0, 1.0])], signed=True)[1] == pytest.approx(3, abs=0.05)
    assert spans([np.full(3, 2.0)]) == (1.5, 2.5) and spans([np.full(3, np.nan)]) == (-1, 1)


def test_a_map_of_nothing_is_drawn() -> None:
    made = {"uid": "m", "title": "t", "bar": "K", "span": (0.0, 1.0)}
    assert "No values." in world_map(None, Ground((0, 1), (0, 1)), **made)
    assert "No values." in world_map(np.full((2, 2), np.nan), Ground((0, 1), (0, 1)), **made)
    assert "0.300 to 0.300" in world_map(None, Ground((0, 1), (0, 1)), points=[(0.5, 0.5, 0.3)], **made)
