"""The commands that show something: a table for people, JSON for programs, and an exit code that tells."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from rollout.domain.standing import Word
from rollout.domain.state import Mode
from rollout_render.doors import Exit
from tests.cli.conftest import Run, parsed
from tests.render.test_page import read


def test_status_shows_every_branch_and_exits_with_4_when_one_is_rolled_back(run: Run) -> None:
    result = run("status")
    assert result.exit_code == 4
    for text in ("profile", "orders", "25%", "tickets", "rolled back", "summary", "profile=on for alice"):
        assert text in result.stdout, text


def test_status_as_json_has_the_same(run: Run) -> None:
    seen = parsed(run("status", "profile", "--output", "json"))
    branches = {branch["branch"]: branch for branch in seen["rollouts"][0]["branches"]}
    assert branches["tickets"]["word"] == "rolled_back"
    assert branches["orders"]["at"] == "25%"
    assert seen["leader"]["holder"] == "shop-1:4127"


@pytest.mark.parametrize(
    "words",
    [
        ("show", "profile"), ("check", "profile"), ("history", "profile"), ("diff", "profile"), ("cost", "profile"),
        ("config", "show", "profile"), ("flag", "list"), ("audit", "verify"), ("doctor",),
    ],
)  # fmt: skip
def test_whatever_shows_something_shows_it_as_json_too(run: Run, words: tuple[str, ...]) -> None:
    plain, machine = run(*words), run(*words, "-o", "json")
    assert plain.exit_code == machine.exit_code
    assert plain.stdout
    assert json.loads(machine.stdout) is not None


def test_the_output_may_come_from_the_environment(run: Run) -> None:
    assert parsed(run("cost", "profile", env={"ROLLOUT_OUTPUT": "json"}))["rollout"] == "profile"


def test_a_pipe_gets_no_escape_sequence(run: Run) -> None:
    for words in (("status",), ("show", "profile"), ("history", "profile"), ("report", "profile")):
        assert "\x1b" not in run(*words).stdout


def test_show_tells_the_funnel_with_its_drops(run: Run) -> None:
    out = run("show", "profile").stdout
    assert "too_large" in out
    assert "$.tickets[*].state" in out


def test_history_tells_what_moved_and_what_the_gates_found(run: Run) -> None:
    out = run("history", "profile", "--limit", "3").stdout
    assert "tickets 5% → shadow, rolled back" in out
    assert re.search(r"tickets mismatches: 0\.\d+% against at most 0\.4%", out)


def test_history_explains_a_decision_from_the_evidence_of_that_moment(run: Run) -> None:
    rollback = next(one for one in parsed(run("history", "profile", "-o", "json")) if one["action"] == "rollback")
    breach = next(finding for finding in rollback["findings"] if finding["grade"] == "breach")
    assert breach["log_e"] >= breach["log_limit"] == pytest.approx(math.log(300))
    assert breach["log_promote_limit"] == pytest.approx(math.log(20))
    out = run("history", "profile").stdout
    assert "evidence 1 : " in out
    assert "step shown" in out
    assert re.search(r"all gates together [\d,]+ : 1, the boundary is 300 : 1", out)


def test_why_it_was_rolled_back_is_one_command(run: Run) -> None:
    out = run("history", "profile", "tickets", "--action", "rollback").stdout
    assert out.startswith("#")
    assert len(re.findall("^#", out, re.MULTILINE)) == 1
    assert "tickets 5% → shadow, rolled back" in out
    assert "Nothing of that kind" in run("history", "profile", "--action", "reset").stdout
    assert run("history", "profile", "ticket").exit_code == Exit.usage


PROMISE = "the gates roll back any branch of this policy version with probability at most 1%, however often they look"


def test_check_explains_each_gate_and_ends_with_what_they_promise(run: Run) -> None:
    result = run("check", "profile", "--explain")
    out = " ".join(result.stdout.split())
    for said in (
        "orders at 25%, next 50% hold",
        "seen candidate",
        "× weight 1/4 =",
        "rolled back at 300 : 1",
        "not ready at 300 : 1",
        "cost cannot judge",
        "mismatches, at most 0.1%, sequential",
        "limit 0.2% of compared calls: 0.1% of all calls, over the share that is live at the next step",
    ):
        assert said in out, said
    assert PROMISE in out
    assert out.index(PROMISE) > out.rindex("weight")
    assert out.endswith("Nothing was changed.")
    assert result.exit_code == run("check", "profile").exit_code


def test_check_explains_itself_to_programs_too(run: Run) -> None:
    told = parsed(run("check", "profile", "--explain", "-o", "json"))
    assert told["bound"]["alpha"] == 0.01
    orders = told["units"][0]
    assert (orders["unit"], orders["at"], orders["next"]) == ("orders", "25%", "50%")
    assert {gate["weight"] for gate in orders["gates"]} == {0.25}
    assert orders["gates"][0]["finding"]["log_limit"] == pytest.approx(math.log(300))


def test_show_draws_the_evidence_of_each_unit(run: Run) -> None:
    out = run("show", "profile").stdout
    assert "orders  at 25%, next 50%" in out
    assert "tickets  as it was when it was rolled back" in out
    assert "step at 20 : 1" in out
    assert PROMISE in " ".join(out.split())
    seen = parsed(run("show", "profile", "-o", "json"))
    assert [unit["unit"] for unit in seen["evidence"]] == ["orders", "tickets", "summary"]
    assert seen["evidence"][0]["points"][-1]["against"]


def test_diff_of_a_path_that_does_not_differ_offers_the_nearest(run: Run) -> None:
    result = run("diff", "profile", "--path", "$.orders[*].totl")
    assert result.exit_code == 2
    assert 'Did you mean "$.orders[*].total"?' in result.stderr


def test_cost_tells_unknown_prices(run: Run) -> None:
    lines = {line["unit"]: line for line in parsed(run("cost", "profile", "-o", "json"))["lines"]}
    assert lines["summary"]["unpriced"] > 0
    assert lines["summary"]["per_call_usd"].startswith("0.0018")
    shown = run("cost", "profile").stdout
    assert "unknown, not free" in shown
    assert "small-2" in shown
    assert "Of the newest 420 of 420 stored trials" in shown


def test_check_changes_nothing(run: Run) -> None:
    before = parsed(run("history", "profile", "-o", "json"))
    result = run("check", "profile")
    assert "Nothing was changed." in result.stdout
    assert parsed(run("history", "profile", "-o", "json")) == before


def test_check_answers_first_whether_it_is_safe_to_promote(run: Run) -> None:
    first, second, *rest = run("check", "profile").stdout.splitlines()
    assert re.fullmatch(r"Not to be promoted now: .*summary\.", first)
    assert second == "Rolled back: tickets."
    assert any(line.startswith("summary  hold") for line in rest)


@pytest.mark.parametrize("branch", [(), ("tickets",), ("orders",)])
def test_check_that_explains_begins_with_the_same_verdict(run: Run, branch: tuple[str, ...]) -> None:
    verdict, _, _ = run("check", "profile", *branch).stdout.partition("\n\n")
    told, _, _ = run("check", "profile", *branch, "--explain").stdout.partition("\n\n")
    assert told == verdict


def test_check_of_a_branch_that_is_rolled_back_tells_when_and_why_with_the_figures_of_then(run: Run) -> None:
    (rollback,) = [one for one in parsed(run("history", "profile", "-o", "json")) if one["action"] == "rollback"]
    (seen,) = parsed(run("check", "profile", "tickets", "-o", "json"))
    assert (seen["unit"], seen["mode"], seen["why"]) == ("tickets", "rolled_back", rollback["reason"])
    assert seen["rolled_back_at"] == rollback["at"]
    assert seen["findings"] == rollback["findings"]
    for words in (("check", "profile", "tickets"), ("check", "profile", "tickets", "--explain")):
        out = " ".join(run(*words).stdout.split())
        assert f": {rollback['reason']}" in out
        assert "the figures are those of that moment" in out
        assert "orders" not in out


def test_whatever_needs_a_person_because_of_the_gates_exits_with_3() -> None:
    assert Exit.of(Word.undecided) is Exit.of(Word.holding) is Exit.holding
    assert Exit.of(Word.waiting) is Exit.of(Word.paused) is Exit.ok
    assert Exit.of_decided([(Mode.active, "promote"), (Mode.paused, "hold")]) is Exit.holding
    assert Exit.of_decided([(Mode.active, "pause"), (Mode.completed, "rollback")]) is Exit.rolled_back
    assert Exit.of_decided([(Mode.active, "promote"), (Mode.completed, "hold")]) is Exit.ok


def test_config_show_names_the_origin_of_each_field(run: Run) -> None:
    fields = {
        field["name"]: field["origin"] for field in parsed(run("config", "show", "profile", "-o", "json"))["fields"]
    }
    assert fields["ramp"] == "spec rollout.toml"
    assert fields["shadow.sample"] == "default"


# Reports


def test_a_report_as_text_json_and_html(run: Run, tmp_path: Path) -> None:
    assert "Rolled back: tickets, " in run("report", "profile").stdout
    report = parsed(run("report", "profile", "--format", "json"))
    assert report["schema"] == 5
    assert report["verdict"]["word"] == "rolled_back"
    result = run("report", "profile", "--format", "html", "--out", "page.html")
    assert (result.exit_code, result.stdout) == (0, "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert read(page).open == []
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_report_for_a_pull_request_begins_with_the_verdict(run: Run) -> None:
    for option in ("--output", "--format", "-o"):
        text = run("report", "profile", option, "markdown").stdout
        assert text.startswith("### <code>profile</code>: rolled back\n\n> [!CAUTION]\n")


REPORT_KEYS = {
    "schema", "rollout", "made_at", "database", "policy_version", "policy_at", "revision", "join", "routes", "window",
    "verdict", "branches", "gates", "bound", "evidence", "funnel", "losses", "outcomes", "dispatch", "fan_out",
    "comparisons", "mismatches", "examples", "latency", "cost", "bill", "sample", "paired", "waterfalls", "models",
    "cohorts", "errors", "curves", "timeline", "policy", "completeness",
}  # fmt: skip


def test_the_keys_of_a_report_stay(run: Run) -> None:
    report = parsed(run("report", "profile", "--format", "json"))
    assert set(report) == REPORT_KEYS
    assert set(report["latency"][0]) == {
        "unit", "basis", "side", "calls", "failed", "p50_s", "p95_s", "p99_s", "curve",
    }  # fmt: skip


def test_a_report_since_a_while_covers_only_that(run: Run) -> None:
    whole = parsed(run("report", "profile", "--format", "json"))
    late = parsed(run("report", "profile", "--format", "json", "--since", "10m"))
    assert 0 < late["funnel"]["steps"][0]["count"] < whole["funnel"]["steps"][0]["count"]


def test_a_report_that_cannot_be_written_says_so(run: Run) -> None:
    result = run("report", "profile", "--out", "nowhere/page.html")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


# The audit


def test_the_audit_is_whole(run: Run) -> None:
    result = run("audit", "verify")
    assert result.exit_code == 0
    assert "The audit is whole" in result.stdout
