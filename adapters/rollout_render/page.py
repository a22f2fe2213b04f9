"""The report as one HTML file: everything inside, readable without JavaScript, under a content policy that allows
none."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any

from jinja2 import BaseLoader, Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from rollout.domain.cost import usd_text
from rollout.domain.durations import duration_text
from rollout.domain.gates import Finding, Grade
from rollout.domain.lifecycle import ALLOCATION
from rollout.domain.report import Report
from rollout.domain.report_evidence import UnitEvidence, account_of, of_account
from rollout.domain.report_values import Latency, PairedLatency, Point
from rollout.domain.standing import Standing, Word
from rollout.domain.state import Decision
from rollout_render import sentences, svg, words
from rollout_render.clean import clean
from rollout_render.curves import curves, gate_style
from rollout_render.evidence import ALL, boundary, told, where
from rollout_render.explorer import pairs, places
from rollout_render.tables import summary, unique
from rollout_render.terminal import grade, unseen
from rollout_render.typical import falls

TONES = {
    Word.completed: "good",
    Word.ready: "good",
    Word.soaking: "good",
    Word.frozen: "wait",
    Word.waiting: "wait",
    Word.paused: "wait",
    Word.undecided: "wait",
    Word.holding: "wait",
    Word.rolled_back: "bad",
}
_GRADE_TONES = {Grade.passed: "good", Grade.doubt: "wait", Grade.error: "wait", Grade.breach: "bad"}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides' latency of one unit on one basis, with their drawing."""

    unit: str
    basis: str
    control: Latency | None
    candidate: Latency | None
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Weighed:
    """One gate's evidence, or that of all, on its way to both boundaries. ``harm``, ``step``: words and a bar."""

    gate: str
    style: str
    harm: tuple[str, Markup]
    step: tuple[str, Markup]
    missing: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one unit: its drawing, which the rows explain."""

    unit: str
    where: str
    means: str
    step_means: str
    drawing: Markup
    rows: Sequence[Weighed]


def html_report(report: Report) -> str:
    """The whole page."""
    title = f"{clean(words.stored(report.rollout), 160)} – {report.verdict.word.text}"
    return whole(title, report_article(report), report_script())


def report_article(report: Report) -> Markup:
    """The report as one element, for a page that shows it in place. It needs ``report_style``; ``report_script``, to be
    run when it is there, adds what it can do without.
    """
    return body_of("report.body.j2", **_parts(report))


def body_of(template: str, **parts: Any) -> Markup:
    """A template of this package with its parts, as an element."""
    return Markup(_environment().get_template(template).render(parts))


def whole(title: str, body: Markup, script: str = "") -> str:
    """A page of its own around an element that ``report_style`` dresses. ``script``: run when all of it is there."""
    style = _shipped("page.css") + report_style()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            style=Markup(style),
            style_hash=_digest(style),
            script=Markup(script),
            script_hash=_digest(script),
            body=body,
        )
    )


def _digest(text: str) -> str:
    """As a Content-Security-Policy names what is allowed."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def report_style() -> str:
    """The stylesheet of ``report_article``; every rule of it holds inside that element only."""
    return _shipped("report.css")


def report_script() -> str:
    """What makes ``report_article`` handier in a browser that runs scripts."""
    return _shipped("report.js")


def _parts(report: Report) -> dict[str, Any]:
    """What the template shows."""
    return {
        "r": report,
        "tone": TONES[report.verdict.word],
        "gates": gauged(report.gates),
        "evidence": weighed(report.evidence, report.branches),
        "control_cost": sentences.CONTROL_COST,
        "others": any(words.other_ends(line) for line in report.outcomes),
        "besides": any(words.besides(line) for line in report.outcomes),
        "latency": _latency(report.latency),
        "ramps": _ramps(report),
        "paired": report.paired and _paired(report.paired),
        "falls": falls(report.waterfalls),
        "places": places(report),
        "pairs": pairs(report),
        "models_note": sentences.MODELS,
        "errors_note": sentences.ERRORS if any(line.side == "call" for line in report.errors) else "",
        "hidden": sentences.redacted(report.examples),
        "trends": trends(report.curves, *_ends(report)),
        "ends": _ends(report),
    }


def _shipped(name: str) -> str:
    return files("rollout_render").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return environment(FunctionLoader(_shipped))


