"""A database that fails, hangs or loses its answers, on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar


class Faults:
    """What is wrong now. ``only``: the names of the methods that suffer; none named: all of them."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._done_first = False
        self._hangs = False
        self._only: frozenset[str] = frozenset()
        self._waiting: set[asyncio.Event] = set()

    def fail_with(self, error: BaseException, only: tuple[str, ...], done_first: bool) -> None:
        self._error, self._only, self._done_first, self._hangs = error, frozenset(only), done_first, False

    def hang(self, only: tuple[str, ...]) -> None:
        self._error, self._only, self._hangs = None, frozenset(only), True

    def heal(self) -> None:
        self._error, self._hangs = None, False
        for event in self._waiting:
            event.set()

    def hits(self, method: str) -> bool:
        """Whether a call of that method would fail or hang now."""
        return (self._hangs or self._error is not None) and (not self._only or method in self._only)

    async def before(self, method: str) -> None:
        await asyncio.sleep(0)  # as a real one: others run in between
        while self._hangs and self.hits(method):
            await self.healed()
        if self._error is not None and self.hits(method) and not self._done_first:
            raise self._error

    def after(self, method: str) -> None:
        if self._error is not None and self.hits(method) and self._done_first:
            raise self._error

    async def healed(self) -> None:
        """Returns at the next ``heal()``."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)


class Faulty(Protocol):
    faults: Faults


S = TypeVar("S", bound=Faulty)
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def suffers(method: Method[S, P, R]) -> Method[S, P, R]:
    """Makes a method of a store suffer the faults of its database."""

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        await self.faults.before(method.__name__)
        answer = await method(self, *args, **kwargs)
        self.faults.after(method.__name__)
        return answer

    return call
