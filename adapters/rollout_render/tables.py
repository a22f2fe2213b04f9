"""The tables that screens and the text report are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.gates import Finding, Grade
from rollout.domain.report import Example, Field
from rollout.domain.report_values import Comparison, Cost, Funnel, Mismatch, ModelCost, Point
from rollout.domain.state import Decision
from rollout_render import sentences, words
from rollout_render.clean import clean
from rollout_render.terminal import BAD, DATA, GOOD, WARN, cell, grade, table, title, unseen


def recent(decisions: Sequence[Decision], *, short: bool = False) -> RenderableType:
    """Decisions, newest first. ``short``: one line each, cut at the edge."""
    rows = []
    for d in decisions:
        what = cell(summary(d))
        if short:
            what.no_wrap, what.overflow = True, "ellipsis"
        head = (cell(words.utc(d.at, date=False), "dim"), cell(d.rollout), cell(d.action, action_style(d.action)))
        rows.append((*head, what))
    made = table(("", "", "", "what"), rows, stretch="what")
    made.show_header = False
    return Padding.indent(made, 2)


def summary(decision: Decision) -> str:
    """What moved, and why."""
    return " · ".join(part for part in (words.moves(decision.moves), decision.reason) if part) or "no move"


def action_style(action: str) -> str:
    return {"rollback": f"bold {BAD}", "promote": GOOD, "complete": GOOD, "pause": WARN}.get(action, "")


def unique(found: Iterable[Finding]) -> list[Finding]:
    """Each finding once: the branches of a group share theirs."""
    return list({(f.unit, f.gate): f for f in found}.values())


def findings(found: Sequence[Finding], *, whys: bool = True) -> RenderableType:
    """The numbers of every gate; below the sentence of each that has none to pass by, and (``whys``) of each that does
    not pass."""
    rows = [
        (
            cell(f.unit),
            cell(f.gate),
            grade(f),
            words.measured(f.observed, f.unit_name),
            words.measured(f.limit, f.unit_name),
            words.measured(f.baseline, f.unit_name),
            words.count(f.n),
        )
        for f in found
    ]
    columns = ("unit", "gate", "", "observed", "limit", "control", "n")
    sentences = [
        Padding.indent(cell(f"{f.unit} {f.gate}: {words.why(f)}", "dim"), 2)
        for f in found
        if f.why and (unseen(f) or (whys and f.grade is not Grade.passed))
    ]
    return Group(table(columns, rows, right=columns[3:]), *sentences)


def funnel(seen: Funnel) -> RenderableType:
    rows = [
        (
            step.name,
            words.count(step.count),
            words.share(step.of_seen),
            cell(sentences.gone_no_further(step), "" if step.drops else "dim"),
        )
        for step in seen.steps
    ]
    columns = ("step", "calls", "of seen", "the others")
    return table(columns, rows, right=columns[1:3], stretch="the others")


def curves(found: Sequence[tuple[str, Sequence[Point]]]) -> RenderableType:
    """Half an hour as bars: of ``"calls"`` their number, of each unit the share that differed."""
    rows = [
        (
            cell(name, limit=24),
            Text(words.sparkline([p.calls if name == "calls" else p.mismatched for p in points], 30), style=DATA),
        )
        for name, points in found
    ]
    made = table(("", ""), rows)
    made.show_header = False
    return made


def comparisons(found: Sequence[Comparison]) -> RenderableType:
    """What became of the pairs of each unit; below, which could not be compared."""
    rows = [
        (
            cell(c.unit),
            words.count(c.compared),
            words.count(c.matched),
            words.count(c.ignored),
            words.count(c.mismatched),
            words.count(c.incomparable),
            words.share(c.mismatch_share),
            words.share(c.noise_share),
        )
        for c in found
    ]
    columns = ("unit", "compared", "matched", "ignored", "differed", "unclear", "share", "noise")
    notes = [Padding.indent(cell(note, WARN), 2) for note in sentences.not_compared(found)]
    return Group(table(columns, rows, right=columns[1:]), *notes)


def mismatches(found: Sequence[Mismatch], version: int, began: float) -> RenderableType:
    """The paths that differ; apart, below, those not seen since the policy in force (``version``) ``began``."""
    current, earlier = ([m for m in found if m.current is wanted] for wanted in (True, False))
    parts: list[RenderableType] = [_mismatches(current, "beyond", sentences.beyond)] if current else []
    if earlier:
        parts.append(cell(sentences.earlier(version, began), WARN))
        parts.append(Padding.indent(_mismatches(earlier, "last seen", lambda m: words.utc(m.last_at)), 2))
    return Group(*parts)


def _mismatches(found: Sequence[Mismatch], last: str, told: Callable[[Mismatch], str]) -> RenderableType:
    """``last``: the heading of the last column, which ``told`` fills."""
    rows = [
        (
            cell(m.path, limit=60),
            cell(m.kind),
            cell(m.branch or "(none)"),
            words.count(m.count),
            words.share(m.share),
            words.share(m.noise_share),
            told(m),
        )
        for m in found
    ]
    columns = ("path", "kind", "branch", "calls", "share", "noise", last)
    return table(columns, rows, right=columns[3:], stretch="path")


def pair(example: Example, path: str | None = None) -> RenderableType:
    """One stored pair, redacted: both sides of each difference, one under the other."""
    lines: list[RenderableType] = [
        title(f"{example.method} {example.route}", f"{words.utc(example.at)} · trial {example.trial}")
    ]
    for difference in example.differences:
        if path is not None and difference.get("path") != path:
            continue
        where = cell(difference.get("path", ""), limit=120).append(f"  {clean(difference.get('kind', ''))}", "dim")
        lines.append(Padding.indent(where, 2))
        for side in ("control", "candidate"):
            value = cell(words.stored(difference.get(side)), limit=300)
            lines.append(Padding.indent(Text.assemble((f"{side:<11}", "dim"), value), 4))
    return Group(*lines)


def costs(lines: Sequence[Cost]) -> RenderableType:
    rows = [
        (
            cell(line.unit or line.side),
            words.count(line.calls),
            words.count(line.unpriced),
            f"{words.count(line.tokens_in)}/{words.count(line.tokens_out)}",
            words.dollars(line.spent_usd),
            words.dollars(line.per_call_usd),
            words.dollars(line.month_usd),
        )
        for line in lines
    ]
    has_control = any(line.side == "control" for line in lines)
    notes = [Padding.indent(cell(sentences.CONTROL_COST, "dim"), 2)] if has_control else []
    columns = ("", "calls", "no price", "tokens in/out", "so far", "per call", "a month")
    shown = [index for index in range(len(columns)) if index != 2 or any(line.unpriced for line in lines)]
    made = table([columns[i] for i in shown], [[row[i] for i in shown] for row in rows], right=columns[1:])
    return Group(made, *notes)


def models(found: Sequence[ModelCost]) -> RenderableType:
    rows = [
        (
            cell(one.branch),
            cell(one.model or "(not told)", limit=40),
            words.count(one.runs),
            words.count(one.unpriced),
            words.dollars(one.per_run_usd),
            words.dollars(one.per_call_usd),
            words.dollars(one.month_usd),
        )
        for one in found
    ]
    columns = ("branch", "model", "runs", "no price", "per run", "per call", "a month")
    return table(columns, rows, right=columns[2:], stretch="model")


def fields(found: Sequence[Field]) -> RenderableType:
    rows = [(f.name, cell(f.origin, "dim"), cell(words.value(f.value))) for f in found]
    return table(("field", "from", "value"), rows, stretch="value")