def environment(loader: BaseLoader) -> Environment:
    """Templates that escape whatever they are given, and say numbers, times and decisions as the report does."""
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": words.count,
        "share": words.share,
        "seconds": words.seconds,
        "usd": usd_text,
        "dollars": words.dollars,
        "rate": words.rate,
        "utc": words.utc,
        "span": duration_text,
        "value": words.value,
        "text": _text,
        "name": _name,
        "summary": summary,
        "grade": lambda finding: grade(finding).plain,
        "grade_tone": _tone,
        "both": words.both_numbers,
        "why": words.why,
        "evidence": words.evidence,
        "all_gates": told,
        "reasons": words.reasons,
        "fan_out_time": words.fan_out_time,
        "other_ends": words.other_ends,
        "besides": words.besides,
        "excess": sentences.excess,
        "between": lambda one: words.between(one.low, one.high),
        "sample": sentences.sample,
        "who_counted": sentences.who_counted,
        "losses": sentences.losses,
        "bill": sentences.bill,
        "not_compared": sentences.not_compared,
        "paired": sentences.paired,
    }
    made.globals |= {"bar": svg.bar, "measured": words.measured, "tones": TONES}
    return made


def ahead(branch: Standing, now: float, evidence_per_s: float | None) -> str:
    """What comes next, and when; ``""`` where nothing does. ``now``: epoch seconds, database's clock."""
    return words.ahead(branch, now, evidence_per_s)


def _text(thing: object, limit: int = 160) -> str:
    """Clean and bounded; the template escapes it."""
    return clean(words.stored(thing), limit)


def _name(thing: object, limit: int = 160) -> Markup:
    """The same within a line: letters that are read from the right turn nothing beside them around."""
    return Markup("<bdi>{}</bdi>").format(_text(thing, limit))


def gauged(findings: Iterable[Finding]) -> list[tuple[Finding, Markup, str]]:
    """Each finding once, with its gauge and its tone."""
    return [(finding, *_gauge(finding)) for finding in unique(findings)]


def _tone(finding: Finding) -> str:
    """Of its grade; a pass of nothing has none."""
    return "" if unseen(finding) else _GRADE_TONES[finding.grade]


def _gauge(finding: Finding) -> tuple[Markup, str]:
    """The observed number and the limit on one bar, to the same scale."""
    tone = _tone(finding)
    if finding.observed is None or finding.limit is None or finding.gate == ALLOCATION:
        return svg.bar(None), tone
    if finding.limit <= 0:  # of a control that never failed: there is no scale, so it is all or nothing
        return svg.bar(1.0 if finding.observed > 0 else 0.0, tone, 0.0), tone
    scale = max(finding.limit * 1.6, min(finding.observed, finding.limit * 4) * 1.05)
    return svg.bar(finding.observed / scale, tone, finding.limit / scale), tone


def weighed(evidence: Iterable[UnitEvidence], standings: Iterable[Standing]) -> list[Evidence]:
    """Each unit's curves, and a row for each gate."""
    by_unit = {standing.unit: standing for standing in standings}
    drawn = []
    for found in evidence:
        standing = by_unit[found.unit]
        counted = {finding.gate: finding for finding in of_account(standing.findings)}
        rows = [_weighed(counted[gate], gate_style(index)) for index, gate in enumerate(found.gates) if gate in counted]
        if (account := account_of(standing.findings)) is not None and len(rows) > 1:
            nothing = ("", Markup(""))
            rows.append(Weighed(ALL, "account", _harm(*account), nothing, ""))
        means = boundary(standing, found.limit)
        step_means = f"step shown at {words.odds(found.step_limit)}"
        drawn.append(Evidence(found.unit, where(standing), means, step_means, curves(found, means), rows))
    return drawn


def _weighed(finding: Finding, style: str) -> Weighed:
    step = words.way(finding.log_promote, finding.log_promote_limit)
    bar = Markup("") if step is None else svg.bar(step, "good" if step == 1.0 else "candidate")
    harm = _harm(finding.log_e, finding.log_limit)
    return Weighed(finding.gate, style, harm, (words.step(finding), bar), words.missing(finding))


def _harm(log_e: float | None, limit: float | None) -> tuple[str, Markup]:
    far = words.way(log_e, limit) or 0.0
    return words.odds(log_e), svg.bar(far, "bad" if far == 1.0 else "wait")


