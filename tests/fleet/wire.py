"""The network between one process and the database: slow, broken, or losing answers.

Every call travels to the database, happens there, and its answer travels back; each way takes time, and in between a
process can be frozen or killed. What happened is told to the chronicle at the very moment, whoever learns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any, Final

from rollout.errors import DatabaseError, Fenced
from rollout.ports import Backend
from tests.fleet.chronicle import Chronicle
from tests.fleet.timeline import Timeline, until

Method = Callable[..., Coroutine[Any, Any, Any]]

_TRIP_S: Final = 0.01  # at most, while all is well

_READS: Final = frozenset(("blocks_of", "checkpoint", "checkpoints", "decisions", "load", "now", "revision", "told"))


class Outage:
    """Whether nobody reaches the database."""

    def __init__(self) -> None:
        self.on = False


class Wire:
    """Both stores, as the process ``who`` reaches them.

    ``down``: nothing gets through. ``loses``: the share of calls that fail, half of them after they happened.
    ``slow_s``: the longest trip. ``flying``: by name, the writes that were sent and did not happen yet.
    """

    def __init__(
        self, who: str, backend: Backend, timeline: Timeline, chronicle: Chronicle, outage: Outage, dice: Random
    ) -> None:
        self.who = who
        self.down = False
        self.loses = 0.0
        self.slow_s = _TRIP_S
        self.flying: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {}
        self._backend = backend
        self._timeline = timeline
        self._chronicle = chronicle
        self._outage = outage
        self._random = dice.random

    def heal(self) -> None:
        self.down, self.loses, self.slow_s = False, 0.0, _TRIP_S

    def as_backend(self) -> Backend:
        """This wire, as the verbs of the product take it."""
        stores: Any = self
        return Backend(state=stores, ledger=stores, url="fleet:", close=_nothing)

    def __getattr__(self, name: str) -> Any:
        store = self._backend.state if hasattr(self._backend.state, name) else self._backend.ledger
        method = getattr(store, name)
        # The wire has faults of its own: those of a store in memory, of which there are none, would only take time.
        method = getattr(method, "__wrapped__", method.__func__).__get__(store)
        call = partial(self._read if name in _READS else self._write, name, method)
        setattr(self, name, call)
        return call

    async def _read(self, name: str, method: Method, *args: Any, **options: Any) -> Any:
        await until(self._timeline.now + self.slow_s * self._random())
        if self.down or self._outage.on or (self.loses > 0 and self._random() < self.loses):
            raise DatabaseError("the question was lost")
        answer = await method(*args, **options)
        self._chronicle.happened(self.who, name, args, answer)
        return answer

    async def _write(self, name: str, method: Method, *args: Any, **options: Any) -> Any:
        self.flying[name] = partial(self._happen, name, method, *args, **options)
        await until(self._timeline.now + self.slow_s * self._random())
        self.flying.pop(name, None)
        cut = self.down or self._outage.on
        loses = not cut and self.loses > 0 and self._random() < self.loses
        if cut or (loses and self._random() < 0.5):
            raise DatabaseError("the question was lost")
        answer = await self._happen(name, method, *args, **options)
        if loses or self._random() < 0.5:
            await until(self._timeline.now + self.slow_s * self._random())
        if loses:
            raise DatabaseError("the answer was lost")
        return answer

    async def _happen(self, name: str, method: Method, *args: Any, **options: Any) -> Any:
        """What the database does, whether or not anybody waits for the answer."""
        try:
            answer = await method(*args, **options)
        except Fenced:
            self._chronicle.fenced += 1
            raise
        self._chronicle.happened(self.who, name, args, answer)
        return answer


async def _nothing() -> None:
    """There is nothing to close."""
