"""Many rows in few statements.

Both ways were measured against the others (a row at a time, ``executemany``, COPY, arrays by ``unnest``, one JSON text
on either side):

* SQLite gets values, some hundred rows to a statement. Binding is quick, and the statement then runs in C with the
  interpreter's lock released. ``executemany`` takes that lock once a row and waits for the event loop each time.
* PostgreSQL gets one JSON text, unpacked there by INSERT … SELECT. That costs this process less than COPY does, and
  knows ON CONFLICT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from math import isfinite
from typing import Any, Final

from sqlalchemy import JSON, Text, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout_sql.sentences import plain
from rollout_sql.tables import metadata

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_POSTGRES: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
_VALUES_AT_ONCE: Final = 900  # SQLite allows 32 766, but binding them holds the lock
Rows = Sequence[Sequence[Any]]


async def insert_rows(
    connection: AsyncConnection, table: str, names: tuple[str, ...], rows: Rows, conflict: str = ""
) -> None:
    """Insert rows whose values come in the order of ``names``. ``conflict``: the statement's ON CONFLICT clause.

    ``TypeError`` for a value that is not JSON; what no database stores is mended: NUL goes, NaN and infinity are null.
    """
    if not rows:
        return
    if connection.dialect.name != "sqlite":
        await connection.execute(text(_from_document(table, names, conflict)), {"rows": packed(rows)})
        return
    most = _VALUES_AT_ONCE // len(names)
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        values = bound(some, _json_places(table, names))
        await connection.exec_driver_sql(_from_values(table, names, len(some), conflict), values)


def packed(rows: Any) -> str:
    """The rows (or one value) as JSON that both databases take."""
    try:
        document = _ENCODER.encode(rows)
    except ValueError:
        document = _ENCODER.encode(_finite(rows))
    if "\\u0000" in document:
        document = _NUL.sub(r"\1", document)
    return document if document.isascii() else plain(document)


def bound(rows: Rows, json_places: frozenset[int]) -> tuple[Any, ...]:
    """The values of all rows, one after the other; those at ``json_places`` as JSON."""
    return tuple(
        (
            packed(value)
            if place in json_places and value is not None
            else value
            if type(value) is not str or (value.isascii() and "\0" not in value)
            else plain(value)
        )
        for row in rows
        for place, value in enumerate(row)
    )


@cache
def _from_document(table: str, names: tuple[str, ...], conflict: str) -> str:
    columns = metadata.tables[table].c
    values = ", ".join(_unpacked(columns[name].type, place) for place, name in enumerate(names))
    source = f"SELECT {values} FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS value"
    return f"INSERT INTO {table} ({', '.join(names)}) {source} {conflict}"


@cache
def _from_values(table: str, names: tuple[str, ...], count: int, conflict: str) -> str:
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([row] * count)} {conflict}"


@cache
def _json_places(table: str, names: tuple[str, ...]) -> frozenset[int]:
    columns = metadata.tables[table].c
    return frozenset(place for place, name in enumerate(names) if isinstance(columns[name].type, JSON))


def _unpacked(kind: Any, place: int) -> str:
    if isinstance(kind, JSON):
        return f"(value->{place})"
    if isinstance(kind, Text):
        return f"(value->>{place})"
    return f"CAST(value->>{place} AS {kind.compile(_POSTGRES)})"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return value
