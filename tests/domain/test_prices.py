"""Prices: exact to the nano-dollar, rounded up once, and unknown is not zero."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.cost import Usage
from rollout.domain.prices import Price, PriceBook, priced

BOOK = PriceBook({"small": Price("0.15", "0.60", cached_input_usd="0.075"), "local": Price(0, 0)})

USD = st.decimals(0, 1_000_000, places=12) | st.floats(1e-6, 1e6)
TOKENS = st.integers(0, 10**12)


def test_a_million_tokens_cost_their_price() -> None:
    assert BOOK.cost_nano("small", 1_000_000, 0) == 150_000_000
    assert BOOK.cost_nano("small", 0, 1_000_000) == 600_000_000
    assert BOOK.cost_nano("small", 1_000_000, 0, cached_tokens=1_000_000) == 75_000_000


@pytest.mark.parametrize(
    ("usd", "tokens", "nano"),
    [("0.15", 1, 150), ("0.0001", 1, 1), ("0.0001", 10, 1), ("0.0001", 11, 2), ("0.0000000001", 1, 1), ("5", 0, 0)],
)
def test_a_part_of_a_nano_dollar_is_rounded_up(usd: str, tokens: int, nano: int) -> None:
    assert PriceBook({"m": Price(usd, "0")}).cost_nano("m", tokens, 0) == nano


def test_input_and_output_are_rounded_together() -> None:
    assert PriceBook({"m": Price("0.0005", "0.0005")}).cost_nano("m", 1, 1) == 1


@given(USD, USD, st.none() | USD, TOKENS, TOKENS, st.data())
def test_a_cost_is_exact(
    input_usd: Any, output_usd: Any, cached_usd: Any, input_tokens: int, output_tokens: int, data: st.DataObject
) -> None:
    cached_tokens = data.draw(st.integers(0, input_tokens))
    book = PriceBook({"m": Price(input_usd, output_usd, cached_usd)})
    dollars = (
        Fraction(str(input_usd)) * (input_tokens - cached_tokens)
        + Fraction(str(input_usd if cached_usd is None else cached_usd)) * cached_tokens
        + Fraction(str(output_usd)) * output_tokens
    ) / 1_000_000
    assert book.cost_nano("m", input_tokens, output_tokens, cached_tokens) == ceil(dollars * 10**9)


def test_cached_input_without_a_price_of_its_own_costs_what_input_costs() -> None:
    book = PriceBook({"m": Price(2, 8)})
    assert book.cost_nano("m", 100, 0, 40) == book.cost_nano("m", 100, 0)


def test_an_unknown_model_has_no_cost() -> None:
    assert BOOK.cost_nano("large", 1_000, 10) is None
    assert BOOK.cost_nano("", 1_000, 10) is None


def test_a_price_of_zero_is_a_cost_of_zero() -> None:
    assert BOOK.cost_nano("local", 1_000, 10) == 0


@pytest.mark.parametrize(
    "model",
    [
        "small",
        "small-2024-07-18",
        "small-20240718",
        "small-0718",
        "small-001",
        "small-latest",
        "small@20240718",
        "small:8b",
        "small-2024-07-18:free",
    ],
)
def test_a_version_of_a_model_costs_what_the_model_costs(model: str) -> None:
    assert BOOK.cost_nano(model, 1_000_000, 0) == 150_000_000


@pytest.mark.parametrize(
    "model",
    [
        "smaller",
        "small.1",
        "small-mini",
        "small-32k",
        "small-2",
        "small-5-20250929",
        "small-",
        "small:",
        "x-small",
        "-",
    ],
)
def test_another_model_of_the_family_is_another_model(model: str) -> None:
    assert BOOK.cost_nano(model, 1_000_000, 0) is None


def test_the_longest_declared_name_wins() -> None:
    book = PriceBook({"m": Price(1, 0), "m-2024": Price(2, 0), "m-2024-05-01": Price(3, 0)})
    found = [
        book.cost_nano(model, 1, 0) for model in ("m-2025", "m-2024", "m-2024:a", "m-2024-05-01", "m-2024-05-01@1")
    ]
    assert found == [1_000, 2_000, 2_000, 3_000, 3_000]


def test_a_fallback_is_asked_for_what_is_not_declared() -> None:
    asked: list[tuple[str, int, int, int]] = []

    def fallback(model: str, input_tokens: int, output_tokens: int, cached_tokens: int) -> int | None:
        asked.append((model, input_tokens, output_tokens, cached_tokens))
        return 7 if model == "large" else None

    book = PriceBook({"small": Price(1, 1)}, fallback)
    assert [book.cost_nano(model, 3, 2, 1) for model in ("small", "large", "other")] == [4_000 + 1_000, 7, None]
    assert asked == [("large", 3, 2, 1), ("other", 3, 2, 1)]


def test_a_book_may_be_the_fallback_of_another() -> None:
    book = PriceBook({"own": Price(1, 1)}, BOOK.cost_nano)
    assert (book.cost_nano("small", 1, 0), book.cost_nano("large", 1, 0)) == (150, None)


@pytest.mark.parametrize(
    "usd", [-0.01, "-1", nan, "sNaN", inf, "-inf", 1_000_000.01, "free", "", True, "1e-31", "1e999999"]
)
@pytest.mark.parametrize("field", ["input_usd", "output_usd", "cached_input_usd"])
def test_what_is_no_price_is_refused_with_model_field_and_value(usd: Any, field: str) -> None:
    price = Price(**{"input_usd": 1, "output_usd": 1, field: usd})
    with pytest.raises(ValueError, match=f"the price of dear has {field}=") as refused:
        PriceBook({"cheap": Price(1, 1), "dear": price})
    assert repr(usd) in str(refused.value)
    assert "cheap" not in str(refused.value)


def test_every_wrong_price_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"the price of a has input_usd=-1.*the price of b has output_usd='x'"):
        PriceBook({"a": Price(-1, 1), "b": Price(1, "x")})


def test_a_missing_price_is_refused() -> None:
    missing: Any = None
    with pytest.raises(ValueError, match="output_usd=None"):
        PriceBook({"a": Price(1, missing)})


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0, -1, 0), (1, 0, -1), (1, 0, 2)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="a call of small cannot use"):
        BOOK.cost_nano("small", *counts)


# ---- the cost of a usage


def test_a_usage_gets_its_cost() -> None:
    usage = Usage(1_000_000, 0, model="small", priced=False, cached_tokens=1_000_000)
    found = priced(usage, BOOK)
    assert (found.cost, found.input_tokens, found.model) == (75_000_000, 1_000_000, "small")
    assert usage.cost is None


def test_a_cost_that_is_known_is_kept() -> None:
    assert priced(Usage(1_000, 0, nano=5, model="small"), BOOK).cost == 5


def test_a_usage_of_an_unknown_model_stays_unknown() -> None:
    assert priced(Usage(1_000, 10, model="large"), BOOK).cost is None
    assert priced(Usage(1_000, 10), PriceBook({}, lambda *_: 0)).cost is None


def test_calls_of_one_model_are_priced_together() -> None:
    usage = Usage()
    usage.add(1_000, 0, None, "small")
    usage.add(1_000, 0, None, "small")
    assert priced(usage, BOOK).cost == 300_000


@pytest.mark.parametrize("calls", [["small", "local"], ["", "small"], ["small", ""]])
def test_calls_of_several_models_stay_unknown(calls: list[str]) -> None:
    usage = Usage()
    for model in calls:
        usage.add(1_000, 0, None, model)
    assert priced(usage, BOOK).cost is None


@pytest.mark.parametrize("tokens", [[0, 1_000], [1_000, 0], [0]])
def test_a_call_that_told_no_tokens_makes_the_cost_unknown(tokens: list[int]) -> None:
    usage = Usage()
    for count in tokens:
        usage.add(count, 0, None, "small")
    assert priced(usage, BOOK).cost is None


def test_a_usage_of_which_only_a_part_has_a_cost_stays_unknown() -> None:
    usage = Usage()
    usage.add(1_000, 0, 5, "small")
    usage.add(1_000, 0, None, "small")
    assert priced(usage, BOOK).cost is None


def test_a_run_that_recorded_nothing_still_cost_nothing() -> None:
    assert priced(Usage(), BOOK).cost == 0


def test_a_price_is_taken_as_it_is_written() -> None:
    prices = [Price(0.1, 0), Price("0.1", 0), Price(Decimal("0.1"), 0)]
    assert [PriceBook({"m": price}).cost_nano("m", 10**15, 0) for price in prices] == [10**17] * 3
