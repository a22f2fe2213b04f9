"""What the command line needs of the adapters: a database opened for one verb, in the one ``asyncio.run`` there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from rollout.ports import Backend

T = TypeVar("T")
Verb = Callable[[Backend], Awaitable[T]]


def run(url: str, verb: Verb[T]) -> T:
    """Open the database, run one verb over it, close it. Never creates a database: only ``db upgrade`` does."""
    return go(_with_backend(url, verb))


def go(work: Coroutine[Any, Any, T]) -> T:
    """The command line's one ``asyncio.run``; uvloop does not pay for a single command."""
    return asyncio.run(work)


async def _with_backend(url: str, verb: Verb[T]) -> T:
    from rollout_sql import open_backend

    backend = await open_backend(url, create=False)
    try:
        return await verb(backend)
    finally:
        await backend.close()
