"""The HTML report: one file that is whole without scripts, and that nothing in the data can break."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from rollout import gates
from rollout.domain.gates import Finding, Grade
from rollout.domain.outcomes import RunOutcome
from rollout.domain.report import Report
from rollout.domain.report_values import Outcomes
from rollout.domain.state import Decision, Trigger
from rollout.testing import ManualClock, memory_backend, sample_policy
from rollout.usecases import reporting
from rollout_render.markdown import markdown_report
from rollout_render.page import gauged, html_report, report_article, report_script, report_style
from rollout_render.text import text_report
from tests.render.hostile import dirty
from tests.render.story import NAME, findings, story, told
from tests.support import thresholds


@pytest.fixture
async def report() -> Report:
    backend, _ = await told()
    return await reporting.report(backend, NAME)


class Reader(HTMLParser):
    """Tags that stay open, and every attribute that is there."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "path", "line", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


async def test_the_page_is_well_formed_and_needs_nothing_else(report: Report) -> None:
    reader = read(html_report(report))
    assert reader.open == []
    names = {tag for tag, _ in reader.tags}
    assert not names & {"link", "iframe", "object", "embed", "form", "img"}
    attributes = {name for _, attrs in reader.tags for name in attrs}
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {"style", "src", "href"}


async def test_its_policy_allows_just_this_style_and_just_this_script(report: Report) -> None:
    page = html_report(report)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    own = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)]
    assert f"default-src 'none'; style-src 'sha256-{own[0]}'; script-src 'sha256-{own[1]}';" in page
    assert script == report_script()
    assert "<script" not in report_article(report)
    assert "unsafe" not in page


async def test_another_page_can_show_it_in_place_and_keeps_its_own_looks(report: Report) -> None:
    article = report_article(report)
    reader = read(article)
    assert reader.open == []
    (first, attributes), *_ = reader.tags
    assert (first, attributes) == ("article", {"class": "rollout-report"})
    assert str(article).rstrip().endswith("</article>")
    assert article in html_report(report)
    selectors = re.findall(r"^[^\s}][^{]*", report_style(), re.MULTILINE)
    assert [selector.strip() for selector in selectors] == [".rollout-report"]


async def test_it_answers_the_questions_of_a_stranger(report: Report) -> None:
    page = html_report(report)
    for text in (
        "Rolled back: tickets, which users get from control",  # is it safe
        "compared calls differed, at most",  # why was it rolled back
        "rolled back at 300 : 1",  # how far is each branch from it
        "Still missing",  # and how far from the next step
        "with probability at most 1%, however often they look",  # can the gates be believed
        "$.tickets[*].state",  # what differs
        "A month at 100 %",  # what will it cost
        "small-2",  # which model
        "+0.0209% (",  # is it more than noise
        "<mark>EUR</mark> (from 2026-01-05)",  # what does it look like
        '<span class="redacted">redacted</span>',
        "The candidate took longer than control in",  # is it slower, call by call
        "tickets → summary",  # what do calls wait for
        "/profile/{id}/summary",  # who is hit
        "shop-1:4127 in 60 seconds",  # who counted
        "queue_full",  # what is dropped
        "spec rollout.toml",  # where a field comes from
        "2026-01-05 12:00:00Z",
    ):
        assert text in page, text


async def test_each_unit_has_a_drawing_of_its_evidence_with_both_boundaries_and_its_stages(report: Report) -> None:
    page = html_report(report)
    for unit in ("orders", "tickets", "summary"):
        assert f'aria-label="evidence of {unit}: ' in page
    assert page.count("step shown at 20 : 1</text>") == 3
    assert page.count("rolled back at 300 : 1</text>") == 2
    assert page.count("not ready at 300 : 1</text>") == 1  # in shadow nothing is rolled back
    assert page.count('class="rule bad"') >= 2  # the rollback, in both panels
    assert ">rolled back</text>" in page


async def test_a_threshold_gate_takes_the_promise_away_and_is_named() -> None:
    clock = ManualClock()
    backend = memory_backend(clock)
    mixed = (gates.errors(), gates.mismatches(at_most=0.001), thresholds.latency(q=0.95, worse_by=0.25))
    await story(backend, clock, specs=mixed, step_s=60)
    report = await reporting.report(backend, NAME)
    for said in (html_report(report), text_report(report)):
        assert "No error bound: latency p95 judges by a threshold." in said
        assert "with probability at most" not in " ".join(said.split())


async def test_thresholds_alone_have_no_evidence_to_be_drawn() -> None:
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(gates=(thresholds.errors(),)), "test")
    report = await reporting.report(backend, "profile")
    for said in (html_report(report), text_report(report)):
        assert "No error bound: errors judges by a threshold." in said
        assert "Evidence" not in said


