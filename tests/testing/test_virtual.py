"""Virtual time: what waits is over at once, in the order and at the times that real time would have given."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import Branch, Budget, Call, FanOut, FanOutFailed, in_shadow
from rollout.engine.timers import clock_of
from rollout.testing import Deadlock, VirtualLoop, chaos, run_virtual, virtual_time

DAY_S = 86_400.0


async def orders(call: Call) -> list[int]:
    return [1, 2]


async def hang(call: Call) -> None:
    await asyncio.Event().wait()


def now() -> float:
    return asyncio.get_running_loop().time()


async def duration(of: Awaitable[object]) -> float:
    began = now()
    await of
    return now() - began


# Time


@pytest.mark.parametrize("seconds", [0.0, 1e-12, 0.001, 1.5, 3 * DAY_S, 400 * DAY_S])
def test_a_sleep_takes_its_seconds_of_virtual_time(seconds: float) -> None:
    assert run_virtual(duration(asyncio.sleep(seconds))) == pytest.approx(seconds, rel=1e-9, abs=1e-9)


def test_time_stands_still_while_something_is_ready() -> None:
    async def busy() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert run_virtual(busy()) == 0.0


@given(st.lists(st.floats(0.0, 1e6), max_size=20))
def test_timers_fire_in_order_each_at_its_time(delays: list[float]) -> None:
    fired: list[tuple[float, float]] = []

    async def sleeper(delay: float) -> None:
        await asyncio.sleep(delay)
        fired.append((delay, now()))

    async def main() -> None:
        await asyncio.gather(*map(sleeper, delays))

    run_virtual(main())
    assert sorted(delays) == pytest.approx([delay for delay, _ in fired], abs=1e-8)
    assert [at for _, at in fired] == pytest.approx([delay for delay, _ in fired], abs=1e-8)


def test_the_time_of_the_engine_is_that_of_the_loop() -> None:
    async def main() -> float:
        time = clock_of(asyncio.get_running_loop())
        await asyncio.sleep(7)
        return time()

    assert run_virtual(main()) == 7.0


def test_time_goes_on_from_run_to_run_of_one_runner() -> None:
    with virtual_time() as runner:
        assert [runner.run(duration(asyncio.sleep(2))), runner.get_loop().time()] == [2.0, 2.0]
        assert [runner.run(duration(asyncio.sleep(3))), runner.get_loop().time()] == [3.0, 5.0]


def test_what_main_raises_is_raised() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        run_virtual(fails())


# Fan-outs


def test_a_budget_of_1500_ms_is_kept_though_a_branch_hangs() -> None:
    search = FanOut(
        "search",
        [Branch("orders", orders), Branch("tickets", hang, required=False)],
        budget=Budget(latency_s=1.5),
    )
    answer = run_virtual(search.run())
    assert (answer.value, answer.runs["tickets"].outcome) == ({"orders": [1, 2]}, "hard_timeout")
    assert answer.latency_s == pytest.approx(1.5, abs=1e-3)


def test_a_required_branch_that_hangs_fails_the_call_at_its_hard_timeout() -> None:
    async def main() -> float:
        with pytest.raises(FanOutFailed):
            await FanOut("search", [Branch("tickets", hang, hard_timeout_s=0.25)]).run()
        return now()

    assert run_virtual(main()) == pytest.approx(0.25, abs=1e-3)


def test_one_fan_out_runs_on_one_virtual_loop_after_the_other() -> None:
    search = FanOut("search", [chaos(Branch("orders", orders), delay=0.5)])
    assert [run_virtual(search.run()).latency_s for _ in range(3)] == [0.5, 0.5, 0.5]
    assert not in_shadow()


# Deadlocks


def test_a_wait_that_nothing_can_end_is_an_error_that_names_it() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.sleep(2.5)
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(waits_for_nobody(), name="the-one")

    with pytest.raises(Deadlock, match=r"(?s)at 2\.5 s.* 2 tasks wait:.*the-one in .*nobody:\d+ > Event.wait"):
        run_virtual(main())


def test_the_error_of_a_deadlock_names_ten_tasks_at_most() -> None:
    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(30)))

    with pytest.raises(Deadlock, match=r"31 tasks wait:(\n  - Task-.*){10}\n  - and 21 more\n"):
        run_virtual(main())


def test_after_a_deadlock_every_task_is_cancelled() -> None:
    ended: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("main")

    with pytest.raises(Deadlock, match="1 task waits"):
        run_virtual(main())
    assert ended == ["main"]


# Threads, sockets


def test_a_job_of_an_executor_takes_no_virtual_time() -> None:
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()

        def job() -> str:
            for _ in range(3):  # each time the loop has become idle before it is asked again
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
            return "done"

        await asyncio.sleep(1)
        return await asyncio.wait_for(asyncio.to_thread(job), 3600), now()

    assert run_virtual(main()) == ("done", 1.0)


def test_a_job_is_waited_for_though_no_timer_is_set() -> None:
    async def main() -> int:
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, sum, (1, 2, 3))

    assert run_virtual(main()) == 6


def test_a_job_may_wait_for_a_timer_of_the_loop() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result())
        return now()

    assert run_virtual(main()) == pytest.approx(0.01)


def test_a_job_that_nobody_waits_for_any_more_does_not_hold_the_time() -> None:
    go = threading.Event()

    async def main() -> float:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def job() -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait()

        waiter = loop.run_in_executor(None, job)
        await begun.wait()
        waiter.cancel()
        await asyncio.sleep(3600)
        go.set()
        return now()

    assert run_virtual(main()) == 3600.0


def test_a_job_that_fails_raises_and_time_goes_on() -> None:
    async def main() -> float:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await duration(asyncio.sleep(3600))

    assert run_virtual(main()) == 3600.0


def test_a_thread_of_the_user_s_is_waited_for_where_that_is_said() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        done = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,))
        loop.call_soon(thread.start)
        with loop.waiting_for_real():
            await asyncio.wait_for(done.wait(), 3600)
        thread.join()
        return now()

    assert run_virtual(main()) == 0.0


def test_what_a_socket_has_is_read_before_time_moves_on() -> None:
    async def main() -> tuple[bytes, float]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            asyncio.get_running_loop().call_later(2, theirs.send, b"ping")
            got = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 9), 60)
        return got, now()

    assert run_virtual(main()) == (b"ping", 2.0)


def test_a_socket_that_stays_silent_times_out() -> None:
    async def main() -> float:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 9), 60)
        return now()

    assert run_virtual(main()) == 60.0


# Other people's runners

CONFTEST = """
from rollout.testing import VirtualLoop

def pytest_asyncio_loop_factories(config, item):
    return {"virtual": VirtualLoop}
"""
USERS_TEST = """
import asyncio
import pytest
import pytest_asyncio

@pytest_asyncio.fixture
async def slow():
    await asyncio.sleep(3600)
    return asyncio.get_running_loop().time()

@pytest.mark.asyncio
async def test_an_hour_is_over(slow):
    assert slow == 3600.0
    await asyncio.to_thread(str)
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 7200.0
"""


def test_it_is_a_loop_factory_of_pytest_asyncio(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_users.py").write_text(USERS_TEST)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:looptime"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr
