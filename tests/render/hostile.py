"""A report in which all that may come from the data is hostile."""

from __future__ import annotations

from dataclasses import replace

from rollout.domain.report import Report

NASTY = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m\u202e{{7*7}}&amp; @ann #12 | `x` **y** "
    "[a](http://evil.example) www.evil.example </code></details>\n\n# 😀\x00\x9b2J"
)


def dirty(report: Report, text: str = NASTY) -> Report:
    """The report with ``text`` wherever a name, a path, a reason or a value stands."""
    return replace(
        report,
        rollout=text,
        routes=(text,),
        revision=text,
        verdict=replace(report.verdict, sentence=text),
        branches=tuple(
            replace(one, branch=text, why=text, findings=tuple(replace(f, gate=text) for f in one.findings))
            for one in report.branches
        ),
        gates=tuple(replace(gate, why=text, unit=text) for gate in report.gates),
        mismatches=tuple(
            replace(m, path=text, branch=text, kind=text, example={"control": text, "candidate": text})
            for m in report.mismatches
        ),
        examples=tuple(
            replace(
                e,
                route=text,
                method=text,
                reason=text,
                differences=({"path": text, "kind": text, "branch": text, "control": text, "candidate": {text: text}},),
            )
            for e in report.examples
        ),
        cohorts=tuple(replace(c, name=text, kind=text) for c in report.cohorts),
        models=tuple(replace(m, branch=text, model=text) for m in report.models),
        waterfalls=tuple(
            replace(w, path=(text, text), branches=tuple(replace(b, branch=text) for b in w.branches))
            for w in report.waterfalls
        ),
        completeness=replace(
            report.completeness,
            dropped={text: 1},
            hooks={text: 1},
            processes=tuple(replace(p, process=text) for p in report.completeness.processes),
        ),
        timeline=tuple(replace(d, reason=text, actor=text) for d in report.timeline),
        errors=tuple(replace(e, what=text) for e in report.errors),
        bound=replace(report.bound, sentence=text),
        evidence=tuple(
            replace(e, gates=(text,) * len(e.gates), changes=tuple(replace(c, to=text) for c in e.changes))
            for e in report.evidence
        ),
        outcomes=tuple(replace(line, branch=text, mode=text) for line in report.outcomes),
        dispatch={text: 3},
        curves={text: report.curves["orders"]},
        database=text,
    )
