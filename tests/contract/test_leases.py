"""Who may decide: a lease with an epoch; and what the leader keeps between ticks."""

import asyncio
from dataclasses import replace

import pytest

from rollout.domain.gates import GateState
from rollout.errors import Fenced
from rollout.ports import Backend, GateCheckpoint, StateStore
from tests.contract.places import OpenBackend

STATES: dict[str, GateState] = {
    "errors": {"n": 20, "log_e": -0.25, "blocks": [[1, 2], [3, 4]]},
    "latency p95": {"h": {"b": [[500, 3]]}},
}


def checkpoint(closed_second: int = 100, unit: str = "orders", entry: int = 1) -> GateCheckpoint:
    return GateCheckpoint(
        rollout="profile", unit=unit, entry=entry, version=2, closed_second=closed_second, states=STATES
    )


async def test_nobody_holds_a_lease_that_nobody_took(state: StateStore) -> None:
    assert await state.holder("controller") is None


async def test_the_first_to_ask_gets_the_lease(state: StateStore) -> None:
    now = await state.now()
    lease = await state.lease("controller", "a", 30)
    assert lease is not None
    assert (lease.name, lease.holder) == ("controller", "a")
    assert now + 29 < lease.expires_at <= await state.now() + 30
    assert await state.holder("controller") == lease


async def test_a_lease_that_another_holds_is_refused(state: StateStore) -> None:
    lease = await state.lease("controller", "a", 30)
    assert await state.lease("controller", "b", 30) is None
    assert await state.holder("controller") == lease


async def test_its_holder_renews_it_in_the_same_epoch(state: StateStore) -> None:
    first = await state.lease("controller", "a", 10)
    renewed = await state.lease("controller", "a", 30)
    assert first is not None
    assert renewed is not None
    assert renewed.epoch == first.epoch
    assert renewed.expires_at > first.expires_at


async def test_a_lease_that_ran_out_goes_to_another_in_a_later_epoch(state: StateStore) -> None:
    first = await state.lease("controller", "a", 0.05)
    await asyncio.sleep(0.1)
    assert await state.holder("controller") is None
    second = await state.lease("controller", "b", 30)
    assert first is not None
    assert second is not None
    assert second.epoch > first.epoch
    assert await state.holder("controller") == second


async def test_a_lease_that_was_released_goes_to_another_at_once(state: StateStore) -> None:
    first = await state.lease("controller", "a", 30)
    assert first is not None
    await state.release(first)
    assert await state.holder("controller") is None
    second = await state.lease("controller", "b", 30)
    assert second is not None
    assert second.epoch > first.epoch


async def test_a_late_release_does_not_take_the_lease_from_its_new_holder(state: StateStore) -> None:
    late = await state.lease("controller", "a", 0.05)
    await asyncio.sleep(0.1)
    lease = await state.lease("controller", "b", 30)
    assert late is not None
    await state.release(late)
    assert await state.holder("controller") == lease


async def test_leases_of_different_names_have_nothing_to_do_with_each_other(state: StateStore) -> None:
    assert await state.lease("controller", "a", 30) is not None
    assert await state.lease("janitor", "b", 30) is not None


async def test_of_many_that_ask_at_once_one_gets_it(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    leases = await asyncio.gather(
        *(store.lease("controller", f"{n}", 30) for n in range(5) for store in (backend.state, other.state))
    )
    winners = {lease.holder for lease in leases if lease is not None}
    assert len(winners) == 1


# Checkpoints


async def test_a_unit_without_a_checkpoint_has_none(state: StateStore) -> None:
    assert await state.checkpoint("profile", "orders") is None


async def test_a_checkpoint_comes_back_as_it_was_saved(state: StateStore) -> None:
    await state.save_checkpoints([checkpoint(), checkpoint(unit="tickets", closed_second=7)], None)
    assert await state.checkpoint("profile", "orders") == checkpoint()
    assert await state.checkpoint("profile", "tickets") == checkpoint(unit="tickets", closed_second=7)
    assert await state.checkpoint("search", "orders") is None


async def test_a_later_checkpoint_takes_the_place_of_the_earlier(state: StateStore) -> None:
    await state.save_checkpoints([checkpoint(100)], None)
    await state.save_checkpoints([checkpoint(200, entry=2)], None)
    assert await state.checkpoint("profile", "orders") == checkpoint(200, entry=2)


async def test_the_account_and_every_number_of_a_checkpoint_come_back(state: StateStore) -> None:
    states = {"errors": {"log_e": -0.1 + 0.3, "past": [1e-300, 2**40], "capital": None, "names": {"ü": [[1, 2]]}}}
    saved = GateCheckpoint(
        rollout="profile", unit="orders", entry=7, version=3, closed_second=9, states=states, account=5
    )
    await state.save_checkpoints([saved], None)
    assert await state.checkpoint("profile", "orders") == saved


async def test_checkpoints_are_read_all_at_once_or_those_of_some_rollouts(state: StateStore) -> None:
    orders, tickets = checkpoint(), checkpoint(7, unit="tickets")
    search = replace(checkpoint(9), rollout="search")
    await state.save_checkpoints([orders, tickets, search], None)
    of_profile = {("profile", "orders"): orders, ("profile", "tickets"): tickets}
    assert await state.checkpoints() == of_profile | {("search", "orders"): search}
    assert await state.checkpoints(["profile", "nobody's"]) == of_profile
    assert await state.checkpoints([]) == {}


async def test_a_thousand_checkpoints_come_back(state: StateStore) -> None:
    saved = [checkpoint(number, unit=f"u{number}") for number in range(1_000)]
    await state.save_checkpoints(saved, None)
    assert await state.checkpoints() == {("profile", one.unit): one for one in saved}


async def test_saving_no_checkpoint_is_fine(state: StateStore) -> None:
    await state.save_checkpoints([], None)


async def test_the_leader_saves_checkpoints(state: StateStore) -> None:
    lease = await state.lease("controller", "a", 30)
    await state.save_checkpoints([checkpoint()], lease)
    assert await state.checkpoint("profile", "orders") == checkpoint()


async def test_a_late_leader_saves_nothing_and_is_counted(state: StateStore) -> None:
    late = await state.lease("controller", "a", 0.05)
    await asyncio.sleep(0.1)
    await state.lease("controller", "b", 30)
    with pytest.raises(Fenced):
        await state.save_checkpoints([checkpoint()], late)
    assert await state.checkpoint("profile", "orders") is None
    assert await state.fenced() == 1


async def test_a_checkpoint_does_not_wake_every_process(state: StateStore) -> None:
    revision = await state.revision()
    await state.save_checkpoints([checkpoint()], await state.lease("controller", "a", 30))
    assert await state.revision() == revision
