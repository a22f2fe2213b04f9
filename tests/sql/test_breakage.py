"""Writers killed, servers stopped, disks full, several processes on one file: nothing half, nothing twice."""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from rollout.domain.audit import verify
from rollout.errors import Conflict, DatabaseError
from rollout.ports import Backend, Batch, RunRecord
from rollout.testing import sample_batch, sample_block, sample_change, sample_policy, sample_trial
from rollout_sql import open_backend
from rollout_sql.database import Database
from rollout_sql.urls import target_of
from tests.support.postgres import running_postgres

RUNS = [RunRecord(name, "shadow", "ok", 0.05) for name in ("a", "b", "c")]


def batch_of(size: int, second: int = 100) -> Batch:
    """Trials with three runs each, and a block that counts them."""
    trials = [sample_trial(outcome="mismatched", runs=RUNS, differences=[{"path": "$.a"}]) for _ in range(size)]
    return sample_batch(*trials, sample_block(second, "A", {"calls": size}))


async def counts(url: str) -> tuple[int, int, int, int]:
    """Trials, runs, calls in blocks and batches that are stored."""
    database = Database(target_of(url))
    try:
        async with database.reading() as connection:

            async def count(what: str) -> int:
                return int((await connection.execute(text(f"SELECT count(*) FROM {what}"))).scalar_one())

            stored = await count("rollout_trials"), await count("rollout_branch_runs"), await count("rollout_batches")
    finally:
        await database.close()
    backend = await open_backend(url)
    calls = sum(total.figures["calls"] for total in await backend.ledger.totals("profile"))
    await backend.close()
    return stored[0], stored[1], calls, stored[2]


# A writer is killed

WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from rollout_sql import open_backend
from tests.sql.test_breakage import batch_of
async def main():
    backend = await open_backend(sys.argv[1])
    print("writing", flush=True)
    while True:
        await backend.ledger.append(batch_of(40))
