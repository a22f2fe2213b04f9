"""Two controllers, a paused one, a database that goes and returns, a full or read-only disk, a wrong clock, forked
workers: each with real processes or a real database, and the same promises about what is in the database afterwards.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rollout.errors import DatabaseError
from rollout.ports import Backend
from rollout.testing import memory_backend
from rollout_aiohttp import setup
from rollout_sql import open_backend
from tests.faults.test_killed import looked_at, times_of
from tests.support.children import Child, child
from tests.support.crowd import break_branch, put_at, stats, until
from tests.support.postgres import running_postgres
from tests.support.shop import Monolith, Shop, application, declared, statistics_of

QUICK: dict[str, Any] = {
    "ramp": "shadow 20% 40% 60% 80% 100%",
    "soak_s": 0.1,
    "tick_s": 0.1,
    "latency_s": 0.05,
    "minimum": 5,
    "traffic": 60,
}
LEASE_S = 10.0


async def stands(url: str, share: float) -> bool:
    """Whether the branch has reached a share."""
    state = (await looked_at(url)).state
    return state is not None and state.share >= share


def test_two_controllers_make_one_transition_of_each(tmp_path: Path) -> None:
    url, calls = f"sqlite:///{tmp_path / 'rollout.db'}", tmp_path / "calls"
    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(
                child("tests.support.shop", Shop(database=url, process=name, calls=str(calls), **QUICK))
            )
        asyncio.run(until(lambda: stands(url, 0.4), "two steps up"))
    found = asyncio.run(looked_at(url))
    found.is_whole(times_of(calls))
    assert {one.actor for one in found.decisions if one.moves} <= {"one", "two"}


def test_a_controller_that_is_paused_loses_its_lease_and_moves_nothing_when_it_wakes(
    postgres_url: str, tmp_path: Path
) -> None:
    # On PostgreSQL: a process that is frozen while it writes keeps an SQLite file locked for as long as it sleeps.
    paused_for(LEASE_S + 1, postgres_url, tmp_path / "calls")


@pytest.mark.soak
def test_a_controller_that_is_paused_for_a_minute_is_fenced(postgres_url: str, tmp_path: Path) -> None:
    paused_for(60.0, postgres_url, tmp_path / "calls")


def paused_for(seconds: float, url: str, calls: Path) -> None:
    """The one that leads stops in the middle of whatever it does; the other leads on; the first wakes."""
    slow = {**QUICK, "soak_s": 2.0}
    with ExitStack() as stack:
        shops = {
            name: stack.enter_context(
                child("tests.support.shop", Shop(database=url, process=name, calls=str(calls), **slow))
            )
            for name in ("one", "two")
        }
        asyncio.run(until(lambda: stands(url, 0.2), "a step up"))
        first = asyncio.run(leader_of(url))
        shops[first].pause()
        paused_at = time.monotonic()

        async def another_leads() -> bool:
            return time.monotonic() - paused_at > seconds and await leader_of(url) not in ("", first)

        asyncio.run(until(another_leads, "another leader", within_s=seconds + 60))
        epoch = asyncio.run(epoch_of(url))
        shops[first].resume()

        async def awake() -> bool:
            return not (await stats(shops[first].url))["leader"]

        asyncio.run(until(awake, "that it knows"))
        assert asyncio.run(leader_of(url)) != first
        assert asyncio.run(epoch_of(url)) == epoch
    asyncio.run(looked_at(url)).is_whole(times_of(calls))


async def leader_of(url: str) -> str:
    backend = await open_backend(url)
    try:
        lease = await backend.state.holder("controller")
        return lease.holder if lease else ""
    finally:
        await backend.close()


async def epoch_of(url: str) -> int:
    backend = await open_backend(url)
    try:
        lease = await backend.state.holder("controller")
        return lease.epoch if lease else 0
    finally:
        await backend.close()


@pytest.mark.postgres
def test_a_server_that_goes_and_returns_under_load_leaves_nothing_twice_and_nothing_half(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with running_postgres() as server:
        url = server.create_database()
        shop = Shop(database=url, process="one", calls=str(calls), **QUICK)
        with child("tests.support.shop", shop) as process:
            asyncio.run(until(lambda: stands(url, 0.2), "a step up"))
            server.stop()
            before = asyncio.run(stats(process.url))

            async def failed() -> bool:
                now = await stats(process.url)
                return bool(now["failures"] > before["failures"] and now["counts"] != before["counts"])

            asyncio.run(until(failed, "a write that failed while calls went on"))
            during = asyncio.run(stats(process.url))
            assert during["states"] == before["states"]  # the ramp holds
            server.start()

            async def written() -> bool:
                return bool((await stats(process.url))["written"] > during["written"])

            asyncio.run(until(written, "writes after the return"))
            asyncio.run(until(lambda: stands(url, 0.4), "a further step"))
            assert asyncio.run(stats(process.url))["dropped"] == {
                f"{queue}/queue_full": 0 for queue in ("trials", "blocks", "subjects")
            }
        found = asyncio.run(looked_at(url))
    made = times_of(calls)
    found.is_whole(made)
    assert sum(found.calls.values()) >= len(made) - 5  # the outage lost none; those of the last moment are cut off


@pytest.mark.postgres
def test_a_process_with_a_wrong_clock_counts_by_the_clock_of_the_database(postgres_url: str, tmp_path: Path) -> None:
    shop = Shop(database=postgres_url, process="one", clock_off_s=3600.0, **QUICK)
    with child("tests.support.shop", shop):
        asyncio.run(until(lambda: stands(postgres_url, 0.4), "two steps up"))
    seconds = asyncio.run(looked_at(postgres_url)).calls
    assert seconds
    assert all(abs(second - time.time()) < 300 for second in seconds)


async def test_a_clock_of_the_database_that_is_set_back_or_forth_is_followed(tmp_path: Path) -> None:
    app, engine = application(Shop(database=f"sqlite:///{tmp_path / 'rollout.db'}", process="one"))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        tally = engine.runtimes["profile"].tally
        right = tally.offset
        for wrong in (3600.0, -3600.0):
            engine._tell_time(right + wrong, right + wrong + 0.1)
            assert tally.offset == pytest.approx(right + wrong, abs=0.2)
            await call(app, "alice")
            second = engine.runtimes["profile"].view.open  # type: ignore[union-attr]
            assert abs(second.due - asyncio.get_running_loop().time()) < 3  # not an hour from now
    finally:
        await runner.cleanup()


async def call(app: web.Application, user: str) -> Any:
    return await app._handle(make_mocked_request("GET", "/profile/7", headers={"X-User-Id": user}, app=app))


def test_forked_workers_have_a_name_and_a_lease_each(tmp_path: Path) -> None:
    url, calls = f"sqlite:///{tmp_path / 'rollout.db'}", tmp_path / "calls"
    shop = Shop(database=url, process="web", fork=2, calls=str(calls), **QUICK)
    with child("tests.support.shop", shop, lines=2) as parent:
        names = {worker["process"] for worker in parent.each}
        assert names == {f"web-{worker['pid']}" for worker in parent.each}
        assert len(names) == 2
        asyncio.run(until(lambda: stands(url, 0.2), "a step up"))
        urls = [f"http://127.0.0.1:{worker['port']}" for worker in parent.each]

        async def one_leads() -> bool:
            return sorted([(await stats(one))["leader"] for one in urls]) == [False, True]

        asyncio.run(until(one_leads, "one leader of two"))
    found = asyncio.run(looked_at(url))
    found.is_whole(times_of(calls))
    assert {one.actor for one in found.decisions if one.trigger == "controller"} <= names


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB; only root can make one, where the kernel lets it."""
    if os.geteuid() != 0:
        pytest.skip("a tiny disk needs root: mount -t tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this kernel mounts no tmpfs here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_the_evidence_and_nothing_else(tiny_disk: Path) -> None:
    url = f"sqlite:///{tiny_disk / 'rollout.db'}"
    with child("tests.support.shop", Shop(database=url, process="one", **{**QUICK, "traffic": 300})) as process:
        wait_until_full(process)
        during = asyncio.run(stats(process.url))
        served = during["counts"]["profile"]
        assert served["calls"] > 0
        assert served.get("bad", 0) == 0
    found = asyncio.run(looked_at(url))
    assert found.runs == found.trials
    assert found.decisions


def wait_until_full(process: Child) -> None:
    async def full() -> bool:
        return bool((await stats(process.url))["failures"])

    asyncio.run(until(full, "a write that failed", within_s=90))


async def test_a_database_that_cannot_be_written_holds_the_ramp_and_serves() -> None:
    memory = memory_backend()
    backend: Backend = memory
    monolith = Monolith()
    app = web.Application()
    app.router.add_get("/profile/{id}", monolith.profile)
    shop = Shop(database="sqlite:///unused.db", process="one", soak_s=0.0, tick_s=0.05, latency_s=0.05, minimum=5)
    engine = setup(app, [declared(shop, monolith)], database=shop.database, tick_s=0.05)

    async def open_memory(_: str) -> Backend:
        return backend

    engine._open = open_memory
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        refused = DatabaseError("the file is read-only")
        memory.fail_with(refused, only=("append", "lease", "transition", "record", "save_checkpoints", "register"))
        for number in range(200):
            assert (await call(app, f"user-{number}")).status == 200
            await asyncio.sleep(0.005)
        said = statistics_of(engine)
        assert said["failures"] > 0
        assert said["states"]["orders"]["stage"] == 0
        memory.heal()

        async def written() -> bool:
            return bool(statistics_of(engine)["written"])

        await until(written, "writes after the return")
    finally:
        await runner.cleanup()


async def test_a_branch_that_breaks_while_the_database_is_away_is_rolled_back_when_it_is_back(tmp_path: Path) -> None:
    """What was counted in the meantime is judged after the return, or else what is counted then."""
    with running_postgres() as server:
        url = server.create_database()
        shop = Shop(database=url, process="one", soak_s=3600, **{k: v for k, v in QUICK.items() if k != "soak_s"})
        with child("tests.support.shop", shop) as process:
            backend = await open_backend(url)
            await put_at(backend, 1.0)
            await backend.close()
            await until(lambda: stands(url, 1.0), "100 %")
            await asyncio.to_thread(server.stop)
            await break_branch([process.url])
            await asyncio.to_thread(server.start)

            async def rolled_back() -> bool:
                state = (await looked_at(url)).state
                return state is not None and state.mode == "rolled_back"

            await until(rolled_back, "the rollback")
