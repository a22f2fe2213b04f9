"""The parts of a report, each a pure function from added-up figures to a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from rollout.domain.evidence import Figures
from rollout.domain.histogram import Histogram, middle
from rollout.domain.intervals import difference
from rollout.domain.outcomes import RunOutcome
from rollout.domain.report_values import Comparison, ErrorLine, Funnel, Latency, Losses, Mismatch, Point, Step
from rollout.domain.state import Policy

#: The funnel of a shadow trial, with the prefixes of the counts that explain the drop before each step.
FUNNEL = (
    ("seen", "calls", ""),
    ("drawn", "drawn", "skipped:"),
    ("run", "started", "refused:"),
    ("finished", "finished", ""),
    ("compared", "compared", ""),
    ("stored", "stored", "dropped:"),
)
OUTSIDE = "live and outside the sample"
NOT_DRAWN = "not drawn by the sample"
_OUTCOMES = ("matched", "ignored", "mismatched", "incomparable")
#: How a run ends that was wanted, and gave neither a part nor an answer.
_FAILURES = (
    RunOutcome.error,
    RunOutcome.soft_timeout,
    RunOutcome.hard_timeout,
    RunOutcome.rejected,
    RunOutcome.short_circuited,
    RunOutcome.over_budget,
)
_COARSE = 6  # buckets of the histogram to a bar: each bar is 1.02^6 = 1.13 times as wide as the one before

Units = Mapping[str, Mapping[str, Mapping[int, Figures]]]  # unit → arm → entry → figures


class _Seen(Protocol):
    @property
    def unit(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def entry(self) -> int: ...
    @property
    def figures(self) -> Figures: ...


class Counted(Protocol):
    """How often a path differed."""

    branch: str
    path: str
    kind: str
    count: int
    noise: int
    first_at: float
    last_at: float
    trials: list[str]
    example: Mapping[str, Any] | None


def by_unit(totals: Iterable[_Seen]) -> Units:
    """The figures of each unit, arm and entry, by name; those of the rollout itself (arm ``*``) left out."""
    found: dict[str, dict[str, dict[int, Figures]]] = {}
    for seen in totals:
        if seen.arm != "*":
            entries = found.setdefault(seen.unit, {}).setdefault(seen.arm, {})
            entries.setdefault(seen.entry, Figures()).merge(seen.figures)
    return dict(sorted(found.items()))


def whole(totals: Iterable[_Seen]) -> Figures:
    """The figures of the rollout itself."""
    found = Figures()
    for seen in totals:
        if seen.arm == "*":
            found.merge(seen.figures)
    return found


def summed(units: Units, unit: str, *arms: str) -> Figures:
    """The figures of some arms of a unit over every entry."""
    found = Figures()
    for arm in arms:
        for figures in units.get(unit, {}).get(arm, {}).values():
            found.merge(figures)
    return found


def funnel(figures: Figures, rows: int = 0) -> Funnel:
    """Seen → drawn → run → finished → compared → stored. What no reason explains is told as such, so that the steps
    add up.

    ``rows``: how many trials the database holds of these calls, 0 where that is not known. A process tells what it
    stored with the counts of a later second; of its last trials the rows alone do.
    """
    counts = {name: figures[count_name] for name, count_name, _ in FUNNEL}
    counts["stored"] = max(counts["stored"], min(figures["queued"], rows))
    steps: list[Step] = []
    for name, _, prefix in FUNNEL:
        drops = figures.starting(prefix) if prefix else {}
        left = (steps[-1].count if steps else counts[name]) - counts[name] - sum(drops.values())
        ended, lost = _unexplained(name, max(0, left), figures, counts)
        of_seen = share(counts[name], counts["seen"])
        steps.append(Step(name=name, count=counts[name], of_seen=of_seen, ended=ended, drops={**drops, **lost}))
    return Funnel(steps=tuple(steps), served=figures.starting("served:"))


def _unexplained(
    step: str, left: int, figures: Figures, counts: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """What the calls are that are not in a step and have no reason of their own: not meant to go on, and lost."""
    ended: dict[str, int] = {}
    lost: dict[str, int] = {}
    if step == "drawn":
        ended[NOT_DRAWN] = left
    elif step == "run":  # a live call is drawn in any case, and compared at the rate of the sample
        outside = min(left, figures["served:candidate"] + figures["served:fallback"])
        ended[OUTSIDE] = outside
        lost["not begun in time"] = left - outside
    elif step == "finished":
        lost["not finished in time"] = left
    elif step == "compared":
        ended["incomparable"] = left
    elif step == "stored":
        dropped = sum(figures.starting("dropped:").values())
        waiting = min(left, max(0, figures["queued"] - counts["stored"] - dropped))
        ended["matched and not kept by store.sample"] = left - waiting
        lost["not taken by the database yet"] = waiting
    return _known(ended), _known(lost)


def _known(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def losses(found: Funnel, late_blocks: int) -> Losses:
    """What the funnel lost, and the blocks that came too late."""
    steps = {step.name: step for step in found.steps}
    return Losses(
        calls=steps["drawn"].drops,
        shadows={**steps["run"].drops, **steps["finished"].drops},
        trials=steps["stored"].drops,
        late_blocks=late_blocks,
        not_compared=steps["run"].ended.get(OUTSIDE, 0),
        not_drawn=steps["drawn"].ended.get(NOT_DRAWN, 0),
        fallbacks=found.served.get("fallback", 0),
    )


def comparisons(units: Units) -> tuple[Comparison, ...]:
    found = []
    for unit in units:
        pairs = summed(units, unit, "P")
        outcomes = {name: pairs[name] for name in _OUTCOMES}
        compared = sum(outcomes.values())
        failed = {"branch_failed": pairs["candidate_bad"], "control_failed": pairs["only_control_bad"]}
        if compared or pairs["noise"] or any(failed.values()):
            found.append(
                Comparison(
                    unit=unit,
                    compared=compared,
                    **outcomes,
                    **failed,
                    mismatch_share=share(pairs["mismatched"], compared),
                    noise_runs=pairs["noise"],
                    noise_mismatched=pairs["noise_mismatched"],
                    noise_share=share(pairs["noise_mismatched"], pairs["noise"]),
                )
            )
    return tuple(found)


def mismatches(paths: Iterable[Counted], figures: Figures, units: Units, policy: Policy) -> tuple[Mismatch, ...]:
    """The paths that differ, each against the calls in which the unit of its branch was compared; one of no branch,
    or of a unit that nothing is known of, against all. Those seen since the policy in force began come first, then
    the most frequent."""
    by_unit = {one.unit: (one.compared, one.noise_runs) for one in comparisons(units)}
    compared = figures["compared"] or max((calls for calls, _ in by_unit.values()), default=0)
    everything = compared, max((runs for _, runs in by_unit.values()), default=0)
    unit_of = {branch.name: branch.unit for branch in policy.branches}
    found = [
        _mismatch(counted, *by_unit.get(unit_of.get(counted.branch, counted.branch), everything), policy.registered_at)
        for counted in paths
    ]
    return tuple(sorted(found, key=lambda m: (not m.current, -m.count, -m.noise, m.path, m.kind)))


def _mismatch(counted: Counted, compared: int, noise_runs: int, began: float) -> Mismatch:
    """Paths are counted to the end, calls only until their second is sealed: no share is above 1 for that. ``began``:
    when the policy in force did, epoch seconds."""
    count, noise = min(counted.count, compared), min(counted.noise, noise_runs)
    low, high = difference(count, compared, noise, noise_runs) if compared and noise_runs else (None, None)
    return Mismatch(
        path=counted.path,
        kind=counted.kind,
        branch=counted.branch,
        current=counted.last_at >= began,
        count=counted.count,
        share=share(count, compared),
        noise=counted.noise,
        noise_share=share(noise, noise_runs),
        excess=count / compared - noise / noise_runs if compared and noise_runs else None,
        excess_low=low,
        excess_high=high,
        first_at=counted.first_at,
        last_at=counted.last_at,
        trials=tuple(counted.trials),
        example=counted.example,
    )


def latency(units: Units, policy: Policy) -> tuple[Latency, ...]:
    """Both sides of each unit: of pairs over all entries, and of the arms in the newest entry that was live.

    Arms of different entries are not added up: their shares differ, and so would the hours that each side saw.
    """
    found: list[Latency] = []
    for unit in units:
        pairs = summed(units, unit, "P")
        found += [
            _latency(unit, "pairs", side, pairs.histograms.get(side), pairs[f"{side}_bad"])
            for side in ("control", "candidate")
        ]
        newest = max((entry for entry, f in units[unit].get("B", {}).items() if f["calls"]), default=None)
        if newest is not None:
            for side, arm in (("control", "A"), ("candidate", "B")):
                figures = units[unit].get(arm, {}).get(newest, Figures())
                found.append(_latency(unit, "arms", side, figures.histograms.get("latency"), figures["bad"]))
        runs = summed(units, unit, "A", "B", "P")
        if len(policy.units()) > 1:
            found.append(_latency(unit, "runs", "branch", runs.histograms.get("run"), 0))
    return tuple(line for line in found if line.calls)


def _latency(unit: str, basis: str, side: str, histogram: Histogram | None, failed: int) -> Latency:
    known = histogram if histogram is not None else Histogram()
    p50, p95, p99 = (known.quantile(q, failed) for q in (0.5, 0.95, 0.99))
    return Latency(
        unit=unit,
        basis=basis,
        side=side,
        calls=known.total + failed,
        failed=failed,
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        curve=shape(known),
    )


def shape(histogram: Histogram) -> tuple[tuple[float, float], ...]:
    """A histogram as at most 200 points (middle of a bar in seconds, share of calls), gaps included as zeros."""
    total = histogram.total
    if not total:
        return ()
    bars: dict[int, int] = {}
    for bucket, count in histogram.items():
        bars[bucket // _COARSE] = bars.get(bucket // _COARSE, 0) + count
    first, last = min(bars), max(bars)
    return tuple((middle(bar * _COARSE + _COARSE // 2), bars.get(bar, 0) / total) for bar in range(first, last + 1))


def errors(units: Units) -> tuple[ErrorLine, ...]:
    """What went wrong on both sides, most frequent first within a unit. Outcomes of runs are shares of all that
    were asked for. Side ``call``: live, bad and not answered by control instead. Nobody got a reply (the caller
    left, or the process stopped) or control failed, which is bad for every unit alike; or an optional part of the unit
    was missing."""
    found = []
    for unit in units:
        everything = summed(units, unit, "A", "B", "P")
        runs, asked = everything["runs"], sum(everything.starting("outcome:").values())
        lines = [("branch", outcome.value, everything[f"outcome:{outcome}"], asked) for outcome in _FAILURES]
        lines += [("branch", f"exception {name}", n, runs) for name, n in everything.starting("error:").items()]
        live, pairs, others = summed(units, unit, "B"), summed(units, unit, "P"), summed(units, unit, "A")
        lines += [
            ("candidate", "fell back to control", live["fallbacks"], live["calls"]),
            ("candidate", "bad in shadow", pairs["candidate_bad"], pairs["pairs"]),
            ("call", "no good reply, live", live["bad"] - live["fallbacks"], live["calls"]),
            ("control", "failed, or had no reply", others["bad"], others["calls"]),
            ("control", "bad in shadow", pairs["control_bad"], pairs["pairs"]),
            ("branch", "longer than the SLA", everything["sla_missed"], runs),
        ]
        lines = [line for line in lines if line[2]]
        order = ("candidate", "branch", "call", "control")
        lines.sort(key=lambda line: (order.index(line[0]), -line[2], line[1]))
        found += [ErrorLine(unit=unit, side=s, what=w, count=n, share=share(n, of)) for s, w, n, of in lines]
    return tuple(found)


def curve(steps: Sequence[tuple[int, Mapping[str, Figures]]]) -> tuple[Point, ...]:
    return tuple(_point(at, arms) for at, arms in steps)


def _point(at: int, arms: Mapping[str, Figures]) -> Point:
    nothing = Figures()
    a, b, pairs, every = (arms.get(arm, nothing) for arm in ("A", "B", "P", "*"))
    compared = sum(pairs[name] for name in _OUTCOMES)
    control, candidate = (
        side.histograms.get("latency") or pairs.histograms.get(name)
        for side, name in ((a, "control"), (b, "candidate"))
    )
    return Point(
        at=float(at),
        calls=every["calls"] or a["calls"] + b["calls"],
        control_calls=a["calls"],
        candidate_calls=b["calls"],
        control_bad=share(a["bad"], a["calls"]) if b["calls"] else share(pairs["control_bad"], pairs["pairs"]),
        candidate_bad=share(b["bad"], b["calls"]) if b["calls"] else share(pairs["candidate_bad"], pairs["pairs"]),
        control_p95_s=control.quantile(0.95) if control else None,
        candidate_p95_s=candidate.quantile(0.95) if candidate else None,
        compared=compared,
        mismatched=share(pairs["mismatched"], compared),
    )


def share(part: int, of: int) -> float | None:
    """``part / of``; None of nothing."""
    return part / of if of else None
