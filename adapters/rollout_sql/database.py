"""One opened database: reading and writing transactions over SQLite or PostgreSQL, with every driver's error told.

SQLite's driver would begin a transaction late and as a reader, and lose updates; so it is told to begin none
(``isolation_level`` None), and the ``begin`` listener says BEGIN, or BEGIN IMMEDIATE for a writer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy import event, literal_column
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.elements import ColumnElement

from rollout_sql.faults import DRIVER_ERRORS, told
from rollout_sql.urls import Target

_BEGIN = "rollout_begin"  # execution option: "IMMEDIATE", "DEFERRED" or absent (no BEGIN: each statement for itself)
_DURABLE = "rollout_durable"
IDLE_S = 1.0


class Database:
    """A pool of connections to one database. ``process`` names this process to PostgreSQL's administrators."""

    def __init__(self, target: Target, process: str = "") -> None:
        self.target = target
        self.sqlite = target.sqlite
        self.engine = engine_of(target, process)
        self._turn = (
            asyncio.Lock()
        )  # SQLite has one writer: take turns here rather than in its busy handler, which sleeps

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one moment and changes nothing."""
        options: dict[str, Any] = {_BEGIN: "DEFERRED"}
        if not self.sqlite:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with told(self.target):
            async with self.engine.connect() as plain:
                yield await plain.execution_options(**options)

    @asynccontextmanager
    async def writing(self, *, durable: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block, rolled back if it raises. ``durable``: on SQLite it
        survives a power cut too (PostgreSQL's settings decide there); without, a power cut may take the last ones,
        never half of one.
        """
        with told(self.target):
            if not self.sqlite:
                async with self.engine.begin() as connection:
                    yield connection
                return
            async with self._turn, self.engine.connect() as plain:
                connection = await plain.execution_options(**{_BEGIN: "IMMEDIATE", _DURABLE: durable})
                async with connection.begin():
                    yield connection

    @property
    def now(self) -> ColumnElement[float]:
        """The database's clock in epoch seconds, as a column."""
        return literal_column(self.now_sql)

    @property
    def now_sql(self) -> str:
        # SQLite before 3.42 has no unixepoch('subsec'); a Julian day in a double is exact to 40 µs, its clock to 1 ms.
        return (
            "((julianday('now') - 2440587.5) * 86400.0)"
            if self.sqlite
            else "CAST(extract(epoch FROM clock_timestamp()) AS float8)"
        )

    async def close(self) -> None:
        await self.engine.dispose()


def engine_of(target: Target, process: str = "") -> AsyncEngine:
    """An engine that shows no parameters in its errors."""
    if not target.sqlite:
        settings = {"application_name": f"rollout {process}".strip(), **target.connect_args["server_settings"]}
        arguments = {**target.connect_args, "server_settings": settings}
        engine = create_async_engine(
            target.url, hide_parameters=True, connect_args=arguments, pool_size=5, max_overflow=5, pool_timeout=5
        )
        event.listen(engine.sync_engine, "checkin", _given_back)
        event.listen(engine.sync_engine, "checkout", _taken)
        return engine
    engine = create_async_engine(
        target.url, hide_parameters=True, connect_args=target.connect_args, pool_size=5, max_overflow=5, pool_timeout=10
    )
    event.listen(engine.sync_engine, "connect", _connected)
    event.listen(engine.sync_engine, "begin", _begun)
    event.listen(engine.sync_engine, "invalidate", _given_up)
    return engine


def _given_back(_connection: Any, record: Any) -> None:
    record.info["since"] = time.monotonic()


def _taken(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that lay idle whether it still lives, so that a restart of the server fails nobody. The
    pool's own ``pre_ping`` asks before every use, which is three questions more to each batch of the recorder.
    """
    if time.monotonic() - record.info.get("since", math.inf) > IDLE_S:
        try:
            connection.ping()
        except Exception as error:
            raise DisconnectionError(str(error)) from error  # the pool makes a new one


def _connected(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for setting in (
        "busy_timeout=5000",
        "foreign_keys=ON",
        "synchronous=NORMAL",
        "wal_autocheckpoint=4000",
        "cache_size=-8000",
    ):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _given_up(connection: Any, _record: Any, _error: Any) -> None:
    """A task was cancelled in the middle of a statement, and the pool is about to close its connection. Roll back
    first: a file whose cursor is still referred to (by the cancelled task's traceback) closes later, and is locked
    until then.
    """
    with suppress(*DRIVER_ERRORS, ValueError, asyncio.CancelledError):
        connection.run_async(lambda driver: driver.rollback())


def _begun(connection: Connection) -> None:
    options = connection.get_execution_options()
    if _DURABLE in options and connection.info.get(_DURABLE, False) != options[_DURABLE]:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options[_DURABLE] else 'NORMAL'}")
        connection.info[_DURABLE] = options[_DURABLE]
    if begin := options.get(_BEGIN):
        connection.exec_driver_sql(f"BEGIN {begin}")
