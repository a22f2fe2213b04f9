"""Money: exact sums, and unknown is not zero."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.cost import Usage, nano_usd, usd_of, usd_text


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        ("0.05", 50_000_000),
        (0.1, 100_000_000),
        (1, 1_000_000_000),
        (Decimal("0.000000001"), 1),
        ("1e-9", 1),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0", 0),
    ],
)
def test_dollars_become_whole_nano_dollars(usd: str | float | Decimal, nano: int) -> None:
    assert nano_usd(usd) == nano


def test_ten_times_half_a_cent_is_five_cents_exactly() -> None:
    assert sum(nano_usd(0.005) for _ in range(10)) == nano_usd("0.05")


@pytest.mark.parametrize("usd", [-0.01, "-1", "NaN", "sNaN", "inf", float("nan"), "free", "", "$5", "1e999999"])
def test_what_is_no_amount_is_refused(usd: str | float) -> None:
    with pytest.raises(ValueError, match="is not an amount of dollars"):
        nano_usd(usd)


@given(st.integers(0, 10**18))
def test_dollars_and_nano_dollars_are_the_same_amount(nano: int) -> None:
    assert nano_usd(usd_of(nano)) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "unknown"),
        (0, "$0"),
        (4_200_000, "$0.0042"),
        (42_500, "$0.0000425"),
        (50, "$0.00000005"),
        (0.5, "$0.0000000005"),
        (500_000_000, "$0.5"),
        (123_456_789, "$0.123"),
        (999_900_000, "$1.00"),
        (1_234_500_000_000, "$1,234.50"),
        (-500_000_000, "-$0.5"),
    ],
)
def test_an_amount_is_written_with_three_digits_and_never_as_an_exponent(nano: float | None, text: str) -> None:
    assert usd_text(nano) == text


def test_a_run_that_recorded_nothing_cost_nothing() -> None:
    assert Usage().cost == 0


def test_usage_adds_up() -> None:
    usage = Usage()
    usage.add(100, 20, 1_000, "small")
    usage.add(10, 2, 500, "")
    assert (usage.input_tokens, usage.output_tokens, usage.cost, usage.model) == (110, 22, 1_500, "small")


def test_one_call_without_a_price_makes_the_cost_unknown() -> None:
    usage = Usage()
    usage.add(100, 20, 1_000, "small")
    usage.add(10, 2, None, "large")
    assert usage.cost is None
    assert usage.input_tokens == 110


def test_a_price_of_zero_is_known() -> None:
    usage = Usage()
    usage.add(100, 20, 0, "local")
    assert usage.cost == 0
