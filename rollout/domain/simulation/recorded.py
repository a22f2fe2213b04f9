"""What recorded calls tell of the truth."""

from __future__ import annotations

from math import log
from typing import Final

from rollout.domain.evidence import Figures

#: Fewer calls than this tell nothing of a rate.
ENOUGH: Final = 100
_Z95: Final = 1.645  # standard deviations from the median of a normal distribution to its 95th percentile
_LEAST_SIGMA: Final = 0.05


def recorded(a: Figures, b: Figures, pairs: Figures) -> dict[str, float]:
    """The fields of ``Truth`` that there are enough calls for, of arm A, arm B and the pairs of a unit.

    Errors and latency are control's: that the unit is like control, or how it is not, is for somebody to say.
    """
    return _errors(a, pairs) | _latency(a, pairs) | _differences(pairs) | _runs(b, pairs) | _costs(a, b, pairs)


def control_calls(a: Figures, pairs: Figures) -> tuple[int, int]:
    """Of how many calls control's errors are told, and how many of those failed: of the arm or of the pairs, whichever
    are more."""
    return max((a["calls"], a["bad"]), (pairs["pairs"], pairs["control_bad"]))


def _errors(a: Figures, pairs: Figures) -> dict[str, float]:
    """Where no call failed, half of one is taken to have: nothing never fails."""
    n, bad = control_calls(a, pairs)
    return {"errors": max(0.5, bad) / n} if n >= ENOUGH else {}


def _latency(a: Figures, pairs: Figures) -> dict[str, float]:
    times = max((a.histogram("latency"), pairs.histogram("control")), key=lambda one: one.total)
    median, p95 = times.quantile(0.5), times.quantile(0.95)
    if times.total < ENOUGH or median is None or p95 is None:
        return {}
    return {"latency_s": median, "sigma": max(_LEAST_SIGMA, log(p95 / median) / _Z95)}


def _differences(pairs: Figures) -> dict[str, float]:
    compared = pairs["matched"] + pairs["ignored"] + pairs["mismatched"]
    found = {"mismatches": pairs["mismatched"] / compared} if compared >= ENOUGH else {}
    return found | ({"noise": pairs["noise_mismatched"] / pairs["noise"]} if pairs["noise"] >= ENOUGH else {})


def _runs(b: Figures, pairs: Figures) -> dict[str, float]:
    runs = b["runs"] + pairs["runs"]
    return {"sla_missed": (b["sla_missed"] + pairs["sla_missed"]) / runs} if runs >= ENOUGH else {}


def _costs(a: Figures, b: Figures, pairs: Figures) -> dict[str, float]:
    found = {}
    for field, name, sides in (("nano", "cost", (b, pairs)), ("control_nano", "control_cost", (a, pairs))):
        known = sum(side["costed" if name == "cost" else "control_costed"] for side in sides)
        if known >= ENOUGH:
            found[field] = sum(side[f"{name}_nano"] for side in sides) / known
    return found
