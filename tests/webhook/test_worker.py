"""Events are delivered at least once, resumed where they stopped, given up in the end; all in virtual time."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rollout.domain.inbox import Redelivery
from rollout.engine.inbox import Event, InboxOptions, InboxWorker
from rollout.errors import DatabaseError, Fenced
from rollout.ports import InboxEvent
from rollout.testing import FixedDice
from rollout.testing.memory_inbox import MemoryInbox
from rollout_sql import open_inbox

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

BODY = b'{"sub": "u-1", "email": "ann@example.com"}'


class LoopClock:
    """The loop's time, as the database's clock."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 1_767_614_400.0 + self.monotonic()


class World:
    """An inbox, and the workers of processes that share it."""

    def __init__(self) -> None:
        self.inbox = MemoryInbox(LoopClock())
        self.seen: list[tuple[str, int]] = []

    async def put(self, *ids: str) -> None:
        for event_id in ids:
            await self.inbox.put(InboxEvent(webhook="users", id=event_id, body=BODY), 1_000)

    def worker(self, deliver: Callable[[Event], Awaitable[Any]], holder: str = "a", **options: Any) -> InboxWorker:
        async def noting(event: Event) -> None:
            self.seen.append((event.id, event.attempt))
            await deliver(event)

        made = InboxWorker(
            self.inbox,
            "users",
            noting,
            holder=holder,
            options=InboxOptions(**options),
            dice=FixedDice(0.5),
            key=lambda payload: str(payload["sub"]),
        )
        made.start()
        return made


def kill(worker: InboxWorker) -> None:
    """What is left of a worker whose process was killed: nothing is written any more."""
    for watcher, run in worker._runs.items():
        watcher.cancel()
        run.task.cancel()
    assert worker._loop_task is not None
    worker._loop_task.cancel()


async def nothing(_: Event) -> None:
    """A delivery that works."""


async def for_ever(_: Event) -> None:
    await asyncio.sleep(1e6)


async def broken(_: Event) -> None:
    raise ValueError("no such user")


# Delivered


async def test_an_event_reaches_the_function_with_all_that_is_known_of_it() -> None:
    world, got = World(), list[Event]()

    async def deliver(event: Event) -> None:
        got.append(event)

    await world.put("e-1")
    worker = world.worker(deliver)
    await asyncio.sleep(0.1)
    (event,) = got
    assert (event.id, event.name, event.key, event.body, event.attempt) == ("e-1", "users", "u-1", BODY, 1)
    assert event.payload["email"] == "ann@example.com"
    assert event.received_at == 1_767_614_400.0
    assert worker.counts["delivered"] == 1
    assert world.inbox.body("users", "e-1") == b""
    await worker.stop(0)


async def test_an_event_of_this_process_need_not_wait_for_the_next_look() -> None:
    world = World()
    worker = world.worker(nothing, poll_s=60.0)
    await asyncio.sleep(1)
    await world.put("e-1")
    worker.wake()
    await asyncio.sleep(0.1)
    assert world.seen == [("e-1", 1)]
    await worker.stop(0)


async def test_no_more_are_under_way_than_allowed_and_the_rest_follow() -> None:
    world, most, now = World(), 0, 0

    async def slow(_: Event) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1

    await world.put(*(f"e-{n}" for n in range(10)))
    worker = world.worker(slow, concurrency=3)
    await asyncio.sleep(5)
    assert (most, worker.counts["delivered"]) == (3, 10)
    await worker.stop(0)


async def test_two_workers_share_one_inbox_and_run_nothing_twice() -> None:
    world = World()
    await world.put(*(f"e-{n}" for n in range(50)))
    workers = [world.worker(nothing, holder) for holder in ("a", "b")]
    await asyncio.sleep(5)
    assert sorted(world.seen) == sorted((f"e-{n}", 1) for n in range(50))
    assert all(worker.counts["delivered"] for worker in workers)
    for worker in workers:
        await worker.stop(0)


