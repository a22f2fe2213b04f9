"""Looking ahead from the command line: how long a ramp takes, and how it would end."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rollout.domain.evidence import Figures
from rollout.testing import sample_batch, sample_block
from rollout_render.doors import Exit
from rollout_render.planning import about_time, bar, traffic_text, two_digits
from rollout_sql import open_backend
from tests.cli.conftest import Run, parsed


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences are looked for whole, so nothing may break them."""
    monkeypatch.setenv("COLUMNS", "200")


SHORT = ("--ramp", "shadow 50% 100%", "--harm", "5%", "--traffic", "5/s", "--errors", "0.1%", "--mismatches", "0%")
QUIET = ("--ramp", "shadow 1% 25% 100%", "--harm", "1%", "--traffic", "50/h", "--errors", "0.1%", "--mismatches", "0%")


def test_a_plan_tells_the_time_of_each_step_and_exits_with_0(run: Run) -> None:
    result = run("plan", "profile", "orders", *SHORT)
    assert result.exit_code == Exit.ok, result.output
    for text in ("plan profile/orders", "5/s (given)", "errors 0.1% (given)", "shadow → 50%", "50% → 100%", "baking"):
        assert text in result.stdout, text
    assert "Not in it: a person must approve 50%; promotion is frozen Fri 16:00 - Mon 08:00." in result.stdout


def test_a_plan_as_json_has_the_same(run: Run) -> None:
    found = parsed(run("plan", "profile", "orders", *SHORT, "--within", "1d", "-o", "json"))
    assert [(step["share"], step["target"]) for step in found["steps"]] == [(0.0, 0.5), (0.5, 1.0), (1.0, None)]
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"][:-1]))
    assert (found["in_time"], found["within_s"], found["options"]) == (True, 86_400, [])
    assert found["about"]["origins"]["traffic"] == "given"
    assert found["about"]["origins"]["latency_s"] == "recorded"


def test_a_plan_begins_where_the_branch_stands(run: Run) -> None:
    words = ("plan", "profile", "orders", "--traffic", "100/s")
    found = parsed(run(*words, "-o", "json"))
    assert (found["reached"]["share"], found["reached"]["mode"], found["reached"]["waits"]) == (0.25, "active", "")
    assert [step["share"] for step in found["steps"]] == [0.25, 0.5, 1.0]
    assert 0 < found["left_s"] < found["seconds"]
    shown = run(*words).stdout
    assert re.search(r"profile/orders is at 25%, for \S+ now: 100% in about \d+m\.", shown)
    assert "shadow →" not in shown


def test_a_ramp_is_planned_from_the_stage_that_is_asked_for(run: Run) -> None:
    words = ("plan", "profile", "orders", *SHORT, "--from", "50%")
    found = parsed(run(*words, "-o", "json"))
    assert (found["reached"], found["left_s"]) == (None, found["seconds"])
    assert [step["share"] for step in found["steps"]] == [0.5, 1.0]
    assert "From 50% on: 100% after about" in run(*words).stdout


def test_what_was_rolled_back_waits_for_a_person_and_the_command_is_named(run: Run) -> None:
    words = ("plan", "profile", "tickets", *SHORT)
    result = run(*words)
    assert result.exit_code == Exit.holding
    assert re.search(
        r"tickets is at shadow, for \S+ now: rolled back .*: rollout resume profile tickets", result.stdout
    )
    assert "After that: 100% after about" in result.stdout
    found = parsed(run(*words, "-o", "json"))
    assert (found["left_s"], found["steps"][0]["share"]) == (None, 0.0)


