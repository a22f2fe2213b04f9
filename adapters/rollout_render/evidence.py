"""The evidence of sequential gates on a terminal: bars on their way to the two boundaries.

People are told odds; bars scale in the logarithm, in which evidence grows evenly. A full bar is at its boundary.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.gates import Finding, Grade
from rollout.domain.report_evidence import EvidencePoint, UnitEvidence, account_of, of_account
from rollout.domain.standing import Standing
from rollout.domain.state import Mode
from rollout_render import words
from rollout_render.terminal import BAD, DATA, GOOD, WARN, cell, table

Past = Sequence[tuple[float, float | None]]  # time, evidence
NOTE = "a full bar is at the boundary; the newest is at the right"
ALL = "all gates"
_BARS = 10


def evidence(found: Sequence[UnitEvidence], standings: Sequence[Standing]) -> RenderableType:
    """Each unit with its gates: how far to a rollback, how far to the step, and what is missing."""
    by_unit = {standing.unit: standing for standing in standings}
    parts: list[RenderableType] = []
    for one in found:
        standing = by_unit[one.unit]
        head = Text.assemble((cell(one.unit).plain, "bold"), (f"  {where(standing)}", "dim"))
        parts += [Padding.indent(head, 2), Padding.indent(gates(one, standing), 2)]
    return Group(*parts)


def where(standing: Standing) -> str:
    """``"at 25%, next 50%"``; of what is rolled back, that the numbers are those of then."""
    if standing.mode is Mode.rolled_back:
        return "as it was when it was rolled back"
    return f"at {standing.at}, next {standing.next}" if standing.next else f"at {standing.at}, the last stage"


def boundary(standing: Standing, limit: float) -> str:
    """What the account's boundary means there: in shadow nothing is used, so nothing is rolled back."""
    means = "rolled back" if standing.share or standing.mode is Mode.rolled_back else "not ready"
    return f"{means} at {words.odds(limit)}"


def meters(standing: Standing) -> Text:
    """How far a unit is to a rollback, and to its next step, as bars; what there is to say where no gate weighs
    evidence."""
    account = account_of(standing.findings)
    if account is None:
        return Text("no gate weighs evidence here", style="dim")
    far = words.way(*account) or 0.0
    line = Text.assemble(
        ("rollback " if standing.share or standing.mode is Mode.rolled_back else "not ready ", "dim"),
        (words.meter(far), _tone(far)),
        f" {words.odds(account[0])} of {words.odds(account[1])}",
    )
    ways = [
        found
        for finding in of_account(standing.findings)
        if (found := words.way(finding.log_promote, finding.log_promote_limit)) is not None
    ]
    if ways and standing.mode is not Mode.rolled_back:
        least = min(ways)
        said = "shown" if least == 1 else f"{least:.0%}"
        if any(finding.grade is Grade.error for finding in standing.findings):
            said += ", but a gate cannot judge"
        line.append("   step ", style="dim")
        line.append(words.meter(least), style=GOOD if said == "shown" else DATA)
        line.append(f" {said}")
    return line


def gates(one: UnitEvidence, standing: Standing) -> RenderableType:
    account = account_of(standing.findings)
    if account is None:
        return cell("no gate has judged", "dim")
    found = {finding.gate: finding for finding in of_account(standing.findings)}
    points = _until(one, standing)
    stage = _last_stage(points)
    rows: list[tuple[str | Text, ...]] = []
    for index, gate in enumerate(one.gates):
        if (finding := found.get(gate)) is not None:
            harm = _harm([(point.at, point.against[index]) for point in points], finding.log_e, one.limit)
            step = _step([(point.at, point.step[index]) for point in stage], finding)
            rows.append((cell(gate), harm, step, words.missing(finding)))
    if len(rows) > 1:
        rows.append((cell(ALL), _harm([(point.at, point.account) for point in points], account[0], one.limit), "", ""))
    columns = ("gate", boundary(standing, one.limit), f"step at {words.odds(one.step_limit)}", "still missing")
    shown = len(columns) if any(missing for *_, missing in rows) else len(columns) - 1
    return table(columns[:shown], [row[:shown] for row in rows], stretch="still missing")


def _until(one: UnitEvidence, standing: Standing) -> list[EvidencePoint]:
    """The points up to the rollback that the findings are of; else all."""
    ends = [change.at for change in one.changes if change.action == "rollback"]
    if standing.mode is not Mode.rolled_back or not ends:
        return list(one.points)
    return [point for point in one.points if point.at <= ends[-1]]


def _last_stage(points: Sequence[EvidencePoint]) -> list[EvidencePoint]:
    """The points since the share changed last: what speaks for the step began there."""
    found: list[EvidencePoint] = []
    for point in points:
        if found and found[-1].share != point.share:
            found = []
        found.append(point)
    return found


def _harm(past: Past, now: float | None, limit: float) -> Text:
    style = _tone(words.way(now, limit) or 0.0)
    return Text.assemble((words.climb([*binned(past, _BARS)[:-1], now], limit), style), " ", (words.odds(now), style))


def _tone(far: float) -> str:
    """The colour of what speaks against a branch, by how far it is on its way to the boundary."""
    return f"bold {BAD}" if far == 1 else WARN if far >= 0.5 else DATA


def _step(past: Past, finding: Finding) -> Text:
    if finding.log_promote_limit is None:
        return Text("no step left", style="dim")
    text = words.step(finding)
    bars = words.climb([*binned(past, _BARS)[:-1], finding.log_promote], finding.log_promote_limit)
    return Text.assemble((bars, GOOD if text == "shown" else DATA), " ", text)


def binned(past: Past, bins: int) -> list[float | None]:
    """The last value of each of so many equal spans of time; one without a point has that of the span before."""
    if not past:
        return [None] * bins
    first, last = past[0][0], past[-1][0]
    width = (last - first) / bins
    found: list[float | None] = []
    at = 0
    for index in range(bins):
        end = last if index == bins - 1 else first + (index + 1) * width
        while at + 1 < len(past) and past[at + 1][0] <= end:
            at += 1
        found.append(past[at][1])
    return found


def told(findings: Sequence[Finding]) -> str:
    """What the account held when a decision was taken, ``"all gates together 450 : 1, the boundary is 300 : 1"``, or
    ``""`` without one."""
    account = account_of(findings)
    return (
        "" if account is None else f"{ALL} together {words.odds(account[0])}, the boundary is {words.odds(account[1])}"
    )
