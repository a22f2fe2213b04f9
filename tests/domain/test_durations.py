"""Durations and shares as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.durations import duration_text, percent, seconds, share_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("10m", 600.0),
        ("1h30m", 5_400.0),
        ("1h 30m", 5_400.0),
        ("1.5h", 5_400.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        (" 10 S ", 10.0),
        ("90", 90.0),
        ("0", 0.0),
        (90, 90.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read(text: str | float, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "m10", "1h30", "10m!", "-5s", "5s-", "true"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        seconds(text)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "nan", "inf", "9" * 400 + "s", 10**400])
def test_a_duration_that_is_negative_or_endless_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="0 or more and finite"):
        seconds(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0s"),
        (0.00025, "0.25ms"),
        (0.0094, "9.4ms"),
        (0.25, "250ms"),
        (0.9996, "1.0s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.6, "1m"),
        (90, "1m30s"),
        (3_599.6, "1h"),
        (5_400, "1h30m"),
        (86_400 + 3_600 + 60, "1d1h"),
        (604_800, "7d"),
        (float("inf"), "∞"),
    ],
)
def test_a_duration_is_written_with_its_two_largest_units(value: float, text: str) -> None:
    assert duration_text(value) == text


@given(st.integers(1, 10**7))
def test_a_duration_that_was_written_is_read_again_to_its_second_unit(value: int) -> None:
    assert seconds(duration_text(value)) == pytest.approx(value, rel=1 / 24, abs=1)


@pytest.mark.parametrize(
    ("text", "share"), [("25%", 0.25), ("0.5%", 0.005), ("0%", 0), ("100%", 1), ("0.25", 0.25), (0.25, 0.25), (1, 1)]
)
def test_a_share_is_read(text: str | float, share: float) -> None:
    assert share_of(text) == share


@pytest.mark.parametrize("text", ["101%", "-1%", "50", 50, -0.1, "nan", float("nan")])
def test_a_share_outside_of_0_to_100_percent_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match="between 0% and 100%"):
        share_of(text)


@pytest.mark.parametrize("text", ["", "%", "a lot", "5 percent", "5%%"])
def test_what_is_no_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        share_of(text)


@pytest.mark.parametrize(
    ("share", "text"), [(0.25, "25%"), (0.001, "0.1%"), (0.07, "7%"), (1, "100%"), (0, "0%"), (1 / 3, "33.3333%")]
)
def test_a_share_is_written_in_percent(share: float, text: str) -> None:
    assert percent(share) == text
