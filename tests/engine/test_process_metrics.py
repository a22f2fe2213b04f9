"""What a process exposes of itself, and what it lets go of when it stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rollout import Branch, Breaker, Ramp
from rollout.domain.breaker import State
from rollout.engine.process import Engine, Options
from rollout.errors import DatabaseError
from rollout.ports import Backend
from rollout.testing import FakeFlags, memory_backend
from tests.support.trials import LoopClock, PlainHost, giving, rollout_of, running

pytestmark = pytest.mark.looptime


class Leads:
    """A controller that was refused twice."""

    leader = True
    last_success_at = 5.0
    fenced = 2
    transitions: Mapping[tuple[str, str, str, str], int] = {}
    rollbacks: Mapping[tuple[str, str, str], int] = {}

    def evidence(self) -> dict[tuple[str, str, str, str], float]:
        return {("profile", "a", "errors", "rollback"): 0.4}

    async def run(self) -> None: ...
    async def stop(self) -> None: ...


def engine(backend: Backend | None, **options: Any) -> Engine:
    async def open_backend(_: str) -> Backend:
        if backend is None:
            raise DatabaseError("gone")
        return backend

    guarded = Branch("b", giving(2), part="$.b", breaker=Breaker())
    declared = rollout_of(Branch("a", giving(1), part="$.a", flag="a-flag"), guarded, ramp=Ramp.parse("shadow 5% 100%"))
    return Engine(
        [declared], host=PlainHost(), open_backend=open_backend, flags=FakeFlags(), options=Options(), **options
    )


async def test_what_is_declared_is_there_before_the_database_is() -> None:
    made = engine(None)
    await made.start()
    shot = made.metrics()
    keys = {("profile", branch, mode) for branch in "ab" for mode in ("live", "shadow")}
    assert set(shot.branches) == set(shot.orphans) == keys
    assert not shot.branches["profile", "a", "live"].counts  # nothing can keep it from running
    assert shot.breakers == {("profile", "b", mode): State.closed for mode in ("live", "shadow")}
    assert shot.rollouts["profile"]["calls"] == shot.inflight["profile", "a"] == 0
    assert shot.stages == {"profile": ("5%", "100%")}
    assert shot.gates["profile"]
    assert shot.flags["profile", "auto", "default"] == shot.flags["a-flag", "off", "timeout"] == 0
    await made.stop()


async def test_an_open_breaker_is_exposed_for_the_mode_that_opened_it() -> None:
    branch = Branch("a", giving(ValueError()), part="$.a", breaker=Breaker(minimum=1))
    async with running(rollout_of(branch)) as world:
        await world.get()
        await world.settled()
        shot = world.engine.metrics()
        assert shot.breakers == {("profile", "a", "live"): State.closed, ("profile", "a", "shadow"): State.open}


async def test_what_the_controller_counts_is_exposed() -> None:
    made = engine(memory_backend(LoopClock()), controller=lambda backend, name: Leads())
    await made.start()
    assert made.metrics().fenced_writes == 2
    assert made.metrics().evidence == {("profile", "a", "errors", "rollback"): 0.4}
    await made.stop()


async def test_a_stop_ends_what_was_given_to_be_closed() -> None:
    closed: list[str] = []
    made = engine(memory_backend(LoopClock()), closing=[lambda: closed.append("flags")])
    await made.start()
    assert not closed
    await made.stop()
    assert closed == ["flags"]


async def test_whoever_listens_later_is_told_of_what_is_known() -> None:
    made = engine(memory_backend(LoopClock()))
    await made.start()
    heard: list[int] = []
    made.listen(lambda snapshot: heard.append(snapshot.revision))
    assert made.snapshot is not None
    assert heard == [made.snapshot.revision]
    await made.stop()
