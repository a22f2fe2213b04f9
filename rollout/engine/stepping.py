"""Branches that need not wait cost no task of their own.

A task is the dearest part of a run (on 3.11 about 5 µs, most of it for the set of all tasks). So the branches of a call
that start together start in one task, in turn: one that returns without having waited is done, and the next begins. The
first that has to wait keeps the task, as if it had been made for it, and at that moment, before the task goes to sleep,
the others get tasks of their own: they still run side by side. `asyncio.current_task()`, timeouts and cancellation are
right in each of them, and each has a context of its own. (Python 3.12 has eager tasks for this; on 3.11 a first step
would run in the caller's task, and a timeout in it would cancel the caller.)
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any


@types.coroutine
def stepped(body: Coroutine[Any, Any, Any], context: Context, waits: Callable[[], None]) -> Generator[Any, Any, Any]:
    """Await a coroutine that has not begun, in a context of its own; ``waits`` is called when it first has to wait."""
    try:
        waited = context.run(body.send, None)
    except StopIteration as done:
        return done.value
    waits()
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
