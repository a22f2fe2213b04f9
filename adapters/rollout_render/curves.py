"""A unit's evidence over time as one SVG: above what speaks for a rollback, below what speaks for the next step.

Both scales are logarithms of the odds. Each panel has its boundary as a labelled line, and the line of even odds;
what leaves a panel runs along its edge, faintly. A stage begins at a vertical line with its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from rollout.domain.report_evidence import StageChange, UnitEvidence
from rollout_render import svg, words

GATES = 6  # colours; a seventh gate takes the first one again
_TOP, _HARM, _GAP, _STEP, _FOOT = 18, 132, 40, 96, 18  # pixels: names of stages, the panels, times
_LETTER = 20.0  # thousandths of the width of a phone

Lines = Sequence[tuple[str, svg.Track]]  # style, and what it draws


def curves(found: UnitEvidence, means: str) -> Markup:
    """The drawing, empty without two points to draw. ``means``: what the account's boundary is called."""
    if len(found.points) < 2:
        return Markup("")
    left, right = found.points[0].at, found.points[-1].at
    below = _TOP + _HARM + _GAP
    name = f"evidence of {found.unit}: {means}; step shown at {words.odds(found.step_limit)}"
    return svg.frame(
        [
            *_panel(_against(found), found, found.limit, means, _TOP, _HARM),
            *_panel(
                _steps(found), found, found.step_limit, f"step shown at {words.odds(found.step_limit)}", below, _STEP
            ),
            *_stages(found.changes, left, right),
            svg.label(0, below + _STEP + 15, words.utc(left)),
            svg.label(svg.WIDE, below + _STEP + 15, words.utc(right)),
        ],
        height=below + _STEP + _FOOT,
        name=name,
    )


def gate_style(index: int) -> str:
    return f"g{index % GATES}"


def _against(found: UnitEvidence) -> Lines:
    lines: list[tuple[str, svg.Track]] = [
        (gate_style(index), [(point.at, point.against[index]) for point in found.points])
        for index in range(len(found.gates))
    ]
    account = [("account", [(point.at, point.account) for point in found.points])]
    return account + lines if len(lines) > 1 else lines


def _steps(found: UnitEvidence) -> Lines:
    """Evidence for a step begins anew with each stage, so its line does too."""
    lines = []
    for index in range(len(found.gates)):
        track: list[tuple[float, float | None]] = []
        for before, point in zip((None, *found.points), found.points, strict=False):
            if before is not None and before.share != point.share:
                track.append((point.at, None))
            track.append((point.at, point.step[index]))
        lines.append((gate_style(index), track))
    return lines


def _panel(lines: Lines, found: UnitEvidence, limit: float, means: str, top: int, height: int) -> list[Markup]:
    low, high = _range([y for _, track in lines for _, y in track if y is not None], limit)
    left, right = found.points[0].at, found.points[-1].at
    boundary, even = svg.y_of(limit, low, high), svg.y_of(0.0, low, high)
    shapes = [svg.level(even, "axis"), svg.level(boundary, "boundary")]
    shapes += [svg.rule(svg.x_of(change.at, left, right), _tone(change)) for change in found.changes]
    for style, track in lines:
        inside, beyond = _split(track, low, high)
        shapes.append(svg.line(beyond, f"{style} beyond", low=low, high=high, left=left, right=right))
        shapes.append(svg.line(inside, style, low=low, high=high, left=left, right=right))
    return [
        svg.panel(shapes, top=top, height=height),
        svg.label(0, top + height * boundary / 100 - 5, means),
        svg.label(svg.WIDE, top + height * even / 100 - 5, "1 : 1"),
    ]


def _split(track: svg.Track, low: float, high: float) -> tuple[svg.Track, svg.Track]:
    """A line held inside its panel, and apart from it what runs along an edge."""
    held = [(x, None if y is None else min(high, max(low, y))) for x, y in track]
    inside: list[tuple[float, float | None]] = []
    beyond: list[tuple[float, float | None]] = []
    for start, end in pairwise(held):
        if start[1] is None or end[1] is None:
            continue
        part = beyond if start[1] == end[1] and start[1] in (low, high) else inside
        if not part or part[-1] != start:
            part += [(start[0], None), start]
        part.append(end)
    return inside, beyond


def _range(values: Sequence[float], limit: float) -> tuple[float, float]:
    """From the least evidence to above the boundary; neither side may squeeze the other flat."""
    low = max(min([0.0, *values]), -limit)
    return min(low, -0.1 * limit), max(1.15 * limit, min(max(values, default=0.0), 1.6 * limit) * 1.05)


def _stages(changes: Sequence[StageChange], left: float, right: float) -> list[Markup]:
    """The names of the stages at their lines; where there is no room, the later one is told, and a rollback before all
    others."""
    placed: list[tuple[float, str]] = []
    for change in sorted(changes, key=lambda one: (one.action == "rollback", one.at), reverse=True):
        at, name = svg.x_of(change.at, left, right), _name(change)
        if all(abs(at - other) >= _LETTER * (len(name) + len(known)) / 2 for other, known in placed):
            placed.append((at, name))
    return [svg.label(at, _TOP - 6, name) for at, name in placed]


def _name(change: StageChange) -> str:
    at, _, mode = change.to.partition(", ")
    return mode or at


def _tone(change: StageChange) -> str:
    return "bad" if change.action == "rollback" else "stage"
