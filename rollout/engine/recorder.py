"""The recorder: what was observed waits here, bounded in count and bytes, until a batch of it is in the database.

Queue full: the oldest goes, counted. Database gone: the batch under way is kept as it is and tried again under the
same id, so that nothing is written twice; what comes meanwhile waits, up to the bounds. Blocks (the counts that
gates judge) go first.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from rollout.domain.evidence import Block, Subject
from rollout.engine.waiting import RECENT, RECENT_AWAY, BlockQueue
from rollout.errors import DatabaseError
from rollout.ports import Batch, Ledger, MismatchCount, TrialRecord

log = logging.getLogger("rollout.recorder")

BATCH_TRIALS: Final = 100
BATCH_BYTES: Final = 256 * 1024
BATCH_BLOCKS: Final = 500
BATCH_SUBJECTS: Final = 1_000
MAX_SUBJECTS: Final = 20_000
MAX_PATHS: Final = 500
OTHER_PATHS: Final = "(other)"


#: A record, or the flat row of one, its rollout first, that is expanded when it is written.
Waiting = TrialRecord | tuple[Any, ...]


class TrialQueue:
    """Trials that wait to be written: at most ``most`` of them and ``max_bytes`` together; when full, the oldest
    goes.
    """

    __slots__ = ("_waiting", "bytes", "dropped", "max_bytes", "most")

    def __init__(self, most: int, max_bytes: int) -> None:
        self.most = most
        self.max_bytes = max_bytes
        self.bytes = 0
        self.dropped = 0
        self._waiting: deque[tuple[Waiting, int]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: Waiting, size: int) -> int:
        """Add a record of about ``size`` bytes; how many older ones went for it."""
        self._waiting.append((record, size))
        self.bytes += size
        went = 0
        while len(self._waiting) > self.most or (self.bytes > self.max_bytes and len(self._waiting) > 1):
            self.bytes -= self._waiting.popleft()[1]
            went += 1
        self.dropped += went
        return went

    def take(self, most: int, max_bytes: int) -> list[Waiting]:
        """The oldest records: at most ``most``, and ``max_bytes`` together (one at least)."""
        taken: list[Waiting] = []
        size = 0
        while self._waiting and len(taken) < most and (not taken or size + self._waiting[0][1] <= max_bytes):
            record, own = self._waiting.popleft()
            taken.append(record)
            size += own
        self.bytes -= size
        return taken


class Recorder:
    """See the module. ``seal`` gives the blocks and subjects that are due; ``wrote`` is told how many trials of a
    rollout were stored.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        process: str,
        most: int = 20_000,
        max_bytes: int = 32 * 2**20,
        every_s: float = 0.2,
        seal: Callable[[], tuple[Sequence[Block], Sequence[Subject]]] | None = None,
        wrote: Callable[[str, int], None] | None = None,
        dropped: Callable[[str, str, int], None] | None = None,
        expand: Callable[[tuple[Any, ...]], TrialRecord] | None = None,
    ) -> None:
        self.trials = TrialQueue(most, max_bytes)
        self.blocks = BlockQueue()
        self.subjects: deque[Subject] = deque()
        self._blocks_refused = 0
        self.subjects_dropped = 0
        self.written = 0
        self.failures = 0
        self.healthy = True
        self._ledger = ledger
        self._process = process
        self._every_s = every_s
        self._seal = seal
        self._wrote = wrote
        self._dropped = dropped
        self._expand = expand
        self._mismatches: dict[tuple[str, str, str, str], MismatchCount] = {}
        self._paths: dict[str, int] = {}
        self._batch: Batch | None = None
        self._numbers = itertools.count(1)
        self._run_id = os.urandom(8).hex()
        self._wake = asyncio.Event()

    # ---- what the request path calls

    def record(self, record: Waiting, size: int) -> None:
        """Queue a trial of about ``size`` bytes."""
        went = self.trials.add(record, size)
        if went and self._dropped is not None:
            self._dropped(record[0] if isinstance(record, tuple) else record.rollout, "queue_full", went)
        if len(self.trials) >= BATCH_TRIALS:
            self._wake.set()

    def mismatch(self, rollout: str, branch: str, path: str, kind: str) -> MismatchCount:
        """The count of a path that differs, in the batch that comes next. At most 500 paths a rollout, then
        ``(other)``.
        """
        key = (rollout, branch, path, kind)
        found = self._mismatches.get(key)
        if found is None:
            if self._paths.get(rollout, 0) >= MAX_PATHS and path != OTHER_PATHS:
                return self.mismatch(rollout, branch, OTHER_PATHS, kind)
            self._paths[rollout] = self._paths.get(rollout, 0) + 1
            found = self._mismatches[key] = MismatchCount(rollout, branch, path, kind)
        return found

    @property
    def blocks_dropped(self) -> int:
        """Blocks that no database will ever have."""
        return self.blocks.dropped + self._blocks_refused

    # ---- the writer

    async def run(self) -> None:
        """Write until cancelled. A batch that is full is written at once; not while the database is away, which would
        be asked a hundred times a second then.
        """
        delay = self._every_s
        while True:
            if self.healthy:
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
            else:
                await asyncio.sleep(delay)
            self._wake.clear()
            try:
                written = await self.write_all()
            except Exception:  # a defect of ours: the evidence of a second may be lost, the writer must not be
                log.exception("the writer failed and goes on", extra={"event": "writer_failed"})
                written = False
            delay = self._every_s if written else min(5.0, max(0.25, delay * 2))

    async def write_all(self) -> bool:
        """Write what waits, batch after batch; False when the database failed: the batch stays for the next try."""
        self._collect()
        while (batch := self._next()) is not None:
            try:
                await self._ledger.append(batch)
            except DatabaseError as error:
                self._failed(error)
                return False
            except Exception as error:  # a defect must not end the writer: this batch goes, counted, the next may pass
                log.exception("a batch could not be written and was dropped", extra={"event": "batch_dropped"})
                self._failed(error)
                self._drop(batch)
                continue
            self._done(batch)
            await asyncio.sleep(0)
        return True

    async def drain(self, within_s: float) -> bool:
        """Write everything that waits, for at most ``within_s`` seconds; whether all of it was written."""
        try:
            async with asyncio.timeout(within_s):
                while not await self.write_all():  # noqa: ASYNC110 - nothing tells when the database is back
                    await asyncio.sleep(0.1)
        except TimeoutError:
            left = len(self.trials) + (len(self._batch.trials) if self._batch else 0)
            log.warning("%d trials were not written before the process ended", left, extra={"event": "drain_timeout"})
            return False
        return True

    def _collect(self) -> None:
        if self._seal is None:
            return
        blocks, subjects = self._seal()
        self.blocks.extend(blocks, RECENT if self.healthy else RECENT_AWAY)
        self.subjects.extend(subjects)
        while len(self.subjects) > MAX_SUBJECTS:
            self.subjects.popleft()
            self.subjects_dropped += 1

    def _next(self) -> Batch | None:
        """The batch that failed last time, or a new one of what waits; None when nothing does."""
        if self._batch is None and (self.trials or self.blocks or self.subjects or self._mismatches):
            self._batch = Batch(
                f"{self._run_id}-{next(self._numbers)}",
                self._process,
                self._records(self.trials.take(BATCH_TRIALS, BATCH_BYTES)),
                self.blocks.take(BATCH_BLOCKS),
                _take(self.subjects, BATCH_SUBJECTS),
                list(self._mismatches.values()),
            )
            self._mismatches = {}
            self._paths = {}
        return self._batch

    def _records(self, waiting: Sequence[Waiting]) -> list[TrialRecord]:
        """The records, rows expanded. A row of which none can be made is dropped, so that the others are not."""
        records: list[TrialRecord] = []
        for one in waiting:
            if isinstance(one, TrialRecord):
                records.append(one)
                continue
            try:
                assert self._expand is not None
                records.append(self._expand(one))
            except Exception:
                log.exception("a trial could not be written and was dropped", extra={"event": "trial_dropped"})
                if self._dropped is not None:
                    self._dropped(one[0], "unwritable", 1)
        return records

    def _done(self, batch: Batch) -> None:
        self._batch = None
        self.written += len(batch.trials)
        if not self.healthy:
            self.healthy = True
            log.warning("the database takes writes again", extra={"event": "database_back"})
        if self._wrote is not None:
            for rollout in {record.rollout for record in batch.trials}:
                self._wrote(rollout, sum(record.rollout == rollout for record in batch.trials))

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.healthy:
            self.healthy = False
            log.error(
                "the database takes no writes; evidence waits in memory: %s", error, extra={"event": "database_gone"}
            )

    def _drop(self, batch: Batch) -> None:
        self._batch = None
        self._blocks_refused += len(batch.blocks)
        if self._dropped is not None:
            for rollout in {record.rollout for record in batch.trials}:
                self._dropped(rollout, "unwritable", sum(record.rollout == rollout for record in batch.trials))


def _take(queue: deque[Any], most: int) -> list[Any]:
    return [queue.popleft() for _ in range(min(most, len(queue)))]
