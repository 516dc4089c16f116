"""How numbers and text are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilearn.report import _format as f
from equilearn.report._estimate import estimate


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0, 3, "0"),
        (0.9996, 3, "1.00"),
        (9.996, 3, "10.0"),
        (1234.5, 3, "1,234"),
        (-2.5e-8, 2, "−2.5e-8"),
        (1e-300, 2, "1.0e-300"),
        (3.2e12, 2, "3.2e12"),
        (float("inf"), 3, "–"),
        ("0.5", 3, "–"),
        (True, 3, "–"),
    ],
)
def test_significant_digits(value: object, digits: int, shown: str) -> None:
    assert f.significant(value, digits) == shown


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), st.integers(1, 6))
def test_significant_reads_back(value: float, digits: int) -> None:
    back = float(f.significant(value, digits).replace("−", "-").replace(",", ""))
    assert math.isclose(back, value, rel_tol=0.51 * 10 ** (1 - digits)) or value == back


def test_intervals_share_their_place() -> None:
    assert f.with_interval(0.5, 0.4, 0.6) == ("0.500", "[0.400, 0.600]")
    assert f.with_interval(21.43, 19.2, 23.9) == ("21.4", "[19.2, 23.9]")
    assert f.with_interval(0.002, -0.001, 0.005) == ("0.0020", "[−0.0010, 0.0050]")
    assert f.with_interval(3e-7, 0.0, 6e-7) == ("3.0e-7", "[0, 6.0e-7]")
    assert f.with_interval(1.0, 1.0, 1.0) == ("1.000", "[1.000, 1.000]")
    assert f.with_interval(0.0, 0.0, 0.0) == ("0", "[0, 0]")
    assert f.with_interval(float("nan"), 0, 1) == ("–", "")


@given(st.text())
def test_text_can_always_be_written(value: str) -> None:
    clean = f.text(value, "nothing")
    clean.encode("utf-8")
    assert clean
    assert "\x00" not in clean


def test_text_survives_lone_surrogates_and_control_characters() -> None:
    assert f.text("a\ud800b\x07") == "a?b"


def test_p_values_never_claim_zero() -> None:
    assert f.p_value(0.0) == f.p_value(1e-9) == "p < 0.001"
    assert f.p_value(0.04) == "p = 0.040"
    assert f.p_value(None) == "p not measured"


def test_listing_and_sentences() -> None:
    assert [f.listing([]), f.listing(["a"]), f.listing(["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert [f.sentence("Yes"), f.sentence("Yes?"), f.sentence("")] == ["Yes.", "Yes?", ""]


def test_interval_is_student_t() -> None:
    # By hand: mean 2, standard error 1/sqrt(3), t(2, 0.975) = 4.302652730.
    e = estimate([1.0, 2.0, 3.0])
    assert e.mean == 2.0
    assert e.high is not None
    assert math.isclose(e.high - 2.0, 4.302652730 / math.sqrt(3), rel_tol=1e-9)


def test_estimates_of_too_little() -> None:
    assert estimate([]).mean is None
    alone = estimate([0.5, None, float("nan")])
    assert (alone.mean, alone.low, alone.n, alone.total) == (0.5, None, 1, 3)
    assert estimate([0.99, 1.0], (0, 1)).high == 1.0
