"""How whole ramps end. See ``ramps``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

import pytest

from rollout.domain.simulation.replay import End, Ended
from tests.bench.gates.ramps import (
    CALLERS_OVERLAY,
    CALLERS_REPLACE,
    CALLS_OVERLAY,
    HEALTHY,
    MOST_CALLS,
    MOST_PROMOTED,
    MOST_ROLLED_BACK,
    TRAFFIC,
    Found,
    doubled,
    healthy,
)
from tests.bench.gates.running import each, quantile, show

RUNS = {CALLS_OVERLAY: 1_000, CALLERS_OVERLAY: 1_000}
RUNS_DOUBLED = {CALLS_OVERLAY: 500, CALLERS_OVERLAY: 50, CALLERS_REPLACE: 50}


@pytest.mark.bench
def test_default_ramps_of_a_healthy_branch_are_hardly_ever_rolled_back() -> None:
    found = each(healthy, RUNS)
    show(
        f"Default ramps of a healthy branch, {HEALTHY.errors:.1%} errors, {TRAFFIC:g} calls/s, in virtual time",
        ("", "ramps", *(end.text for end in End), "hours to 100%, median", "p90", "why not completed"),
        [(kind, *cells_of_healthy(ramps)) for kind, ramps in found.items()],
        f"bound: {MOST_ROLLED_BACK:.0%} rolled back",
    )
    ends = Counter(ramp.end for ramps in found.values() for ramp in ramps)
    assert ends[End.rolled_back] <= MOST_ROLLED_BACK * ends.total()
    assert ends[End.completed] >= (1 - 2 * MOST_ROLLED_BACK) * ends.total()


def cells_of_healthy(ramps: Sequence[Ended]) -> Iterable[str]:
    ends = Counter(ramp.end for ramp in ramps)
    hours = [(ramp.arrived_s or float("inf")) / 3_600 for ramp in ramps]
    yield from (f"{len(ramps):,}", *(f"{ends[end]:,}" for end in End))
    yield from (f"{median(hours):.2f}", f"{quantile(hours, 0.9):.2f}", causes_of(ramp.cause for ramp in ramps))


def causes_of(causes: Iterable[str]) -> str:
    return ", ".join(f"{cause} {times}" for cause, times in Counter(filter(None, causes)).most_common())


@pytest.mark.bench
def test_a_doubled_error_rate_is_found_at_the_entry_of_the_stage_of_one_half() -> None:
    """Six gates, 1 to 2 %. Beside the kinds that the bound is held to, one that takes longer: where callers count once
    and branches overlay control. Those who were live before, half of arm B, are no evidence in it; and pairs show what
    the unit does by itself, which is no more than what control does.
    """
    found = each(doubled, RUNS_DOUBLED)
    show(
        "A branch whose errors double (1% to 2%) at the entry of 50%; six gates, in virtual time",
        ("", "ramps", "at 50%", "rolled back", "promoted", "calls, median", "p90", "cause"),
        [(kind, f"{len(ramps):,}", *cells_of_doubled(ramps)) for kind, ramps in found.items()],
        f"bounds: {MOST_CALLS:,} calls (median; not of {CALLERS_OVERLAY}), {MOST_PROMOTED:.0%} promoted",
    )
    for kind, ramps in found.items():
        there = [ramp for ramp in ramps if ramp.there]
        ends = Counter(ramp.end for ramp in there)
        assert len(there) >= 0.95 * len(ramps), kind
        assert ends[None] <= MOST_PROMOTED * len(there), kind
        assert ends[End.rolled_back] >= (1 - MOST_PROMOTED) * len(there), kind
        if kind != CALLERS_OVERLAY:
            assert median([ramp.calls for ramp in there]) < MOST_CALLS, kind


def cells_of_doubled(ramps: Sequence[Found]) -> Iterable[str]:
    there = [ramp for ramp in ramps if ramp.there]
    calls = [ramp.calls for ramp in there] or [0]
    ends = Counter(ramp.end for ramp in there)
    yield from (f"{len(there):,}", f"{ends[End.rolled_back]:,}", f"{ends[None]:,}")
    yield from (f"{median(calls):,.0f}", f"{quantile(calls, 0.9):,.0f}", causes_of(ramp.cause for ramp in there))
