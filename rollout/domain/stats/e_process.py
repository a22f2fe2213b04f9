"""What all gates are: capital spread over several bets, whose sum is E.

If the null is true, each bet's capital is a supermartingale that never falls below 0. So is their sum, and it ever
reaches 1/α with probability at most α (Ville's inequality; a mixture over alternatives needs no choice among them).
Everything is kept in natural logarithms, because capital outgrows floats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import exp, inf, isfinite, isinf, log, log1p
from typing import Any, Literal, Self

from rollout.domain.stats.funding import START

Side = Literal["rollback", "promote"]
State = dict[str, Any]


def log_sum_exp(values: Sequence[float]) -> float:
    """log Σ e^v, without overflow; −∞ (the logarithm of nothing) if there are none."""
    top = max(values, default=-inf)
    if isinf(top):
        return top
    return top + log(sum([exp(value - top) for value in values]))


def log_mean_exp(values: Sequence[float]) -> float:
    """The logarithm of the mean of e^v. ``ValueError`` if there are none."""
    if not values:
        raise ValueError("there is no mean of no values: give at least one")
    return log_sum_exp(values) - log(len(values))


def check_side(side: str) -> None:
    """``ValueError`` unless it is a ``Side``."""
    if side not in ("rollback", "promote"):
        raise ValueError(f'"{side}" is no side of a gate: take "rollback" or "promote"')


def check_counts(whose: str, n: float, k: float) -> None:
    """``ValueError`` unless 0 ≤ k ≤ n < ∞; NaN is refused too."""
    if not 0 <= k <= n < inf:
        raise ValueError(f"{whose}: {k} of {n} calls cannot be: count every call once, and k among its n")


def equal_shares(count: int) -> tuple[float, ...]:
    """Shares of capital for so many bets, each the same."""
    return (1 / count,) * count


class EProcess(ABC):
    """Capital on several bets. ``log_e``: the logarithm of E, at most 0 at the start.

    A rollback gate starts with ``START`` and is funded later (``fund``); a promotion gate starts with 1, all there is.
    """

    __slots__ = ("_log_e", "_logs", "_shares", "side")

    def __init__(self, side: Side, shares: Sequence[float]) -> None:
        """``shares``: how each capital is spread over the bets; they add up to 1."""
        check_side(side)
        self.side = side
        self._shares = shares
        self._begin()

    def _begin(self) -> None:
        capital = START if self.side == "rollback" else 1.0
        self._hold([log(capital * share) for share in self._shares])

    def _hold(self, logs: list[float]) -> None:
        """Have so much capital on each bet. Its sum is asked for far more often than it changes, so it is kept."""
        self._logs = logs
        self._log_e: float | None = None

    @property
    def log_e(self) -> float:
        """log E now: finite, and at least log(1/α) where the null is refuted at α."""
        if self._log_e is None:
            self._log_e = log_sum_exp(self._logs)
        return self._log_e

    def fund(self, weight: float) -> None:
        """Begin each bet once more beside itself, with ``weight`` in (0, 1] of new capital spread over them: a restart.

        For the bound to hold, all weights of a gate's life add up to at most 1 − ``START``, and each is fixed before
        the block it is given for. ``ValueError`` for another weight, and for a promotion gate.
        """
        if self.side == "promote":
            raise ValueError("a promotion gate has all its capital from the start: take `fresh()` for a new stage")
        if not 0 < weight <= 1:
            raise ValueError(f"{weight} is no capital to fund a gate with: give more than 0 and at most 1")
        self._hold([_log_add(held, log(weight * share)) for held, share in zip(self._logs, self._shares, strict=True)])

    def fresh(self) -> Self:
        """The same test with the same past of control and the capital of a start, for a new account or stage."""
        other = self.from_state(self.to_state())
        other._begin()
        return other

    @abstractmethod
    def to_state(self) -> State:
        """All of it, for JSON: a few numbers, the same floats after the way there and back."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What ``to_state`` described. ``ValueError`` if the numbers cannot be."""

    def _grow(self, log_es: Sequence[float]) -> None:
        """Multiply the capital of each bet by what it returned."""
        self._hold([held + gained for held, gained in zip(self._logs, log_es, strict=True)])

    def _logs_state(self) -> list[float | None]:
        """JSON has no −∞ (a bet that lost all): None."""
        return [value if isfinite(value) else None for value in self._logs]

    def _restore(self, state: Mapping[str, Any]) -> None:
        """``ValueError`` unless ``state["logs"]`` holds as many numbers as there are bets."""
        logs = [-inf if value is None else float(value) for value in state["logs"]]
        if len(logs) != len(self._shares) or not all(value < inf for value in logs):
            raise ValueError(
                f"the state of a {type(self).__name__} needs {len(self._shares)} numbers in `logs`, "
                f"not {state['logs']!r}: start new evidence"
            )
        self._hold(logs)


def _log_add(one: float, other: float) -> float:
    """log(e^one + e^other); at most one of them is −∞."""
    low, high = (one, other) if one < other else (other, one)
    return high + log1p(exp(low - high))
