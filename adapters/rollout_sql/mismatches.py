"""Mismatches: how often each path differs, with an example and a few trials. At most 500 paths a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.ports import MismatchCount
from rollout_sql.documents import insert_rows
from rollout_sql.sentences import plain
from rollout_sql.tables import mismatches as table

OTHER: Final = "(other)"
MOST_PATHS: Final = 500
SAMPLE: Final = 10  # trials named beside a path: the first ones, which stay
_LOCK: Final = 7_163_502_249
_NAMES = ("rollout", "branch", "path", "kind", "count", "noise", "first_at", "last_at", "trials", "example")
_REPLACE = f"""ON CONFLICT (rollout, branch, path, kind) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _NAMES[4:])}"""
Key = tuple[str, str, str, str]


async def write(connection: AsyncConnection, counts: Sequence[MismatchCount]) -> None:
    """Add counts up with what is stored. Writers take turns from here to their commit, so that none reads before
    another has written (on SQLite they take turns anyway).
    """
    if not counts:
        return
    await take_turn(connection)
    for rollout in sorted({one.rollout for one in counts}):
        new = [one for one in counts if one.rollout == rollout]
        stored = await _stored(connection, rollout, {plain(one.path) for one in new})
        paths = {path for _, _, path, _ in stored}
        if not all(plain(one.path) in paths for one in new):
            paths = await _paths(connection, rollout)
        merged: dict[Key, MismatchCount] = {}
        for one in new:
            key = _key(one, paths)
            known = merged.get(key) or stored.get(key) or MismatchCount(*key, first_at=one.first_at)
            merged[key] = _added(known, one)
        await insert_rows(connection, table.name, _NAMES, [_row(one) for one in merged.values()], _REPLACE)


async def take_turn(connection: AsyncConnection) -> None:
    """Until the end of the transaction nobody else writes mismatches."""
    if connection.dialect.name != "sqlite":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


async def read(connection: AsyncConnection, rollout: str, path: str | None, limit: int) -> list[MismatchCount]:
    """The most frequent first."""
    query = select(table).where(table.c.rollout == rollout)
    if path is not None:
        query = query.where(table.c.path == plain(path))
    order = (table.c.count.desc(), table.c.noise.desc(), table.c.path, table.c.branch, table.c.kind)
    return [_count(row) for row in await connection.execute(query.order_by(*order).limit(limit))]


async def _stored(connection: AsyncConnection, rollout: str, paths: set[str]) -> dict[Key, MismatchCount]:
    query = select(table).where(table.c.rollout == rollout, table.c.path.in_(sorted(paths | {OTHER})))
    found = [_count(row) for row in await connection.execute(query)]
    return {(one.rollout, one.branch, one.path, one.kind): one for one in found}


async def _paths(connection: AsyncConnection, rollout: str) -> set[str]:
    return set((await connection.execute(select(table.c.path).where(table.c.rollout == rollout).distinct())).scalars())


def _key(one: MismatchCount, paths: set[str]) -> Key:
    """Where it counts; a new path joins ``paths`` if there is room."""
    path = plain(one.path)
    if path not in paths and len(paths - {OTHER}) >= MOST_PATHS:
        path = OTHER
    paths.add(path)
    return one.rollout, plain(one.branch), path, plain(one.kind)


def _added(known: MismatchCount, new: MismatchCount) -> MismatchCount:
    return MismatchCount(
        rollout=known.rollout,
        branch=known.branch,
        path=known.path,
        kind=known.kind,
        count=known.count + new.count,
        noise=known.noise + new.noise,
        first_at=min(known.first_at, new.first_at),
        last_at=max(known.last_at, new.last_at),
        trials=sorted({*known.trials, *new.trials})[:SAMPLE],
        example=known.example or new.example,
    )


def _row(one: MismatchCount) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in _NAMES)


def _count(row: Any) -> MismatchCount:
    return MismatchCount(
        **{name: getattr(row, name) for name in _NAMES if name != "count"}, count=row._mapping["count"]
    )
