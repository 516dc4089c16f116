"""Studies as the command line runs them: settings as text, claims that the settings leave untested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from equilearn import cli


def test_claims_without_rows_are_not_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["study", "run", "architectures", "--workers", "1", "--set", "networks=MLP 1", "--set", "per_class=1"]
    assert cli.main([*command, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "not tested" in said and "NOT HELD" not in said and "None" not in said
    claims = {claim["name"]: claim for claim in json.loads((tmp_path / "summary.json").read_text())["claims"]}
    assert (claims["collapse"]["held"], claims["collapse"]["value"]) == (None, None)
    assert claims["turns"]["held"] is True
    page = (tmp_path / "report.html").read_text()
    assert "could not be tested" in page and "? not tested" in page
    assert cli.main([*command, "--out", str(tmp_path), "--strict"]) == 3


def test_numbers_of_shifts_are_read_as_numbers(tmp_path: Path) -> None:
    small = ("pairs=1", "steps=1", "per_class=2", "orders=2,4", "trained_orders=2")
    command = ["study", "run", "shift_collapse", "--workers", "1", "--out", str(tmp_path)]
    assert cli.main([*command, *(word for one in small for word in ("--set", one))]) == 0
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert (
        sorted((row["part"], row["order"]) for row in rows)
        == [*[("kernel", n) for n in (2, 2, 4, 4)]] + [("trained", 2)] * 2
    )