async def test_a_delivery_longer_than_its_lease_keeps_it() -> None:
    world = World()

    async def slow(_: Event) -> None:
        await asyncio.sleep(50)

    await world.put("e-1")
    workers = [world.worker(slow, holder, lease_s=3.0) for holder in ("a", "b")]
    await asyncio.sleep(60)
    assert world.seen == [("e-1", 1)]
    for worker in workers:
        await worker.stop(0)


# Failed


async def test_what_fails_is_tried_again_after_a_wait_that_doubles() -> None:
    world, at = World(), list[float]()

    async def failing(_: Event) -> None:
        at.append(asyncio.get_running_loop().time())
        raise ValueError("no such user")

    await world.put("e-1")
    worker = world.worker(failing, poll_s=0.01, redelivery=Redelivery(attempts=4, base_s=2.0))
    await asyncio.sleep(30)
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert waits == pytest.approx([1.0, 2.0, 4.0], abs=0.05)  # the dice always throw 0.5
    await worker.stop(0)


async def test_poison_is_dead_after_its_last_attempt_and_shown() -> None:
    world = World()
    await world.put("poison", "good")

    async def deliver(event: Event) -> None:
        if event.id == "poison":
            raise ValueError("ann@example.com cannot be mailed")

    worker = world.worker(deliver, redelivery=Redelivery(attempts=3, base_s=1.0))
    await asyncio.sleep(30)
    assert [one for one in world.seen if one[0] == "poison"] == [("poison", n) for n in (1, 2, 3)]
    (dead,) = await world.inbox.dead("users")
    assert (dead.id, dead.attempts, dead.error) == ("poison", 3, "ValueError")  # without what the error said
    assert (worker.counts["delivered"], worker.counts["failed"], worker.counts["dead"]) == (1, 3, 1)
    await worker.stop(0)


async def test_a_delivery_that_hangs_is_cut_and_tried_again() -> None:
    world = World()
    await world.put("e-1")
    worker = world.worker(for_ever, timeout_s=5.0, redelivery=Redelivery(attempts=2, base_s=0.0))
    await asyncio.sleep(20)
    (dead,) = await world.inbox.dead("users")
    assert (dead.attempts, dead.error, worker.counts["timed_out"]) == (2, "timeout", 2)
    await worker.stop(0)


async def test_a_delivery_that_swallows_its_cancellation_keeps_its_place_until_it_ends() -> None:
    world = World()

    async def stubborn(event: Event) -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.sleep(100)

    await world.put("e-1", "e-2")
    worker = world.worker(stubborn, concurrency=1, timeout_s=5.0, lease_s=3.0)
    await asyncio.sleep(100)
    assert world.seen == [("e-1", 1)]
    await asyncio.sleep(10)
    assert world.seen == [("e-1", 1), ("e-2", 1)]  # what ended well is delivered, although it was cut
    await worker.stop(0)


async def test_a_body_that_is_no_json_and_a_key_that_raises_are_failures_like_others() -> None:
    world = World()
    await world.inbox.put(InboxEvent(webhook="users", id="e-1", body=b"<xml/>"), 10)
    await world.inbox.put(InboxEvent(webhook="users", id="e-2", body=b"{}"), 10)
    worker = world.worker(nothing, redelivery=Redelivery(attempts=1))
    await asyncio.sleep(1)
    assert {dead.error for dead in await world.inbox.dead("users")} == {"JSONDecodeError", "KeyError"}
    await worker.stop(0)


# Crashed


async def test_a_crash_between_the_acknowledgement_and_the_delivery_loses_nothing() -> None:
    world = World()
    await world.put("e-1")
    await world.inbox.take("users", "gone", 10, 30)  # a process that ended here
    worker = world.worker(nothing)
    await asyncio.sleep(29)
    assert world.seen == []
    await asyncio.sleep(3)
    assert world.seen == [("e-1", 2)]
    await worker.stop(0)