async def test_it_stays_small(report: Report) -> None:
    crowd = [replace(report.mismatches[0], path=f"$.{'x' * 300}[{n}]") for n in range(100)]
    long = "y" * 1_000_000
    said: dict[str, Any] = {"actor": long, "reason": long, "findings": findings("orders", Grade.breach)}
    decisions = [Decision(rollout=NAME, action="promote", trigger=Trigger.person, **said)] * 100
    example = {"path": long, "kind": long, "branch": long, "control": f"a{long}", "candidate": f"b{long}"}
    crowd = [replace(mismatch, example=example) for mismatch in crowd]
    pairs = [replace(report.examples[0], trial=f"{n:032x}", differences=[example] * 20) for n in range(24)]
    made = html_report(replace(report, mismatches=crowd, timeline=decisions, examples=pairs))
    assert len(made) < 2_000_000


async def test_nothing_in_the_data_gets_out_of_its_place(report: Report) -> None:
    nasty = dirty(report)
    page = html_report(nasty)
    reader = read(page)
    assert reader.open == []
    tags = [tag for tag, _ in reader.tags]
    assert (tags.count("script"), tags.count("img")) == (1, 0)  # the one of our own
    assert not any(sign in page for sign in "\x1b\u202e")
    assert "{{7*7}}" in page
    text = text_report(nasty)
    assert not any(sign in text for sign in "\x1b\u202e")


async def test_a_report_of_nothing_is_a_page() -> None:
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(), "test")
    page = html_report(await reporting.report(backend, "profile"))
    assert read(page).open == []
    assert "Nothing has been compared yet" in page


async def test_it_tells_how_runs_ended_and_why_some_did_not_begin(report: Report) -> None:
    page, text = html_report(report), " ".join(text_report(report).split())
    for said in (
        "short-circuited",
        "soft timeouts",
        "over budget",
        "retried",
        "hedged",
        "SLA missed",
        "2 orphaned now",
    ):
        assert said in page, said
        assert said in text, said
    summary = next(line for line in report.outcomes if line.branch == "summary")
    for outcome, counts in summary.reasons.items():
        for reason, number in counts.items():
            assert f"{number:,} {reason}" in page, outcome
            assert f"{number:,} {reason}" in text, outcome


async def test_it_tells_how_much_of_the_work_passed_side_by_side(report: Report) -> None:
    for said in (html_report(report), text_report(report)):
        assert "180 ms of work in 95 ms: 1.9 ×" in said
        assert "by task" in said


async def test_a_plain_rollout_has_no_column_for_what_never_happened(report: Report) -> None:
    line = Outcomes(
        branch="orders", mode="shadow", runs=9, ended=dict.fromkeys(RunOutcome, 0) | {"ok": 9}, reasons={},
        retried=0, hedged=0, sla_missed=0, orphaned=0,
    )  # fmt: skip
    plain = replace(report, outcomes=(line,), dispatch={}, fan_out=None, errors=())
    page, text = html_report(plain), text_report(plain)
    assert "Runs of branches" in page
    assert "Runs of branches" in text
    for absent in ("The others", "Besides", "what else", "skipped", "dispatch", "of work in"):
        assert absent not in page, absent
        assert absent not in text, absent
    assert read(page).open == []


async def test_control_s_tokens_are_shown(report: Report) -> None:
    control = replace(report.cost[0], unit="", side="control", calls=4, tokens_in=123.0, tokens_out=45.0)
    priced = replace(report, cost=(control,))
    assert "123/45" in text_report(priced)
    assert '<td data-l="Tokens in" class="num">123</td>' in html_report(priced)


async def test_the_text_fits_eighty_columns(report: Report) -> None:
    lines = text_report(report).splitlines()
    assert max(map(len, lines)) <= 80
    for part in (
        "Gates",
        "Evidence",
        "From call to comparison",
        "Runs of branches",
        "What differs",
        "Latency",
        "A typical call",
        "Cohorts",
        "Cost",
        "Cost by branch and model",
        "Errors",
        "Completeness",
        "Decisions",
    ):
        assert any(line.startswith(part) for line in lines), part


@pytest.mark.parametrize(
    ("observed", "limit", "width"),
    [(0.3, 0.0, "100.00%"), (0.0, 0.0, "0.00%"), (0.05, 0.1, "31.25%"), (None, 0.1, "0.00%"), (0.3, None, "0.00%")],
)
def test_the_bar_of_a_gate_shows_how_far_above_its_limit_it_is(
    observed: float | None, limit: float | None, width: str
) -> None:
    found = Finding(gate="errors", unit="orders", grade=Grade.breach, observed=observed, limit=limit, unit_name="%")
    ((_, bar, _),) = gauged([found])
    assert f'width="{width}" height="4"' in bar


async def test_a_gate_that_saw_nothing_is_no_pass_in_any_form_of_the_report(report: Report) -> None:
    unseen = Finding(gate="errors", unit="orders", grade=Grade.passed, why="nothing to compare with")
    made = replace(report, gates=(unseen,), timeline=())
    for form in (html_report, text_report, markdown_report):
        assert "no data" in form(made), form
        assert "no data" not in form(replace(made, gates=(replace(unseen, n=40),))), form
