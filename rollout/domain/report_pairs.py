"""Both sides of the same call: how much longer the candidate took than control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rollout.domain.report_sample import Sampled, quantiles
from rollout.domain.report_values import PairedLatency

_BARS: Final = 40
#: Outside of these the drawing ends; what lies beyond is in its first and last bar.
_ENDS: Final = (0.005, 0.995)
_JUDGED: Final = ("matched", "ignored", "mismatched")


def paired_latency(sampled: Sequence[Sampled]) -> PairedLatency | None:
    """Of trials in shadow in which both sides have a latency and could be compared; None without any."""
    pairs = [one for one in sampled if one.trial.mode == "shadow" and one.trial.outcome in _JUDGED]
    differences = [
        (one.trial.candidate_s - one.trial.control_s, one.weight)
        for one in pairs
        if one.trial.candidate_s is not None and one.trial.control_s is not None
    ]
    if not differences:
        return None
    whole = sum(weight for _, weight in differences)
    p05, p50, p95, p99 = quantiles(differences, 0.05, 0.5, 0.95, 0.99)
    return PairedLatency(
        pairs=len(differences),
        faster=sum(weight for seconds, weight in differences if seconds < 0) / whole,
        slower=sum(weight for seconds, weight in differences if seconds > 0) / whole,
        p05_s=p05,
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        curve=_shape(differences, whole),
    )


def _shape(differences: Sequence[tuple[float, float]], whole: float) -> tuple[tuple[float, float], ...]:
    """Bars of equal width: (middle in seconds, share of calls). One bar where all are the same."""
    low, high = quantiles(differences, *_ENDS)
    if low == high:
        return ((low, 1.0),)
    width = (high - low) / _BARS
    bars = [0.0] * _BARS
    for seconds, weight in differences:
        bars[min(_BARS - 1, max(0, int((seconds - low) / width)))] += weight / whole
    return tuple((low + (index + 0.5) * width, share) for index, share in enumerate(bars))
