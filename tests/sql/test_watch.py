"""Hearing of changes: at once on PostgreSQL, soon on SQLite, cheaply, and ended cleanly."""

import asyncio
import time
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import pytest

from rollout.ports import Backend
from rollout.testing import sample_decision
from rollout_sql import open_backend
from tests.support.postgres import PostgresServer


async def next_of(changes: object) -> int:
    assert isinstance(changes, AsyncGenerator)
    revision: int = await anext(changes)
    return revision


async def test_a_change_is_heard_within_a_third_of_a_second(url: str, backend: Backend) -> None:
    other = await open_backend(url)
    changes = other.state.changes()
    delays = []
    for _ in range(5):
        heard = asyncio.create_task(next_of(changes))
        await asyncio.sleep(0.15)
        await backend.state.record(sample_decision())
        began = time.monotonic()
        await asyncio.wait_for(heard, 5)
        delays.append(time.monotonic() - began)
    assert sorted(delays)[2] < (0.3 if url.startswith("sqlite") else 0.1)
    await other.close()


async def test_what_changed_between_reading_and_listening_is_heard(backend: Backend) -> None:
    snapshot = await backend.state.load()
    await backend.state.record(sample_decision())
    changes = backend.state.changes()
    assert await asyncio.wait_for(next_of(changes), 2) == snapshot.revision + 1
    assert isinstance(changes, AsyncGenerator)
    await changes.aclose()


async def test_closing_the_backend_ends_every_listener(url: str) -> None:
    backend = await open_backend(url, migrate=True)

    async def listen() -> list[int]:
        return [revision async for revision in backend.state.changes()]

    waiting = asyncio.create_task(listen())
    held = backend.state.changes()  # one that nobody waits for when the backend is closed
    first = asyncio.create_task(next_of(held))
    await asyncio.sleep(0.2)
    await backend.state.record(sample_decision())
    await first
    await asyncio.sleep(0.3)
    await asyncio.wait_for(backend.close(), 2)
    assert len(await asyncio.wait_for(waiting, 1)) == 1
    with pytest.raises(StopAsyncIteration):
        await next_of(held)


@pytest.mark.postgres
async def test_a_listener_that_is_closed_leaves_no_connection(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    backend = await open_backend(postgres_url, migrate=True)
    name = urlsplit(postgres_url).path[1:]
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND query ILIKE 'LISTEN%'"
    for _ in range(3):
        changes = backend.state.changes()
        assert isinstance(changes, AsyncGenerator)
        listening = asyncio.create_task(next_of(changes))
        await asyncio.sleep(0.1)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await changes.aclose()
    assert postgres_server.sql(query) == "0"
    await backend.close()


async def test_listening_costs_next_to_nothing(backend: Backend) -> None:
    listening = asyncio.create_task(next_of(backend.state.changes()))
    await asyncio.sleep(0.3)
    used = time.process_time()
    await asyncio.sleep(1.0)
    assert time.process_time() - used < 0.1
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
