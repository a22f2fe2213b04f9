"""Every mistake in what a fan-out may choose and spend: dispatch, quorum, prices, budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rollout.domain.cost import nano_usd
from rollout.domain.prices import PriceBook
from rollout.errors import Problem
from rollout.mistakes.checks import HasBranches, is_whole, of_hook


def of_choice(fan_out: HasBranches, where: str) -> Iterator[Problem]:
    yield from of_hook(where, "dispatch", fan_out.dispatch)
    quorum, most = fan_out.quorum, len(fan_out.branches)
    if quorum is not None and (not is_whole(quorum) or not 1 <= quorum <= most):
        yield Problem(where, f"quorum is {quorum!r} of {most} branches", f"give a whole number from 1 to {most}")
    if fan_out.prices is not None and not isinstance(fan_out.prices, PriceBook):
        yield Problem(where, f"prices is {fan_out.prices!r}", "write PriceBook({...}), or leave it out")


def of_budget(budget: Any, where: str) -> Iterator[Problem]:
    """``latency_s`` is checked with the other numbers."""
    tokens = getattr(budget, "tokens", None)
    if tokens is not None and (not is_whole(tokens) or tokens < 1):
        yield Problem(where, f"tokens is {tokens!r}", "give a whole number of at least 1, or leave it out")
    yield from of_dollars(getattr(budget, "usd", None), where, "usd")


def of_dollars(usd: Any, where: str, name: str) -> Iterator[Problem]:
    if usd is None:
        return
    if isinstance(usd, bool):
        yield Problem(where, f"{name} is {usd!r}", 'give dollars, such as "0.05"')
        return
    try:
        nano_usd(usd)
    except (ValueError, TypeError):
        yield Problem(where, f"{name} is {usd!r}", 'give dollars of 0 or more, such as "0.05"')
