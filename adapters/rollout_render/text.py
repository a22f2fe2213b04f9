"""The report as text of 80 columns: for a terminal, a mail, a ticket."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.outcomes import RunOutcome
from rollout.domain.report import Report
from rollout.domain.report_values import Cohort, ErrorLine, Latency, Outcomes, Waterfall
from rollout_render import evidence, sentences, tables, words
from rollout_render.terminal import STYLES, Cell, cell, table, title

BLANK = Text("")


def text_report(report: Report) -> str:
    """Plain text, without colours."""
    paper = Console(file=io.StringIO(), width=80, color_system=None, highlight=False, emoji=False, markup=False)
    paper.print(report_screen(report))
    written = paper.file
    assert isinstance(written, io.StringIO)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def report_screen(r: Report) -> RenderableType:
    """The report, part by part, in the order of the page."""
    parts: list[RenderableType] = [
        title(r.rollout, f"{words.utc(r.made_at)} · {r.join} · policy v{r.policy_version}"),
        cell(r.verdict.sentence, STYLES[r.verdict.word]),
        *(Padding.indent(cell(f"- {reason}"), 2) for reason in r.verdict.reasons),
        BLANK,
        cell(
            f"{words.utc(r.window.since)} to {words.utc(r.window.until)}, {words.rate(r.window.calls_per_s)} observed"
        ),
        cell(sentences.losses(r.losses), limit=1_000),
    ]
    if r.gates:
        parts += _part("Gates", tables.findings(tables.unique(r.gates)))
    if r.evidence and any(branch.findings for branch in r.branches):
        parts += _part("Evidence", evidence.evidence(r.evidence, r.branches), evidence.NOTE)
    parts += [BLANK, cell(r.bound.sentence, limit=1_000)]
    parts += _part("From call to comparison", tables.funnel(r.funnel))
    if r.outcomes:
        note = f"on average {words.fan_out_time(r.fan_out)}" if r.fan_out else ""
        parts += _part("Runs of branches", _outcomes(r.outcomes), note)
    if r.dispatch:
        parts.append(cell(f"Chosen by the dispatch: {words.reasons(r.dispatch)}."))
    if r.comparisons:
        parts += _part("Comparisons", tables.comparisons(r.comparisons))
    if r.mismatches:
        parts += _part(
            "What differs",
            tables.mismatches(r.mismatches[:20], r.policy_version, r.policy_at),
            "since the first call; beyond: more often than the noise, at 95 %",
        )
        parts.append(cell(sentences.COLUMNS, "dim"))
        if hidden := sentences.redacted(r.examples[:2]):
            parts.append(cell(hidden, "dim"))
        parts += [part for example in r.examples[:2] for part in (BLANK, tables.pair(example))]
    if r.latency:
        parts += _part("Latency", _latency(r.latency), "a failed call, whoever failed, is slower than every quantile")
    if r.paired:
        parts += [BLANK, cell(sentences.paired(r.paired))]
    for waterfall in r.waterfalls:
        parts += _part("A typical call", _lanes(waterfall), "in shadow" if waterfall.mode == "shadow" else "live")
        parts.append(cell(sentences.typical(waterfall)))
    if r.cohorts:
        parts += _part("Cohorts", _cohorts(r.cohorts))
    if r.cost:
        note = f"month: 30 days of {words.rate(r.window.calls_per_s)}; tokens: mean of a call"
        parts += _part("Cost", tables.costs(r.cost), note)
        if any(line.unpriced for line in r.cost):
            parts.append(cell("Calls without a price are unknown, not free: sums are lower bounds."))
    if r.bill:
        parts.append(cell(sentences.bill(r.bill), limit=1_000))
    if r.models:
        parts += _part("Cost by branch and model", tables.models(r.models), sentences.MODELS)
    if r.sample:
        parts += [BLANK, cell(f"Typical call, cohorts and models: {sentences.sample(r.sample)}")]
    if r.errors:
        parts += _part("Errors", _errors(r.errors))
        if any(line.side == "call" for line in r.errors):
            parts.append(cell(sentences.ERRORS, "dim"))
    if r.timeline:
        parts += _part("Decisions", tables.recent(r.timeline[:10]), f"{len(r.timeline)} read, newest first")
    parts += _part("Policy in force", tables.fields(r.policy))
    parts += _part("Completeness", _completeness(r))
    return Group(*parts)


def _part(name: str, body: RenderableType, note: str = "") -> list[RenderableType]:
    return [BLANK, title(name, note), body]


def _outcomes(found: Sequence[Outcomes]) -> RenderableType:
    rows = [
        (line.branch, line.mode, words.count(line.runs), words.count(line.ended[RunOutcome.ok]), _rest(line))
        for line in found
    ]
    columns = ("branch", "mode", "runs", "ok", "the others, and what else")
    shown = 5 if any(rest for *_, rest in rows) else 4
    return table(columns[:shown], [row[:shown] for row in rows], right=("runs", "ok"), stretch=columns[4])


def _rest(line: Outcomes) -> str:
    """``"90 errors, 10 skipped (8 when, 2 dispatch); 12 retried"``."""
    ended = [
        f"{number:,} {how} ({why})" if why else f"{number:,} {how}"
        for how, (number, why) in words.other_ends(line).items()
    ]
    besides = [f"{number:,} {what}" for what, number in words.besides(line).items()]
    return "; ".join(", ".join(told) for told in (ended, besides) if told)


def _latency(found: Sequence[Latency]) -> RenderableType:
    rows: list[tuple[Cell, ...]] = [(cell(line.unit), *words.latency_cells(line)) for line in found]
    columns = ("unit", "of", "side", "p50", "p95", "p99", "calls", "failed")
    return table(columns, rows, right=columns[3:])


def _lanes(found: Waterfall) -> RenderableType:
    rows = [
        (
            cell(one.branch),
            words.seconds(one.begin_s) if one.begin_s else "0",
            words.seconds(one.end_s),
            words.seconds(one.end_p95_s),
            words.share(one.ran),
            words.share(one.critical),
        )
        for one in found.branches
    ]
    columns = ("branch", "begins", "ends", "p95", "runs in", "waited for in")
    return table(columns, rows, right=columns[1:])


def _cohorts(found: Sequence[Cohort]) -> RenderableType:
    rows = [
        (
            cell(f"{one.kind} {one.name or '(none)'}", limit=60),
            words.share(one.of_calls),
            words.share(one.mismatched),
            words.between(one.low, one.high),
            words.seconds(one.control_p95_s),
            words.seconds(one.candidate_p95_s),
        )
        for one in found
    ]
    columns = ("cohort", "of calls", "differ", "95 %", "control p95", "candidate")
    return table(columns, rows, right=columns[1:], stretch=columns[0])


def _errors(found: Sequence[ErrorLine]) -> RenderableType:
    rows = [
        (cell(line.unit), line.side, cell(line.what), words.count(line.count), words.share(line.share))
        for line in found
    ]
    return table(("unit", "side", "what", "count", "share"), rows, right=("count", "share"))


def _completeness(r: Report) -> RenderableType:
    c = r.completeness
    lines = [
        f"{words.count(c.late_blocks)} blocks came too late to be judged",
        f"{words.count(sum(c.dropped.values()))} trials dropped{_reasons(c.dropped)}, {words.share(c.arrived)} arrived",
        f"{words.count(sum(c.hooks.values()))} hooks raised{_reasons(c.hooks)}",
        f"{words.count(c.stored)} trials stored, {words.utc(c.oldest)} to {words.utc(c.newest)}",
        sentences.who_counted(c.processes),
    ]
    return Group(*(cell(f"  {line}") for line in lines))


def _reasons(found: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{name} {count}' for name, count in found.items())})" if found else ""
