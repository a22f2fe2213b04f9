"""The ledger: what was observed. Written in batches, each whole and once; read by gates, reports and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.report_values import Reporting
from rollout.domain.state import Policy
from rollout.ports import Batch, MismatchCount, Span, Totals, TrialRecord
from rollout_sql import blocks, evidence, gates, mismatches, subjects, trials, upkeep
from rollout_sql.closed_blocks import blocks_of
from rollout_sql.database import Database
from rollout_sql.subjects import Places


class SqlLedger:
    """A ``Ledger`` over a database; the docstrings of the port hold."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._places = Places()

    async def append(self, batch: Batch) -> None:
        async with self._db.writing() as connection:
            if not await blocks.first_time(connection, self._db, batch):
                return
            counted = {block.key.rollout for block in batch.blocks}.union(one.rollout for one in batch.subjects)
            closed = await gates.closed(connection, counted)
            await trials.write(connection, batch.trials)
            await blocks.write(connection, batch.blocks, closed)
            await subjects.write(connection, batch.subjects, closed, self._places)
            await mismatches.write(connection, batch.mismatches)

    async def blocks_of(self, spans: Sequence[Span]) -> list[list[UnitBlock]]:
        return await blocks_of(self._db, spans)

    async def totals(
        self, rollout: str, since: float | None = None, until: float | None = None, version: int | None = None
    ) -> list[Totals]:
        return await evidence.totals(self._db, rollout, since, until, version)

    async def extent(self, rollout: str, since: float | None = None) -> tuple[int, int] | None:
        return await evidence.extent(self._db, rollout, since)

    async def series(
        self, rollout: str, unit: str, since: float, until: float, step_s: int
    ) -> list[tuple[int, Mapping[str, Figures]]]:
        return await evidence.series(self._db, rollout, unit, since, until, step_s)

    async def late(self, rollout: str) -> int:
        return await evidence.late(self._db, rollout)

    async def mismatches(self, rollout: str, path: str | None = None, limit: int = 100) -> list[MismatchCount]:
        async with self._db.reading() as connection:
            return await mismatches.read(connection, rollout, path, limit)

    async def trials(
        self,
        rollout: str,
        *,
        outcome: str | None = None,
        path: str | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> list[TrialRecord]:
        async with self._db.reading() as connection:
            return await trials.find(connection, rollout, outcome, path, limit, before)

    async def trial(self, trial_id: str) -> TrialRecord | None:
        async with self._db.reading() as connection:
            return await trials.one(connection, trial_id)

    async def trials_of(self, trial_ids: Sequence[str]) -> list[TrialRecord]:
        async with self._db.reading() as connection:
            return await trials.of(connection, trial_ids)

    async def sample(self, rollout: str, limit: int, since: float | None = None) -> list[TrialRecord]:
        return await trials.sample(self._db, rollout, limit, since)

    async def processes(self, rollout: str, since: float) -> list[Reporting]:
        return await evidence.processes(self._db, rollout, since)

    async def stored(self, rollout: str) -> tuple[int, float | None, float | None]:
        async with self._db.reading() as connection:
            return await trials.stored(connection, rollout)

    async def purge(
        self, *, rollout: str | None = None, older_than: float | None = None, key_hash: str | None = None
    ) -> int:
        return await upkeep.purge(self._db, rollout, older_than, key_hash)

    async def maintain(self, policies: Mapping[str, Policy]) -> Mapping[str, int]:
        return await upkeep.maintain(self._db, policies)