async def test_after_a_crash_in_the_middle_the_steps_that_are_done_are_not_run_again() -> None:
    world, sent = World(), list[tuple[str, str]]()

    async def notify(event: Event) -> None:
        for step in ("mail", "sms", "push"):
            if step not in event.done:
                sent.append((step, event.idempotency_key(step)))
                if step == "sms" and event.attempt == 1:
                    await for_ever(event)
                await event.finish(step)

    await world.put("e-1")
    first = world.worker(notify, "a")
    await asyncio.sleep(1)
    kill(first)
    second = world.worker(notify, "b")
    await asyncio.sleep(60)
    assert [step for step, _ in sent] == ["mail", "sms", "sms", "push"]
    assert sent[1][1] == sent[2][1]  # the same key for the same step
    assert len({key for _, key in sent}) == 3
    assert second.counts["delivered"] == 1
    await second.stop(0)


async def test_an_event_that_takes_every_process_with_it_dies_without_another_attempt() -> None:
    world = World()
    await world.put("e-1")
    for _ in range(2):
        await world.inbox.take("users", "gone", 10, 0)
    worker = world.worker(nothing, redelivery=Redelivery(attempts=2))
    await asyncio.sleep(2)
    (dead,) = await world.inbox.dead("users")
    assert (dead.error, world.seen) == ("crash", [])
    await worker.stop(0)


async def test_a_late_worker_is_cut_and_may_finish_no_step() -> None:
    world, raised = World(), list[BaseException]()

    async def deliver(event: Event) -> None:
        try:
            await asyncio.sleep(4)
            await event.finish("mail")
        except BaseException as error:
            raised.append(error)
            raise

    await world.put("e-1")
    worker = world.worker(deliver, lease_s=30.0)
    await asyncio.sleep(1)
    world.inbox._rows["users", "e-1"].due_at = 0.0  # as if the process had been frozen for a minute
    (taken,) = await world.inbox.take("users", "b", 1, 30)
    await asyncio.sleep(10)
    assert [type(error) for error in raised] == [Fenced]
    assert worker.counts["lost"] == 1
    await world.inbox.complete(taken)
    await worker.stop(0)


# The database is away


async def test_while_the_database_is_away_what_is_under_way_ends_and_is_written_when_it_is_back() -> None:
    world = World()

    async def slow(_: Event) -> None:
        await asyncio.sleep(5)

    await world.put("e-1")
    worker = world.worker(slow)
    await asyncio.sleep(1)
    world.inbox.fail_with(DatabaseError("gone"))
    await asyncio.sleep(10)
    world.inbox.heal()
    await asyncio.sleep(10)
    assert (worker.counts["delivered"], world.seen) == (1, [("e-1", 1)])
    await worker.stop(0)


async def test_a_database_that_is_away_for_longer_than_the_lease_ends_the_delivery() -> None:
    world = World()
    await world.put("e-1")
    worker = world.worker(for_ever, lease_s=30.0, timeout_s=1000.0)
    await asyncio.sleep(1)
    world.inbox.fail_with(DatabaseError("gone"))
    await asyncio.sleep(60)
    assert worker.counts["lost"] == 1
    world.inbox.heal()
    await asyncio.sleep(10)
    assert world.seen == [("e-1", 1), ("e-1", 2)]
    await worker.stop(0)


async def test_while_the_database_is_away_it_is_asked_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    asked: list[float] = []
    before = world.inbox.faults.before

    async def noting(method: str) -> None:
        asked.append(asyncio.get_running_loop().time())
        await before(method)

    monkeypatch.setattr(world.inbox.faults, "before", noting)
    world.inbox.fail_with(DatabaseError("gone"))
    worker = world.worker(nothing, poll_s=0.1)
    await asyncio.sleep(60)
    assert 10 < len(asked) < 20
    await worker.stop(0)


# Kept house


async def test_what_ended_long_ago_is_forgotten() -> None:
    world = World()
    await world.put("e-1")
    worker = world.worker(nothing, ttl_s=1_000.0)
    await asyncio.sleep(900)
    assert world.inbox.body("users", "e-1") is not None
    await asyncio.sleep(200)
    assert world.inbox.body("users", "e-1") is None
    await worker.stop(0)


