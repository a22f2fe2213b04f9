"""Up to which decision people were told: the leader's to say, and nobody else's."""

from __future__ import annotations

import pytest

from rollout.domain.state import Change, Lease, Trigger
from rollout.errors import Conflict, Fenced
from rollout.ports import StateStore
from rollout.testing import sample_change, sample_decision, sample_policy
from tests.contract.places import OpenBackend


async def leading(state: StateStore, holder: str = "a") -> Lease:
    lease = await state.lease("controller", holder, 30)
    assert lease is not None
    return lease


async def test_at_first_nobody_was_told_of_anything(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    assert await state.told() is None


async def test_the_next_leader_knows_what_was_told(open_backend: OpenBackend) -> None:
    first, second = await open_backend(), await open_backend()
    lease = await leading(first.state)
    await first.state.save_told(7, lease)
    await first.state.save_told(9, lease)
    await first.state.release(lease)
    await leading(second.state, "b")
    assert await second.state.told() == 9


async def test_who_leads_no_more_has_no_say(state: StateStore) -> None:
    late = await leading(state)
    await state.save_told(9, late)
    await state.release(late)
    await state.save_told(12, await leading(state, "b"))
    fenced = await state.fenced()
    with pytest.raises(Fenced):
        await state.save_told(9, late)
    assert (await state.told(), await state.fenced()) == (12, fenced + 1)


async def test_it_is_no_change_that_processes_hear_of(state: StateStore) -> None:
    lease = await leading(state)
    before = await state.revision()
    await state.save_told(3, lease)
    assert await state.revision() == before


async def test_a_question_moves_nobody_and_is_refused_where_somebody_moved(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    before = (await state.load()).states["profile"]
    asked = sample_decision(action="ask", trigger=Trigger.controller)
    question = Change(before=list(before.values()), after=list(before.values()), decision=asked)
    assert await state.transition(question) == list(before.values())
    assert (await state.load()).states["profile"] == before
    await state.transition(sample_change(*before.values()))
    with pytest.raises(Conflict):
        await state.transition(question)
    assert [one.action for one in await state.decisions()] == ["promote", "ask", "register"]
