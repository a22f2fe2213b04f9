"""The policy that a declaration stands for, and what models cost by it."""

from __future__ import annotations

import pytest

from rollout import Branch, Budget, Price, PriceBook, Reserve, Shadow
from rollout.domain.state import SETTABLE, Policy
from rollout.engine.declared import policy_of, prices_in_force
from tests.support.trials import giving, rollout_of

CODE = PriceBook({"small": Price("1", "2"), "big-2024-08-06": Price("10", "20")})


def policy_with(**prices: tuple[str, str, str | None]) -> Policy:
    return Policy(rollout="profile", prices=prices)


def cost(book: PriceBook | None, model: str) -> int | None:
    """Nano-dollars of a million tokens of input."""
    assert book is not None
    return book.cost_nano(model, 1_000_000, 0)


def test_the_limits_of_the_code_are_in_the_policy() -> None:
    limited = rollout_of(budget=Budget(tokens=4_000, usd="0.05"), shadow=Shadow(usd_per_day="5"), prices=CODE)
    policy = policy_of(limited)
    assert (policy.tokens, policy.nano, policy.nano_per_day, policy.prices) == (4_000, 50_000_000, 5_000_000_000, {})


def test_what_a_branch_reserves_is_in_the_policy() -> None:
    reserve = Reserve(tokens=1_000, usd="0.02", latency_s=0.5)
    policy = policy_of(rollout_of(Branch("a", giving(1), reserve=reserve), Branch("b", giving(2))))
    reserved = [(branch.reserve_tokens, branch.reserve_nano, branch.reserve_s) for branch in policy.branches]
    assert reserved == [(1_000, 20_000_000, 0.5), (0, 0, 0.0)]


def test_each_field_that_a_spec_may_set_has_an_origin() -> None:
    assert policy_of(rollout_of(shadow=Shadow())).origins == dict.fromkeys(SETTABLE, "default")


def test_what_was_written_in_the_code_is_of_the_code() -> None:
    written = rollout_of(budget=Budget(tokens=1, usd=0), shadow=Shadow(usd_per_day=0), prices=CODE)
    origins = policy_of(written).origins
    names = ("budget.tokens", "budget.usd", "shadow.usd_per_day", "prices")
    assert {name: origins[name] for name in names} == dict.fromkeys(names, "code")


def test_prices_of_the_policy_lie_over_those_of_the_code_model_by_model() -> None:
    book = prices_in_force(policy_with(small=("3", "4", None), new=("5", "6", None)), CODE)
    models = ("small", "big-2024-08-06", "new", "other")
    assert [cost(book, model) for model in models] == [3 * 10**9, 10 * 10**9, 5 * 10**9, None]


def test_a_price_of_the_policy_holds_for_every_version_of_the_model() -> None:
    book = prices_in_force(policy_with(big=("3", "4", None)), CODE)
    assert cost(book, "big-2024-08-06") == 3 * 10**9


def test_the_price_of_cached_input_is_taken_over() -> None:
    book = prices_in_force(policy_with(small=("3", "4", "0.5")), None)
    assert book is not None
    assert book.cost_nano("small", 1_000_000, 0, 1_000_000) == 500_000_000


@pytest.mark.parametrize("declared", [None, CODE])
def test_without_prices_of_its_own_a_policy_leaves_those_of_the_code(declared: PriceBook | None) -> None:
    assert prices_in_force(policy_with(), declared) is declared
