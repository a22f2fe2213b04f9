"""Budgets: what a call may use at most, shared by its parallel branches, retries and hedges; and dollars of a day.

    account = Account(tokens=4_000, nano=50_000_000)
    account.reserve(1_000, 20_000_000)  # before the run: None, or "tokens" or "usd", the limit that refuses
    account.settle((1_000, 20_000_000), 812, 16_240_000)  # after it; account.release() where it used nothing

Amounts are whole tokens and whole nano-dollars, so that every sum is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import inf
from typing import Final, Literal

from rollout.domain.cost import nano_usd

#: Which limit refuses.
Limit = Literal["tokens", "usd"]

_NO_LIMIT: Final = inf
_DAYS_KEPT: Final = 1  # beside the day in question: around midnight the clocks of two hosts name different days


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What one run of a branch is expected to need at most. It is begun only where the budget still covers that.

    * ``tokens``: input and output together, 0 or more. Default 0.
    * ``usd``: dollars, 0 or more. Default 0.
    * ``latency_s``: seconds, 0 or more. Default 0.

    Nothing is checked here: see ``problems()``.
    """

    tokens: int = 0
    usd: str | float | Decimal = 0
    latency_s: float = 0.0

    @property
    def nano(self) -> int:
        """``usd`` in nano-dollars, reckoned anew each time. ``ValueError`` where ``usd`` is no amount."""
        return nano_usd(self.usd)

    def problems(self) -> list[str]:
        """Every mistake, each with its remedy; empty when there is none."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if not _is_whole(self.tokens):
            yield f"tokens is {self.tokens!r}; it must be a whole number of 0 or more"
        try:
            nano_usd(self.usd)
        except ValueError as error:
            yield f"usd: {error}"
        if type(self.latency_s) not in (int, float) or not 0 <= self.latency_s < inf:
            yield f"latency_s is {self.latency_s!r}; it must be 0 or more seconds, and finite"


class Account:
    """The tokens and nano-dollars of one call. For one thread: nothing here waits, so nothing comes between.

    ``limit_tokens``, ``limit_nano``: the limits; None: no limit. Each amount is kept for tokens and for nano-dollars:

    * ``reserved_``: all that was ever reserved; ``released_``: what of it was given back.
    * ``spent_``: all that was spent; ``overrun_``: what of it went beyond the reservations.
    * ``held_``: what runs under way hold; ``over_``: by how much spending is above the limit, 0 where it is not.
    * ``unknown``: settled reservations of which tokens or cost were unknown; what was reserved counts as spent.

    At every moment ``spent - overrun + released + held = reserved``. Who reserves must settle or release once.
    """

    __slots__ = (
        *("limit_tokens", "reserved_tokens", "released_tokens", "spent_tokens", "overrun_tokens", "_free_tokens"),
        *("limit_nano", "reserved_nano", "released_nano", "spent_nano", "overrun_nano", "_free_nano"),
        "unknown",
    )

    def __init__(self, tokens: int | None, nano: int | None) -> None:
        self.limit_tokens, self.limit_nano = tokens, nano
        self._free_tokens: float = _NO_LIMIT if tokens is None else tokens  # less what is spent or held: whole, or inf
        self._free_nano: float = _NO_LIMIT if nano is None else nano
        self.reserved_tokens = self.released_tokens = self.spent_tokens = self.overrun_tokens = 0
        self.reserved_nano = self.released_nano = self.spent_nano = self.overrun_nano = 0
        self.unknown = 0

    def reserve(self, tokens: int, nano: int) -> Limit | None:
        """Take both amounts, or neither: then the limit that refuses, tokens first. Amounts are whole, 0 or more.

        What reaches a limit exactly fits; once spending is above a limit, nothing fits, not even a reservation of 0.
        """
        if tokens > self._free_tokens:
            return "tokens"
        if nano > self._free_nano:
            return "usd"
        self.reserved_tokens += tokens
        self.reserved_nano += nano
        self._free_tokens -= tokens
        self._free_nano -= nano
        return None

    def release(self, tokens: int, nano: int) -> None:
        """What was reserved was not used: all of it goes back."""
        self.released_tokens += tokens
        self.released_nano += nano
        self._free_tokens += tokens
        self._free_nano += nano

    def settle(self, reserved: tuple[int, int], tokens: int | None, nano: int | None) -> None:
        """A run used this much of what it had ``reserved`` (tokens, nano-dollars): what is left goes back, what is
        above is booked too, even over the limit.

        None: unknown; the reserved amount counts as spent. ``ValueError`` for an amount that is no whole number of 0
        or more; nothing is booked then.
        """
        held_tokens, held_nano = reserved
        used_tokens = held_tokens if tokens is None else tokens
        used_nano = held_nano if nano is None else nano
        _check(used_tokens, used_nano)
        self.spent_tokens += used_tokens
        self.overrun_tokens += max(0, used_tokens - held_tokens)
        self.released_tokens += max(0, held_tokens - used_tokens)
        self._free_tokens += held_tokens - used_tokens
        self.spent_nano += used_nano
        self.overrun_nano += max(0, used_nano - held_nano)
        self.released_nano += max(0, held_nano - used_nano)
        self._free_nano += held_nano - used_nano
        if tokens is None or nano is None:
            self.unknown += 1

    @property
    def held_tokens(self) -> int:
        return self.reserved_tokens - self.released_tokens - (self.spent_tokens - self.overrun_tokens)

    @property
    def held_nano(self) -> int:
        return self.reserved_nano - self.released_nano - (self.spent_nano - self.overrun_nano)

    @property
    def over_tokens(self) -> int:
        return 0 if self.limit_tokens is None else max(0, self.spent_tokens - self.limit_tokens)

    @property
    def over_nano(self) -> int:
        return 0 if self.limit_nano is None else max(0, self.spent_nano - self.limit_nano)


class DailyBudget:
    """What each branch of a rollout may spend in shadow on one day (UTC), over all processes.

    ``nano``: the limit of each branch, in nano-dollars a day; None: no limit.

    A process knows what it spent itself, and now and then *learns* from the ledger what all have spent, itself
    included. The rule: **the greater counts**, what was known here or what the ledger says. Neither contains anything
    twice, so neither is above the truth, and a day's spending never falls. What may be missing is what others spent
    since the last look at the ledger, or had not written by then; and the runs under way, which count once they
    ``spend``.
    """

    __slots__ = ("_days", "limit_nano")

    def __init__(self, nano: int | None) -> None:
        _check(0, nano or 0)
        self.limit_nano = nano
        self._days: dict[date, dict[str, int]] = {}

    def may(self, branch: str, nano: int, now_epoch: float) -> bool:
        """Whether a run of the branch that is expected to cost this much still fits. ``now_epoch``: seconds since 1970,
        UTC. What reaches the limit exactly fits.
        """
        _check(0, nano)
        return self.limit_nano is None or self.spent(branch, now_epoch) + nano <= self.limit_nano

    def spend(self, branch: str, nano: int, now_epoch: float) -> None:
        """A run of the branch cost this much (where that is unknown: what it had reserved)."""
        _check(0, nano)
        day = self._day(utc_day(now_epoch))
        day[branch] = day.get(branch, 0) + nano

    def learn(self, day: date, spent: Mapping[str, int]) -> None:
        """What the ledger knows of a day: the branch → nano-dollars that all processes spent."""
        known = self._day(day)
        for branch, nano in spent.items():
            _check(0, nano)
            known[branch] = max(known.get(branch, 0), nano)

    def spent(self, branch: str, now_epoch: float) -> int:
        """Nano-dollars that the branch spent on the day of ``now_epoch``, as far as is known here."""
        return self._day(utc_day(now_epoch)).get(branch, 0)

    def _day(self, day: date) -> dict[str, int]:
        """The spending of a day; a new one is empty. Its neighbours are kept, so that a clock set back, or a ledger in
        another day, empties nothing; others are dropped.
        """
        if day not in self._days:
            self._days = {kept: spent for kept, spent in self._days.items() if abs(kept - day).days <= _DAYS_KEPT}
            self._days[day] = {}
        return self._days[day]


def utc_day(epoch: float) -> date:
    """The day, in UTC, of a time in seconds since 1970."""
    return datetime.fromtimestamp(epoch, UTC).date()


def _check(tokens: int, nano: int) -> None:
    if not (_is_whole(tokens) and _is_whole(nano)):
        raise ValueError(
            f"{tokens!r} tokens and {nano!r} nano-dollars are no amounts; each must be a whole number of 0 or more"
        )


def _is_whole(amount: object) -> bool:
    return type(amount) is int and amount >= 0  # neither a bool nor NaN
