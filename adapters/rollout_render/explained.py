"""``check --explain`` on a terminal: how each gate comes to its part of a judgement."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rollout.domain.gates import Finding, GateSpec, Grade
from rollout.domain.report_evidence import account_of
from rollout.domain.sequential.limit import MOST_MISMATCHES
from rollout.usecases.explaining import Explained, GateExplained, UnitExplained
from rollout_render import sentences, words
from rollout_render.evidence import ALL
from rollout_render.screens import answers, decided
from rollout_render.terminal import cell, grade

BLANK = Text("")
Line = tuple[str, str]  # what it is, and what there is to say


def explained(seen: Explained) -> RenderableType:
    """Whether it is safe to promote, as ``check`` begins; then each unit, each gate: what was seen of both sides, the
    evidence, what is missing; at the end the promise."""
    verdict = answers((unit.unit, unit.mode, unit.action) for unit in seen.units)
    parts = [part for unit in seen.units for part in (*_unit(unit), BLANK)]
    return Group(*verdict, BLANK, *parts, cell(seen.bound.sentence), BLANK, cell("Nothing was changed.", "dim"))


def _unit(unit: UnitExplained) -> list[RenderableType]:
    place = f"at {unit.at}, next {unit.next}" if unit.next else f"at {unit.at}, the last stage"
    head = Text.assemble((cell(unit.unit).plain, "bold"), (f"  {place}  ", "dim"), decided(unit.mode, unit.action))
    said = [*unit.reasons, *sentences.stopped(unit.rolled_back_at, unit.why, figures=bool(unit.gates))]
    parts: list[RenderableType] = [head, *(Padding.indent(cell(reason), 2) for reason in said)]
    for one in unit.gates:
        parts += _block(one.finding, [("seen", _seen(one.finding)), *_evidence(one)])
    for finding in unit.besides:
        parts += _block(finding, [("seen", words.why(finding))])
    return [*parts, *_account(unit)]


def _block(finding: Finding, lines: Sequence[Line]) -> list[RenderableType]:
    head = Text.assemble((cell(finding.gate).plain, "bold"), "  ", grade(finding))
    return [BLANK, Padding.indent(head, 2), _lines(lines)]


def _seen(finding: Finding) -> str:
    """``"candidate 0.21%, control 0.12%, limit 0.12%; 8,140 counted"``; else why there is nothing to tell."""
    if finding.observed is None or not finding.n or finding.grade is Grade.error:
        return words.why(finding)
    named = (("candidate", finding.observed), ("control", finding.baseline), ("limit", finding.limit))
    numbers = [f"{name} {words.measured(value, finding.unit_name)}" for name, value in named if value is not None]
    return f"{', '.join(numbers)}; {words.count(finding.n)} counted"


def _evidence(one: GateExplained) -> list[Line]:
    finding = one.finding
    declared = [("declared", words.value(one.spec.to_dict())), *_limit(one.spec, finding)]
    if one.weight is None or finding.log_e is None:
        return [*declared, ("against", "no error bound: it judges by a threshold")]
    own = words.odds(finding.log_e - log(one.weight))
    part = f"{own} × weight 1/{1 / one.weight:.0f} = {words.odds(finding.log_e)} of the account"
    step = words.step(finding)
    if finding.log_promote is not None:
        step += f" ({words.odds(finding.log_promote)} of {words.odds(finding.log_promote_limit)})"
    missing = "" if finding.grade is Grade.error else words.missing(finding)
    return [*declared, ("against", part), ("step", step), *([("missing", missing)] if missing else [])]


def _limit(spec: GateSpec, finding: Finding) -> list[Line]:
    """How the limit of a step comes of a declared one, where a person would take them for two limits."""
    if spec.kind != "mismatches" or not spec.sequential or spec.beyond_noise or finding.limit in (None, spec.at_most):
        return []
    of_step = f"{words.share(finding.limit)} of compared calls: {words.share(spec.at_most)} of all calls"
    return [("limit", f"{of_step}, over the share that is live at the next step; never above {MOST_MISMATCHES:.0%}")]


def _account(unit: UnitExplained) -> list[RenderableType]:
    account = account_of([one.finding for one in unit.gates])
    if account is None:
        return []
    means = "not ready" if unit.at == "shadow" and unit.rolled_back_at is None else "rolled back"
    said = f"{words.odds(account[0])}; {means} at {words.odds(account[1])}"
    return [BLANK, Padding.indent(Text(ALL, style="bold"), 2), _lines([("against", said)])]


def _lines(lines: Sequence[Line]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    for name, said in lines:
        grid.add_row(name, cell(said))
    return Padding.indent(grid, 4)
