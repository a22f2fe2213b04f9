"""The limits and prices in force, as ``config show`` and the report tell them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rollout.domain.report import Field, fields
from rollout.testing import sample_policy

SPEC = "spec rollout.toml"
LIMITS = ("budget.tokens", "budget.usd", "prices", "shadow.usd_per_day")


def shown(**policy: Any) -> dict[str, tuple[Any, str]]:
    """Field → value and origin."""
    found: tuple[Field, ...] = fields(sample_policy(**policy))
    return {one.name: (one.value, one.origin) for one in found if one.name in LIMITS}


def test_a_policy_without_limits_shows_that_there_are_none() -> None:
    origins = dict.fromkeys(LIMITS, "default")
    assert shown(origins=origins) == dict.fromkeys(LIMITS, (None, "default"))


def test_limits_are_shown_as_they_would_be_written() -> None:
    found = shown(tokens=4_000, nano=50_000_000, nano_per_day=10 * 10**9, origins=dict.fromkeys(LIMITS, SPEC))
    assert found["budget.tokens"] == (4_000, SPEC)
    assert found["budget.usd"] == (Decimal("0.05"), SPEC)
    assert [str(found[name][0]) for name in ("budget.usd", "shadow.usd_per_day")] == ["0.05", "10"]


def test_the_prices_of_a_spec_are_shown_with_their_model() -> None:
    prices = {"small": ("0.15", "0.60", None), "big": ("2", "8", "0.5")}
    assert shown(prices=prices, origins={"prices": SPEC})["prices"] == (
        [
            {"model": "small", "input": "0.15", "output": "0.60"},
            {"model": "big", "input": "2", "output": "8", "cached_input": "0.5"},
        ],
        SPEC,
    )


def test_a_price_book_of_the_code_is_named_as_the_policy_does_not_hold_it() -> None:
    assert shown(origins={"prices": "code"})["prices"] == ("the price book of the code", "code")
