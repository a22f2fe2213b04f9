"""What a driver raised, told as a ``DatabaseError``: what happened, to which database, what to do. Never with a
password.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from rollout.errors import DatabaseError, SchemaError
from rollout_sql.urls import Target

DRIVER_ERRORS = (
    SQLAlchemyError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)  # OSError: TimeoutError too


@contextmanager
def told(target: Target) -> Iterator[None]:
    """Errors of the drivers leave this block as ``DatabaseError`` (``SchemaError`` where a table is missing)."""
    try:
        yield
    except DRIVER_ERRORS as error:
        if _unfit(error):
            raise ValueError(f"{target.shown} does not store such a value: {_said(error)}") from error
        raise letter(error, target) from error


def letter(error: BaseException, target: Target) -> DatabaseError:
    """The error to raise for one of a driver's."""
    cause, said = _cause(error), _said(error)
    if target.sqlite:
        what, remedy = _of_sqlite(said.lower())
    else:
        what, remedy = _of_postgres(cause)
    if what == "schema":
        return SchemaError(
            f"The tables of {target.shown} are not those of this version ({said}). Run: {upgrade_command(target)}"
        )
    return DatabaseError(f"{target.shown} {what}: {said or type(cause).__name__}. {remedy}")


def _unfit(error: BaseException) -> bool:
    """Whether a value is at fault, not the database: the same write would fail for ever."""
    state = str(getattr(_cause(error), "sqlstate", None) or "")
    return state[:2] in ("22", "23") or (isinstance(error, IntegrityError | DataError | ProgrammingError) and not state)


def _cause(error: BaseException) -> BaseException:
    return getattr(error, "orig", None) or error


def _said(error: BaseException) -> str:
    return " ".join(str(_cause(error)).split())[:300]


def upgrade_command(target: Target) -> str:
    return f"rollout db upgrade --database-url {target.shown}"


def _of_sqlite(said: str) -> tuple[str, str]:
    for part, what, remedy in _SQLITE:
        if part in said:
            return what, remedy
    return "cannot be used", "Look at the file and its folder, or name another one."


_SQLITE = (
    ("unable to open", "cannot be opened", "Check that the folder exists and that this user may read and write there."),
    ("readonly", "cannot be written", "Give this user the right to write the file and its folder."),
    ("not a database", "is not an SQLite database", "Name another file; this one is left as it is."),
    ("malformed", "is damaged", "Restore it from a copy, or name another file."),
    ("locked", "is locked by another process", "Find who holds it (a long transaction, a backup) and try again."),
    ("full", "cannot grow", "Free space on its disk, then it goes on by itself."),
    ("i/o error", "cannot be read or written", "Check its disk."),
    ("no such table", "schema", ""),
    ("no such column", "schema", ""),
)


def _of_postgres(cause: BaseException) -> tuple[str, str]:
    state = str(getattr(cause, "sqlstate", None) or "")
    if state in _STATES:
        return _STATES[state]
    if state[:2] in ("08", "57") or isinstance(cause, (OSError, PoolTimeout, asyncpg.InterfaceError)) or not state:
        return "cannot be reached", "Check that the server runs, host and port, and that this machine may connect."
    return "refused", "Look at the server's log."


_STATES = {
    "28P01": ("refused the password", "Check user and password in the URL."),
    "28000": ("refused this user", "Check the user in the URL and the server's pg_hba.conf."),
    "3D000": ("does not exist", "Create it with createdb, or correct the name after the last slash of the URL."),
    "3F000": ("schema", ""),
    "40P01": ("was in the way of another transaction", "Nothing was written; try again."),
    "40001": ("was in the way of another transaction", "Nothing was written; try again."),
    "42P01": ("schema", ""),
    "42703": ("schema", ""),
    "42501": ("refused this user", "Grant it the right to use the tables rollout_*, or use another user."),
    "25006": ("is read-only", "Name the primary server, not a replica."),
    "53100": ("cannot grow", "Free space on its disk, then it goes on by itself."),
    "53300": ("has no connection left", "Raise max_connections or close other clients."),
    "55P03": ("is locked by another session", "Find who holds the lock and try again."),
}
