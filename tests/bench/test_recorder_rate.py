"""How many trials a second the recorder takes, and whether the event loop feels it.

5 000 trials a second are offered at an even pace, each with three runs and about 1 kB of differences. Printed: trials
written a second, drops, how late the loop was (a task that asks to be woken every millisecond), the same of the idle
loop in the same run, and the longest the loop's own thread computed between two wakes, which other programs on a busy
machine do not change.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rollout.engine.recorder import Recorder
from rollout.ports import Backend, RunRecord, TrialRecord
from rollout_sql import open_backend

RATE = 5_000  # trials a second
SECONDS = float(os.environ.get("ROLLOUT_BENCH_SECONDS", "60"))
DIFFERENCES = [
    {"path": f"$.items[*].field{n}", "kind": "value", "branch": "orders", "control": "#0123456789", "candidate": "#98"}
    for n in range(10)
]
TRIAL_BYTES = 1_400


@pytest.mark.bench
async def test_sqlite_takes_5000_trials_a_second_without_a_drop(tmp_path: Path) -> None:
    report = await measured(f"sqlite:///{tmp_path / 'rollout.db'}", SECONDS)
    print(f"\nSQLite:     {report}")
    assert report.dropped == 0
    assert report.rate >= 0.99 * RATE
    assert p99(report.busy.computed) < 5.0


@pytest.mark.bench
async def test_postgresql_takes_5000_trials_a_second_without_a_drop(postgres_url: str) -> None:
    report = await measured(postgres_url, SECONDS)
    print(f"\nPostgreSQL: {report}")
    assert report.dropped == 0
    assert report.rate >= 0.99 * RATE
    assert p99(report.busy.computed) < 5.0


async def test_a_thousand_trials_a_second_are_written_on_a_busy_machine_too(tmp_path: Path) -> None:
    report = await measured(f"sqlite:///{tmp_path / 'rollout.db'}", 1.0, rate=1_000)
    assert report.dropped == 0
    assert report.written == 1_000


@dataclass
class Lateness:
    """How late wakes came, and how long the loop's thread computed between two, in milliseconds."""

    late: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        own = f"own computing p99 {p99(self.computed):.1f} max {max(self.computed):.1f}"
        return f"p99 {p99(self.late):.1f} max {max(self.late):.1f} ({own})"


def p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


@dataclass
class Report:
    offered: int
    written: int
    dropped: int
    seconds: float
    cpu: float
    busy: Lateness
    idle: Lateness

    @property
    def rate(self) -> float:
        return self.written / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.rate:,.0f} trials/s for {self.seconds:.0f} s, {self.rate * 4:,.0f} rows/s, {self.dropped} dropped; "
            f"this process {self.cpu / self.seconds:.0%} of a core; loop late ms: {self.busy}; idle: {self.idle}"
        )


async def measured(url: str, seconds: float, rate: int = RATE) -> Report:
    async with backend_at(url) as backend:
        gc.collect()
        gc.freeze()  # what was imported is not searched again: that pause (60 ms and more) is not the recorder's
        with lateness() as idle:
            await asyncio.sleep(min(2.0, seconds))
        recorder = Recorder(backend.ledger, process="bench")
        writer = asyncio.create_task(recorder.run())
        began, cpu = time.perf_counter(), time.process_time()
        with lateness() as busy:
            offered = await offer(recorder, seconds, rate)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            assert await recorder.drain(30)
        spent, used = time.perf_counter() - began, time.process_time() - cpu
        stored, _, _ = await backend.ledger.stored("bench")
        assert stored == recorder.written
        gc.unfreeze()
        return Report(offered, recorder.written, recorder.trials.dropped, spent, used, busy, idle)


async def offer(recorder: Recorder, seconds: float, rate: int) -> int:
    """Trials at an even pace, every 5 ms those that are due; how many."""
    began, offered, total = time.perf_counter(), 0, int(rate * seconds)
    while offered < total:
        due = min(total, int((time.perf_counter() - began) * rate) + 1)
        for number in range(offered, due):
            recorder.record(trial(number), TRIAL_BYTES)
        offered = due
        await asyncio.sleep(0.005)
    return offered


def trial(number: int) -> TrialRecord:
    return TrialRecord(
        id=f"{number:032x}",
        rollout="bench",
        at=time.time(),
        mode="shadow",
        outcome="mismatched",
        version=1,
        route="/profile/{id}",
        method="GET",
        key_hash="0123456789abcdef",
        control_status=200,
        control_s=0.123,
        candidate_status=200,
        candidate_s=0.045,
        differences=DIFFERENCES,
        runs=[RunRecord(branch, "shadow", "ok", 0.05, 1, 100, 20, 12_345, "small-1") for branch in ("a", "b", "c")],
    )


@asynccontextmanager
async def backend_at(url: str) -> AsyncIterator[Backend]:
    backend = await open_backend(url, migrate=True)
    try:
        yield backend
    finally:
        await backend.close()


@contextmanager
def lateness() -> Iterator[Lateness]:
    """Measures until the block ends."""
    found = Lateness()
    task = asyncio.create_task(watch(found))
    try:
        yield found
    finally:
        task.cancel()


async def watch(found: Lateness, every_s: float = 0.001) -> None:
    while True:
        asked, computed = time.perf_counter(), time.thread_time()
        await asyncio.sleep(every_s)
        found.late.append(max(0.0, time.perf_counter() - asked - every_s) * 1000)
        found.computed.append((time.thread_time() - computed) * 1000)
