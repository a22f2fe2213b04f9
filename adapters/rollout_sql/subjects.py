"""Subjects: each key's first call in a stage, over all processes the earliest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.domain.evidence import Arm, Subject
from rollout.domain.places import MOST, newcomers, shares_places
from rollout_sql.documents import insert_rows
from rollout_sql.gates import Closed
from rollout_sql.tables import first_calls as table

_NAMES: Final = Subject._fields
_KEY: Final = ("rollout", "unit", "version", "entry", "arm", "key_hash")
_EARLIER: Final = f"""ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _NAMES if name not in _KEY)}
    WHERE excluded.started_at < {table.name}.started_at"""
_KNOWN_AT_ONCE: Final = 500
_STAGES_AT_ONCE: Final = 200
_key_of = attrgetter(*_KEY)


class Pool(NamedTuple):
    """The arms of a stage that share places."""

    rollout: str
    unit: str
    version: int
    entry: int
    arms: tuple[Arm, ...]


class Places:
    """How many places of a stage are taken, without counting them at each write.

    Every key that was written since the last count is taken for a new one; when these are more than a 32nd of the
    places that were left, they are counted again. So many processes may write at once before a stage can get more
    than its places.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._pools: dict[Pool, tuple[int, int]] = {}  # taken, and with how many to count again

    async def count(self, connection: AsyncConnection, pools: Collection[Pool]) -> None:
        """Count those of which it is due: before each write."""
        due = [pool for pool in pools if self._is_due(pool)]
        counted = await _count(connection, due)
        for pool in due:
            taken = counted[pool]
            self._pools[pool] = taken, taken + max(1, (self.most - taken) // 32)

    def _is_due(self, pool: Pool) -> bool:
        taken, enough = self._pools.get(pool, (0, 0))
        return taken >= enough

    def taken(self, pool: Pool) -> int:
        """At least as many as this process knows of."""
        return self._pools[pool][0]

    def take(self, pool: Pool, count: int) -> None:
        taken, enough = self._pools[pool]
        self._pools[pool] = taken + count, enough


async def write(connection: AsyncConnection, subjects: Sequence[Subject], closed: Closed, places: Places) -> None:
    """Write the earliest of each key, but none that began in a second that is closed. New keys only as far as there
    are places for them.
    """
    earliest: dict[tuple[object, ...], Subject] = {}
    for subject in subjects:
        key = _key_of(subject)
        known = earliest.get(key)
        late = closed.is_late(subject.rollout, subject.unit, subject.entry, int(subject.started_at))
        if not late and (known is None or subject.started_at < known.started_at):
            earliest[key] = subject
    pools: dict[Pool, list[Subject]] = {}
    for key in sorted(earliest):  # one order for all writers: no deadlock
        one = earliest[key]
        pool = Pool(one.rollout, one.unit, one.version, one.entry, shares_places(one.arm))
        pools.setdefault(pool, []).append(one)
    await places.count(connection, pools)
    kept = [one for pool, members in pools.items() for one in await _kept(connection, pool, members, places)]
    await insert_rows(connection, table.name, _NAMES, kept, _EARLIER)


async def _kept(connection: AsyncConnection, pool: Pool, members: list[Subject], places: Places) -> list[Subject]:
    """Those whose key is stored, and of the others those that have a place."""
    taken = places.taken(pool)
    if 2 * (taken + len(members)) <= places.most:  # there is one for everybody
        places.take(pool, len(members))
        return members
    known = await _known(connection, pool, [one.key_hash for one in members])
    strangers = [one.key_hash for one in members if (one.arm, one.key_hash) not in known]
    chosen = newcomers(strangers, taken, places.most)
    places.take(pool, len(chosen))
    admitted = set(chosen)
    return [one for one in members if (one.arm, one.key_hash) in known or one.key_hash in admitted]


async def _known(connection: AsyncConnection, pool: Pool, hashes: Sequence[str]) -> set[tuple[str, str]]:
    """Arm and hash of those that are stored."""
    known: set[tuple[str, str]] = set()
    for start in range(0, len(hashes), _KNOWN_AT_ONCE):
        some = table.c.key_hash.in_(hashes[start : start + _KNOWN_AT_ONCE])
        rows = await connection.execute(select(table.c.arm, table.c.key_hash).where(_of(pool), some))
        known.update((arm, key_hash) for arm, key_hash in rows)
    return known


async def _count(connection: AsyncConnection, pools: Sequence[Pool]) -> Counter[Pool]:
    """How many keys each has."""
    of_stage = [table.c[name] for name in ("rollout", "unit", "version", "entry")]
    stages = sorted({pool[:4] for pool in pools})
    found: Counter[Pool] = Counter()
    for start in range(0, len(stages), _STAGES_AT_ONCE):
        which = tuple_(*of_stage).in_(stages[start : start + _STAGES_AT_ONCE])
        query = (
            select(*of_stage, table.c.arm, func.count().label("stored")).where(which).group_by(*of_stage, table.c.arm)
        )
        for row in await connection.execute(query):
            found[Pool(row.rollout, row.unit, row.version, row.entry, shares_places(row.arm))] += row.stored
    return found


def _of(pool: Pool) -> ColumnElement[bool]:
    rollout, unit, version, entry, arms = pool
    stage = (table.c.rollout == rollout) & (table.c.unit == unit)
    return stage & (table.c.version == version) & (table.c.entry == entry) & table.c.arm.in_(arms)
