"""The values that a report is made of. Shares lie in [0, 1]; None is "not known" or "nothing to divide by", never
zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the funnel. ``of_seen``: share of all calls. Those of the step before that are not in this one:
    ``ended``, reason → how many were not meant to go on; ``drops``, reason → how many were lost."""

    name: str
    count: int
    of_seen: float | None
    ended: Mapping[str, int]
    drops: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """The way of a call into the comparison, and who answered the users."""

    steps: Sequence[Step]
    served: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What is missing of the evidence, by reason; empty and 0 where nothing is. ``calls``: that no shadow can be made
    of, as ``too_large``; ``shadows``: refused, or not finished in time; ``trials``: on their way to the database;
    ``late_blocks``: counts that came after their second was judged. No loss, but not compared: ``not_compared``, live
    calls outside the sample, and ``not_drawn``, those that the sample left out. ``fallbacks``: live calls that control
    answered in place of the candidate."""

    calls: Mapping[str, int]
    shadows: Mapping[str, int]
    trials: Mapping[str, int]
    late_blocks: int
    not_compared: int
    not_drawn: int
    fallbacks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of the pairs of a unit; the four outcomes are disjoint and add up to ``compared``. Beside them stand
    the pairs without an outcome, for a side failed: ``branch_failed``, whatever control did, and ``control_failed``,
    control alone."""

    unit: str
    compared: int
    matched: int
    ignored: int
    mismatched: int
    incomparable: int
    branch_failed: int
    control_failed: int
    mismatch_share: float | None
    noise_runs: int
    noise_mismatched: int
    noise_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A path that differs, since the first call. ``current``: it was seen since the policy in force began; what was
    not may be mended. ``share``: of the calls in which the unit of its branch was compared; ``noise_share``: how often
    control differs from itself there; ``excess``: the first less the second, between ``excess_low`` and
    ``excess_high`` with 95 % confidence, None where control never ran against itself. ``trials``: of those that were
    stored, the first ones."""

    path: str
    kind: str
    branch: str
    current: bool
    count: int
    share: float | None
    noise: int
    noise_share: float | None
    excess: float | None
    excess_low: float | None
    excess_high: float | None
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
    seen different calls. Control's cost is known of compared calls alone: these are its ``calls``, and ``spent_usd`` is
    None, not known. ``month_usd``: if it ran on every call at the rate observed, for 30 days. ``tokens_*``: mean
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
class Bill:
    """What a call costs when every branch is live at 100 %, and (``today_*``) with control alone, without branches and
    their shadows: nothing where control recorded no usage. ``control_share``: of the calls on which control runs then:
    1 in an overlay, that of reverse shadow where branches replace it; fallbacks come on top. ``more_usd``: a month,
    less where it is below 0. ``unknown``: units (``control``) with calls without a price, or that have not run, which
    makes it all unknown. ``supposed``: branches without a live call now, in shadow or rolled back, that count all the
    same."""

    control_share: float
    per_call_usd: Decimal | None
    month_usd: Decimal | None
    today_per_call_usd: Decimal | None
    today_month_usd: Decimal | None
    more_usd: Decimal | None
    unknown: Sequence[str]
    supposed: Sequence[str]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The stored trials that the parts below are made of: the newest ``trials`` of all that are ``stored``, which stand
    for so many ``calls``. ``kept``: the share of matched trials that is stored, now; 0: trials that differ speak for
    themselves alone. Times of the oldest and newest in epoch seconds."""

    trials: int
    stored: int
    calls: float
    kept: float
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLatency:
    """The candidate's latency less control's of the same call, in shadow, in seconds: below 0 it was faster.
    ``pairs``: trials; ``faster``, ``slower``: shares of calls, the rest took exactly as long (the overlay waits for
    control). ``curve``: (seconds, share of calls) of equal steps; the first and last hold what lies beyond."""

    pairs: int
    faster: float
    slower: float
    p05_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchSpan:
    """One branch of a waterfall, in seconds after the start of the fan-out. ``begin_s``, ``end_s``: medians of the
    calls in which it ran, ``ran`` of all; ``critical``: the share of all calls that waited for it in the end."""

    branch: str
    runs: int
    ran: float
    begin_s: float
    end_s: float
    end_p95_s: float
    critical: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """The fan-out of a typical call, live or in shadow. ``end_*``: of the whole fan-out. ``path``: the branches that
    most calls waited for, one after the other, ``path_share`` of them. ``control_p50_s``: None where not known."""

    mode: str
    trials: int
    control_p50_s: float | None
    end_p50_s: float
    end_p95_s: float
    path: Sequence[str]
    path_share: float
    branches: Sequence[BranchSpan]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """What one branch spends on one model. ``model`` is ``""`` where the branch told none. ``runs``: trials in which it
    was used, ``unpriced`` of them without a price, which makes ``per_call_usd`` and ``month_usd`` unknown. ``per_*``:
    means; a call counts in which it did not run, too. ``tokens_*``: of a run. ``month_usd``: 30 days with every call
    at the rate observed."""

    branch: str
    model: str
    runs: int
    unpriced: int
    tokens_in: float
    tokens_out: float
    per_run_usd: Decimal | None
    per_call_usd: Decimal | None
    month_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The calls that have something in common: their ``kind`` (``route``, ``method``, or the name of a label).
    ``of_calls``: their share of
    all; ``mismatched``: of those compared, between ``low`` and ``high`` with 95 % confidence; ``incomparable``: of all
    of them."""

    kind: str
    name: str
    trials: int
    of_calls: float
    mismatched: float | None
    low: float | None
    high: float | None
    incomparable: float
    control_p95_s: float | None
    candidate_p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """A process that counted calls of late: in how many seconds, and the first and last of them (epoch)."""

    process: str
    seconds: int
    first: int
    last: int
