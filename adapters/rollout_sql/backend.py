"""Open a database: check that it is there, is ours and is at this version's revision; then both stores over it."""

from __future__ import annotations

import asyncio

from rollout.ports import Backend
from rollout_sql import schema
from rollout_sql.database import Database
from rollout_sql.ledger import SqlLedger
from rollout_sql.sqlite_file import look_at
from rollout_sql.store import SqlStateStore
from rollout_sql.urls import target_of


async def open_backend(url: str, *, migrate: bool | None = None, create: bool = True, process: str = "") -> Backend:
    """Open the database at ``url`` and return both stores over it. Close it with ``await backend.close()``.

    * ``migrate``: True brings the schema up to date first. None (default): an SQLite file without our tables gets
      them, every other schema that is not this version's is refused with the command to run. False: never.
    * ``create``: whether a missing SQLite file may be made. The command line says no.
    * ``process``: the name of this process, shown to PostgreSQL's administrators.

    ``DatabaseError`` within about 10 seconds if the database cannot be used, ``SchemaError`` if its schema is another
    version's.
    """
    database = await open_database(url, migrate=migrate, create=create, process=process)
    state = SqlStateStore(database)

    async def close() -> None:
        await state.close()
        await database.close()

    return Backend(state=state, ledger=SqlLedger(database), url=database.target.shown, close=close)


async def open_database(url: str, *, migrate: bool | None, create: bool, process: str) -> Database:
    """The database at ``url``, checked; what ``open_backend`` says of its arguments and errors holds."""
    target = target_of(url)
    if target.sqlite and create and migrate is not False:
        schema.ensure_folder(target)
    else:
        schema.require_file(target)
    if target.sqlite:
        await asyncio.to_thread(look_at, target)
    if migrate:
        await schema.upgrade(url)
    database = Database(target, process)
    try:
        revision = await _revision(database)
        if revision is None and target.sqlite and create and migrate is None:
            await schema.upgrade(url)
            revision = await _revision(database)
        schema.refuse_strange(revision, target)
        schema.refuse_old(revision, target)
    except BaseException:
        await database.close()
        raise
    return database


async def _revision(database: Database) -> str | None:
    async with database.reading() as connection:
        return await connection.run_sync(schema.read_revision)
