"""One thing that a sequential gate tests: its evidence for a rollback, and for the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log
from typing import Any, Final, Protocol

from rollout.domain.evidence import Figures
from rollout.domain.gates import Stage
from rollout.domain.stats import ALPHA_PROMOTE

#: What the logarithm of the evidence for a step must reach.
LOG_PROMOTE: Final = log(1 / ALPHA_PROMOTE)

PartState = Mapping[str, Any]  # JSON-ready, of bounded size


@dataclass(frozen=True, slots=True)
class Second:
    """What came of a unit in one second, closed: what is counted of both arms and of the pairs, and every pair."""

    a: Figures
    b: Figures
    pairs: Figures
    every_pair: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a part shows people of the present stage; the numbers as in ``Finding``. ``fault``: why it cannot judge."""

    said: str
    n: int = 0
    observed: float | None = None
    limit: float | None = None
    baseline: float | None = None
    fault: str = ""


class Part(Protocol):
    """See the module. Evidence of a stage begins with ``enter``; ``update`` comes once a second, ``compare`` for what
    several seconds add up to until there are enough calls in both arms.
    """

    def enter(self, stage: Stage) -> None:
        """A stage begins: what speaks for the next step starts anew, what speaks for a rollback goes on."""
        ...

    def renew(self) -> None:
        """What speaks for a rollback starts anew, too: the branch goes live."""
        ...

    def fund(self, capital: float) -> None:
        """Put more capital on the bets for a rollback, so that a change of now is found as fast as one at the start."""
        ...

    def update(self, second: Second, stage: Stage, capital: float) -> None:
        """A closed second. ``capital``: for the bets on pairs and on one arm, before they are settled."""
        ...

    def compare(self, a: Figures, b: Figures, stage: Stage, capital: float) -> None:
        """Calls of both arms. ``capital``: for the bets on arms, before they are settled."""
        ...

    def learn(self, a: Figures) -> None:
        """Calls of control that are left over: they are no evidence, but tell what control is like."""
        ...

    @property
    def log_e(self) -> float:
        """The logarithm of the evidence for a rollback."""
        ...

    def log_promote(self, stage: Stage) -> float | None:
        """The logarithm of the evidence for the next step; None where there is nothing to show."""
        ...

    def missing(self, stage: Stage) -> float | None:
        """How many more calls (of both arms, or pairs) the next step takes at this rate; None: it will not be shown at
        this rate, or cannot be told."""
        ...

    def sight(self, stage: Stage) -> Sight: ...

    def noun(self, stage: Stage) -> str:
        """What it counts: calls, or callers where each of them counts once."""
        ...

    def to_state(self) -> dict[str, Any]: ...

    def restore(self, state: PartState) -> None: ...


def counted(stage: Stage) -> str:
    """What evidence of the arms, and of one arm, counts: callers, if they keep their bucket, and calls else."""
    return "callers" if stage.keyed else "calls"


def in_pairs(stage: Stage) -> bool:
    """Whether control and the candidate are seen on the same calls: in shadow, and where no arm is left to control."""
    return not stage.live or stage.share >= 1


def unseen(stage: Stage) -> str:
    """That nothing was counted of both sides in a stage, and where that may stay so, why."""
    if not stage.live or not in_pairs(stage):
        return "no call yet"
    return "nothing to compare with: at 100% control has no calls of its own, and none ran on both sides yet"


def calls_for(log_e: float, nats_per_call: float) -> float | None:
    """Calls until evidence for a step suffices, if it grows by so much a call; None if it does not grow."""
    if nats_per_call <= 1e-12:
        return None
    return max(0.0, (LOG_PROMOTE - log_e) / nats_per_call)


def of_both_arms(calls: float | None, stage: Stage) -> float | None:
    """How many calls of both arms hold so many of arm B, live; in shadow every call counts."""
    return calls if calls is None or not stage.live or stage.drawn <= 0 else calls / stage.drawn


def rounded(calls: float) -> int:
    """A number of calls that claims no more than it knows: two digits."""
    whole = max(1, ceil(calls))
    step: int = 10 ** max(0, len(str(whole)) - 2)
    return ceil(whole / step) * step
