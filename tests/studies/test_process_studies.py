"""The studies of neural processes, in miniature: their trials, their rows, their claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from equilearn import studies
from equilearn._check import InputError

ERA5 = Path(__file__).parents[3] / "shared" / "data" / "era5_t2m_uk_2019_03.nc"
TINY: dict[str, dict[str, Any]] = {
    "topography": {"steps": 2, "test_tasks": 32},
    "gibbs": {"steps": 2, "per_unit": 4, "width": 8, "oracle_tasks": 4, "test_tasks": 8},
    "smoke": {"plumes": 10, "size": 16, "patch": 8, "steps": 2, "test_tasks": 32},
    "era5": {"train_days": 3, "test_days": 2, "steps": 2, "per_day": 8},
}
NAMES = tuple(TINY)


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_claims(name: str, tmp_path: Path):
    study = studies.get(name)
    summary = studies.run_study(study, out=tmp_path, settings=TINY[name], executor=studies.InlineExecutor())
    assert not summary["failed"] and summary["missing"] == 0
    assert summary["claims"] and len({claim["name"] for claim in summary["claims"]}) == len(summary["claims"])


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_same_twice(name: str):
    study = studies.get(name)
    before = torch.get_rng_state()
    for config in (study.configs("quick", 3, **study.settings(given=TINY[name]))[place] for place in (0, -1)):
        first, second = ({k: v for k, v in study.trial(config).items() if k != "seconds"} for _ in range(2))
        assert first == second
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", ["quick", "full"])
def test_presets_have_trials_of_their_own(name: str, preset: str):
    study = studies.get(name)
    rows = study.configs(preset, 0, **study.settings(preset))
    assert len({str(row) for row in rows}) == len(rows) > 1


def landscape(relaxed: float, copy: float, one: float) -> list[dict[str, Any]]:
    """Rows of the study of a landscape, with the strict model at -0.9."""
    scores = {"strict": (-0.9, -0.9), "relaxed": (relaxed, copy), "one input": (one, copy), "free": (-0.9, -2.5)}
    scores["never dropped"] = (relaxed, -1.5)
    rows: list[dict[str, Any]] = [{"model": "oracle", "inside": -0.53, "averaged": -0.67}]
    for name, (inside, there) in scores.items():
        rows.append({"model": name, "inside_each": [inside] * 4, "copy_each": [there] * 4})
    return rows


@pytest.mark.parametrize(
    ("given", "fails"),
    [
        ((-0.7, -0.9, -0.72), set()),
        ((-0.85, -0.9, -0.85), {"relaxed gains"}),
        ((-0.7, -1.0, -0.72), {"falls back"}),
        ((-0.7, -0.9, -0.8), {"one is enough"}),
    ],
)
def test_claims_of_a_landscape_can_fail(given: tuple[float, float, float], fails: set[str]):
    claims = studies.get("topography").claims(landscape(*given))
    assert {claim.name for claim in claims if not claim.held} == fails


def test_paired_errors_of_temperatures():
    """Differences of 0.1, 0.3 on one day and 0.5, 0.7 on another."""
    rows = [
        {"method": "relaxed", "score": 0.4, "each": [0.1, 0.3, 0.5, 0.7], "day": [0, 0, 1, 1]},
        {"method": "strict", "score": 0.0, "each": [0.0] * 4, "day": [0, 0, 1, 1]},
    ]
    from equilearn.studies import era5

    gain, over_tasks, over_days = era5._paired(rows, "relaxed", "strict")
    assert gain == pytest.approx(0.4) and over_days == pytest.approx(0.2)
    assert over_tasks == pytest.approx(float(torch.tensor([0.1, 0.3, 0.5, 0.7]).std()) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("topography", {"models": ("strct",)}, "strict"),
        ("gibbs", {"steps": 0}, "steps"),
        ("smoke", {"plumes": 3}, "plumes"),
        ("era5", {"methods": ("gp",)}, "method"),
        ("era5", {"data": "nowhere.nc"}, "nowhere.nc"),
        ("era5", {"train_days": 2}, "train_days"),
    ],
)
def test_settings_that_cannot_be(name: str, given: dict[str, Any], said: str):
    study = studies.get(name)
    with pytest.raises(InputError, match=said):
        study.configs("quick", 0, **study.settings(given=given))


@pytest.mark.skipif(not ERA5.exists(), reason="the temperatures of ERA5 are not beside the repository")
def test_statistics_on_real_temperatures():
    """The covariance of the region is far better than a stationary one; 112 tasks, standard error about 0.05."""
    study = studies.get("era5")
    given = {"data": str(ERA5), "train_days": 24, "test_days": 7, "per_day": 16}
    config = study.configs("quick", 0, **study.settings(given=given))[0]
    scores = {name: study.trial({**config, "method": name})["score"] for name in ("empirical GP", "inverse distance")}
    assert 0.6 < scores["empirical GP"] < 0.9 and scores["inverse distance"] < 0
