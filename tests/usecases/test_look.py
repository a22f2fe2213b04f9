"""The reading verbs change nothing, name what is not there, and stay cheap."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from typing import Any

import pytest

from rollout.domain.evidence import Figures
from rollout.domain.standing import Word
from rollout.domain.state import Mode
from rollout.errors import UnknownName
from rollout.ports import Backend
from rollout.testing import ManualClock, MemoryBackend, memory_backend, sample_batch, sample_block, sample_policy
from rollout.usecases import look, reporting, steer
from tests.render.story import NAME, told


@pytest.fixture
async def backend() -> Backend:
    return (await told())[0]


async def test_status_tells_how_every_branch_stands(backend: Backend) -> None:
    seen = await look.status(backend)
    (rollout,) = seen.rollouts
    assert {branch.branch: branch.word for branch in rollout.branches} == {
        "orders": Word.waiting,
        "tickets": Word.rolled_back,
        "summary": Word.holding,
    }
    assert seen.word is Word.rolled_back
    assert seen.leader is not None
    assert seen.leader.holder == "shop-1:4127"


async def test_status_of_a_branch_that_was_rolled_back_shows_what_was_found_then(backend: Backend) -> None:
    (rollout,) = (await look.status(backend)).rollouts
    tickets = next(branch for branch in rollout.branches if branch.branch == "tickets")
    assert [finding.gate for finding in tickets.findings if finding.grade == "breach"] == ["mismatches"]


@pytest.mark.parametrize(
    ("policy", "evidence_per_s"),
    [({}, 10.0), ({"sample": 0.1}, 1.0), ({"keyed": True}, None), ({"keyed": True, "sticky": False}, 10.0)],
)
async def test_evidence_grows_by_the_calls_that_are_drawn_and_nobody_knows_by_how_many_new_callers(
    policy: dict[str, Any], evidence_per_s: float | None
) -> None:
    wall = 1_767_614_400
    backend = memory_backend(ManualClock(wall=float(wall)))
    await backend.state.register(sample_policy(**policy), "me")
    await backend.ledger.append(sample_batch(sample_block(wall - 30, "*", Figures({"calls": 600}), unit="")))
    (rollout,) = (await look.status(backend)).rollouts
    assert rollout.calls_per_s == 10.0
    assert rollout.evidence_per_s == (None if evidence_per_s is None else pytest.approx(evidence_per_s))


async def test_an_unknown_rollout_offers_the_nearest_name(backend: Backend) -> None:
    for verb in (look.status, look.show, look.history, look.policy, reporting.report, reporting.diff, reporting.cost):
        with pytest.raises(UnknownName, match='Did you mean "profile"'):
            await verb(backend, "profil")


async def test_an_unknown_path_offers_the_nearest_one(backend: Backend) -> None:
    with pytest.raises(UnknownName, match=r"\$\.orders\[\*\]\.total"):
        await reporting.diff(backend, NAME, "$.orders[*].totals")


async def test_diff_of_one_path_shows_it_alone(backend: Backend) -> None:
    seen = await reporting.diff(backend, NAME, "$.orders[*].total")
    assert [mismatch.path for mismatch in seen.mismatches] == ["$.orders[*].total"]
    assert all(any(d["path"] == "$.orders[*].total" for d in example.differences) for example in seen.examples)


async def test_reading_changes_nothing(backend: Backend) -> None:
    before = await backend.state.revision()
    await look.status(backend)
    await look.show(backend, NAME)
    await look.audit(backend)
    await reporting.report(backend, NAME)
    assert await backend.state.revision() == before


async def test_the_audit_is_whole_until_somebody_touches_it() -> None:
    backend, _ = await told()
    assert (await look.audit(backend)).breaks == ()
    decisions: list[Any] = backend.state._decisions  # type: ignore[attr-defined]
    decisions[2] = replace(decisions[2], reason="it was not me")
    (found,) = (await look.audit(backend)).breaks
    assert (found.number, found.kind) == (3, "hash")


async def test_the_evidence_that_is_shown_is_that_of_the_findings(backend: Backend) -> None:
    shown = await look.show(backend, NAME)
    for unit in shown.evidence:
        standing = next(branch for branch in shown.status.branches if branch.unit == unit.unit)
        of_gate = {finding.gate: finding for finding in standing.findings}
        rolled_back = [change.at for change in unit.changes if change.action == "rollback"]
        told = [point for point in unit.points if not rolled_back or point.at <= rolled_back[0]][-1]
        assert told.against == pytest.approx([of_gate[gate].log_e for gate in unit.gates], abs=0.01)
        assert exp(told.account) == pytest.approx(sum(map(exp, told.against)))
        assert unit.limit == of_gate[unit.gates[0]].log_limit


async def test_the_stages_of_a_branch_are_told_beside_its_evidence(backend: Backend) -> None:
    orders, tickets, summary = (await look.show(backend, NAME)).evidence
    assert [change.to for change in orders.changes] == ["1%", "5%", "25%"]
    assert [change.action for change in tickets.changes] == ["promote", "promote", "rollback"]
    assert summary.changes == ()


async def test_evidence_of_an_account_that_is_closed_is_not_shown(backend: Backend) -> None:
    states: Any = backend.state._states[NAME]  # type: ignore[attr-defined]
    states["orders"] = states["orders"].moved(account=states["orders"].entry + 1, entry=states["orders"].entry + 1)
    orders, tickets, _ = (await look.show(backend, NAME)).evidence
    assert orders.points == ()
    assert tickets.points


async def test_a_rollout_without_calls_has_a_report() -> None:
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(), "test")
    report = await reporting.report(backend, "profile")
    assert "No call has been recorded" in report.verdict.sentence
    assert report.funnel.steps[0].count == 0


async def test_a_report_reads_as_many_points_however_long_the_window() -> None:
    for span in (1.0, 60.0, 3_600.0, 86_400.0, 30 * 86_400.0, 400 * 86_400.0):
        assert span / reporting.step_of(span) <= reporting.POINTS


async def test_a_report_asks_the_ledger_as_often_whatever_was_counted(backend: Backend) -> None:
    asked: list[str] = []
    ledger = backend.ledger

    class Counting:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(ledger, name)

    backend.ledger = Counting()
    await reporting.report(backend, NAME)
    assert len(asked) <= 20
    assert "trial" not in asked


async def test_a_paused_branch_stands_as_paused(backend: Backend) -> None:
    states: Any = backend.state._states[NAME]  # type: ignore[attr-defined]
    states["orders"] = states["orders"].moved(mode=Mode.paused, cause="lunch")
    (rollout,) = (await look.status(backend)).rollouts
    assert rollout.branches[0].word is Word.paused
    assert rollout.branches[0].why == "lunch"


async def burst(clock: ManualClock) -> MemoryBackend:
    """37 seconds of 50 calls each, from 7 s past a full minute on."""
    backend = memory_backend(clock)
    await backend.state.register(sample_policy(), "test")
    clock.advance(60_000)
    second = int(clock.wall()) // 60 * 60 + 7
    blocks = [sample_block(second + n, "*", {"calls": 50}, unit="", entry=0) for n in range(37)]
    await backend.ledger.append(sample_batch(*blocks))
    clock.advance(60)
    return backend


async def test_the_rate_is_not_thinned_by_the_idle_time_around_the_calls_whoever_looks_when() -> None:
    clock = ManualClock()
    backend = await burst(clock)
    second = int(clock.wall()) // 60 * 60 - 60 + 7
    for _ in range(50):
        window = (await reporting.report(backend, "profile")).window
        assert (window.first, window.last, window.calls_per_s) == (second, second + 37, 50.0)
        clock.advance(61.7)


@pytest.mark.parametrize(("age_s", "span_s"), [(4_000, 60), (90_000, 3_600)])
async def test_calls_that_are_rolled_up_into_longer_blocks_make_no_higher_rate(age_s: float, span_s: int) -> None:
    clock = ManualClock()
    backend = await burst(clock)
    clock.advance(age_s)
    await backend.ledger.maintain({})
    window = (await reporting.report(backend, "profile")).window
    assert window.first is not None
    assert window.last == window.first + span_s
    assert window.calls_per_s == 37 * 50 / span_s


async def test_a_rollback_is_found_behind_any_number_of_decisions(backend: Backend) -> None:
    (before,) = (await look.status(backend)).rollouts
    for number in range(120):
        await steer.pause(backend, NAME, "orders", actor="ann", reason=f"{number}")
        await steer.resume(backend, NAME, "orders", actor="ann")
    seen = await look.status(backend)
    (after,) = seen.rollouts
    (was, now) = (next(one for one in seen.branches if one.branch == "tickets") for seen in (before, after))
    assert now.why == was.why != "mismatches"
    assert now.findings == was.findings != ()
    (rollback,) = await look.history(backend, NAME, branch="tickets", action="rollback")
    assert [one.action for one in seen.recent] == ["resume", "pause", "resume", "pause", "resume", "rollback"]
    assert seen.recent[-1] == (await look.show(backend, NAME)).decisions[-1] == rollback


async def test_history_may_be_of_one_branch_and_of_one_kind(backend: Backend) -> None:
    every = await look.history(backend, NAME)
    for branch in ("orders", "tickets"):
        found = await look.history(backend, NAME, branch=branch)
        assert found == tuple(one for one in every if branch in [move["branch"] for move in one.moves]) != ()
        assert await look.history(backend, NAME, 1, branch=branch) == found[:1]
    promotions = await look.history(backend, NAME, action="promote", branch="orders")
    assert [one.moves[0]["to"] for one in promotions] == ["25%", "5%", "1%"]
    assert await look.history(backend, NAME, action="reset") == ()
    with pytest.raises(UnknownName, match='Did you mean "tickets"'):
        await look.history(backend, NAME, branch="ticket")
