"""Many ramps in a few lines: how often each end came, why, and after how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rollout.domain.durations import percent
from rollout.domain.intervals import interval
from rollout.domain.simulation.replay import End, Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The ramps that ended one way. ``low`` to ``high``: where the share of such ramps lies, with 95 % confidence.
    ``calls``, ``seconds``: medians, None where there is none. ``causes``: "errors at 5%" → how many, most first.
    """

    end: End
    runs: int
    share: float
    low: float
    high: float
    calls: int | None
    seconds: float | None
    causes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """``tallies``: one for each end. ``arrived``: how many ramps came to their last stage at all, however they ended;
    ``arrived_s``: when, the median.
    """

    runs: int
    tallies: Sequence[Tally]
    arrived: int
    arrived_s: float | None


def summary(ramps: Sequence[Ended]) -> Summary:
    """Of at least one ramp."""
    arrivals = [ramp.arrived_s for ramp in ramps if ramp.arrived_s is not None]
    return Summary(
        runs=len(ramps),
        tallies=tuple(_tally(end, ramps) for end in End),
        arrived=len(arrivals),
        arrived_s=median(arrivals) if arrivals else None,
    )


def _tally(end: End, ramps: Sequence[Ended]) -> Tally:
    those = [ramp for ramp in ramps if ramp.end is end]
    low, high = interval(len(those), len(ramps))
    causes = Counter(f"{ramp.cause} at {_place(ramp.share)}" for ramp in those if ramp.cause)
    return Tally(
        end=end,
        runs=len(those),
        share=len(those) / len(ramps),
        low=low,
        high=high,
        calls=round(median(ramp.calls for ramp in those)) if those else None,
        seconds=median(ramp.seconds for ramp in those) if those else None,
        causes=dict(causes.most_common()),
    )


def _place(share: float) -> str:
    return percent(share) if share else "shadow"
