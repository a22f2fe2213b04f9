"""The PostgreSQL that the suite starts: real, unprivileged, and gone when it should be."""

import os
import time
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import PostgresError, PostgresServer, running_postgres

pytestmark = pytest.mark.postgres


async def test_each_test_gets_an_empty_database_of_its_own(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        await connection.execute("CREATE TABLE mine (id int)")
    finally:
        await connection.close()


def test_the_server_runs_as_an_unprivileged_user(postgres_server: PostgresServer) -> None:
    proc = Path(f"/proc/{postgres_server.pid}")
    if not proc.exists():
        pytest.skip("needs /proc")
    assert proc.stat().st_uid != 0


async def test_a_connection_left_open_is_named_and_cut(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    connection = await asyncpg.connect(url)
    await connection.execute("SELECT 'left behind'")
    with pytest.raises(PostgresError, match="left behind"):
        postgres_server.drop_database(url)
    connection.terminate()


async def test_a_server_of_ones_own_comes_back_on_the_same_port_with_its_data() -> None:
    with running_postgres() as server:
        url = server.create_database()
        server.sql("CREATE TABLE kept AS SELECT 7 AS n", "test_1")
        first = server.pid
        server.stop()
        with pytest.raises(ConnectionError):
            await asyncpg.connect(url)
        server.start()
        assert server.sql("SELECT n FROM kept", "test_1") == "7"
        last = server.pid
    for pid in (first, last):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_it_is_up_in_a_few_seconds() -> None:
    began = time.monotonic()
    with running_postgres():
        assert time.monotonic() - began < 30
