"""A database that cannot be used: every method says so in one way, and goes on when it is back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rollout.domain.state import BranchState, FlagOverride, Lease
from rollout.errors import DatabaseError
from rollout.ports import Backend, GateCheckpoint, Span
from rollout.testing import sample_batch, sample_block, sample_change, sample_decision, sample_policy, sample_trial
from tests.contract.places import Place
from tests.support.spans import closed_blocks

BRANCH = BranchState(rollout="profile", branch="orders")
LEASE = Lease("controller", "a", 1, 2e9)
FLAG = FlagOverride(flag="profile", value="on")
CHECKPOINT = GateCheckpoint(rollout="profile", unit="orders", entry=1, version=1, closed_second=1, states={})

METHODS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "register": lambda b: b.state.register(sample_policy(), "app"),
    "apply": lambda b: b.state.apply("profile", {"shadow.sample": 0.5}, "spec", "ann"),
    "policy_versions": lambda b: b.state.policy_versions("profile"),
    "load": lambda b: b.state.load(),
    "revision": lambda b: b.state.revision(),
    "transition": lambda b: b.state.transition(sample_change(BRANCH)),
    "record": lambda b: b.state.record(sample_decision()),
    "decisions": lambda b: b.state.decisions(),
    "lease": lambda b: b.state.lease("controller", "a", 30),
    "holder": lambda b: b.state.holder("controller"),
    "release": lambda b: b.state.release(LEASE),
    "checkpoint": lambda b: b.state.checkpoint("profile", "orders"),
    "checkpoints": lambda b: b.state.checkpoints(),
    "save_checkpoints": lambda b: b.state.save_checkpoints([CHECKPOINT], None),
    "set_flag": lambda b: b.state.set_flag(FLAG),
    "clear_flag": lambda b: b.state.clear_flag("profile", None, "ann", "done"),
    "secret": lambda b: b.state.secret(),
    "fenced": lambda b: b.state.fenced(),
    "append": lambda b: b.ledger.append(sample_batch(sample_block(1))),
    "blocks_of": lambda b: b.ledger.blocks_of([Span("profile", "orders", 1, 1, 0, 1)]),
    "totals": lambda b: b.ledger.totals("profile"),
    "extent": lambda b: b.ledger.extent("profile"),
    "series": lambda b: b.ledger.series("profile", "orders", 0, 60, 60),
    "late": lambda b: b.ledger.late("profile"),
    "mismatches": lambda b: b.ledger.mismatches("profile"),
    "trials": lambda b: b.ledger.trials("profile"),
    "trial": lambda b: b.ledger.trial("0" * 32),
    "stored": lambda b: b.ledger.stored("profile"),
    "purge": lambda b: b.ledger.purge(rollout="profile"),
    "maintain": lambda b: b.ledger.maintain({"profile": sample_policy()}),
}


async def test_every_method_raises_database_error_while_the_database_is_away(backend: Backend, place: Place) -> None:
    await asyncio.to_thread(place.take_away)
    raised: dict[str, type[BaseException] | None] = {}
    for name, method in METHODS.items():
        try:
            await method(backend)
        except Exception as error:
            raised[name] = type(error)
        else:
            raised[name] = None
    await asyncio.to_thread(place.bring_back)
    wrong = {name: kind for name, kind in raised.items() if kind is None or not issubclass(kind, DatabaseError)}
    assert not wrong


async def test_a_batch_refused_by_a_database_that_is_away_is_written_once_when_it_is_back(
    backend: Backend, place: Place, now: int
) -> None:
    batch = sample_batch(sample_block(now, "A", {"calls": 3}), sample_trial(1))
    await asyncio.to_thread(place.take_away)
    with pytest.raises(DatabaseError):
        await backend.ledger.append(batch)
    await asyncio.to_thread(place.bring_back)

    for _ in range(3):
        await when_back(lambda: backend.ledger.append(batch))

    (block,) = await closed_blocks(backend.ledger, "profile", "orders", 1, 1, now - 1, now)
    assert block.a["calls"] == 3


async def test_what_was_decided_is_still_there_when_the_database_is_back(backend: Backend, place: Place) -> None:
    await backend.state.register(sample_policy(), "app")
    before = await backend.state.load()
    await asyncio.to_thread(place.take_away)
    with pytest.raises(DatabaseError):
        await backend.state.load()
    await asyncio.to_thread(place.bring_back)

    await when_back(lambda: backend.state.revision())

    after = await backend.state.load()
    assert (after.policies, after.states) == (before.policies, before.states)


async def when_back(action: Callable[[], Awaitable[object]]) -> None:
    """Try for five seconds: a connection that was cut may fail once more before a new one is made."""
    for _ in range(50):
        try:
            await action()
        except DatabaseError:
            await asyncio.sleep(0.1)
        else:
            return
    await action()