# Stopped


async def test_a_shutdown_waits_for_what_ends_in_time_and_gives_the_rest_back_uncounted() -> None:
    world = World()

    async def deliver(event: Event) -> None:
        await asyncio.sleep(2 if event.id == "short" else 1e6)

    await world.put("short", "long")
    worker = world.worker(deliver, timeout_s=1000.0)
    await asyncio.sleep(1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await worker.stop(5)
    assert loop.time() - began == pytest.approx(5, abs=0.1)
    assert (worker.counts["delivered"], worker.counts["shutdown"]) == (1, 1)
    (again,) = await world.inbox.take("users", "b", 10, 30)
    assert (again.id, again.attempt) == ("long", 1)


async def test_a_shutdown_is_bounded_also_where_a_delivery_does_not_let_go() -> None:
    world, let_go = World(), asyncio.Event()

    async def stubborn(_: Event) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    await world.put("e-1")
    worker = world.worker(stubborn)
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await worker.stop(2)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    let_go.set()
    assert (await world.inbox.counts("users")).under_way == 1  # until its lease runs out


async def test_a_shutdown_is_bounded_also_where_the_database_hangs() -> None:
    world = World()
    await world.put("e-1")
    worker = world.worker(for_ever)
    await asyncio.sleep(1)
    world.inbox.faults.hang(())
    await asyncio.sleep(5)
    began = asyncio.get_running_loop().time()
    await worker.stop(2)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    assert worker._tasks() == set()


async def test_nothing_is_left_running_after_a_shutdown() -> None:
    world = World()
    await world.put("e-1", "e-2")
    worker = world.worker(for_ever)
    await asyncio.sleep(1)
    await worker.stop(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert world.seen == [("e-1", 1), ("e-2", 1)]


# Steps


@pytest.mark.parametrize("step", ["", "a" * 201, "line\nbreak", 7, None])
async def test_a_step_without_a_proper_name_is_refused(step: Any) -> None:
    world, raised = World(), list[str]()

    async def deliver(event: Event) -> None:
        for use in (lambda: event.finish(step), lambda: event.idempotency_key(step)):
            try:
                result = use()
                if asyncio.iscoroutine(result):
                    await result
            except ValueError as error:
                raised.append(str(error))

    await world.put("e-1")
    worker = world.worker(deliver)
    await asyncio.sleep(1)
    assert len(raised) == 2
    assert all("cannot name a step" in text for text in raised)
    await worker.stop(0)


# A real process, really killed

CHILD = """
import asyncio, sys
from rollout.engine.inbox import InboxOptions, InboxWorker
from rollout.ports import InboxEvent
from rollout_sql import open_inbox

async def deliver(event):
    await event.finish("mail")
    print("half done", flush=True)
    await asyncio.sleep(1e6)

async def main():
    inbox = await open_inbox(sys.argv[1])
    await inbox.put(InboxEvent(webhook="users", id="e-1", body=b'{"sub": "u-1"}'), 10)
    InboxWorker(inbox, "users", deliver, holder="killed", options=InboxOptions(lease_s=1.0)).start()
    await asyncio.sleep(1e6)

asyncio.run(main())
"""


def begin_and_kill(url: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "half done\n"
    child.kill()
    child.communicate()


@pytest.mark.looptime(False)
async def test_what_a_killed_process_had_begun_is_resumed_from_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rollout.db'}"
    await asyncio.to_thread(begin_and_kill, url)
    resumed = asyncio.get_running_loop().create_future()

    async def deliver(event: Event) -> None:
        resumed.set_result((event.id, event.attempt, event.done, event.payload))

    inbox = await open_inbox(url)
    worker = InboxWorker(inbox, "users", deliver, holder="next", options=InboxOptions(poll_s=0.05))
    worker.start()
    async with asyncio.timeout(30):
        assert await resumed == ("e-1", 2, frozenset({"mail"}), {"sub": "u-1"})
    await worker.stop(5)
    assert worker.counts["delivered"] == 1
    await inbox.close()
