"""What ``--watch`` shows: each rollout as a tree of its units and branches, with the ramp, what comes next and when,
and the evidence on its way to both boundaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text
from rich.tree import Tree

from rollout.domain.durations import duration_text
from rollout.domain.report_evidence import UnitEvidence
from rollout.domain.report_values import Point
from rollout.domain.standing import Standing
from rollout.usecases.look import RolloutStatus, Shown, Status
from rollout_render import evidence, screens, tables, words
from rollout_render.terminal import BAD, DATA, STYLES, cell, title

BLANK = Text("")
_LONGEST = 24  # columns of a name; a longer one is cut
_SPARKS = 12  # columns of a curve
Parts = Mapping[str, Sequence[RenderableType]]  # what else there is to say of a unit, by its name


class Fitted:
    """The first of several screens that is not too tall, or the last one cut, with a line that says so. ``foot`` stays
    at the bottom, so that everything keeps its place."""

    def __init__(self, bodies: Sequence[RenderableType], foot: RenderableType) -> None:
        self._bodies = bodies
        self._foot = foot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inside = options.reset_height()
        foot = console.render_lines(self._foot, inside, pad=False)
        room = max(1, (options.height or options.max_height) - len(foot))
        lines: list[list[Segment]] = []
        for body in self._bodies:
            lines = console.render_lines(body, inside, pad=False)
            if len(lines) <= room:
                break
        else:
            hidden = Text(f"… {len(lines) - room + 1} more lines: a taller window shows them", style="dim")
            lines = [*lines[: room - 1], *console.render_lines(hidden, inside, pad=False)[:1]]
        for line in [*lines, *([[]] * (room - len(lines))), *foot]:
            yield from line
            yield Segment.line()


def status(seen: Status) -> RenderableType:
    """All rollouts, and the newest decisions."""
    blocks: list[RenderableType] = [screens.head(seen.at, seen.leader, seen.database)]
    if not seen.rollouts:
        return Group(*blocks, BLANK, cell(screens.NO_ROLLOUT))
    for rollout in seen.rollouts:
        blocks += [BLANK, _tree(rollout, seen.at, {})]
    if seen.recent:
        blocks += [BLANK, title("Newest decisions"), tables.recent(seen.recent, short=True)]
    return Group(*blocks)


def show(seen: Shown, *, roomy: bool) -> RenderableType:
    """One rollout. ``roomy``: with every gate of each unit; else what they come to."""
    parts = {one.unit: _details(one, seen, roomy=roomy) for one in seen.evidence}
    blocks: list[RenderableType] = [
        screens.head(seen.at, seen.leader),
        BLANK,
        cell(seen.status.sentence, "bold"),
        _tree(seen.status, seen.at, parts),
    ]
    if seen.decisions:
        blocks += [BLANK, title("Newest decisions"), tables.recent(seen.decisions, short=True)]
    return Group(*blocks)


def foot(every_s: float, trouble: str) -> RenderableType:
    """The last lines: what keeps the screen from being true, and how to leave it."""
    leave = Text(f"a look every {duration_text(every_s)} and at every change · Ctrl-C ends", style="dim")
    if not trouble:
        return leave
    said = cell(f"The database cannot be asked now; this is what was seen last. {trouble}", f"bold {BAD}")
    return Group(said, leave)


def _tree(rollout: RolloutStatus, at: float, parts: Parts) -> Tree:
    tree = Tree(screens.rollout_head(rollout), guide_style="dim")
    width = min(_LONGEST, max((cell_len(cell(one.branch).plain) for one in rollout.branches), default=0))
    for unit, members in groupby(rollout.branches, key=lambda one: one.unit):
        branches = list(members)
        shared = [evidence.meters(branches[0]), *parts.get(unit, ())]
        if [one.branch for one in branches] == [unit]:
            tree.add(_branch(branches[0], rollout, at, width, shared))
            continue
        group = tree.add(Group(Text.assemble(cell(unit, "bold", limit=_LONGEST), (": move together", "dim")), *shared))
        for one in branches:
            group.add(_branch(one, rollout, at, width, ()))
    for note in screens.flags_noted(rollout):
        tree.add(note)
    return tree


def _branch(
    branch: Standing, rollout: RolloutStatus, at: float, width: int, shared: Sequence[RenderableType]
) -> RenderableType:
    name = cell(branch.branch, "bold", limit=_LONGEST)
    name.append(" " * max(0, width - cell_len(name.plain)))
    ramp = Text(words.steps(branch.stage, branch.stages, on=branch.share > 0 or branch.shadow))
    line = Text.assemble(name, "  ", f"{branch.at:<6}  ", ramp, "  ", branch.word.text)
    line.stylize(STYLES[branch.word], len(name) + 10)
    if ahead := words.ahead(branch, at, rollout.evidence_per_s):
        line.append(f"  {ahead}", style="")
    return Group(line, cell(branch.why, "dim"), *shared)


def _details(one: UnitEvidence, seen: Shown, *, roomy: bool) -> list[RenderableType]:
    found = [_latency(seen.curves.get(one.unit, ()))]
    standing = next(branch for branch in seen.status.branches if branch.unit == one.unit)
    return [*found, evidence.gates(one, standing)] if roomy else found


def _latency(points: Sequence[Point]) -> RenderableType:
    """The p95 of both sides, minute by minute, on one scale."""
    sides = {
        "p95": [point.candidate_p95_s for point in points][-_SPARKS:],
        "control": [point.control_p95_s for point in points][-_SPARKS:],
    }
    top = words.largest(value for track in sides.values() for value in track)
    if not top:
        return cell("no latency seen in the last half hour", "dim")
    line = Text()
    for name, track in sides.items():
        newest = next((value for value in reversed(track) if value is not None), None)
        line.append(f"{name} ", style="dim")
        line.append(words.sparkline(track, _SPARKS, top=top), style=DATA)
        line.append(f" {words.seconds(newest)}   ")
    line.rstrip()
    return line
