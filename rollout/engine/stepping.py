"""Branches that need not wait cost no task of their own.

A task is the dearest part of a run (on 3.11 about 5 µs, most of it for the set of all tasks). So the branches of a call
that start together take their first step in one task, in turn: one that returns without having waited is done, and the
next begins. The first that has to wait keeps the task, as if it had been made for it, and at that moment, before the
task goes to sleep, the others get tasks of their own: they still run side by side. `asyncio.current_task()`, timeouts
and cancellation are right in each of them, and each has a context of its own. A branch that had to wait gets a task at
once for the next runs (``Station.waits``). (Python 3.12 has eager tasks for this; on 3.11 a first step would run in the
caller's task, and a timeout in it would cancel the caller.)
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from rollout.context import current_run

if TYPE_CHECKING:
    from rollout.engine.branchrun import BranchRun


def first_step(run: BranchRun) -> Any:
    """Call the branch, and take the first step of its coroutine, which is kept as ``run.body``; to be called in the
    context of the run. What it waits for; raises ``StopIteration`` with the part where it waits for nothing. Another
    awaitable than a coroutine is left as it is.
    """
    current_run.set(run)
    try:
        body = run.body = run.station.branch.run(run.call)
    except StopIteration as error:  # of a plain function: the end of a coroutine it is not
        raise RuntimeError("the branch raised StopIteration") from error
    return body.send(None) if body.__class__ is CoroutineType else None


@types.coroutine
def stepped(body: Coroutine[Any, Any, Any], context: Context, waited: Any) -> Generator[Any, Any, Any]:
    """Await the rest of a coroutine in its context, which has taken its first step and waits for ``waited``."""
    while True:
        try:
            sent = yield waited
        except BaseException as error:  # a cancellation, most of all: it is the body's to handle
            step: tuple[Callable[[Any], Any], Any] = body.throw, error
        else:
            step = body.send, sent
        try:
            waited = context.run(step[0], step[1])
        except StopIteration as done:
            return done.value
