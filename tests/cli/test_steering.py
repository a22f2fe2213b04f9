"""The commands that change something: with a reason, asked only where somebody can answer, refused in one block."""

from __future__ import annotations

from typing import Any

from tests.cli.conftest import Run, parsed
from tests.render.story import TRIALS


def branches(run: Run) -> dict[str, Any]:
    return {b["branch"]: b for b in parsed(run("status", "-o", "json"))["rollouts"][0]["branches"]}


def test_a_promotion_that_a_gate_holds_is_refused_in_one_block(run: Run) -> None:
    result = run("promote", "profile", "orders")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    assert branches(run)["orders"]["at"] == "25%"


def test_a_promotion_by_force_needs_a_reason_and_a_yes(run: Run) -> None:
    assert run("promote", "profile", "orders", "--force").exit_code == 2
    result = run("promote", "profile", "orders", "--force", "--reason", "incident 7")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr
    done = run("promote", "profile", "orders", "--force", "--reason", "incident 7", "--yes")
    assert (done.exit_code, done.stdout.strip()) == (0, "profile/orders: 25% → 50%")
    newest = parsed(run("history", "profile", "-o", "json"))[0]
    assert (newest["action"], newest["actor"], newest["reason"]) == ("promote", "ann", "forced: incident 7")


def test_a_promotion_to_a_share_that_is_none_names_the_value(run: Run) -> None:
    result = run("promote", "profile", "orders", "--to", "150%")
    assert result.exit_code == 2
    assert "150% is out of range" in result.stderr


def test_a_rollback_needs_no_more_than_the_name(run: Run) -> None:
    result = run("rollback", "profile", "orders", "--reason", "looks odd")
    assert (result.exit_code, result.stdout.strip()) == (0, "profile/orders: 25% → shadow, rolled back")
    orders = branches(run)["orders"]
    assert (orders["word"], orders["why"]) == ("rolled_back", "by a person: looks odd")


def test_a_rollback_twice_is_once_and_says_so(run: Run) -> None:
    result = run("rollback", "profile", "tickets")
    assert result.exit_code == 0
    assert result.stdout.startswith("Nothing changed: tickets is rolled back already")


def test_pause_and_resume(run: Run) -> None:
    assert run("pause", "profile", "orders").exit_code == 0
    assert branches(run)["orders"]["word"] == "paused"
    assert run("resume", "profile", "orders").exit_code == 0
    assert branches(run)["orders"]["mode"] == "active"


def test_an_illegal_move_names_the_legal_ones(run: Run) -> None:
    result = run("resume", "profile", "orders")
    assert result.exit_code == 1
    assert "Possible now: promote" in result.stderr


def test_a_reset_asks_first(run: Run) -> None:
    assert run("reset", "profile", "orders", "--reason", "again").exit_code == 2
    assert run("reset", "profile", "orders", "--reason", "again", "--yes").exit_code == 0
    assert branches(run)["orders"]["at"] == "shadow"


def test_an_unknown_branch_offers_the_nearest_name(run: Run) -> None:
    result = run("rollback", "profile", "order")
    assert result.exit_code == 2
    assert 'Did you mean "orders"?' in result.stderr


def test_flags_are_set_listed_and_cleared(run: Run) -> None:
    assert run("flag", "set", "profile", "off").exit_code == 2  # no reason
    assert run("flag", "set", "profile", "off", "--reason", "incident 7").exit_code == 0
    listed = {(flag["key"], flag["value"]) for flag in parsed(run("flag", "list", "-o", "json"))}
    assert listed == {("alice", "on"), (None, "off")}
    assert "off for everybody" in run("status").stdout
    assert run("flag", "clear", "profile", "--reason", "over").exit_code == 0
    assert run("flag", "clear", "profile", "--reason", "over").stdout.strip().endswith("nothing to clear")


def test_an_unknown_flag_value_is_a_usage_error(run: Run) -> None:
    assert run("flag", "set", "profile", "maybe", "--reason", "x").exit_code == 2


def test_a_purge_says_what_and_asks_first(run: Run) -> None:
    assert run("purge").exit_code == 2
    assert run("purge", "--rollout", "profile").exit_code == 2
    done = parsed(run("purge", "--rollout", "profile", "--yes", "-o", "json"))
    assert done["deleted"] == 60 * TRIALS
    assert "Calls" in run("show", "profile").stdout
