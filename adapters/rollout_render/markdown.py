"""The report as GitHub flavoured Markdown, for a pull request: the verdict first, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from rollout.domain.gates import Finding, Grade
from rollout.domain.report import Report
from rollout.domain.report_values import Comparison, Latency, Mismatch, ModelCost
from rollout_render import sentences, words
from rollout_render.explorer import difference
from rollout_render.inert import code, prose
from rollout_render.page import TONES
from rollout_render.tables import summary, unique
from rollout_render.terminal import grade

#: A comment on GitHub holds 65 536 characters. A part that does not fit any more is left out, and named.
LONGEST: Final = 60_000
_MOST: Final = 10  # rows of a table
_ALERTS: Final = {"good": "TIP", "wait": "WARNING", "bad": "CAUTION"}
Row = Sequence[str]


def markdown_report(report: Report) -> str:
    """The report in at most about 60 000 characters."""
    text = "\n\n".join(_head(report))
    left_out = []
    for title, body in _parts(report):
        part = f"\n\n<details><summary>{title}</summary>\n\n{body}\n\n</details>"
        if len(text) + len(part) <= LONGEST:
            text += part
        else:
            left_out.append(title)
    if left_out:
        text += f"\n\nToo long for a comment: {'; '.join(left_out)}. `rollout report --format html` has all of it."
    made = f"Made by rolloutkit at {words.utc(report.made_at)}. Values are redacted before they are stored."
    return f"{text}\n\n<sub>{made}</sub>\n"


def _head(r: Report) -> Iterator[str]:
    """What is read without a click."""
    yield f"### {code(r.rollout)}: {r.verdict.word.text}"
    yield f"> [!{_ALERTS[TONES[r.verdict.word]]}]\n> **{prose(r.verdict.sentence, 600)}**"
    if r.branches:
        rows = [
            (code(b.branch), b.word.text, prose(b.at), prose(b.next) or "–", prose(b.why)) for b in r.branches[:_MOST]
        ]
        yield _table(("Branch", "Stands", "At", "Next", "Why"), rows, len(r.branches))
    seen, compared = (words.count(r.funnel.steps[index].count) for index in (0, 4))
    window = f"{words.utc(r.window.since)} to {words.utc(r.window.until)}"
    revision = f" of revision {code(r.revision)}" if r.revision else ""
    yield (
        f"{seen} calls ({words.rate(r.window.calls_per_s)}), {compared} compared, {window}, "
        f"policy v{r.policy_version}{revision}."
    )
    yield prose(sentences.losses(r.losses), 1_000)
    if doubtful := [finding for finding in unique(r.gates) if finding.grade is not Grade.passed]:
        yield "**Gates that are not through**"
        yield _gates(doubtful, _MOST)


def _parts(r: Report) -> Iterator[tuple[str, str]]:
    """What is folded away: title and body, the most asked for first."""
    if r.gates:
        gates = unique(r.gates)
        yield f"Gates: {len(gates)}", f"{_gates(gates, 2 * _MOST)}\n\n{prose(r.bound.sentence, 700)}"
    if r.mismatches or r.comparisons:
        yield f"What differs: {_number(len(r.mismatches), 'path')}", _differences(r)
    if r.latency:
        paired = f"\n\n{prose(sentences.paired(r.paired), 400)}" if r.paired else ""
        yield "Latency", _latency(r.latency) + paired
    if r.waterfalls:
        yield "A typical call", "\n\n".join(_typical(r))
    if r.cohorts:
        yield "Cohorts", _cohorts(r)
    if r.cost or r.models:
        yield "Cost", "\n\n".join(_costs(r))
    if r.outcomes or r.errors:
        yield "Runs and errors", "\n\n".join(_runs(r))
    yield "From call to comparison", _funnel(r)
    if r.timeline:
        yield "Decisions", _decisions(r)
    yield f"Policy in force: v{r.policy_version}", _policy(r)
    yield "Completeness", _completeness(r)


def _gates(found: Sequence[Finding], most: int) -> str:
    rows = [
        (
            code(f.unit),
            code(f.gate),
            grade(f).plain,
            _measured(f.observed, f),
            _measured(f.limit, f),
            _measured(f.baseline, f),
            words.count(f.n),
            prose(words.why(f), 200),
        )
        for f in found[:most]
    ]
    columns = ("Branch", "Gate", "Finding", "Observed", "Limit", "Control", "Calls", "Why")
    return _table(columns, rows, len(found), right=columns[3:7])


def _measured(value: float | None, finding: Finding) -> str:
    return prose(words.measured(value, finding.unit_name))


def _differences(r: Report) -> str:
    """Of every unit, also without a difference; then by path what the policy in force showed, and what it did not."""
    parts = [_comparisons(r.comparisons)] if r.comparisons else []
    if not r.mismatches:
        return "\n\n".join(parts)
    for current in (True, False):
        if found := [one for one in r.mismatches if one.current is current]:
            if not current:
                parts.append(f"**{sentences.earlier(r.policy_version, r.policy_at)}**")
            parts.append(_paths(found))
    notes = (prose(note, 400) for note in (sentences.COLUMNS, sentences.redacted(r.examples)) if note)
    return "\n\n".join([*parts, *notes])


def _comparisons(found: Sequence[Comparison]) -> str:
    rows = [
        (
            code(c.unit),
            words.count(c.compared),
            words.count(c.mismatched),
            words.count(c.incomparable),
            words.share(c.mismatch_share),
            words.share(c.noise_share),
        )
        for c in found[:_MOST]
    ]
    columns = ("Unit", "Compared", "Differed", "Unclear", "Rate", "Noise")
    notes = (prose(note, 400) for note in sentences.not_compared(found[:_MOST]))
    return "\n\n".join([_table(columns, rows, len(found), right=columns[1:]), *notes])


def _paths(found: Sequence[Mismatch]) -> str:
    rows = [
        (
            code(m.path, 120),
            prose(m.kind, 20),
            code(m.branch) or "–",
            words.count(m.count),
            words.share(m.share),
            words.share(m.noise_share),
            sentences.excess(m),
            words.utc(m.last_at),
            _example(m),
        )
        for m in found[:_MOST]
    ]
    columns = (
        "Path",
        "Kind",
        "Branch",
        "Calls",
        "Rate",
        "Noise",
        "Beyond noise, 95 %",
        "Last seen",
        "First seen: control → candidate",
    )
    return _table(columns, rows, len(found), right=columns[3:7])


def _example(mismatch: Mismatch) -> str:
    if mismatch.example is None:
        return ""
    seen = difference(mismatch.example)
    sides = [
        code("".join(text for text, _ in side.parts), 60) + (" redacted" if side.redacted else "")
        for side in (seen.control, seen.candidate)
    ]
    return " → ".join(sides)


def _latency(found: Sequence[Latency]) -> str:
    rows = [(code(line.unit), *words.latency_cells(line)) for line in found[: 2 * _MOST]]
    columns = ("Unit", "Of", "Side", "p50", "p95", "p99", "Calls", "Failed")
    return _table(columns, rows, len(found), right=columns[3:])


def _typical(r: Report) -> Iterator[str]:
    for found in r.waterfalls:
        yield f"{found.mode.capitalize()}. {prose(sentences.typical(found), 400)}"
        rows = [
            (
                code(one.branch),
                words.seconds(one.begin_s) if one.begin_s else "0",
                words.seconds(one.end_s),
                words.seconds(one.end_p95_s),
                words.share(one.ran),
                words.share(one.critical),
            )
            for one in found.branches[:_MOST]
        ]
        columns = ("Branch", "Begins", "Ends", "p95", "Runs in", "Waited for in")
        yield _table(columns, rows, len(found.branches), right=columns[1:])
    yield from _sampled(r)


def _cohorts(r: Report) -> str:
    rows = [
        (
            prose(one.kind, 20),
            code(one.name) or "–",
            words.share(one.of_calls),
            words.share(one.mismatched),
            words.between(one.low, one.high),
            words.seconds(one.control_p95_s),
            words.seconds(one.candidate_p95_s),
        )
        for one in r.cohorts[: 2 * _MOST]
    ]
    columns = ("By", "Cohort", "Of calls", "Mismatched", "95 %", "Control p95", "Candidate p95")
    return "\n\n".join([_table(columns, rows, len(r.cohorts), right=columns[2:]), *_sampled(r)])


def _costs(r: Report) -> Iterator[str]:
    if r.bill:
        yield f"**{prose(sentences.bill(r.bill), 600)}**"
    if r.cost:
        rows = [
            (
                code(line.unit) if line.unit else line.side,
                words.count(line.calls),
                words.count(line.unpriced),
                prose(words.dollars(line.per_call_usd)),
                prose(words.dollars(line.month_usd)),
            )
            for line in r.cost[: 2 * _MOST]
        ]
        columns = ("Side", "Calls", "Without price", "Per call", "A month at 100 %")
        yield _table(columns, rows, len(r.cost), right=columns[1:])
        if any(line.side == "control" for line in r.cost):
            yield f"{sentences.CONTROL_COST}."
        yield f"A month: 30 days with every call at {words.rate(r.window.calls_per_s)}. No price is unknown, not free."
    if r.models:
        yield _models(r.models)
        yield f"By branch and model: {sentences.MODELS}."
        yield from _sampled(r)


def _models(found: Sequence[ModelCost]) -> str:
    rows = [
        (
            code(one.branch),
            code(one.model) or "–",
            words.count(one.runs),
            words.count(one.unpriced),
            prose(words.dollars(one.per_run_usd)),
            prose(words.dollars(one.per_call_usd)),
            prose(words.dollars(one.month_usd)),
        )
        for one in found[:_MOST]
    ]
    columns = ("Branch", "Model", "Runs", "Without price", "Per run", "Per call", "A month at 100 %")
    return _table(columns, rows, len(found), right=columns[2:])


def _sampled(r: Report) -> list[str]:
    return [sentences.sample(r.sample)] if r.sample else []


def _runs(r: Report) -> Iterator[str]:
    if r.outcomes:
        rows = [
            (
                code(line.branch),
                prose(line.mode, 20),
                words.count(line.runs),
                words.count(line.ended["ok"]),
                ", ".join(f"{number:,} {how}" for how, (number, _) in words.other_ends(line).items()),
            )
            for line in r.outcomes[: 2 * _MOST]
        ]
        columns = ("Branch", "Mode", "Runs", "Ok", "The others")
        yield _table(columns, rows, len(r.outcomes), right=columns[2:4])
    if r.errors:
        rows = [
            (code(e.unit), e.side, prose(e.what, 80), words.count(e.count), words.share(e.share))
            for e in r.errors[: 2 * _MOST]
        ]
        columns = ("Unit", "Side", "What", "Count", "Share")
        yield _table(columns, rows, len(r.errors), right=columns[3:])
        if any(line.side == "call" for line in r.errors):
            yield sentences.ERRORS


def _funnel(r: Report) -> str:
    rows = [
        (step.name, words.count(step.count), words.share(step.of_seen), prose(sentences.gone_no_further(step)))
        for step in r.funnel.steps
    ]
    columns = ("Step", "Calls", "Of seen", "The others")
    return _table(columns, rows, len(rows), right=columns[1:3])


def _decisions(r: Report) -> str:
    rows = [(words.utc(d.at), prose(d.action, 20), prose(summary(d)), prose(d.actor, 60)) for d in r.timeline[:_MOST]]
    return _table(("At", "Action", "What", "By"), rows, len(r.timeline))


def _policy(r: Report) -> str:
    rows = [(code(f.name), prose(f.origin, 60), prose(words.value(f.value))) for f in r.policy]
    return _table(("Field", "From", "Value"), rows, len(rows))


def _completeness(r: Report) -> str:
    c = r.completeness
    stored = f"{words.count(c.stored)} trials stored, {words.utc(c.oldest)} to {words.utc(c.newest)}"
    lines = [
        f"{words.count(c.late_blocks)} blocks came too late to be judged",
        f"{words.share(c.arrived)} of the trials arrived{_reasons('dropped', c.dropped.items())}",
        f"{words.count(sum(c.hooks.values()))} hooks raised{_reasons('of', c.hooks.items())}",
        stored,
        prose(sentences.who_counted(c.processes), 600),
    ]
    return "\n".join(f"* {line}" for line in lines)


def _reasons(word: str, found: Iterable[tuple[str, int]]) -> str:
    told = ", ".join(f"{number:,} {code(name, 40)}" for name, number in list(found)[:_MOST])
    return f" ({word} {told})" if told else ""


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _table(columns: Row, rows: Sequence[Row], of: int, *, right: Iterable[str] = ()) -> str:
    """A table of cells that are Markdown. ``of``: how many rows there are in all; ``right``: columns of numbers."""
    numbers = set(right)
    rules = ["---:" if name in numbers else "---" for name in columns]
    lines = [f"| {' | '.join(row)} |" for row in chain([columns, rules], rows)]
    if of > len(rows):
        lines.append(f"\nand {of - len(rows):,} more.")
    return "\n".join(lines)
