"""What ``whatif`` shows on a terminal: what would change, what is not known, and which timeouts are worth having."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.cost import usd_text
from rollout.domain.whatif.frontier import Frontier, Point
from rollout.domain.whatif.setting import Setting
from rollout.usecases.whatif import WhatIf
from rollout_render import words
from rollout_render.terminal import DATA, WARN, Cell, cell, table, title
from rollout_render.whatif_words import (
    LETTERS,
    chosen,
    lines,
    notes,
    point_text,
    sample_text,
    sentence,
    setting_text,
    unanswered,
)

BLANK: Final = Text("")
_WIDE, _HIGH = 56, 8  # of a plot, in characters
_MARGIN: Final = 10  # left of it


def whatif(found: WhatIf) -> RenderableType:
    """The answer, the figures side by side, what is not known, the frontier, and what to mind."""
    shown: list[RenderableType] = [
        title(f"what-if {found.rollout}", setting_text(found.setting, found.dropped)),
        cell(sample_text(found.sample, found.took_s), "dim"),
        BLANK,
    ]
    if answer := sentence(found):
        shown += [cell(answer, "bold"), BLANK]
    shown.append(_figures(found))
    if found.unanswered:
        shown += [BLANK, title("Not known"), *_unanswered(found)]
    if found.frontier is not None:
        shown += [BLANK, *_frontier(found.frontier, found.setting)]
    return Group(*shown, BLANK, *(cell(note, "dim") for note in notes(found)))


def _figures(found: WhatIf) -> RenderableType:
    asks = found.setting.changes
    rows: list[tuple[Cell, ...]] = [
        (
            line.name,
            *([line.in_force] if asks else []),
            cell(line.value, "bold" if line.known else f"bold {WARN}"),
            cell(line.likely, "dim" if line.known else WARN),
            *([line.change] if asks else []),
        )
        for line in lines(found)
    ]
    columns = ("", "in force", "what if", "likely (95%)", "change") if asks else ("", "in force", "likely (95%)")
    return Padding.indent(table(columns, rows, right=columns[1:]), 2)


def _unanswered(found: WhatIf) -> Iterator[RenderableType]:
    for why, remedy in unanswered(found):
        yield Padding.indent(cell(why), 2)
        yield Padding.indent(cell(f"→ {remedy}", "bold"), 4)


def _frontier(found: Frontier, setting: Setting) -> Iterator[RenderableType]:
    shown = chosen(found.points)
    yield title("Soft timeouts worth having", f"{found.tried} tried, on {words.count(found.calls)} calls")
    if found.unknown:
        yield cell(f"Of {found.unknown} of them the records cannot tell.", WARN)
    if not shown:
        return
    rows = [
        (
            cell(letter, DATA),
            words.seconds(point.user_s),
            words.share(point.complete),
            usd_text(point.nano),
            cell(point_text(point, setting)),
        )
        for letter, point in zip(LETTERS, shown, strict=False)
    ]
    columns = ("", "users p95", "complete", "cost a call", "soft timeouts")
    yield Padding.indent(table(columns, rows, right=columns[1:4], stretch=columns[4]), 2)
    over_time = shown[0].user_s < shown[-1].user_s
    if len(shown) > 1 and not over_time:
        yield cell("They do not differ in latency, so there is nothing to draw.", "dim")
    if over_time:
        yield BLANK
        yield from _plot(shown, "complete", lambda point: point.complete, words.share)
    if over_time and len({point.nano for point in shown}) > 1:
        yield BLANK
        yield from _plot(shown, "a call", lambda point: point.nano, usd_text)
    if len(shown) < len(found.points):
        yield cell(f"{len(shown)} of {len(found.points)}; --output json has them all.", "dim")
    yield cell("None of these beats another in latency, completeness and cost.", "dim")


def _plot(
    points: Sequence[Point], name: str, read: Callable[[Point], float | None], text: Callable[[float], str]
) -> Iterator[Text]:
    """Something over latency, a letter for each point of which it is known; where two meet, the first."""
    known = [
        (letter, point.user_s, value)
        for letter, point in zip(LETTERS, points, strict=False)
        if (value := read(point)) is not None
    ]
    left, right = points[0].user_s, points[-1].user_s
    low, high = min(value for *_, value in known), max(value for *_, value in known)
    grid = [[" "] * _WIDE for _ in range(_HIGH)]
    for letter, user_s, value in reversed(known):
        across = round(part(user_s, left, right) * (_WIDE - 1))
        up = round(part(value, low, high) * (_HIGH - 1))
        grid[_HIGH - 1 - up][across] = letter
    marks = {0: text(high), _HIGH - 1: text(low)}
    yield Text(f"{name:>{_MARGIN}}", style="dim")
    for number, row in enumerate(grid):
        side = f"{marks.get(number, ''):>{_MARGIN}} {'┤' if number in marks else '│'}"
        yield Text.assemble((side, "dim"), ("".join(row), DATA))
    yield Text(f"{'':>{_MARGIN}} └{'─' * _WIDE}", style="dim")
    axis = f"{words.seconds(left):<10}{'users p95':^{_WIDE - 20}}{words.seconds(right):>10}"
    yield Text(f"{'':>{_MARGIN}}  {axis}", style="dim")


def part(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, in [0, 1]; in the middle where those are the same."""
    return (value - low) / (high - low) if high > low else 0.5
