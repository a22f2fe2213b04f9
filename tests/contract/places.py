"""Where the contract suite runs: a database in memory, a file of SQLite, a real PostgreSQL.

A place opens backends over one database, as several processes would, and can be taken away and brought back.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from rollout.errors import DatabaseError
from rollout.ports import Backend
from rollout.testing import MemoryBackend, memory_backend
from tests.support.postgres import PostgresServer

OpenBackend = Callable[[], Awaitable[Backend]]


class Place(Protocol):
    kind: str

    async def open(self) -> Backend:
        """One more process on this database."""
        ...

    def take_away(self) -> None:
        """From now on the database cannot be used."""
        ...

    def bring_back(self) -> None: ...

    def connections(self) -> int:
        """How many are open now."""
        ...


class Memory:
    kind = "memory"

    def __init__(self) -> None:
        self._backend: MemoryBackend | None = None

    async def open(self) -> Backend:
        self._backend = self._backend or memory_backend()
        return self._backend

    def take_away(self) -> None:
        assert self._backend is not None
        self._backend.fail_with(DatabaseError("The database is gone."))

    def bring_back(self) -> None:
        assert self._backend is not None
        self._backend.heal()

    def connections(self) -> int:
        return 0


class Sqlite:
    """A file whose tables can be renamed away: what is there then is no database of ours."""

    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        self._file = file

    async def open(self) -> Backend:
        return await open_sql(f"sqlite:///{self._file}")

    def take_away(self) -> None:
        self._rename("name LIKE 'rollout\\_%' ESCAPE '\\'", lambda name: f"away_{name}")

    def bring_back(self) -> None:
        self._rename("name LIKE 'away\\_%' ESCAPE '\\'", lambda name: name.removeprefix("away_"))

    def _rename(self, which: str, new_name: Callable[[str], str]) -> None:
        raw = sqlite3.connect(self._file, timeout=10, isolation_level=None)
        try:
            raw.execute("BEGIN IMMEDIATE")
            for (name,) in raw.execute(f"SELECT name FROM sqlite_master WHERE type = 'table' AND {which}").fetchall():
                raw.execute(f'ALTER TABLE "{name}" RENAME TO "{new_name(name)}"')
            raw.execute("COMMIT")
        finally:
            raw.close()

    def connections(self) -> int:
        gc.collect()
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return sum(link.readlink() == self._file for link in links)


class Postgres:
    """A database whose clients are cut, and which lets nobody in.

    One serves all tests: making a new one for each would take longer than the tests themselves.
    """

    kind = "postgres"

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server, self._url = server, url
        self._name = urlsplit(url).path.lstrip("/")

    def remember(self) -> None:
        """Keep a copy of what is in the tables now."""
        self._for_each_table("CREATE TABLE pristine.%1$I AS TABLE public.%1$I", before="CREATE SCHEMA pristine;")

    def reset(self) -> None:
        """Put everything back as it was then."""
        self._for_each_table("DELETE FROM public.%1$I; INSERT INTO public.%1$I TABLE pristine.%1$I")

    def _for_each_table(self, statements: str, before: str = "") -> None:
        self._sql(
            f"DO $$ DECLARE name text; BEGIN {before} "
            "FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            f"LOOP EXECUTE format('{statements}', name); END LOOP; END $$"
        )

    def _sql(self, statement: str) -> str:
        return self._server.sql(statement, self._name)

    async def open(self) -> Backend:
        return await open_sql(self._url)

    def take_away(self) -> None:
        self._server.sql(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        self._server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    def bring_back(self) -> None:
        self._server.sql(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    def connections(self) -> int:
        """How many are still open after a second: the server notices the end of one a little later."""
        for _ in range(20):
            left = int(self._server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self._name}'"))
            if not left:
                return 0
            time.sleep(0.05)
        return left


async def open_sql(url: str) -> Backend:
    from rollout_sql import open_backend

    backend: Backend = await open_backend(url, migrate=True, create=True)
    return backend


async def leftover_tasks() -> list[asyncio.Task[object]]:
    """The tasks that still run, but for the one that asks."""
    await asyncio.sleep(0)
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
