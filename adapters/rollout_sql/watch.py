"""Hearing of changes: one connection that asks for the revision again and again, and that PostgreSQL wakes at once.

Asking stays beside NOTIFY because a notification is lost when the connection that listens is; on SQLite there is
nothing but asking. One question costs the database some 20 µs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.errors import DatabaseError
from rollout_sql.database import Database
from rollout_sql.faults import DRIVER_ERRORS, told
from rollout_sql.moment import CHANNEL

ASK_SQLITE_S: Final = 0.1
ASK_POSTGRES_S: Final = 0.25
AWAY_S: Final = 0.5
_ASK: Final = "SELECT number FROM rollout_meta WHERE name = 'revision'"


class Watch:
    """One listener. ``close`` may come from anywhere and ends ``next`` at once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: AsyncConnection | None = None
        self._using = asyncio.Lock()
        self._woken = asyncio.Event()
        self._closed = False
        self._pause = ASK_SQLITE_S if db.sqlite else ASK_POSTGRES_S

    async def next(self, seen: int | None) -> int | None:
        """Wait until the revision is another than ``seen`` and return it; None once closed. With ``seen`` None, any
        change from now on counts. A database that is away is asked again every half second.
        """
        while not self._closed:
            pause = self._pause
            try:
                revision = await self._ask()
            except DatabaseError:
                pause = AWAY_S
            else:
                if revision is not None and seen is not None and revision != seen:
                    return revision
                seen = revision if seen is None else seen
            await self._rest(pause)
        return None

    async def close(self) -> None:
        self._closed = True
        self._woken.set()
        async with self._using:
            await self._drop()

    async def _ask(self) -> int | None:
        async with self._using:
            if self._closed:
                return None
            try:
                with told(self._db.target):
                    connection = self._connection or await self._connect()
                    return int((await connection.exec_driver_sql(_ASK)).scalar_one())
            except BaseException:
                await self._drop()
                raise

    async def _connect(self) -> AsyncConnection:
        self._connection = connection = await self._db.engine.connect()
        if not self._db.sqlite:  # on SQLite no BEGIN is said unless asked for
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.add_listener(CHANNEL, self._heard)
        return connection

    def _heard(self, *_notification: object) -> None:
        self._woken.set()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*DRIVER_ERRORS):
                if not self._db.sqlite:
                    await connection.invalidate()  # it still listens: no other may get it
                await connection.close()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
