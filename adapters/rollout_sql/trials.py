"""Trials and the runs of their branches: written many at a time, found again by id, outcome and path."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from rollout.ports import RunRecord, TrialRecord
from rollout_sql.database import Database
from rollout_sql.documents import insert_rows
from rollout_sql.sentences import plain
from rollout_sql.tables import branch_runs, trials

_TRIALS_AT_ONCE: Final = 34  # packing and sending them holds the event loop for about 1 ms
_RUNS_OF_AT_ONCE: Final = 100  # and the runs of so many trials for 1 ms
_SAMPLED_AT_ONCE: Final = 100  # making them of rows takes about 3 ms
T = TypeVar("T")
_TRIAL = tuple(field.name for field in fields(TrialRecord) if field.name != "runs")
_HEAD = _TRIAL[: _TRIAL.index("differences")]  # which is the last of them
_RUN = tuple(field.name for field in fields(RunRecord))
_values_of_trial = attrgetter(*_TRIAL)
_values_of_run = attrgetter(*_RUN)


async def write(connection: AsyncConnection, records: Sequence[TrialRecord]) -> None:
    """Store trials with their runs. One whose id is there is there already."""
    for some in _parts(records, _TRIALS_AT_ONCE):
        rows = [_values_of_trial(trial) for trial in some]
        await insert_rows(connection, trials.name, _TRIAL, rows, "ON CONFLICT DO NOTHING")
    for some in _parts(records, _RUNS_OF_AT_ONCE):
        runs = [(trial.id, place, *_values_of_run(run)) for trial in some for place, run in enumerate(trial.runs)]
        await insert_rows(connection, branch_runs.name, ("trial", "position", *_RUN), runs, "ON CONFLICT DO NOTHING")


async def find(
    connection: AsyncConnection, rollout: str, outcome: str | None, path: str | None, limit: int, before: str | None
) -> list[TrialRecord]:
    """Newest first."""
    query = select(trials).where(trials.c.rollout == rollout).order_by(trials.c.id.desc()).limit(limit)
    if outcome is not None:
        query = query.where(trials.c.outcome == outcome)
    if before is not None:
        query = query.where(trials.c.id < before)
    if path is not None:
        query = query.where(_differs_at(plain(path), connection.dialect.name == "sqlite"))
    return await _with_runs(connection, (await connection.execute(query)).all())


async def of(connection: AsyncConnection, trial_ids: Sequence[str]) -> list[TrialRecord]:
    """Those that are stored, oldest first."""
    query = select(trials).where(trials.c.id.in_(trial_ids)).order_by(trials.c.id)
    return await _with_runs(connection, (await connection.execute(query)).all())


async def sample(db: Database, rollout: str, limit: int, since: float | None) -> list[TrialRecord]:
    """The newest, without their differences; page by page, in transactions of their own."""
    query = select(*(trials.c[name] for name in _HEAD)).where(trials.c.rollout == rollout).order_by(trials.c.id.desc())
    if since is not None:
        query = query.where(trials.c.at >= since)
    found: list[TrialRecord] = []
    while len(found) < limit:
        size = min(_SAMPLED_AT_ONCE, limit - len(found))
        page = query.where(trials.c.id < found[-1].id) if found else query
        async with db.reading() as connection:
            rows = (await connection.execute(page.limit(size))).all()
            runs = await _runs_of(connection, [row.id for row in rows])
        for row in rows:
            trial = TrialRecord(*row)
            trial.runs = runs.get(row.id, [])
            found.append(trial)
        if len(rows) < size:
            break
    return found


async def one(connection: AsyncConnection, trial_id: str) -> TrialRecord | None:
    found = await of(connection, [trial_id])
    return found[0] if found else None


async def stored(connection: AsyncConnection, rollout: str) -> tuple[int, float | None, float | None]:
    """How many, and the times of the oldest and the newest; from the index alone."""
    query = select(func.count(), func.min(trials.c.at), func.max(trials.c.at)).where(trials.c.rollout == rollout)
    count, oldest, newest = (await connection.execute(query)).one()
    return count, oldest, newest


def _differs_at(path: str, sqlite: bool) -> ColumnElement[bool]:
    if sqlite:
        found = (
            "EXISTS (SELECT 1 FROM json_each(rollout_trials.differences) WHERE json_extract(value, '$.path') = :path)"
        )
        return text(found).bindparams(path=path)  # type: ignore[return-value]
    probe = json.dumps([{"path": path}], ensure_ascii=False)
    return text("rollout_trials.differences @> CAST(:probe AS jsonb)").bindparams(probe=probe)  # type: ignore[return-value]


async def _with_runs(connection: AsyncConnection, rows: Sequence[Any]) -> list[TrialRecord]:
    runs = await _runs_of(connection, [row.id for row in rows])
    return [_trial(row, runs.get(row.id, [])) for row in rows]


async def _runs_of(connection: AsyncConnection, trial_ids: Sequence[str]) -> dict[str, list[RunRecord]]:
    """Trial → its runs, in their order."""
    runs: dict[str, list[RunRecord]] = {}
    for ids in _parts(trial_ids, 500):
        query = select(branch_runs).where(branch_runs.c.trial.in_(ids))
        for row in await connection.execute(query.order_by(branch_runs.c.trial, branch_runs.c.position)):
            runs.setdefault(row.trial, []).append(RunRecord(*_values_of_run(row)))
    return runs


def _trial(row: Any, runs: list[RunRecord]) -> TrialRecord:
    return TrialRecord(**dict(zip(_TRIAL, _values_of_trial(row), strict=True)), runs=runs)


def _parts(all_of: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (all_of[start : start + size] for start in range(0, len(all_of), size))
