"""The recorder: nothing twice, nothing half, bounded, and bounded in time when it must end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from rollout.domain.evidence import Block, Subject
from rollout.engine.recorder import BATCH_TRIALS, MAX_PATHS, OTHER_PATHS, Recorder
from rollout.errors import DatabaseError
from rollout.ports import Batch, TrialRecord
from rollout.testing import MemoryBackend, memory_backend, sample_block, sample_subject, sample_trial
from tests.support.spans import closed_blocks
from tests.support.trials import LoopClock

pytestmark = pytest.mark.looptime

GONE = DatabaseError("gone")


def recorder_of(backend: MemoryBackend, **options: Any) -> Recorder:
    return Recorder(backend.ledger, process="p1", **options)


async def stored(backend: MemoryBackend, rollout: str = "profile") -> list[str]:
    """The ids of the stored trials, oldest first."""
    return [trial.id for trial in reversed(await backend.ledger.trials(rollout, limit=100_000))]


async def calls(backend: MemoryBackend) -> int:
    return sum(total.figures["calls"] for total in await backend.ledger.totals("profile"))


def offer(recorder: Recorder, numbers: Iterable[int], size: int = 100) -> list[str]:
    made = [sample_trial(number) for number in numbers]
    for trial in made:
        recorder.record(trial, size)
    return [trial.id for trial in made]


class Sealing:
    """What the engine would seal: blocks and subjects that are handed out once."""

    def __init__(self, *blocks: Block, subjects: Iterable[Subject] = ()) -> None:
        self.blocks = list(blocks)
        self.subjects = list(subjects)

    def __call__(self) -> tuple[list[Block], list[Subject]]:
        blocks, self.blocks = self.blocks, []
        subjects, self.subjects = self.subjects, []
        return blocks, subjects


# A database that goes and comes


async def test_what_waits_while_the_database_is_away_is_written_once_when_it_is_back() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend, seal=Sealing(sample_block(1), sample_block(2)))
    backend.fail_with(GONE)
    ids = offer(recorder, range(250))
    assert not await recorder.write_all()
    assert not await recorder.write_all()
    ids += offer(recorder, range(250, 300))
    backend.heal()
    assert await recorder.write_all()
    assert await stored(backend) == ids
    assert await calls(backend) == 2
    assert recorder.written == 300


async def test_a_batch_whose_answer_was_lost_is_tried_again_under_its_id_and_counts_once() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend, seal=Sealing(sample_block(1)))
    offer(recorder, range(3))
    recorder.mismatch("profile", "orders", "$.a", "value").count += 1
    backend.fail_with(GONE, only=("append",), done_first=True)
    assert not await recorder.write_all()
    backend.heal()
    assert await recorder.write_all()
    assert len(await stored(backend)) == 3
    assert await calls(backend) == 1
    assert [found.count for found in await backend.ledger.mismatches("profile")] == [1]


async def test_a_batch_keeps_its_id_and_content_over_every_try() -> None:
    seen: list[Batch] = []

    class Refusing:
        async def append(self, batch: Batch) -> None:
            seen.append(batch)
            if len(seen) < 4:
                raise GONE

    recorder = Recorder(Refusing(), process="p1")  # type: ignore[arg-type]  # a ledger that only writes
    ids = offer(recorder, range(2))
    for _ in range(3):
        assert not await recorder.write_all()
        offer(recorder, range(5, 7))
    assert await recorder.write_all()
    assert len({batch.id for batch in seen[:4]}) == 1
    assert all([trial.id for trial in batch.trials] == ids for batch in seen[:4])
    assert len(seen[4].trials) == 6


async def test_a_write_that_is_cancelled_is_written_again_under_its_id() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend, every_s=0.1)
    offer(recorder, range(3))
    writer = asyncio.create_task(recorder.run())
    backend.hang(only=("append",))
    await asyncio.sleep(1)
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    backend.heal()
    assert await recorder.drain(1.0)
    assert len(await stored(backend)) == 3


async def test_the_writer_tries_again_later_and_later_but_within_five_seconds() -> None:
    tries: list[float] = []

    class Refusing:
        async def append(self, batch: Batch) -> None:
            tries.append(asyncio.get_running_loop().time())
            raise GONE

    recorder = Recorder(Refusing(), process="p1", every_s=0.2)  # type: ignore[arg-type]
    offer(recorder, range(1))
    writer = asyncio.create_task(recorder.run())
    await asyncio.sleep(60)
    writer.cancel()
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps[:4] == pytest.approx([0.4, 0.8, 1.6, 3.2], abs=0.02)
    assert max(gaps) <= 5.05
    assert recorder.failures == len(tries)


async def test_a_full_queue_does_not_make_the_writer_hammer_a_database_that_is_away() -> None:
    tries: list[float] = []

    class Refusing:
        async def append(self, batch: Batch) -> None:
            tries.append(asyncio.get_running_loop().time())
            raise GONE

    recorder = Recorder(Refusing(), process="p1", every_s=0.2, most=1_000)  # type: ignore[arg-type]
    writer = asyncio.create_task(recorder.run())
    for _ in range(100):
        offer(recorder, range(200))
        await asyncio.sleep(0.1)
    writer.cancel()
    assert len(tries) < 12


async def test_a_database_that_goes_and_comes_is_told_once_each(caplog: pytest.LogCaptureFixture) -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend)
    backend.fail_with(GONE)
    offer(recorder, range(1))
    for _ in range(5):
        await recorder.write_all()
    assert not recorder.healthy
    backend.heal()
    await recorder.write_all()
    assert recorder.healthy
    events = [getattr(record, "event", "") for record in caplog.records if record.levelno >= logging.WARNING]
    assert events == ["database_gone", "database_back"]


async def test_a_batch_that_cannot_be_written_at_all_goes_and_the_next_one_passes() -> None:
    dropped: list[tuple[str, str, int]] = []

    class Defective:
        batches = 0

        async def append(self, batch: Batch) -> None:
            self.batches += 1
            if self.batches == 1:
                raise TypeError("not JSON")

    recorder = Recorder(Defective(), process="p1", dropped=lambda *what: dropped.append(what))  # type: ignore[arg-type]
    offer(recorder, range(BATCH_TRIALS + 5))
    assert await recorder.write_all()
    assert dropped == [("profile", "unwritable", BATCH_TRIALS)]
    assert recorder.written == 5


async def test_a_row_that_cannot_be_expanded_costs_that_row_and_not_the_writer() -> None:
    backend = memory_backend(LoopClock())
    dropped: list[tuple[str, str, int]] = []

    def expand(row: tuple[Any, ...]) -> TrialRecord:
        return sample_trial(row[1])  # raises for a row that is too short

    recorder = recorder_of(backend, expand=expand, dropped=lambda *what: dropped.append(what))
    recorder.record(("profile",), 10)
    recorder.record(("profile", 7), 10)
    assert await recorder.write_all()
    assert await stored(backend) == [sample_trial(7).id]
    assert dropped == [("profile", "unwritable", 1)]


# Bounds


async def test_the_oldest_go_first_when_too_many_wait_and_are_counted() -> None:
    backend = memory_backend(LoopClock())
    dropped: list[tuple[str, str, int]] = []
    recorder = recorder_of(backend, most=10, dropped=lambda *what: dropped.append(what))
    ids = offer(recorder, range(25))
    assert len(recorder.trials) == 10
    assert recorder.trials.dropped == 15
    assert sum(count for _, _, count in dropped) == 15
    assert {(rollout, reason) for rollout, reason, _ in dropped} == {("profile", "queue_full")}
    await recorder.write_all()
    assert await stored(backend) == ids[15:]


async def test_the_oldest_go_first_when_they_hold_too_many_bytes() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend, max_bytes=1_000)
    ids = offer(recorder, range(5), size=300)
    assert (len(recorder.trials), recorder.trials.bytes, recorder.trials.dropped) == (3, 900, 2)
    await recorder.write_all()
    assert recorder.trials.bytes == 0
    assert await stored(backend) == ids[2:]


async def test_one_record_above_the_bound_is_kept_until_the_next_comes() -> None:
    recorder = recorder_of(memory_backend(LoopClock()), max_bytes=1_000)
    offer(recorder, range(1), size=5_000)
    assert len(recorder.trials) == 1
    offer(recorder, range(1), size=10)
    assert (len(recorder.trials), recorder.trials.bytes) == (1, 10)


async def test_paths_are_bounded_per_batch_and_the_rest_counts_as_other() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend)
    for number in range(MAX_PATHS + 50):
        recorder.mismatch("profile", "orders", f"$.p{number}", "value").count += 1
    await recorder.write_all()
    found = await backend.ledger.mismatches("profile", limit=10_000)
    assert sum(one.count for one in found) == MAX_PATHS + 50
    assert {one.path for one in found if one.count > 1} == {OTHER_PATHS}


# Order


async def test_blocks_are_written_in_the_order_of_their_seconds_and_with_the_first_batch() -> None:
    seen: list[Batch] = []

    class Watching:
        async def append(self, batch: Batch) -> None:
            seen.append(batch)

    blocks = [sample_block(second) for second in range(700)]
    recorder = Recorder(Watching(), process="p1", seal=Sealing(*blocks))  # type: ignore[arg-type]
    offer(recorder, range(250))
    await recorder.write_all()
    written = [block.key.second for batch in seen for block in batch.blocks]
    assert written == list(range(700))
    assert seen[0].blocks
    assert [len(batch.trials) for batch in seen] == [100, 100, 50]


async def test_subjects_are_written_too() -> None:
    backend = memory_backend(LoopClock())
    subjects = [sample_subject(f"{number:016x}", 1.5) for number in range(1_500)]
    recorder = recorder_of(backend, seal=Sealing(sample_block(1, "B"), subjects=subjects))
    await recorder.write_all()
    (block,) = await closed_blocks(backend.ledger, "profile", "orders", 1, 1, 0, 10)
    assert block.scored_b["calls"] == 1_500


async def test_a_full_batch_is_written_without_waiting_for_the_next_round() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend, every_s=3600.0)
    writer = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    offer(recorder, range(BATCH_TRIALS))
    await asyncio.sleep(0.01)
    assert recorder.written == BATCH_TRIALS
    writer.cancel()


# The end


async def test_a_drain_writes_everything_that_waits() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend, seal=Sealing(sample_block(1)))
    ids = offer(recorder, range(1_000))
    assert await recorder.drain(5.0)
    assert await stored(backend) == ids
    assert await calls(backend) == 1


async def test_a_drain_waits_for_a_database_that_comes_back_in_time() -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend)
    offer(recorder, range(3))
    backend.fail_with(GONE)
    asyncio.get_running_loop().call_later(2.0, backend.heal)
    assert await recorder.drain(5.0)
    assert len(await stored(backend)) == 3


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_drain_ends_in_time_whatever_the_database_does(how: str, caplog: pytest.LogCaptureFixture) -> None:
    backend = memory_backend(LoopClock())
    recorder = recorder_of(backend)
    offer(recorder, range(7))
    backend.fail_with(GONE) if how == "fails" else backend.hang()
    assert not await recorder.drain(3.0)
    assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.01)
    assert "7 trials were not written" in caplog.text
