"""Recorded calls, as far as a replay needs them, and what all of them together say of each branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome

OK: Final = RunOutcome.ok
#: Ends from outside: how long the run would have lasted is not known, only that it is longer.
CUT: Final = (RunOutcome.soft_timeout, RunOutcome.hard_timeout, RunOutcome.cancelled)
#: Ends that the branch came to by itself.
ENDED: Final = (OK, RunOutcome.answered, RunOutcome.error)
#: Refused at the door; taken for a fact of that call, whatever the setting.
REFUSED: Final = (RunOutcome.rejected, RunOutcome.short_circuited, RunOutcome.over_budget)
#: A timer fires a little late, and what it cuts has lasted a little longer than it says. In seconds.
LATE_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run of a branch.

    ``took_s``: seconds from its start to its end. ``tokens``: in and out. ``nano``: nano-dollars, None where no price
    is known. ``sure``: how sure the branch was of its part, in [0, 1]; None where it did not say, or nobody wrote it
    down. ``reason``: why it did not begin, where that was written down.
    """

    outcome: RunOutcome
    took_s: float
    tokens: int = 0
    nano: int | None = 0
    sure: float | None = None
    reason: str = ""

    @property
    def began(self) -> bool:
        return self.outcome in ENDED or self.outcome in CUT


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """One call that ran in shadow.

    ``control_s``, ``candidate_s``: seconds, as they were measured; the second is None where there is no candidate.
    ``differs``: the branches in whose parts something differs; ``""``: something that lies in none. ``weight``: how
    many calls it stands for, where not all were stored.
    """

    control_s: float
    runs: Mapping[str, RecordedRun]
    outcome: Outcome = Outcome.matched
    differs: frozenset[str] = frozenset()
    candidate_s: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What all recorded calls say of each branch, by name.

    ``lasted``: the seconds of the runs that ended by themselves, rising. ``most_tokens``, ``most_nano``: the most that
    a run used that returned a part. ``began``: how many runs. ``tells``: the branches that say how sure they are.
    ``control_s``: of control, rising.
    """

    lasted: Mapping[str, Sequence[float]] = field(default_factory=dict)
    most_tokens: Mapping[str, int] = field(default_factory=dict)
    most_nano: Mapping[str, int] = field(default_factory=dict)
    began: Mapping[str, int] = field(default_factory=dict)
    tells: frozenset[str] = frozenset()
    control_s: Sequence[float] = ()

    @classmethod
    def of(cls, calls: Iterable[RecordedCall]) -> Past:
        lasted: dict[str, list[float]] = {}
        tokens: dict[str, int] = {}
        nano: dict[str, int] = {}
        began: dict[str, int] = {}
        tells: set[str] = set()
        control_s: list[float] = []
        for call in calls:
            control_s.append(call.control_s)
            for name, run in call.runs.items():
                began[name] = began.get(name, 0) + run.began
                if run.outcome in ENDED:
                    lasted.setdefault(name, []).append(run.took_s)
                if run.outcome is OK:
                    tokens[name] = max(run.tokens, tokens.get(name, 0))
                    nano[name] = max(run.nano or 0, nano.get(name, 0))
                if run.sure is not None:
                    tells.add(name)
        return cls(
            lasted={name: sorted(seconds) for name, seconds in lasted.items()},
            most_tokens=tokens,
            most_nano=nano,
            began=began,
            tells=frozenset(tells),
            control_s=sorted(control_s),
        )


def quantile(rising: Sequence[float], q: float) -> float:
    """The smallest of at least one value below which, or at which, a share ``q`` of them lies."""
    return rising[min(len(rising) - 1, max(0, ceil(q * len(rising) * (1 - 1e-12)) - 1))]
