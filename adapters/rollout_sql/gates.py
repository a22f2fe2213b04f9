"""What the controller knows at its last tick: gate states, and up to which second they are folded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Final

from sqlalchemy import ColumnElement, Text, cast, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.ports import GateCheckpoint
from rollout_sql.documents import insert_rows
from rollout_sql.tables import gate_states as table

_NAMES = tuple(field.name for field in fields(GateCheckpoint))
_KEY = ("rollout", "unit")
_AT_ONCE: Final = 25  # to make JSON of their states, or to read it, takes about 1 ms
_values_of = attrgetter(*_NAMES)
_states = cast(table.c.states, Text)  # else the driver parses all of them at once
_REPLACE = f"""ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _NAMES if name not in _KEY)}"""


class Closed:
    """Up to which second the blocks of each unit are folded."""

    def __init__(self, seconds: dict[tuple[str, str], tuple[int, int]]) -> None:
        """``seconds``: (rollout, unit) → (entry, second)."""
        self._seconds = seconds

    def is_late(self, rollout: str, unit: str, entry: int, second: int) -> bool:
        """Whether the controller is past that second: what comes now is in no gate."""
        last_entry, closed = self._seconds.get((rollout, unit), (-1, -1))
        return entry <= last_entry and second <= closed


async def closed(connection: AsyncConnection, rollouts: Collection[str]) -> Closed:
    """How far the controller is with these rollouts."""
    columns = (table.c.rollout, table.c.unit, table.c.entry, table.c.closed_second)
    rows = await connection.execute(select(*columns).where(table.c.rollout.in_(sorted(rollouts))))
    return Closed({(row.rollout, row.unit): (row.entry, row.closed_second) for row in rows})


async def read(connection: AsyncConnection, rollout: str, unit: str) -> GateCheckpoint | None:
    """The checkpoint of a unit; None before the first tick."""
    found = await _find(connection, (table.c.rollout == rollout) & (table.c.unit == unit))
    return found.get((rollout, unit))


async def every(connection: AsyncConnection, rollouts: Collection[str] | None) -> dict[tuple[str, str], GateCheckpoint]:
    """By rollout and unit; None: of all rollouts."""
    return await _find(connection, true() if rollouts is None else table.c.rollout.in_(sorted(rollouts)))


async def save(connection: AsyncConnection, checkpoints: Sequence[GateCheckpoint]) -> None:
    """Store them, in one order for everybody, so that two writers cannot deadlock."""
    newest = {(one.rollout, one.unit): one for one in checkpoints}
    rows = [_values_of(newest[key]) for key in sorted(newest)]
    for start in range(0, len(rows), _AT_ONCE):
        await insert_rows(connection, table.name, _NAMES, rows[start : start + _AT_ONCE], _REPLACE)


async def _find(connection: AsyncConnection, which: ColumnElement[bool]) -> dict[tuple[str, str], GateCheckpoint]:
    columns = [_states if name == "states" else table.c[name] for name in _NAMES]
    found: dict[tuple[str, str], GateCheckpoint] = {}
    for number, row in enumerate((await connection.execute(select(*columns).where(which))).all(), 1):
        named = dict(zip(_NAMES, row, strict=True))
        found[row[0], row[1]] = GateCheckpoint(**named | {"states": json.loads(named["states"])})
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return found
