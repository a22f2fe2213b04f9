"""The file of an SQLite database, looked at before the first connection of the pool is made.

Here, because a connection of the pool that fails leaves a thread behind that reports to the event loop a moment later,
and a command that ends at once has none by then. Blocking: call it in a thread.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Final

from rollout.errors import DatabaseError
from rollout_sql.faults import told
from rollout_sql.urls import CONNECT_S, Target

_OLDEST: Final = (3, 35)  # RETURNING


def _opened(target: Target) -> sqlite3.Connection:
    return sqlite3.connect(str(target.file), timeout=CONNECT_S, isolation_level=None)


def look_at(target: Target, *, make_ours: bool = False) -> None:
    """Open the file (made if there is none). ``DatabaseError`` if it cannot be opened or is something else.

    ``make_ours``: have it keep its journal as WAL from now on, so that readers and the writer do not wait for each
    other.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise DatabaseError(
            f"This Python has SQLite {sqlite3.sqlite_version}; {target.shown} needs 3.35 or newer. "
            "Use a newer Python, or PostgreSQL."
        )
    with told(target), closing(_opened(target)) as connection:
        connection.execute("PRAGMA schema_version")
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
        if make_ours and journal != "wal":
            _turn_to_wal(connection)


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait where somebody else is just doing the same, so this does."""
    end = time.monotonic() + CONNECT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.05)  # callers run this in a thread, never on the event loop
