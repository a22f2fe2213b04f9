"""One process: it begins when the database does, hears of every change, and ends in order within its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from rollout import Branch, DatabaseError, SchemaError
from rollout.engine.controller import Controller
from rollout.engine.process import Engine, Options
from rollout.ports import Backend
from rollout.testing import FakeFlags, MemoryBackend, memory_backend, sample_change
from tests.support.trials import LoopClock, PlainHost, giving, rollout_of, running

pytestmark = pytest.mark.looptime

GONE = DatabaseError("gone")


def engine_on(backend: MemoryBackend, errors: Sequence[Exception] = ()) -> Engine:
    """An engine whose database opens after these errors."""
    left = list(errors)

    async def open_backend(_: str) -> Backend:
        if left:
            raise left.pop(0)
        return backend

    options = Options(process="p1", retry_s=2.0)
    return Engine([rollout_of()], host=PlainHost(), open_backend=open_backend, flags=FakeFlags(), options=options)


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[Engine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def share(engine: Engine, of: float) -> None:
    """Somebody moves the branch."""
    assert engine.backend is not None
    states = (await engine.backend.state.load()).states["profile"]
    await engine.backend.state.transition(sample_change(states["a"], stage=1, share=of, entry=states["a"].entry + 1))


def limit(engine: Engine) -> int:
    """Buckets of the branch that are live in this process now."""
    view = engine.runtimes["profile"].view
    assert view is not None
    return view.plans[0].limit


# Start


async def test_a_database_that_is_not_there_yet_keeps_nobody_from_starting() -> None:
    backend = memory_backend(LoopClock())
    told: list[Any] = []
    engine = engine_on(backend, [GONE, GONE, GONE])
    engine.started(told.append)
    async with started(engine):
        assert not engine.runtimes
        assert told == []
        await asyncio.sleep(6.5)
        assert engine.ready.is_set()
        assert list(told[0]) == ["profile"]
    assert backend.closed


async def test_a_database_that_fails_half_way_through_the_start_is_tried_again() -> None:
    backend = memory_backend(LoopClock())
    backend.fail_with(GONE, only=("secret",))
    async with started(engine_on(backend)) as engine:
        await asyncio.sleep(3)
        assert not engine.runtimes
        backend.heal()
        await asyncio.sleep(3)
        assert engine.runtimes["profile"].active


async def test_a_schema_of_another_version_refuses_to_start() -> None:
    engine = engine_on(memory_backend(LoopClock()), [SchemaError("run rollout db upgrade")])
    with pytest.raises(SchemaError, match="rollout db upgrade"):
        await engine.start()


async def test_a_schema_that_turns_out_to_be_another_s_later_is_told_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = [GONE, SchemaError("run rollout db upgrade"), RuntimeError("a defect")]
    async with started(engine_on(memory_backend(LoopClock()), errors)) as engine:
        await asyncio.sleep(7)
        assert engine.runtimes
    assert "run rollout db upgrade" in caplog.text


async def test_an_engine_that_never_began_stops_at_once() -> None:
    engine = engine_on(memory_backend(LoopClock()), [GONE] * 100)
    async with started(engine):
        await asyncio.sleep(5)
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.1)


# Changes


async def test_a_change_is_heard_at_once() -> None:
    async with started(engine_on(memory_backend(LoopClock()))) as engine:
        await asyncio.sleep(0.1)
        await share(engine, 0.25)
        await asyncio.sleep(0.01)
        assert limit(engine) == 2_500


async def test_a_change_between_the_first_load_and_the_first_look_is_not_missed() -> None:
    async with started(engine_on(memory_backend(LoopClock()))) as engine:
        await share(engine, 0.25)  # the watcher had no turn yet
        await asyncio.sleep(1)
        assert limit(engine) == 2_500


async def test_a_change_that_could_not_be_loaded_is_heard_when_it_can_though_others_loaded_it_meanwhile() -> None:
    backend = memory_backend(LoopClock())
    async with started(engine_on(backend)) as engine:
        await share(engine, 0.5)
        await asyncio.sleep(1)
        before = (await backend.state.load()).states["profile"]["a"]
        backend.fail_with(GONE, only=("load",))
        await backend.state.transition(sample_change(before, stage=0, share=0.0, entry=before.entry + 1))
        await asyncio.sleep(1)
        assert limit(engine) == 5_000
        backend.heal()
        await backend.state.load()  # a controller's, say
        await asyncio.sleep(1)
        assert limit(engine) == 0


async def test_an_older_snapshot_does_not_undo_a_newer_one() -> None:
    async with started(engine_on(memory_backend(LoopClock()))) as engine:
        assert engine.snapshot is not None
        older = engine.snapshot
        await share(engine, 0.25)
        await asyncio.sleep(0.01)
        engine.hear(older)
        assert limit(engine) == 2_500


async def test_a_snapshot_without_the_rollout_leaves_it_as_it_is() -> None:
    async with started(engine_on(memory_backend(LoopClock()))) as engine:
        assert engine.snapshot is not None
        engine.hear(replace(engine.snapshot, policies={}, states={}, revision=engine.snapshot.revision + 1))
        assert engine.runtimes["profile"].active


# The database goes and comes, calls go on


async def test_users_are_served_and_evidence_is_kept_while_the_database_is_away() -> None:
    async with running(rollout_of(Branch("a", giving(1), part="$.a")), record_every_s=0.2) as world:
        await asyncio.sleep(0.5)
        world.backend.fail_with(GONE)
        for _ in range(50):
            assert (await world.get()).status == 200
            await asyncio.sleep(0.5)
        assert world.engine.recorder is not None
        assert not world.engine.recorder.healthy
        world.backend.heal()
        await asyncio.sleep(20)
        assert len(await world.trials()) == 50
        (whole,) = [one.figures for one in await world.backend.ledger.totals("profile") if one.arm == "*"]
        assert (whole["calls"], whole["finished"]) == (50, 50)


# Stop


async def test_everything_that_was_counted_is_written_before_the_end() -> None:
    backend = memory_backend(LoopClock())
    async with running(rollout_of(), backend=backend) as world:
        for _ in range(20):
            await world.get()
    (whole,) = [one.figures for one in await backend.ledger.totals("profile") if one.arm == "*"]
    assert whole["calls"] == 20
    assert len(await backend.ledger.trials("profile")) == 20


@pytest.mark.parametrize("method", ["append", "load", "lease"])
async def test_a_stop_is_bounded_whatever_hangs(method: str) -> None:
    backend = memory_backend(LoopClock())
    async with running(rollout_of(), backend=backend, drain_s=1.0) as world:
        await world.get()
        await world.settled()
        backend.hang(only=(method,))
        await share_later(world.engine)
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 4.0
    assert backend.closed


async def share_later(engine: Engine) -> None:
    """Let the watcher and the writer come to what hangs."""
    assert engine.recorder is not None
    engine.recorder._wake.set()
    await asyncio.sleep(1)


async def test_a_step_of_the_stop_that_fails_keeps_no_other_from_its_turn() -> None:
    class Broken(Controller):
        async def run(self) -> None:
            await asyncio.sleep(3600)

        async def stop(self) -> None:
            raise RuntimeError("a defect")

    backend = memory_backend(LoopClock())

    async def open_backend(_: str) -> Backend:
        return backend

    engine = Engine(
        [rollout_of()],
        host=PlainHost(),
        open_backend=open_backend,
        flags=FakeFlags(),
        controller=lambda opened, process: Broken(opened.state, opened.ledger, LoopClock(), process),
        options=Options(process="p1"),
    )
    async with started(engine):
        await asyncio.sleep(0.1)
    assert backend.closed
