"""A database of SQLite whose clock is the history's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import event

from rollout.ports import Backend
from rollout_sql.backend import open_database
from rollout_sql.ledger import SqlLedger
from rollout_sql.store import SqlStateStore
from tests.fleet.clocks import DatabaseClock

_EPOCH: Final = 2_440_587.5  # as a Julian day


async def in_sqlite(file: Path, clock: DatabaseClock) -> Backend:
    """Both stores over a file. What it takes for the time is its own function ``julianday``: that one is replaced."""
    database = await open_database(f"sqlite:///{file}", migrate=None, create=True, process="fleet")

    def keeps_our_time(connection: Any, _record: object) -> None:
        connection.create_function("julianday", 1, lambda _: clock.wall() / 86_400.0 + _EPOCH)

    event.listen(database.engine.sync_engine, "connect", keeps_our_time)
    await database.engine.dispose()  # a connection that was made before keeps the real time
    state = SqlStateStore(database)

    async def close() -> None:
        await state.close()
        await database.close()

    return Backend(state=state, ledger=SqlLedger(database), url=database.target.shown, close=close)
