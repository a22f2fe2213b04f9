"""The schema's history: bring a database up to date, tell where it stands, hold the tables against the chain, print
SQL.

Alembic's context is global to the process, so one migration runs at a time in it, in a thread with an event loop of
its own; between processes the lock is PostgreSQL's (advisory, for the transaction) or SQLite's (BEGIN IMMEDIATE). A
whole upgrade is one transaction on both. History goes forward only: an older version of the code may run beside a
newer schema only as long as nothing was taken away, so there are no downgrades.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from rollout.errors import DatabaseError, SchemaError
from rollout.resources import shipped
from rollout_sql.database import Database
from rollout_sql.faults import upgrade_command
from rollout_sql.sqlite_file import look_at
from rollout_sql.tables import metadata
from rollout_sql.urls import Target, target_of

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "rollout_alembic_version"
_LOCK = 7_163_502_248  # any number that is ours: of PostgreSQL's advisory lock around an upgrade
_one_at_a_time = threading.Lock()
T = TypeVar("T")


async def upgrade(url: str, revision: str = "head") -> str | None:
    """Bring the database to a revision; an SQLite file is made if there is none. Returns the revision it is at then.

    Two at once wait for each other; the second finds nothing to do. ``SchemaError`` if it is newer than this version
    knows.
    """
    target = target_of(url)
    if target.file is not None:
        ensure_folder(target)

    def work(connection: Connection) -> str | None:
        before = read_revision(connection)
        refuse_strange(before, target)
        if revision not in ("head", *known()):
            raise SchemaError(f'There is no revision "{revision}". Known: {", ".join(known())}; or write "head".')
        if before is None or (before != revision and before != known()[-1]):
            from alembic import command

            command.upgrade(_config(connection=connection), revision)
        return read_revision(connection)

    return await asyncio.to_thread(run_in_transaction, url, work)


async def current(url: str) -> str | None:
    """The revision the database is at; None: it has none of our tables, or is a file that does not exist."""
    target = target_of(url)
    if target.file is not None:
        if not target.file.exists():
            return None
        await asyncio.to_thread(look_at, target)
    database = Database(target)
    try:
        async with database.reading() as connection:
            return await connection.run_sync(read_revision)
    finally:
        await database.close()


async def check(url: str) -> list[str]:
    """How the database's tables differ from those of this version, one line each; empty when they are equal."""
    target = target_of(url)
    require_file(target)

    def work(connection: Connection) -> list[str]:
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        found = MigrationContext.configure(connection, opts={"include_name": ours, "version_table": VERSION_TABLE})
        return [str(difference) for difference in compare_metadata(found, metadata)]

    return await asyncio.to_thread(run_in_transaction, url, work)


async def sql(url: str) -> str:
    """The SQL of a whole upgrade from nothing, for a database administrator to read and run. Connects to nothing."""
    target = target_of(url)

    def work() -> str:
        from alembic import command

        written = io.StringIO()
        with _one_at_a_time:
            command.upgrade(
                _config(url=target.url.render_as_string(hide_password=False), output=written), "head", sql=True
            )
        return written.getvalue()

    return await asyncio.to_thread(work)


def known() -> list[str]:
    """The revisions that this version knows, oldest first: the numbers that the files begin with."""
    files = (shipped("migrations") / "versions").glob("[0-9]*_*.py")
    return sorted(file.name.partition("_")[0] for file in files)


def refuse_strange(revision: str | None, target: Target) -> None:
    """``SchemaError`` if a database is at a revision that this version does not know: it is newer."""
    if revision is not None and revision not in known():
        raise SchemaError(
            f"The schema of {target.shown} is at revision {revision}, newer than this version of rollout-kit, "
            f"which knows up to {known()[-1]}. Install a newer version: pip install --upgrade rollout-kit"
        )


def refuse_old(revision: str | None, target: Target) -> None:
    """``SchemaError`` if a database lacks revisions that this version needs."""
    if revision is None:
        raise SchemaError(
            f"{target.shown} has none of the tables of rollout-kit; this version needs revision {known()[-1]}. "
            f"Run: {upgrade_command(target)}"
        )
    if revision != known()[-1]:
        raise SchemaError(
            f"The schema of {target.shown} is at revision {revision}; this version needs {known()[-1]}. "
            f"Run: {upgrade_command(target)}"
        )


def read_revision(connection: Connection) -> str | None:
    """The revision in the version table; None if there is no such table, or nothing in it."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return found


def ensure_folder(target: Target) -> None:
    """``DatabaseError`` if the folder that the file is to be made in does not exist."""
    assert target.file is not None
    folder = target.file.absolute().parent
    if not folder.is_dir():
        raise DatabaseError(
            f"{target.shown} cannot be made: the folder {folder} does not exist. Make it, or name another file."
        )


def require_file(target: Target) -> None:
    """``DatabaseError`` if the file of an SQLite database does not exist."""
    if target.file is not None and not target.file.exists():
        raise DatabaseError(
            f"There is no database at {target.shown} ({target.file.absolute()} does not exist). "
            f"Start the application once, which makes it, correct the URL, or run: {upgrade_command(target)}"
        )


def run_in_transaction(url: str, work: Callable[[Connection], T]) -> T:
    """Run ``work`` in one transaction, alone in this process and, on this database, among all. Not from an event
    loop's thread.
    """
    target = target_of(url)
    if target.sqlite:
        look_at(target, make_ours=True)
    else:
        target.connect_args.pop("command_timeout", None)  # building an index takes as long as it takes
        target.connect_args["server_settings"] = {}

    async def main() -> T:
        database = Database(target)
        try:
            if not target.sqlite:
                async with database.writing() as connection:
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                    return await connection.run_sync(work)
            async with database.writing(durable=True) as connection:
                return await connection.run_sync(work)
        finally:
            await database.close()

    with _one_at_a_time:
        return asyncio.run(main())


def configure(context: Any, *, connection: Connection | None = None, url: str | None = None) -> None:
    """Set alembic's context up; for ``migrations/env.py``. Without a connection: to print SQL for the database of
    ``url``.
    """
    common = {
        "target_metadata": metadata,
        "version_table": VERSION_TABLE,
        "include_name": ours,
        "transactional_ddl": True,
    }
    if connection is not None:
        context.configure(connection=connection, **common)
    else:
        context.configure(
            url=target_of(url or "").url, literal_binds=True, dialect_opts={"paramstyle": "named"}, **common
        )


def ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether alembic may look at a thing: only at our tables, so that it never proposes to drop the user's."""
    return kind != "table" or name in metadata.tables


def _config(
    *, connection: Connection | None = None, url: str | None = None, output: io.StringIO | None = None
) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output or io.StringIO(), stdout=io.StringIO())
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update({"connection": connection, "url": url})
    return config
