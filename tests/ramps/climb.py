"""Send calls over HTTP to handlers behind rollouts until each is at the end of its ramp, up there or rolled back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from rollout.domain.lifecycle import place
from rollout.domain.state import BranchState, Mode
from rollout.ports import Backend
from rollout_sql import open_backend
from tests.ramps.handlers import Handlers, name_of
from tests.support.children import child

AT_ONCE: Final = 4  # calls under way to a handler
MOST: Final = 30_000  # calls to a handler
LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where a rollout stands when it is at an end, or when time is up, after how many calls and seconds."""

    state: BranchState
    calls: int
    took_s: float

    @property
    def told(self) -> str:
        """``"100%, completed"``, ``"shadow, rolled back"``; of one that has not ended where it stands."""
        return place(self.state)


async def climb(handlers: Handlers, *, per_s: float, within_s: float) -> list[End]:
    """Call all handlers, each ``per_s`` times a second, until their rollouts have ended, for at most ``within_s``
    seconds; where each of them stands then.
    """
    with child("tests.ramps.handlers", handlers) as server:
        backend = await open_backend(handlers.database, process="test")
        try:
            connector = TCPConnector(limit=0)
            async with ClientSession(server.url, connector=connector, timeout=ClientTimeout(total=10)) as session:
                return await _Climb(handlers.count, backend, session, per_s).run(within_s)
        finally:
            await backend.close()


class _Climb:
    def __init__(self, count: int, backend: Backend, session: ClientSession, per_s: float) -> None:
        self._numbers = range(count)
        self._backend = backend
        self._session = session
        self._gap_s = AT_ONCE / per_s  # between two calls of one caller
        self._calls: Counter[int] = Counter()
        self._ends: dict[int, End] = {}
        self._begun = time.monotonic()

    async def run(self, within_s: float) -> list[End]:
        callers = [asyncio.create_task(self._call(number)) for number in self._numbers for _ in range(AT_ONCE)]
        try:
            while (moving := await self._moving()) and time.monotonic() < self._begun + within_s:  # noqa: ASYNC110 - the database is asked
                await asyncio.sleep(LOOK_S)
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
        for caller in callers:
            if not caller.cancelled():
                caller.result()  # raises what the caller did
        ends = {**self._ends, **moving}
        return [ends[number] for number in self._numbers]

    async def _call(self, number: int) -> None:
        """Call a handler evenly until its rollout has ended. What a busy machine is too late for is left out."""
        due = time.monotonic() + Random().random() * self._gap_s
        while number not in self._ends and self._calls[number] < MOST:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._gap_s, time.monotonic())
            self._calls[number] += 1
            headers = {"X-User-Id": f"user-{self._calls[number]}"}
            async with self._session.get(f"/{number}", headers=headers) as reply:
                assert reply.status in (200, 500), await reply.text()
                await reply.read()

    async def _moving(self) -> dict[int, End]:
        """The rollouts that are on their way; the others are noted as ended."""
        states = (await self._backend.state.load()).states
        moving: dict[int, End] = {}
        for number in self._numbers:
            if number not in self._ends:
                state, took_s = states[name_of(number)]["answer"], time.monotonic() - self._begun
                found = moving if state.mode is Mode.active else self._ends
                found[number] = End(state=state, calls=self._calls[number], took_s=took_s)
        return moving