def test_nothing_is_left_of_a_completed_ramp(run: Run, url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(
            "UPDATE rollout_branch_states SET stage = 5, share = 1, mode = 'completed' WHERE branch = 'orders'"
        )
    result = run("plan", "profile", "orders")
    assert result.exit_code == Exit.ok
    assert "profile/orders is at 100%, completed: nothing is left of its ramp." in result.stdout
    assert "Worst let through" not in result.stdout


# Of all branches


def test_without_a_branch_every_branch_has_a_line(run: Run) -> None:
    result = run("plan", "profile")
    assert result.exit_code == Exit.holding
    assert "100%: tickets, summary not before a person acts." in result.stdout
    for line in (
        r"  orders +25% +\S+ +\S+ +waits for ",
        r"  tickets +shadow +\S+ +waits +rolled back .*: rollout resume profile tickets; then about ",
        r"  summary +shadow +\S+ +waits +it comes after \"tickets\", which is at shadow; then about ",
        r"Step by step: rollout plan profile BRANCH",
    ):
        assert re.search(line, result.stdout), line


async def fail_in_shadow(url: str, runs: int) -> None:
    """So many runs of "tickets" fail in shadow under the policy in force, at the stage where it is."""
    backend = await open_backend(url)
    try:
        snapshot = await backend.state.load()
        entry, policy = snapshot.states["profile"]["tickets"].entry, snapshot.policies["profile"]
        pairs = Figures({"pairs": runs, "candidate_bad": runs})
        block = sample_block(int(snapshot.now) - 60, "P", pairs, unit="tickets", entry=entry, version=policy.version)
        await backend.ledger.append(sample_batch(block))
    finally:
        await backend.close()


def test_the_plan_of_a_branch_that_fails_in_shadow_since_its_rollback_holds_only_if_it_is_mended(
    run: Run, url: str
) -> None:
    outlook, alone = ("plan", "profile", "--traffic", "5/s"), ("plan", "profile", "tickets", *SHORT)
    assert not any("mended" in run(*words).stdout for words in (outlook, alone))
    asyncio.run(fail_in_shadow(url, 100_000))
    failing = parsed(run(*alone, "-o", "json"))["reached"]["failing"]
    assert 100_000 < failing["failed"] < failing["runs"]
    counts = f"f {failing['runs']:,} runs in shadow since, {failing['failed']:,} failed"
    assert re.search(rf"; then about \S+ if it is mended: o{counts}\b", " ".join(run(*outlook).stdout.split()))
    assert re.search(rf"\nO{counts}\.\nAfter that, if it is mended: 100% after about ", run(*alone).stdout)


def test_the_outlook_as_json_has_the_plan_of_each_branch(run: Run) -> None:
    found = parsed(run("plan", "profile", *SHORT, "--within", "30d", "-o", "json"))
    assert [one["about"]["unit"] for one in found["units"]] == ["orders", "tickets", "summary"]
    assert (found["left_s"], found["in_time"], found["within_s"]) == (None, False, 30 * 86_400)
    alone = parsed(run("plan", "profile", "orders", *SHORT, "-o", "json"))
    assert found["units"][0]["seconds"] == alone["seconds"]


def test_what_a_person_supposes_is_told_beside_the_traffic(run: Run) -> None:
    shown = run("plan", "profile", *SHORT, "--from", "100%").stdout
    assert "5/s (given) · errors 0.1% (given) · 0% differ (given)" in shown


def test_all_branches_that_come_there_in_time_exit_with_0(run: Run) -> None:
    assert run("resume", "profile", "tickets", "--reason", "mended").exit_code == 0
    words = ("plan", "profile", *SHORT)
    result = run(*words, "--within", "30d")
    assert result.exit_code == Exit.ok, result.output
    assert re.search(r"All are at 100% in about \S+: within 30d\.", result.stdout)
    assert run(*words, "--within", "1s").exit_code == Exit.holding


def test_traffic_and_rates_are_those_recorded_where_nobody_says_them(run: Run) -> None:
    words = ("plan", "profile", "orders", "--ramp", "shadow 100%", "--harm", "10%")
    about = parsed(run(*words, "-o", "json"))["about"]
    assert about["traffic"] == pytest.approx(80, rel=0.5)
    assert {about["origins"][name] for name in ("traffic", "errors", "mismatches", "latency_s")} == {"recorded"}
    assert 0 < about["truth"]["errors"] < 0.01
    assert re.search(r"/s \(recorded 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ to .*\d\d:\d\d:\d\dZ\)", run(*words).stdout)


def test_figures_of_older_policies_that_stand_in_are_told_as_such(run: Run, url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE rollout_blocks SET version = 0")
    shown = run("plan", "profile", "summary", "--from", "100%").stdout
    assert re.search(r"control's errors \S+ \(recorded, older policies too\)", shown)
    shown = run("plan", "profile", "--from", "100%").stdout
    assert "Recorded under older policies too, for lack of calls under the one in force: errors, latency" in shown


def test_a_ramp_that_takes_too_long_exits_with_3_and_what_fits_is_written_as_a_spec(run: Run) -> None:
    result = run("plan", "profile", "orders", *QUIET, "--from", "shadow", "--within", "5d")
    assert result.exit_code == Exit.holding
    assert "not within 5d" in result.stdout
    for line in ("[rollouts.profile.ramp]", 'stages = "shadow ', 'harm = "', 'approve = ""'):
        assert line in result.stdout, line


def test_the_spec_of_what_fits_can_be_applied(run: Run, tmp_path: Path) -> None:
    shown = run("plan", "profile", "orders", *QUIET, "--from", "shadow", "--within", "5d").stdout.splitlines()
    begin = next(number for number, line in enumerate(shown) if "[rollouts." in line)
    spec = [line.strip() for line in shown[begin:] if "=" in line or "[rollouts." in line]
    (tmp_path / "rollout.toml").write_text("\n".join(spec))
    assert run("apply", "--reason", "it must fit").exit_code == 0
    ramp = next(f for f in parsed(run("config", "show", "profile", "-o", "json"))["fields"] if f["name"] == "ramp")
    assert "25% 100%" in ramp["value"]


def test_nothing_that_fits_is_told_too(run: Run) -> None:
    result = run("plan", "profile", "orders", *QUIET, "--from", "shadow", "--within", "1m")
    assert result.exit_code == Exit.holding
    assert "Nothing fits 1m: even shadow 25% 100% with a harm budget of 10% takes" in result.stdout
    assert "it waits for mismatches." in result.stdout


def test_a_ramp_that_never_ends_exits_with_3_and_says_where_it_stays(run: Run) -> None:
    result = run("plan", "profile", "orders", *SHORT[:-1], "5%")
    assert result.exit_code == Exit.holding
    assert "100% never: at shadow it stays undecided: mismatches (5% differ)." in result.stdout


# Simulate


SIMULATED = ("simulate", "profile", *SHORT, "--runs", "4", "--seed", "7")


def test_a_simulation_tells_how_ramps_end_and_the_seed(run: Run) -> None:
    result = run(*SIMULATED)
    assert result.exit_code == Exit.ok, result.output
    for text in ("4 ramps from shadow on, seed 7", "completed", "rolled back", "undecided", "4 of 4 entered 100%"):
        assert text in result.stdout, text


def test_without_a_seed_there_is_another_one_each_time_and_it_can_be_used_again(run: Run) -> None:
    first = run("simulate", "profile", *SHORT, "--runs", "1", "-o", "json")
    again = run("simulate", "profile", *SHORT, "--runs", "1", "--seed", str(parsed(first)["seed"]), "-o", "json")
    assert first.stdout == again.stdout


def test_a_worse_candidate_is_rolled_back_for_its_errors(run: Run) -> None:
    found = parsed(run(*SIMULATED, "--worse-errors", "20%", "--from", "50%", "-o", "json"))
    ends = {tally["end"]: tally for tally in found["summary"]["tallies"]}
    assert (found["start"], ends["rolled_back"]["runs"], found["summary"]["arrived"]) == ("50%", 4, 0)
    assert ends["rolled_back"]["causes"] == {"errors at 50%": 4}
    assert ends["rolled_back"]["low"] < 0.6
    assert ends["completed"]["calls"] is None


def test_every_part_of_a_truth_can_be_chosen(run: Run) -> None:
    words = ("--latency", "20% faster", "--cost", "10% dearer", "--drift", "0.1%..0.2% over 2h")
    outages = ("--outage", "10%@5m for 1m", "--outage", "20%@20m for 30s")
    without = [word for word in SIMULATED[2:] if word not in ("--errors", "0.1%")]
    result = run(
        "simulate", "profile", "summary", *without, *words, *outages, "--worse-errors", "same", "--from", "shadow"
    )
    assert result.exit_code == Exit.ok, result.output
    for text in (
        "errors 0.1%..0.2% over 2h", "20% faster", "a call (recorded)", "outage of 10% at 5m for 1m",
        "outage of 20% at 20m for 30s",
    ):  # fmt: skip
        assert text in result.stdout, text


def test_outages_may_come_from_the_environment(run: Run) -> None:
    result = run(*SIMULATED, env={"ROLLOUT_OUTAGE": "10%@5m for 1m;20%@20m for 30s"})
    assert "outage of 10% at 5m for 1m · outage of 20% at 20m for 30s" in result.stdout


# What cannot be


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "words",
    [
        ("plan", "profile", *SHORT),
        ("plan", "profile", "orders", *SHORT),
        ("plan", "profile", "tickets", *SHORT),
        (*SIMULATED, "--worse-errors", "30%"),
    ],
    ids=["outlook", "plan", "rolled back", "simulate"],
)
def test_every_screen_fits_its_terminal_and_nothing_is_cut(run: Run, words: tuple[str, ...], columns: int) -> None:
    shown = run(*words, env={"COLUMNS": str(columns)}).stdout
    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plan", "profile", "--traffic", "much"), '"much" is no traffic'),
        (("plan", "profile", "--traffic", "0/s"), "100/s"),
        (("plan", "profile", "--within", "soon"), "--within"),
        (("plan", "profile", "--errors", "150%"), "--errors"),
        (("plan", "profile", "--sticky", "0"), "--sticky"),
        (("plan", "profil"), 'Did you mean "profile"?'),
        (("plan", "profile", "ordres"), 'Did you mean "orders"?'),
        (("simulate", "profile", "--runs", "0"), "--runs"),
        (("simulate", "profile", "--seed", "-1"), "--seed"),
        (("simulate", "profile", "--drift", "3%"), "0.5%..3%"),
        (("simulate", "profile", "--outage", "30%"), "30%@10m for 5m"),
        (("simulate", "profile", "--latency", "20% dearer"), "20% slower"),
        (("simulate", "profile", "--cost", "twice"), "20% dearer"),
        (("simulate", "profile", "--drift", "1%..2%", "--errors", "1%"), "Leave --errors out"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_that_names_it(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run(*words)
    assert result.exit_code == Exit.usage
    assert told in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--ramp", "1% 100%"), "must begin with shadow"),
        (("--ramp", "shadow x 100%"), '"x" is not a share'),
        (("--harm", "0%"), "harm is 0"),
        (("--sticky", "500"), "profile draws every call by itself"),
        (("--from", "7%"), "7% is no stage of the ramp shadow 1% 5% 25% 50% 100%"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_the_remedy(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run("simulate", "profile", *words)
    assert result.exit_code == Exit.failure
    assert told in result.stderr


# Numbers


def test_a_plan_claims_no_more_than_it_knows() -> None:
    assert [about_time(value) for value in (10, 589, 5_954, 40_000, 200_000, 500_000, 15_000_000, 1e9)] == [
        "10s", "9m49s", "1h39m", "11h10m", "2d8h", "5d19h", "174d", "32 years",
    ]  # fmt: skip
    assert [two_digits(value) for value in (0, 7, 5_934, 0.002034, 0.999)] == [0, 7, 5_900, 0.002, 1.0]
    assert [traffic_text(value) for value in (12_345, 100, 0.5, 5 / 3_600, 2 / 86_400)] == [
        "12,345/s", "100/s", "30/m", "5/h", "2/d",
    ]  # fmt: skip
    assert [bar(value, 80) for value in (0, 0.001, 40, 80)] == ["", "▏", "█████", "██████████"]
