"""Virtual time: an event loop whose clock jumps to the next timer whenever there is nothing left to do.

    def test_a_branch_that_hangs_is_not_waited_for():
        answer = run_virtual(search.run(call))  # 1.5 seconds of the loop's clock, a moment of yours
        assert answer.latency_s == 1.5

With pytest-asyncio, whose loops are made by this hook in ``conftest.py``:

    def pytest_asyncio_loop_factories(config, item):
        return {"virtual": VirtualLoop}

What asyncio knows of time is virtual: sleeps, timeouts, deadlines of calls. ``time.time()`` and ``time.monotonic()``
are not. Code that is never idle (``while …: await asyncio.sleep(0)``) stops the clock: nothing gives it reason to jump.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Final, TypeVar, TypeVarTuple

from rollout.errors import RolloutError

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_RESOLUTION_S: Final = 1e-9  # asyncio's, of most platforms
_MOST_TASKS: Final = 10  # in the text of an error


class Deadlock(RolloutError):
    """Nothing can happen on a ``VirtualLoop`` any more, while something still waits. The message says what, and where.

    Raised out of the call that runs the loop.
    """


def run_virtual(main: Coroutine[Any, Any, _T]) -> _T:
    """``asyncio.run`` in virtual time, which begins at 0. Raises what ``main`` raises, and ``Deadlock``."""
    with virtual_time() as runner:
        return runner.run(main)


def virtual_time() -> asyncio.Runner:
    """An ``asyncio.Runner`` on one ``VirtualLoop``, for several runs one after the other.

    Time goes on from run to run: ``with virtual_time() as runner: runner.run(first()); runner.run(second())``.
    """
    return asyncio.Runner(loop_factory=VirtualLoop)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits for a timer. ``time()``: seconds, begins at 0.

    * Timers fire in their order, each at its own time.
    * Sockets are looked at, but not waited for: what both ends of a connection do on this loop works, another process
      is always too slow.
    * While a job of an executor (``run_in_executor``, ``asyncio.to_thread``) is awaited, or inside
      ``waiting_for_real()``, it waits as any loop does. What then happens before the next timer is due takes no time.
      A job that was given to a pool directly (``rollout.run_in_pool``) is not seen: say ``waiting_for_real()``.
    * Where nothing could ever wake it, ``Deadlock`` is raised instead of waiting for ever.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._awaited = 0  # outside of this loop
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    @contextmanager
    def waiting_for_real(self) -> Iterator[None]:
        """Wait for real meanwhile: for threads that are no jobs of this loop's, another process, a child."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1

    @property
    def waits_for_real(self) -> bool:
        """Whether something outside of this loop is awaited."""
        return self._awaited > 0

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        job = super().run_in_executor(executor, func, *args)
        self._awaited += 1
        job.add_done_callback(self._job_done)
        return job

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._awaited -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's
        with self.waiting_for_real():  # its threads are joined by another
            await super().shutdown_default_executor(*([] if timeout is None else [timeout]))

    def idle(self, timeout_s: float | None) -> None:
        """Nothing is ready, and the next timer is due in ``timeout_s`` seconds; None: there is none."""
        if timeout_s is None:  # never while something is awaited for real: that select has no end of its own
            raise Deadlock(_letter(self))
        self._now = _after(self._now, timeout_s)


class _Selector(selectors.DefaultSelector):
    """Looks at the sockets of a loop, and tells the loop where it would have waited."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout if self._loop.waits_for_real else 0)
        if not ready and timeout != 0:
            self._loop.idle(timeout)
        return ready


def _after(now: float, seconds: float) -> float:
    """The time after so many seconds.

    A timer fires once the clock and its resolution together are past it. From 50 days on the resolution is lost in
    rounding, and a clock that stood at the timer would stand there for ever: so it goes a little beyond.
    """
    then = now + seconds
    return then if then + _RESOLUTION_S > then else then + 2 * math.ulp(then)


def _letter(loop: VirtualLoop) -> str:
    waiting = sorted(_whereabouts(task) for task in asyncio.all_tasks(loop))
    more = [f"and {len(waiting) - _MOST_TASKS} more"] if len(waiting) > _MOST_TASKS else []
    lines = "\n".join(f"  - {line}" for line in [*waiting[:_MOST_TASKS], *more])
    return (
        f"Nothing can happen any more at {loop.time():g} s of virtual time: no timer is set, no socket is ready, "
        f"no job of an executor is under way, and {_tasks(len(waiting))}:\n{lines}\n"
        "Give what they wait for a timeout, or set it. If a thread or another process is to wake them, wait for it "
        "inside `with loop.waiting_for_real():`."
    )


def _tasks(count: int) -> str:
    return "1 task waits" if count == 1 else f"{count} tasks wait"


def _whereabouts(task: asyncio.Task[Any]) -> str:
    """The name of a task and the functions that it waits in, from the outermost, each with its line."""
    trail: list[str] = []
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None)
        if frame is not None:
            trail.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        inner = getattr(inner, "cr_await", None)
    return f"{task.get_name()} in {' > '.join(trail)}"
