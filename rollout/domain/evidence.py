"""What is counted: figures of one second of one stage, by arm, that add up over calls, processes and time.

Arms are assignments. For a unit (a branch, or a group that moves together): arm ``B`` holds the calls whose bucket
assigns it live, ``A`` those whose bucket does not, ``P`` the pairs (calls of which both sides ran). Unit ``""`` with
arm ``*`` is the rollout itself: the funnel of all its calls. Only calls whose flag said ``auto`` are in ``A`` and
``B``.

Counts of ``Figures``, by name:

====================  =====================================================================================
``calls``             calls of the arm (A, B), or seen at all (``*``)
``bad``               A: control failed; B: the candidate failed, timed out or fell back
``fallbacks``         B: answered by control instead
``runs``              runs of the unit's branches; ``sla_missed``: of those, longer than their SLA
``costed``            B: calls in which the cost of the unit's runs, all together, is known (zero where it was not even
                      asked); P: the same of calls in which its shadow ran; ``cost_nano`` its sum; ``unpriced``: unknown
``control_costed``    A, P: calls in which control's cost is known, zero where it recorded no usage (outside of a trial
                      nobody can record any, so it is not known); ``control_cost_nano`` its sum
``control_unpriced``  A, P: calls in which control recorded usage of unknown cost; P: ``control_tokens_in/_out`` of all
``tokens_in/_out``    tokens of the runs
``pairs``             P: both sides ran; of those ``control_bad``, ``candidate_bad``, ``only_control_bad`` and
                      ``only_candidate_bad``; ``would_fall_back``: there was no candidate at all
``matched`` …         P: outcomes of the comparison, disjoint: ``matched ignored mismatched incomparable``
``noise``             P: control ran against itself; ``noise_mismatched`` of those
``outcome:X``         runs that ended as X (ok, error, hard_timeout, rejected, skipped …): every run that was asked for
``skipped:reason``    runs that ended as skipped, by reason; ``over_budget:reason`` likewise (``REASONS``)
``retried``           attempts after the first; ``hedged``: attempts beside a slow one
``orphans``           attempts that went on although their run had ended, when the second was sealed: a level, which
                      adds up over branches and processes, and over time to orphan-seconds
``slower:tolerance``  P: both answered, and the candidate took longer than control by more than that share of it
``compared``          P: ``matched``, ``ignored`` and ``mismatched`` together
``ran``               B, P: calls in which the unit ran, to an outcome or until it was late; ``sla_calls``: of those, a
                      run missed its SLA
``single:name``       of a keyed rollout, calls without a key: what is scored of them, under the names of subjects
``of:branch:name``    of the branches of a group, one by one: ``outcome:X`` to ``orphans``, and ``sla_missed``
``error:Class``       runs that raised, by class, bounded
``drawn`` …           ``*``: the funnel of shadow trials: ``drawn started finished compared queued stored``
``fan_outs``          ``*``: trials of which both are known: ``work_us``, the time of their runs added up, and
                      ``path_us``, the time of their fan-out, in microseconds
``dispatch:reason``   ``*``: why the dispatch chose its branches
``skipped:reason``    ``*``: not drawn though active
``refused:reason``    ``*``: drawn, but not run; ``dropped:reason`` after it ran
``served:X``          ``*``: who answered: ``control``, ``candidate`` or ``fallback``
``hook:name``         ``*``: hooks of the user's that raised
``flag:reason``       ``*``: flags that were off because their source gave no answer
====================  =====================================================================================

Histograms of ``Figures``: ``latency`` (A, B: of the reply to the user; bad calls are not in it, they exceed
everything), ``control`` and ``candidate`` (P: both sides of pairs in which neither was bad), ``run`` (runs that
ended ok), ``overhead``; ``cost`` (B, P: of the unit by call, in milli-dollars, if above zero) and ``control_cost`` (A,
P).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from rollout.domain.histogram import Histogram
from rollout.domain.outcomes import RunOutcome

#: Why a run can have been skipped, or not been covered.
REASONS: Final[Mapping[RunOutcome, tuple[str, ...]]] = {
    RunOutcome.skipped: ("when", "dispatch", "confident", "after", "quorum"),
    RunOutcome.over_budget: ("time", "tokens", "usd", "usd_per_day"),
}
Arm = Literal["A", "B", "P", "*"]
ARMS: Final[tuple[Arm, ...]] = ("A", "B", "P", "*")


class Figures:
    """Counts and histograms by name; a name that is absent is 0, or empty. They add up."""

    __slots__ = ("counts", "histograms")

    def __init__(
        self, counts: Mapping[str, int] | None = None, histograms: Mapping[str, Histogram] | None = None
    ) -> None:
        self.counts: dict[str, int] = dict(counts) if counts else {}
        self.histograms: dict[str, Histogram] = dict(histograms) if histograms else {}

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    def add(self, name: str, count: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def observe(self, name: str, value: float) -> None:
        """One more value (seconds) of a histogram."""
        self.histogram(name).add(value)

    def histogram(self, name: str) -> Histogram:
        """The histogram of that name, made if it is absent."""
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Histogram()
        return found

    def merge(self, other: Figures) -> None:
        counts = self.counts
        if counts:
            for name, count in other.counts.items():
                counts[name] = counts.get(name, 0) + count
        else:
            counts.update(other.counts)
        for name, histogram in other.histograms.items():
            self.histogram(name).merge(histogram)

    def __bool__(self) -> bool:
        if any(self.counts.values()):
            return True
        return bool(self.histograms) and any(histogram.total for histogram in self.histograms.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Figures) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def starting(self, prefix: str) -> dict[str, int]:
        """The counts whose name begins with ``prefix``, by what follows it, largest first."""
        found = {name[len(prefix) :]: count for name, count in self.counts.items() if name.startswith(prefix)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def to_json(self) -> dict[str, Any]:
        return {
            "c": {name: count for name, count in sorted(self.counts.items()) if count},
            "h": {name: pairs for name, one in sorted(self.histograms.items()) if (pairs := one.to_json())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figures:
        return cls(data["c"], {name: Histogram.from_json(pairs) for name, pairs in data["h"].items()})

    def __repr__(self) -> str:
        return f"Figures({self.to_json()})"


class BlockKey(NamedTuple):
    """Whose figures they are. ``second``: of the calls' start, epoch seconds by the database's clock. ``entry``: the
    number of the stage's entry; ``version``: of the policy; both as the deciding process knew them. Only equal keys
    (less ``process``) add up.
    ``span``: seconds covered: 1, or 60 and 3 600 after the roll-up."""

    rollout: str
    unit: str
    arm: Arm
    version: int
    entry: int
    second: int
    span: int = 1
    process: str = ""


class Block(NamedTuple):
    """The figures of one second of one stage and arm, of one process."""

    key: BlockKey
    figures: Figures


@dataclass(slots=True)
class UnitBlock:
    """One second of a unit over all processes, closed: what gates fold. ``scored_*``: of a keyed rollout, each key's
    first call of the stage (``scored_p``: its first pair), and the calls without a key.
    """

    second: int
    a: Figures = field(default_factory=Figures)
    b: Figures = field(default_factory=Figures)
    pairs: Figures = field(default_factory=Figures)
    scored_a: Figures = field(default_factory=Figures)
    scored_b: Figures = field(default_factory=Figures)
    scored_p: Figures = field(default_factory=Figures)

    def counted(self, keyed: bool) -> tuple[Figures, Figures, Figures]:
        """What sequential gates count of arm A, arm B and the pairs. ``keyed``: whether callers keep their bucket, so
        that each is scored once; else every call was assigned by itself, and is scored.
        """
        return (self.scored_a, self.scored_b, self.scored_p) if keyed else (self.a, self.b, self.pairs)


#: What can be said of a subject, each a bit of ``Subject.marks``; the names are those of the counts.
MARKS: Final = (
    "bad",
    "fallbacks",
    "ran",
    "sla_calls",
    "compared",
    "mismatched",
    "would_fall_back",
    "costed",
    "unpriced",
    "control_costed",
    "control_unpriced",
)


def marks_of(*names: str) -> int:
    """The bit set of these marks."""
    return sum(1 << MARKS.index(name) for name in names)


class Subject(NamedTuple):
    """A key's first call in a stage (arm ``P``: its first pair), as one process saw it; over processes the earliest
    start counts. ``key_hash``: 16 hex digits. ``marks``: see ``MARKS``. ``latency``, ``cost``, ``control_cost``:
    buckets (of costs: of milli-dollars), -1 for none: a bad call, an unknown cost or one of zero.
    """

    rollout: str
    unit: str
    version: int
    entry: int
    key_hash: str
    arm: Arm
    started_at: float
    marks: int = 0
    latency: int = -1
    cost: int = -1
    control_cost: int = -1


def score(figures: Figures, arm: Arm, marks: int, latency: int, cost: int, control_cost: int, count: int = 1) -> None:
    """Add ``count`` subjects that are alike to the scored figures of their arm."""
    figures.add("pairs" if arm == "P" else "calls", count)
    for bit, name in enumerate(MARKS):
        if marks >> bit & 1:
            figures.add(name, count)
    for name, bucket in (("latency", latency), ("cost", cost), ("control_cost", control_cost)):
        if bucket >= 0:
            figures.histogram(name).merge({bucket: count})
