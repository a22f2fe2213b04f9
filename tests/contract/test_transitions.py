"""Changes of branch states: whole or not at all, once, and heard of everywhere."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from rollout.domain.audit import verify
from rollout.domain.gates import Finding, Grade
from rollout.domain.state import BranchState, Change, Mode
from rollout.errors import Conflict, DatabaseError, Fenced
from rollout.ports import Backend, StateStore
from rollout.testing import sample_change, sample_decision, sample_policy
from tests.contract.places import OpenBackend, Place

FINDING = Finding(
    gate="errors",
    unit="orders",
    grade=Grade.breach,
    observed=0.25,
    limit=0.01,
    n=80,
    why="20 of 80",
    at=1_767_614_400.5,
)


async def registered(state: StateStore, *branches: str) -> list[BranchState]:
    """The states of freshly registered branches, ``orders`` alone if none is named."""
    names = branches or ("orders",)
    await state.register(sample_policy(branches=names), "app")
    return [await current(state, name) for name in names]


async def current(state: StateStore, branch: str = "orders") -> BranchState:
    return (await state.load()).states["profile"][branch]


async def test_a_transition_is_stored_whole(state: StateStore) -> None:
    (orders,) = await registered(state)
    after = orders.moved(
        stage=3,
        share=0.25,
        mode=Mode.paused,
        shadow=False,
        entry=3,
        approved=0.5,
        cause="latency p95 breached",
        account=2,
        earlier=0.05,
    )

    (written,) = await state.transition(Change(before=[orders], after=[after], decision=sample_decision()))

    assert written == replace(after, entered_at=written.entered_at)
    assert await current(state) == written
    assert written.version == orders.version + 1


async def test_an_account_begins_with_the_branch(state: StateStore) -> None:
    (orders,) = await registered(state)
    assert (orders.account, orders.entry, orders.earlier) == (1, 1, 0.0)


async def test_a_transition_raises_the_revision(state: StateStore) -> None:
    (orders,) = await registered(state)
    revision = await state.revision()
    await state.transition(sample_change(orders))
    assert await state.revision() > revision
    assert (await state.load()).revision == await state.revision()


async def test_a_stale_transition_changes_nothing(state: StateStore) -> None:
    (orders,) = await registered(state)
    (moved,) = await state.transition(sample_change(orders))
    decisions, revision = await state.decisions(), await state.revision()

    with pytest.raises(Conflict) as refused:
        await state.transition(sample_change(orders))

    assert not isinstance(refused.value, Fenced)
    assert await current(state) == moved
    assert (await state.decisions(), await state.revision()) == (decisions, revision)


async def test_a_transition_of_a_branch_that_does_not_exist_changes_nothing(state: StateStore) -> None:
    (orders,) = await registered(state)
    decisions = await state.decisions()
    with pytest.raises(Conflict):
        await state.transition(sample_change(orders, replace(orders, branch="ghost")))
    assert await current(state) == orders
    assert await state.decisions() == decisions


async def test_several_branches_move_together(state: StateStore) -> None:
    states = await registered(state, "orders", "tickets")
    written = await state.transition(sample_change(*states))
    assert [await current(state, "orders"), await current(state, "tickets")] == written
    assert [one.share for one in written] == [0.01, 0.01]


@pytest.mark.parametrize("stale", [0, 1])
async def test_one_stale_branch_of_several_stops_all(state: StateStore, stale: int) -> None:
    states = await registered(state, "orders", "tickets")
    (moved,) = await state.transition(sample_change(states[stale]))
    decisions = await state.decisions()

    with pytest.raises(Conflict):
        await state.transition(sample_change(*states))

    assert await current(state, moved.branch) == moved
    untouched = states[1 - stale]
    assert await current(state, untouched.branch) == untouched
    assert await state.decisions() == decisions


async def test_the_database_dates_the_entry_of_a_stage(state: StateStore) -> None:
    (orders,) = await registered(state)
    await asyncio.sleep(0.01)
    before = await state.now()
    change = sample_change(orders, stage=1, share=0.01, entry=orders.entry + 1, entered_at=12_345.0)

    (entered,) = await state.transition(change)

    assert before <= entered.entered_at <= await state.now()
    assert (await current(state)).entered_at == entered.entered_at


async def test_a_change_within_a_stage_leaves_the_soak_clock_alone(state: StateStore) -> None:
    (orders,) = await registered(state)
    await asyncio.sleep(0.01)
    (paused,) = await state.transition(sample_change(orders, mode=Mode.paused))
    assert paused.entered_at == orders.entered_at


async def test_a_decision_is_stored_with_its_moves_and_every_number_of_its_findings(state: StateStore) -> None:
    (orders,) = await registered(state)
    unbounded = replace(FINDING, gate="latency p95", observed=float("inf"), limit=None, baseline=0.1, grade=Grade.doubt)
    change = sample_change(orders, action="rollback")
    decision = replace(change.decision, findings=(FINDING, unbounded), policy_version=1, actor="controller on host-1")

    await state.transition(replace(change, decision=decision))

    stored = (await state.decisions("profile"))[0]
    assert [finding.to_dict() for finding in stored.findings] == [FINDING.to_dict(), unbounded.to_dict()]
    assert [dict(move) for move in stored.moves] == [dict(move) for move in decision.moves]
    assert (stored.action, stored.actor, stored.trigger) == ("rollback", "controller on host-1", "person")
    assert (stored.reason, stored.policy_version) == ("because", 1)


async def test_a_finding_that_is_not_a_number_does_not_stop_a_rollback(state: StateStore) -> None:
    (orders,) = await registered(state)
    change = sample_change(orders, action="rollback")
    decision = replace(change.decision, findings=(replace(FINDING, observed=float("nan")),))
    await state.transition(replace(change, decision=decision))
    assert verify((await state.decisions("profile"))[::-1]) == []


# Races


async def test_of_two_promoters_at_once_one_wins(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    (orders,) = await registered(backend.state)

    outcomes = await asyncio.gather(
        backend.state.transition(sample_change(orders, reason="one")),
        other.state.transition(sample_change(orders, reason="two")),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)] == [Conflict]
    assert (await current(backend.state)).version == orders.version + 1
    assert [decision.action for decision in await backend.state.decisions()] == ["promote", "register"]


async def test_many_promoters_at_once_make_one_step_each_round(backend: Backend, open_backend: OpenBackend) -> None:
    stores = [backend.state, (await open_backend()).state, (await open_backend()).state]
    await registered(backend.state)
    for _ in range(3):
        orders = await current(backend.state)
        outcomes = await asyncio.gather(
            *(store.transition(sample_change(orders)) for store in stores * 2), return_exceptions=True
        )
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
        assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {Conflict}
    assert (await current(backend.state)).version == 4
    assert verify((await backend.state.decisions("profile"))[::-1]) == []


@pytest.mark.parametrize("first", ["promote", "rollback"])
async def test_a_rollback_that_meets_a_promotion_wins_in_the_end(
    backend: Backend, open_backend: OpenBackend, first: str
) -> None:
    other = await open_backend()
    (orders,) = await registered(backend.state)
    (orders,) = await backend.state.transition(sample_change(orders))

    async def promote() -> None:
        await backend.state.transition(sample_change(orders, stage=2, share=0.05, entry=orders.entry + 1))

    async def roll_back() -> None:
        """As the controller does: read, decide, write; read again when somebody was faster."""
        while True:
            seen = await current(other.state)
            back = seen.moved(stage=0, share=0.0, mode=Mode.rolled_back, entry=seen.entry + 1)
            decision = sample_decision(action="rollback")
            try:
                await other.state.transition(Change(before=[seen], after=[back], decision=decision))
            except Conflict:
                continue
            return

    racers = (promote(), roll_back()) if first == "promote" else (roll_back(), promote())
    await asyncio.gather(*racers, return_exceptions=True)

    end = await current(backend.state)
    assert (end.share, end.mode) == (0.0, Mode.rolled_back)


async def test_two_writers_of_one_audit_leave_one_whole_chain(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    await asyncio.gather(
        *(store.record(sample_decision(reason=f"{n}")) for n in range(10) for store in (backend.state, other.state))
    )
    decisions = await backend.state.decisions("profile")
    assert len(decisions) == 20
    assert verify(decisions[::-1]) == []


async def test_a_snapshot_is_of_one_moment(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    states = await registered(backend.state, "orders", "tickets")
    truth = {await backend.state.revision(): (1, 1)}
    done = asyncio.Event()
    seen: list[tuple[int, tuple[int, int]]] = []

    async def watch() -> None:
        while not done.is_set():
            snapshot = await other.state.load()
            of = snapshot.states["profile"]
            seen.append((snapshot.revision, (of["orders"].version, of["tickets"].version)))

    watching = asyncio.create_task(watch())
    for _ in range(15):
        states = await backend.state.transition(sample_change(*states))
        truth[await backend.state.revision()] = (states[0].version, states[1].version)
    done.set()
    await watching
    assert [snapshot for snapshot in seen if truth[snapshot[0]] != snapshot[1]] == []


# Fencing


async def test_a_writer_that_holds_the_lease_writes(state: StateStore) -> None:
    (orders,) = await registered(state)
    lease = await state.lease("controller", "a", 30)
    assert lease is not None
    (moved,) = await state.transition(sample_change(orders, lease=lease))
    assert await current(state) == moved
    assert await state.fenced() == 0


async def test_a_writer_whose_lease_was_taken_over_writes_nothing_and_is_counted(state: StateStore) -> None:
    (orders,) = await registered(state)
    late = await state.lease("controller", "a", 0.05)
    assert late is not None
    await asyncio.sleep(0.1)
    assert await state.lease("controller", "b", 30) is not None
    decisions, revision = await state.decisions(), await state.revision()

    with pytest.raises(Fenced):
        await state.transition(sample_change(orders, lease=late))

    assert await current(state) == orders
    assert (await state.decisions(), await state.revision()) == (decisions, revision)
    assert await state.fenced() == 1


async def test_a_writer_whose_lease_ran_out_writes_nothing(state: StateStore) -> None:
    (orders,) = await registered(state)
    late = await state.lease("controller", "a", 0.05)
    assert late is not None
    await asyncio.sleep(0.1)
    with pytest.raises(Fenced):
        await state.transition(sample_change(orders, lease=late))
    assert await current(state) == orders


async def test_a_person_needs_no_lease(state: StateStore) -> None:
    (orders,) = await registered(state)
    await state.lease("controller", "a", 30)
    await state.transition(sample_change(orders))
    assert await state.fenced() == 0


# Hearing of it


@asynccontextmanager
async def following(state: StateStore) -> AsyncIterator["asyncio.Task[int]"]:
    """The next revision that ``changes()`` yields, already listened for."""
    changes = state.changes()

    async def following_one() -> int:
        return await anext(changes)

    task = asyncio.create_task(following_one())
    await asyncio.sleep(0.2)  # until it listens
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()


async def test_every_process_hears_of_a_change_within_a_second(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    (orders,) = await registered(backend.state)
    async with following(backend.state) as here, following(other.state) as there:
        assert not here.done()
        assert not there.done()
        await backend.state.transition(sample_change(orders))
        revision = await backend.state.revision()
        assert await asyncio.wait_for(here, 1.0) == revision
        assert await asyncio.wait_for(there, 0.5) == revision


async def test_nothing_is_heard_while_nothing_changes(state: StateStore) -> None:
    await registered(state)
    async with following(state) as next_change:
        await asyncio.sleep(0.5)
        assert not next_change.done()


async def test_changes_are_heard_again_after_the_database_was_away(
    backend: Backend, place: Place, open_backend: OpenBackend
) -> None:
    (orders,) = await registered(backend.state)
    async with following(backend.state) as next_change:
        await asyncio.to_thread(place.take_away)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(place.bring_back)
        other = await open_backend()
        for _ in range(50):  # a connection that was cut fails once more before a new one is made
            try:
                await other.state.transition(sample_change(orders))
                break
            except DatabaseError:
                await asyncio.sleep(0.1)
        assert await asyncio.wait_for(next_change, 5.0) == await other.state.revision()
