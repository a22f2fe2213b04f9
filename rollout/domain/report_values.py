"""The values that a report is made of. Shares lie in [0, 1]; None is "not known" or "nothing to divide by", never
zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the funnel. ``of_seen``: share of all calls; ``drops``: reason → how many were lost just before
    it."""

    name: str
    count: int
    of_seen: float | None
    drops: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """The way of a call into the comparison, and who answered the users."""

    steps: Sequence[Step]
    served: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of the pairs of a unit; the four outcomes are disjoint and add up to ``compared``."""

    unit: str
    compared: int
    matched: int
    ignored: int
    mismatched: int
    incomparable: int
    mismatch_share: float | None
    noise_runs: int
    noise_mismatched: int
    noise_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A path that differs. ``share``: of the compared calls; ``noise_share``: how often control differs from itself
    there."""

    path: str
    kind: str
    branch: str
    count: int
    share: float | None
    noise: int
    noise_share: float | None
    first_at: float
    last_at: float
    trials: Sequence[str]
    example: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One side's latency in seconds. ``basis``: ``pairs`` (both sides of the same call) or ``arms`` (calls assigned
    live against the others, at the same moment) or ``runs`` (of the unit's branches alone). ``failed`` calls are
    slower than every quantile; a quantile that falls among them is infinite. ``curve``: (seconds, share of calls) for
    drawing."""

    unit: str
    basis: str
    side: str
    calls: int
    failed: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """How the runs of a branch ended, live or in shadow.

    ``runs``: how often it was asked for; ``ended``: every outcome → how many of them ended so, which adds up.
    ``reasons``: of those that were ``skipped`` or ``over_budget``, reason → how many. ``retried`` and ``hedged``:
    attempts beyond the first. ``orphaned``: attempts that go on although their run has ended; None where the branch
    did not run of late.
    """

    branch: str
    mode: str
    runs: int
    ended: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    retried: int
    hedged: int
    sla_missed: int
    orphaned: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOutTime:
    """Means of the trials: what the runs took together, and the fan-out from start to end, in seconds. ``times``:
    the first by the second, so 1 is one after another; None where it took no time."""

    trials: int
    work_s: float
    path_s: float
    times: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one side costs. ``unit`` is ``""`` for control and for all branches together. ``calls``: with known cost
    (``costed``) or without (``unpriced``; then sums are lower bounds); None for all branches together, which may have
    seen different calls. ``month_usd``: if it ran on every call at the rate observed, for 30 days. ``tokens_*``: mean
    of a call."""

    unit: str
    side: str
    calls: int | None
    costed: int | None
    unpriced: int | None
    spent_usd: Decimal | None
    per_call_usd: Decimal | None
    month_usd: Decimal | None
    tokens_in: float | None
    tokens_out: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLine:
    """How often runs or calls ended badly. ``what``: an outcome (``hard_timeout``) or a class of error."""

    unit: str
    side: str
    what: str
    count: int
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of time. Shares and quantiles are None where nothing was counted."""

    at: float
    calls: int
    control_calls: int
    candidate_calls: int
    control_bad: float | None
    candidate_bad: float | None
    control_p95_s: float | None
    candidate_p95_s: float | None
    compared: int
    mismatched: float | None
