"""The fan-out of a typical call as lanes: when each branch begins and ends, and which of them the call waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rollout.domain.report_values import BranchSpan, Waterfall
from rollout_render import sentences, svg, words


@dataclass(frozen=True, slots=True)
class Lane:
    """One branch, or control. ``critical``: how many calls waited for it in the end."""

    name: str
    on_path: bool
    begin: str
    end: str
    end_p95: str
    ran: str
    critical: str
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Fall:
    """The lanes of one mode, and a sentence about them."""

    mode: str
    sentence: str
    lanes: Sequence[Lane]


def falls(waterfalls: Sequence[Waterfall]) -> list[Fall]:
    return [Fall(one.mode, sentences.typical(one), _lanes(one)) for one in waterfalls]


def _lanes(found: Waterfall) -> list[Lane]:
    right = max(found.end_p95_s, found.control_p50_s or 0.0, *(one.end_p95_s for one in found.branches)) or 1.0
    lanes = [_lane(one, one.branch in found.path, right) for one in found.branches]
    if found.control_p50_s is None:
        return lanes
    end = words.seconds(found.control_p50_s)
    drawing = svg.span(0.0, found.control_p50_s / right, 0.0, "control")
    return [Lane("control", False, "0", end, "", "", "", drawing), *lanes]


def _lane(one: BranchSpan, on_path: bool, right: float) -> Lane:
    drawing = svg.span(
        one.begin_s / right, one.end_s / right, one.end_p95_s / right, "critical" if on_path else "candidate"
    )
    begin = words.seconds(one.begin_s) if one.begin_s else "0"
    told = words.seconds(one.end_s), words.seconds(one.end_p95_s), words.share(one.ran), words.share(one.critical)
    return Lane(one.branch, on_path, begin, *told, drawing)