def _latency(lines: Sequence[Latency]) -> list[Pair]:
    """The two sides of each unit and basis together."""
    found: dict[tuple[str, str], dict[str, Latency]] = {}
    for line in lines:
        found.setdefault((line.unit, line.basis), {})[line.side] = line
    pairs = []
    for (unit, basis), sides in found.items():
        if basis == "runs":
            continue
        control, candidate = sides.get("control"), sides.get("candidate")
        marks = [
            (side, (line.p50_s, line.p95_s, line.p99_s))
            for side, line in (("control", control), ("candidate", candidate))
            if line is not None
        ]
        drawing = svg.densities(
            control.curve if control else (), candidate.curve if candidate else (), marks, f"latency of {unit}, {basis}"
        )
        pairs.append(Pair(unit, basis, control, candidate, drawing))
    return pairs


def _paired(found: PairedLatency) -> Markup:
    name = "latency of the candidate less that of control, in the same call"
    return svg.deviation(found.curve, (found.p50_s, found.p95_s, found.p99_s), name)


def _ramps(report: Report) -> list[tuple[str, str, Markup]]:
    """Each branch's stages over time, from the decisions: name, where it is now, drawing."""
    left, right = report.window.since, max(report.window.until, report.window.since + 1)
    shares = sorted({branch.share for branch in report.branches} | _shares(report.timeline) | {0.0})
    drawn = []
    for branch in report.branches:
        moves: list[tuple[float, float | None]] = [(left, 0.0)]
        marks = []
        for decision in reversed(report.timeline):
            for move in decision.moves:
                if move.get("branch") == branch.branch:
                    moves.append((max(left, decision.at), float(shares.index(_share(move.get("to", ""))))))
                    if decision.action == "rollback":
                        marks.append((max(left, decision.at), "bad"))
        drawing = svg.ramp(moves, len(shares), marks, left=left, right=right, name=f"stages of {branch.branch}")
        drawn.append((branch.branch, branch.at, drawing))
    return drawn


def _shares(timeline: Sequence[Decision]) -> set[float]:
    return {_share(move.get("to", "")) for decision in timeline for move in decision.moves}


def _share(text: str) -> float:
    """The share that a move's text names: ``"25%"``, ``"shadow, rolled back"`` is 0."""
    found = _PERCENT.search(text.partition(",")[0])
    return float(found[1]) / 100 if found else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """A chart over time. ``top``: its highest value, in words."""

    title: str
    top: str
    drawing: Markup


def trends(curves: Mapping[str, Sequence[Point]], left: float, right: float) -> list[tuple[str, list[Trend]]]:
    """Calls of the rollout; for each unit p95 of both sides, bad calls, and what differed. From ``left`` to ``right``,
    epoch seconds."""
    drawn = []
    for unit, points in curves.items():
        kinds = _KINDS if unit else _WHOLE
        charts = [chart for kind in kinds if (chart := _trend(kind, points, left, right)) is not None]
        if charts:
            drawn.append((unit or "all calls", charts))
    return drawn


def _trend(kind: Kind, points: Sequence[Point], left: float, right: float) -> Trend | None:
    """One chart, or None where nothing was counted."""
    title, read, show = kind
    tracks = [(side, [(point.at, read(point, side)) for point in points]) for side in ("control", "candidate")]
    known = [y for _, track in tracks for _, y in track if y is not None and isfinite(y)]
    if not known:
        return None
    top = show(max(known))
    return Trend(title, top, svg.trend(tracks, left=left, right=right, name=f"{title} over time, at most {top}"))


def _ends(report: Report) -> tuple[float, float]:
    ats = [point.at for points in report.curves.values() for point in points]
    if len(set(ats)) > 1:
        return min(ats), max(ats)
    return report.window.since, max(report.window.until, report.window.since + 1)


def _p95(point: Point, side: str) -> float | None:
    return point.control_p95_s if side == "control" else point.candidate_p95_s


def _bad(point: Point, side: str) -> float | None:
    return point.control_bad if side == "control" else point.candidate_bad


def _differed(point: Point, side: str) -> float | None:
    return None if side == "control" else point.mismatched


def _calls(point: Point, side: str) -> float | None:
    return None if side == "control" else float(point.calls)


Kind = tuple[str, Callable[[Point, str], float | None], Callable[[float | None], str]]
_WHOLE: tuple[Kind, ...] = (("calls per step", _calls, words.count),)
_KINDS: tuple[Kind, ...] = (
    ("p95", _p95, words.seconds),
    ("bad calls", _bad, words.share),
    ("mismatched", _differed, words.share),
)
