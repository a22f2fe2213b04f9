"""The prices of genai-prices: a model that it knows has a cost, and what it cannot price is unknown."""

from __future__ import annotations

import importlib
import socket
import sys
from fractions import Fraction
from math import ceil
from typing import NoReturn

import pytest
from genai_prices import Usage, calc_price

import rollout_prices
from rollout.domain.prices import Price
from rollout_prices import price_book


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-mini", "claude-sonnet-4-20250514"])
def test_a_known_model_costs_what_the_library_says(model: str) -> None:
    usage = Usage(input_tokens=1_234, output_tokens=321, cache_read_tokens=200)
    dollars = calc_price(usage, model).total_price
    cost = price_book().cost_nano(model, 1_234, 321, 200)
    assert cost == ceil(Fraction(dollars) * 10**9)
    assert cost > 0


def test_cached_input_is_cheaper() -> None:
    cached, fresh = (price_book().cost_nano("gpt-4o", 1_000, 0, tokens) for tokens in (1_000, 0))
    assert cached is not None
    assert fresh is not None
    assert 0 < cached < fresh


@pytest.mark.parametrize("model", ["no-such-model", "", "gpt-nope"])
def test_an_unknown_model_has_no_cost(model: str) -> None:
    assert price_book().cost_nano(model, 1_000, 10) is None


def test_a_model_that_is_priced_by_something_else_than_tokens_has_no_cost() -> None:
    assert calc_price(Usage(input_tokens=1_000, output_tokens=0), "whisper-1").total_price == 0  # it would be free
    assert price_book().cost_nano("whisper-1", 1_000, 0) is None
    assert price_book().cost_nano("whisper-1", 0, 10) is None


def test_prices_that_do_not_fit_together_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> NoReturn:
        raise ValueError("Missing ancestor price")

    monkeypatch.setattr(rollout_prices, "calc_price", wrong)
    assert price_book().cost_nano("gpt-4o", 1_000, 10) is None


def test_an_override_goes_first_and_leaves_the_family_alone() -> None:
    book = price_book({"gpt-4o": Price(1, 1), "own": Price(0, 0)})
    assert book.cost_nano("gpt-4o-2024-08-06", 1_000, 0) == 1_000_000
    assert book.cost_nano("own", 1_000, 0) == 0
    assert book.cost_nano("gpt-4o-mini", 1_000, 0) == price_book().cost_nano("gpt-4o-mini", 1_000, 0)


def test_an_override_that_is_no_price_is_refused() -> None:
    with pytest.raises(ValueError, match="the price of own has input_usd=-1"):
        price_book({"own": Price(-1, 0)})


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a price was looked for on the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert price_book().cost_nano("gpt-4o", 1_000, 10)
    assert price_book().cost_nano("no-such-model", 1_000, 10) is None


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.delitem(sys.modules, "rollout_prices")
    with pytest.raises(ImportError, match=r'pip install "rollout-kit\[prices\]"'):
        importlib.import_module("rollout_prices")
