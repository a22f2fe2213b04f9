"""Subjects: each key's first call in a stage, over all processes the earliest. At most 200 000 keys a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.evidence import Subject
from rollout_sql.documents import insert_rows
from rollout_sql.tables import subjects as table

MOST: Final = 200_000
_NAMES = ("rollout", "unit", "entry", "key_hash", "arm", "started_at", "bad", "latency", "cost_nano")
_EARLIER = f"""ON CONFLICT (rollout, unit, entry, key_hash) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _NAMES[4:])}
    WHERE excluded.started_at < rollout_subjects.started_at"""
Stage = tuple[str, str, int]


class Places:
    """How many keys of a stage may still come, without counting them at each write.

    A count is taken at the first write of a stage, and again when the keys written since may have used up what was
    left then (a key that came before takes no place). A stage with less than 1 % of its places left is full, so that
    the keys of old do not cause a count each time. Several processes may each be late by what one of them writes
    between two counts.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._left: dict[Stage, int] = {}
        self._full: set[Stage] = set()

    async def take(self, connection: AsyncConnection, stage: Stage, wanted: int) -> int:
        """How many of ``wanted`` keys may be written though they be new."""
        left = self._left.get(stage, 0)
        if left < wanted and stage not in self._full:
            left = self.most - await _count(connection, stage)
            if left <= self.most // 100:
                self._full.add(stage)
                left = 0
        granted = min(left, wanted)
        self._left[stage] = left - granted
        return granted


async def write(connection: AsyncConnection, subjects: Sequence[Subject], places: Places) -> None:
    """Write subjects, the earliest of each key. Of a stage that is full only keys that are known already."""
    earliest: dict[tuple[str, str, int, str], Subject] = {}
    for subject in subjects:
        key = (subject.rollout, subject.unit, subject.entry, subject.key_hash)
        known = earliest.get(key)
        if known is None or subject.started_at < known.started_at:
            earliest[key] = subject
    stages: dict[Stage, list[Subject]] = {}
    for key in sorted(earliest):  # one order for all writers: no deadlock
        stages.setdefault(key[:3], []).append(earliest[key])
    for stage, members in stages.items():
        allowed = await places.take(connection, stage, len(members))
        chosen = members if allowed >= len(members) else await _chosen(connection, stage, members, allowed)
        await insert_rows(connection, table.name, _NAMES, [_row(one) for one in chosen], _EARLIER)


async def _chosen(connection: AsyncConnection, stage: Stage, members: list[Subject], allowed: int) -> list[Subject]:
    """Those whose key is stored, and as many others as still have a place."""
    hashes = [one.key_hash for one in members]
    known: set[str] = set()
    for start in range(0, len(hashes), 500):
        query = select(table.c.key_hash).where(_of(stage), table.c.key_hash.in_(hashes[start : start + 500]))
        known.update((await connection.execute(query)).scalars())
    strangers = [one.key_hash for one in members if one.key_hash not in known][:allowed]
    kept = known.union(strangers)
    return [one for one in members if one.key_hash in kept]


async def _count(connection: AsyncConnection, stage: Stage) -> int:
    return int((await connection.execute(select(func.count()).select_from(table).where(_of(stage)))).scalar_one())


def _of(stage: Stage) -> ColumnElement[bool]:
    rollout, unit, entry = stage
    return (table.c.rollout == rollout) & (table.c.unit == unit) & (table.c.entry == entry)


def _row(subject: Subject) -> tuple[object, ...]:
    return tuple(getattr(subject, name) for name in _NAMES)