asyncio.run(main())
"""


async def test_a_writer_that_is_killed_leaves_whole_batches_only(url: str) -> None:
    backend = await open_backend(url, migrate=True)
    await backend.close()
    root = str(Path(__file__).resolve().parent.parent.parent)
    for delay in (0.02, 0.11, 0.27):
        command = (sys.executable, "-c", WRITER, url, root)
        writer = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert writer.stdout is not None
        await writer.stdout.readline()
        await asyncio.sleep(delay)
        writer.kill()
        await writer.communicate()
    trials, runs, calls, batches = await counts(url)
    # Each run of the writer numbers its trials from 1 on: the same ones are stored once.
    assert batches > 0
    assert calls == batches * 40
    assert trials % 40 == 0
    assert runs == trials * 3


# The server goes and comes back


@pytest.mark.postgres
async def test_a_server_that_stops_under_load_loses_and_doubles_nothing() -> None:
    with running_postgres({"synchronous_commit": "on"}) as server:  # else a crash may forget the last commits
        url = server.create_database()
        async with opened(url) as backend:
            await backend.state.register(sample_policy(), "app")
            done = asyncio.Event()
            writers = [asyncio.create_task(keep_writing(backend, done)) for _ in range(2)]
            for how in (signal.SIGINT, signal.SIGQUIT):
                await asyncio.sleep(0.4)
                await asyncio.to_thread(server.stop, how)
                began = time.monotonic()
                with pytest.raises(DatabaseError):
                    await backend.state.load()
                assert time.monotonic() - began < 6
                await asyncio.to_thread(server.start)
            await asyncio.sleep(0.4)
            done.set()
            written = sum(await asyncio.gather(*writers))
        assert await counts(url) == (written * 20, written * 60, written * 20, written)


async def keep_writing(backend: Backend, done: asyncio.Event) -> int:
    """As the recorder does: the same batch again until it is in; how many batches were."""
    written = 0
    while not done.is_set():
        batch = batch_of(20)
        while True:
            try:
                await backend.ledger.append(batch)
                break
            except DatabaseError:
                await asyncio.sleep(0.05)
        written += 1
    return written


@pytest.mark.postgres
async def test_a_server_that_hangs_is_given_up_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_sql.urls.COMMAND_S", 1.0)
    with running_postgres() as server:
        url = server.create_database()
        async with opened(url) as backend:
            await backend.ledger.append(batch_of(1))
            children = [
                int(pid) for pid in server.sql("SELECT pid FROM pg_stat_activity WHERE datname LIKE 'test%'").split()
            ]
            for pid in children:
                os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            batch = batch_of(1)
            with pytest.raises(DatabaseError):
                await backend.ledger.append(batch)
            assert time.monotonic() - began < 8
            for pid in children:
                os.kill(pid, signal.SIGCONT)
            await backend.ledger.append(batch)
        assert (await counts(url))[0] == 2


# The disk is full


async def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rollout.db'}"
    async with opened(url) as backend:
        await backend.ledger.append(batch_of(10))
        await set_limit(backend, await pages(backend) + 5)
        with pytest.raises(DatabaseError, match=r"cannot grow.*Free space"):
            await backend.ledger.append(batch_of(2_000))
        await set_limit(backend, 1_000_000)
        await backend.ledger.append(batch_of(10))
    assert await counts(url) == (20, 60, 20, 2)


def database_of(backend: Backend) -> Database:
    found = backend.ledger._db  # type: ignore[attr-defined]
    assert isinstance(found, Database)
    return found


async def pages(backend: Backend) -> int:
    async with database_of(backend).reading() as connection:
        return int((await connection.exec_driver_sql("PRAGMA page_count")).scalar_one())


async def set_limit(backend: Backend, most: int) -> None:
    """The limit belongs to a connection; the pool has one here, since one thing is done at a time."""
    async with database_of(backend).reading() as connection:
        await connection.exec_driver_sql(f"PRAGMA max_page_count={most}")


async def test_a_file_that_is_taken_away_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rollout.db"
    async with opened(f"sqlite:///{file}") as backend:
        await backend.state.load()
        for part in tmp_path.glob("rollout.db*"):
            part.unlink()
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE theirs (id INTEGER)")
        other.close()
        backend_of_another_file = open_backend(f"sqlite:///{file}", create=False)
        with pytest.raises(DatabaseError, match="has none of the tables"):
            await backend_of_another_file


# Several at once


async def test_several_processes_write_to_one_database(url: str) -> None:
    backends = [await open_backend(url, migrate=True) for _ in range(4)]
    batches = [batch_of(25) for _ in range(24)]
    await asyncio.gather(*(backends[n % 4].ledger.append(batch) for n, batch in enumerate(batches)))
    for backend in backends:
        await backend.close()
    assert await counts(url) == (600, 1_800, 600, 24)


async def test_of_many_who_move_one_branch_at_once_one_wins_and_the_audit_stays_whole(url: str) -> None:
    backends = [await open_backend(url, migrate=True) for _ in range(3)]
    await backends[0].state.register(sample_policy(), "app")
    won = 0
    for _ in range(4):
        state = (await backends[0].state.load()).states["profile"]["orders"]
        tries = [backend.state.transition(sample_change(state)) for backend in backends for _ in range(3)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(result, Conflict) for result in results) == 8
        won += sum(isinstance(result, list) for result in results)
    assert won == 4
    decisions = (await backends[0].state.decisions())[::-1]
    assert verify(decisions) == []
    assert len(decisions) == 5
    for backend in backends:
        await backend.close()


async def test_a_task_that_is_cancelled_in_the_middle_of_a_write_leaves_nothing_half(url: str) -> None:
    cancelled: list[BaseException] = []  # and no file stays locked because somebody looks at the traceback
    async with opened(url) as backend:
        for number in range(60):
            batch = batch_of(10)
            task = asyncio.create_task(backend.ledger.append(batch))
            await asyncio.sleep(number % 30 * 0.0004)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError as error:
                cancelled.append(error)
            async with asyncio.timeout(3):
                await backend.ledger.append(batch)  # as a recorder that is drained: the same batch again
    assert cancelled
    del cancelled, task
    assert await counts(url) == (600, 1_800, 600, 60)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Backend]:
    backend = await open_backend(url, migrate=True)
    try:
        yield backend
    finally:
        await backend.close()
