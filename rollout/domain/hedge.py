"""Hedging: a second attempt when the first is slow, and how long "slow" is for this branch of late.

Dean and Barroso, "The Tail at Scale" (CACM, 2013): a second request after the 95th percentile costs 5 % more requests.
Each further attempt draws on the branch's ``RetryBudget``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rollout.domain.histogram import Durations

MOST_HEDGES: Final = 3
GENERATION: Final = 512  # successes; the quantile is of the last one to two generations
_EVERY: Final = 64  # successes between two looks at the quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """A further attempt while the first one still runs. The first *success* wins; the others are cancelled.

    * ``after_s``: seconds until a further attempt starts. Default None: the ``quantile`` of the branch's successes.
    * ``quantile``: in (0, 1). Default 0.95.
    * ``minimum``: successes before a quantile is trusted, 1 .. 512; until then there is no hedge. Default 20.
    * ``most``: further attempts, 1 .. 3, each after a delay of its own. Default 1.
    """

    after_s: float | None = None
    quantile: float = 0.95
    minimum: int = 20
    most: int = 1

    def problems(self) -> list[str]:
        """Every mistake, each with its remedy; empty when there is none."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.after_s is not None and not (_is_number(self.after_s) and 0 <= self.after_s < float("inf")):
            yield f"after_s is {self.after_s!r}; it must be 0 or more seconds and finite, or left out"
        if not (_is_number(self.quantile) and 0 < self.quantile < 1):
            yield f"quantile is {self.quantile!r}; it lies between 0 and 1, such as 0.95"
        for name, most in (("minimum", GENERATION), ("most", MOST_HEDGES)):
            value = getattr(self, name)
            if not (isinstance(value, int) and _is_number(value) and 1 <= value <= most):
                yield f"{name} is {value!r}; give a whole number from 1 to {most}"


class Delays:
    """The recent successes of one branch, and the delay before a hedge that follows from them.

    It looks back over the last 512 to 1 024 successes, so it follows a branch that grows slower or faster. The delay is
    worked out anew after every 64.
    """

    __slots__ = ("_before", "_delay_s", "_fresh", "_policy", "_unseen")

    def __init__(self) -> None:
        self._before, self._fresh = Durations(), Durations()
        self._unseen = 0  # successes since the quantile was last looked at
        self._policy: Hedge | None = None
        self._delay_s: float | None = None

    def add(self, took_s: float) -> None:
        """One success. ``took_s``: seconds from the start of the *first* attempt, whichever attempt won.

        With the winner's own time, slow calls would never be seen, and the delay would fall with every hedge.
        """
        self._fresh.add(took_s)
        self._unseen += 1
        if self._fresh.total >= GENERATION:
            self._before, self._fresh = self._fresh, Durations()

    def delay_s(self, policy: Hedge) -> float | None:
        """Seconds from the start of one attempt to that of the next; None: no hedge, too few successes are known.

        A quantile is the middle of its bucket, which is 2 % wide.
        """
        if policy.after_s is not None:
            return policy.after_s
        if policy is not self._policy or self._delay_s is None or self._unseen >= _EVERY:
            self._policy, self._delay_s = policy, self._quantile(policy)
        return self._delay_s

    def _quantile(self, policy: Hedge) -> float | None:
        self._unseen = 0
        if self._before.total + self._fresh.total < policy.minimum:
            return None
        recent = self._before.histogram()
        recent.merge(self._fresh.histogram())
        return recent.quantile(policy.quantile)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
