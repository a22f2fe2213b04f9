"""What threshold gates check, by kind: rates, a latency quantile, a mean cost, each over a trailing window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rollout.domain.gates import GateSpec
from rollout.domain.limits import mean_cost, quantile, rates
from rollout.domain.limits.check import Check, Window
from rollout.domain.limits.window import Needs, Size

_PAIR: Final = ("pairs", "control_bad", "candidate_bad", "only_control_bad", "only_candidate_bad")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of gate: what it needs of a block, of which calls its windows must hold the minimum, in which unit it
    speaks, how it checks (the declaration, the window, whether the unit is live), and the most rows of a window."""

    needs: Needs
    sizes: tuple[Size, ...]
    unit_name: str
    check: Callable[[GateSpec, Window, bool], list[Check]]
    rows: int = 60


KINDS: Final[Mapping[str, Kind]] = {
    "errors": Kind(
        {"a": ("calls", "bad"), "b": ("calls", "bad"), "p": _PAIR},
        (rates.in_both, rates.in_b, rates.in_pairs),
        "%",
        rates.errors,
    ),
    "latency": Kind(
        {"a": ("calls", "bad", "latency"), "b": ("calls", "bad", "latency"), "p": (*_PAIR, "control", "candidate")},
        (quantile.in_both, quantile.in_b, quantile.both_answered),
        "s",
        quantile.latency,
        rows=12,  # a row holds up to four histograms
    ),
    "mismatches": Kind({"p": ("matched", "ignored", "mismatched")}, (rates.compared,), "%", rates.mismatches),
    "cost": Kind(
        {
            "a": ("control_costed", "control_cost_nano"),
            "b": ("costed", "cost_nano", "unpriced"),
            "p": ("costed", "cost_nano", "unpriced", "control_costed", "control_cost_nano"),
        },
        (mean_cost.live_calls, mean_cost.paired_calls, mean_cost.control_priced),
        "nano$",
        mean_cost.cost,
    ),
    "sla": Kind(
        {"b": ("runs", "sla_missed"), "p": ("runs", "sla_missed")},
        (rates.live_runs, rates.paired_runs),
        "%",
        rates.sla,
    ),
    "fallbacks": Kind(
        {"b": ("calls", "fallbacks"), "p": ("pairs", "would_fall_back")},
        (rates.in_b, rates.in_pairs),
        "%",
        rates.fallbacks,
    ),
}
