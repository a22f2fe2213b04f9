"""The end of a process: in order, within its bounds, and nothing that was counted is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rollout import Branch, Budget, Call
from rollout.domain.evidence import Figures
from rollout_sql import open_backend
from tests.support.apps import CONTROL, Served, application, profile, served

ALICE = {"X-User-Id": "alice"}


async def figures(path: Path) -> dict[tuple[str, str], Figures]:
    """What the database holds of the rollout, by unit and arm."""
    backend = await open_backend(f"sqlite:///{path}")
    try:
        found: dict[tuple[str, str], Figures] = {}
        for total in await backend.ledger.totals("profile"):
            found.setdefault((total.unit, total.arm), Figures()).merge(total.figures)
        return found
    finally:
        await backend.close()


async def call(wrapped: Served, times: int = 1) -> None:
    for _ in range(times):
        async with wrapped.client.get("/profile/7", headers=ALICE) as response:
            assert await response.json() == CONTROL


def noting(told: list[str], what: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which also notes that it was called."""

    async def noted(*arguments: Any, **options: Any) -> Any:
        told.append(what)
        return await method(*arguments, **options)

    return noted


async def test_first_shadows_then_the_recorder_then_the_lease_then_the_database_then_what_is_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def pool(app: web.Application) -> AsyncIterator[None]:
        yield
        told.append("the user's pool")

    async def branch(call: Call) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)  # hands something back to the pool
            told.append("shadow")

    app = application()
    app.cleanup_ctx.append(pool)
    async with served(tmp_path, profile(Branch("orders", branch, part="$.orders")), app, controller=True) as wrapped:
        await call(wrapped)
        engine = wrapped.engine
        assert engine.backend is not None
        assert engine.controller is not None
        assert engine.recorder is not None
        monkeypatch.setattr(engine.recorder, "drain", noting(told, "recorder", engine.recorder.drain))
        monkeypatch.setattr(engine.backend.state, "release", noting(told, "lease", engine.backend.state.release))
        monkeypatch.setattr(engine.backend, "close", noting(told, "database", engine.backend.close))
    assert told == ["shadow", "recorder", "lease", "database", "the user's pool"]


async def test_every_call_is_in_the_database_afterwards(tmp_path: Path) -> None:
    async with served(tmp_path, profile()) as wrapped:
        await call(wrapped, 25)
    found = await figures(tmp_path / "rollout.db")
    assert found["", "*"]["calls"] == 25
    assert found["", "*"]["finished"] == 25
    assert found["orders", "P"]["matched"] == 25


async def test_every_trial_is_in_the_database_afterwards(tmp_path: Path) -> None:
    async with served(tmp_path, profile()) as wrapped:
        await call(wrapped, 25)
        await wrapped.settled()
    backend = await open_backend(f"sqlite:///{tmp_path}/rollout.db")
    assert len(await backend.ledger.trials("profile", limit=100)) == 25
    await backend.close()


async def test_shadows_that_are_not_finished_end_as_shutdown_and_are_in_no_gate(tmp_path: Path) -> None:
    async def branch(call: Call) -> Any:
        await asyncio.sleep(60)

    async with served(tmp_path, profile(Branch("orders", branch, part="$.orders"))) as wrapped:
        await call(wrapped, 3)
    found = await figures(tmp_path / "rollout.db")
    assert found["", "*"]["dropped:shutdown"] == 3
    pairs = found["orders", "P"]
    assert (pairs["outcome:shutdown"], pairs["pairs"], pairs["runs"]) == (3, 0, 0)


async def test_a_shadow_that_ends_within_its_grace_is_kept(tmp_path: Path) -> None:
    async def branch(call: Call) -> Any:
        await asyncio.sleep(0.2)
        return [1, 2]

    async with served(tmp_path, profile(Branch("orders", branch, part="$.orders"))) as wrapped:
        await call(wrapped, 3)
    assert (await figures(tmp_path / "rollout.db"))["orders", "P"]["matched"] == 3


async def test_nothing_runs_on(tmp_path: Path) -> None:
    async def branch(call: Call) -> Any:
        await asyncio.sleep(60)

    async def aggregate(*_: Any) -> Any:
        await asyncio.sleep(60)

    before = asyncio.all_tasks()
    rollout = profile(Branch("orders", branch, part="$.orders", hard_timeout_s=0.05), aggregate=aggregate)
    async with served(tmp_path, rollout, controller=True) as wrapped:
        await call(wrapped, 3)
        await asyncio.sleep(0.1)
    assert asyncio.all_tasks() - before == set()


async def test_a_branch_that_will_not_end_does_not_keep_the_process(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def stubborn(call: Call) -> Any:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    begun = time.monotonic()
    async with served(tmp_path, profile(Branch("orders", stubborn, part="$.orders"))) as wrapped:
        await call(wrapped, 3)
    assert time.monotonic() - begun < 4
    release.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize("what", ["append", "release", "close"])
async def test_a_database_that_hangs_does_not_keep_the_process(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any) -> Any:
        await asyncio.sleep(3600)

    async with served(tmp_path, profile(), controller=True, drain_s=0.3) as wrapped:
        await call(wrapped, 3)
        await wrapped.settled()
        backend = wrapped.engine.backend
        assert backend is not None
        close = backend.close
        target: Any = {"append": backend.ledger, "release": backend.state, "close": backend}[what]
        monkeypatch.setattr(target, what, hang)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    if what == "close":
        await close()


async def test_a_live_call_that_is_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def control(request: web.Request) -> web.Response:
        entered.set()
        await asyncio.sleep(0.2)
        return web.json_response(CONTROL)

    rollout = profile(control=control, budget=Budget(latency_s=2.0))
    app = application(("GET", "/profile/{id}", control))
    answers: list[Any] = []
    async with served(tmp_path, rollout, app, live={"orders": 1.0}) as wrapped:

        async def one() -> None:
            async with wrapped.client.get("/profile/7", headers=ALICE) as response:
                answers.append(await response.json())

        under_way = asyncio.create_task(one())
        await entered.wait()
        assert wrapped.client.server.runner is not None
        await wrapped.client.server.runner.cleanup()
        await under_way
    assert answers == [CONTROL]
    assert (await figures(tmp_path / "rollout.db"))["", "*"]["served:candidate"] == 1
