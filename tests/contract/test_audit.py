"""The audit: append-only, numbered, chained, readable page by page."""

from dataclasses import replace

import pytest

from rollout.domain.audit import verify
from rollout.domain.gates import Finding, Grade
from rollout.domain.state import FlagOverride
from rollout.ports import StateStore
from rollout.testing import sample_change, sample_decision, sample_policy


async def test_a_recorded_decision_comes_back_sealed(state: StateStore) -> None:
    before = await state.now()
    sealed = await state.record(sample_decision(action="pause", reason="lunch"))
    assert (sealed.number, sealed.previous, sealed.reason) == (1, "", "lunch")
    assert round(before, 6) <= sealed.at <= await state.now() + 1e-6
    assert len(sealed.hash) == 64
    assert await state.decisions("profile") == [sealed]


async def test_each_decision_carries_the_hash_of_the_one_before(state: StateStore) -> None:
    sealed = [await state.record(sample_decision(reason=f"{n}")) for n in range(4)]
    assert [one.number for one in sealed] == [1, 2, 3, 4]
    assert [one.previous for one in sealed] == ["", *(one.hash for one in sealed[:-1])]


async def test_each_rollout_has_a_chain_of_its_own(state: StateStore) -> None:
    for n in range(3):
        await state.record(sample_decision("profile", reason=f"{n}"))
        await state.record(sample_decision("search", reason=f"{n}"))
    search = (await state.decisions("search"))[::-1]
    assert [one.reason for one in search] == ["0", "1", "2"]
    assert [one.previous for one in search] == ["", *(one.hash for one in search[:-1])]
    assert verify(search, complete=False) == []


async def test_numbers_run_through_all_rollouts_so_that_a_missing_row_shows(state: StateStore) -> None:
    for rollout in ("profile", "search", "profile", "profile"):
        await state.record(sample_decision(rollout))
    decisions = (await state.decisions())[::-1]
    assert [one.number for one in decisions] == [1, 2, 3, 4]
    assert verify(decisions) == []
    del decisions[1]
    assert [(found.number, found.kind) for found in verify(decisions)] == [(3, "gap")]


async def test_the_chain_of_everything_that_can_be_decided_is_whole(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    orders = (await state.load()).states["profile"]["orders"]
    await state.transition(sample_change(orders, reason='ünïcödé ☂ and "quotes"'))
    await state.apply("profile", {"shadow.sample": 0.1}, "spec rollout.toml", "ann", "less")
    await state.set_flag(FlagOverride(flag="profile", value="on", key="alice", actor="ann", reason="tester"))
    await state.clear_flag("profile", "alice", "ann", "done")
    await state.record(sample_decision(action="approve"))

    decisions = await state.decisions("profile")

    assert [one.action for one in decisions] == ["approve", "flag", "flag", "apply", "promote", "register"]
    assert verify(decisions[::-1]) == []


@pytest.mark.parametrize("text", ["a\x00b", "\ud800 alone", "x" * 99_999, "'; DROP TABLE rollout_decisions; --"])
async def test_no_text_stops_a_decision_or_breaks_the_chain(state: StateStore, text: str) -> None:
    finding = Finding(gate="errors", unit=text, grade=Grade.breach, why=text)
    moves = ({"branch": text, "from": text, "to": text},)
    await state.record(sample_decision(actor=text, reason=text, findings=(finding,), moves=moves))
    await state.record(sample_decision())
    decisions = await state.decisions("profile")
    assert len(decisions) == 2
    assert verify(decisions[::-1]) == []


async def test_whole_numbers_and_fractions_leave_the_chain_whole(state: StateStore) -> None:
    numbers = (0, 3, 10_000_000, 0.1, 1 / 3, 1e-12, 1e300, -0.0, float("inf"), float("nan"), None)
    findings = tuple(
        Finding(gate="cost", unit="orders", grade=Grade.passed, observed=n, limit=n, baseline=n, n=7, at=1 / 3)
        for n in numbers
    )
    await state.record(sample_decision(findings=findings))
    assert verify(await state.decisions("profile")) == []


async def test_a_row_that_was_altered_is_found(state: StateStore) -> None:
    for n in range(4):
        await state.record(sample_decision(reason=f"{n}"))
    decisions = (await state.decisions("profile"))[::-1]
    decisions[1] = replace(decisions[1], reason="it was somebody else")
    assert [(found.number, found.kind) for found in verify(decisions)] == [(2, "hash")]


async def test_decisions_are_read_page_by_page_newest_first(state: StateStore) -> None:
    for n in range(7):
        await state.record(sample_decision(reason=f"{n}"))
    first = await state.decisions("profile", limit=3)
    second = await state.decisions("profile", limit=3, before=first[-1].number)
    third = await state.decisions("profile", limit=3, before=second[-1].number)
    assert [one.reason for one in first + second + third] == ["6", "5", "4", "3", "2", "1", "0"]
    assert await state.decisions("profile", before=third[-1].number) == []


async def test_the_decisions_of_all_rollouts_come_newest_first(state: StateStore) -> None:
    for rollout in ("profile", "search", "search"):
        await state.record(sample_decision(rollout))
    newest = await state.decisions(limit=2)
    assert [one.rollout for one in newest] == ["search", "search"]
    assert [one.rollout for one in await state.decisions(before=newest[-1].number)] == ["profile"]


async def test_a_rollout_without_decisions_has_none(state: StateStore) -> None:
    assert await state.decisions("nothing") == []
