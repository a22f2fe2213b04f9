"""What an example needs around it: a database to record in, an application with its rollout, and visitors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from rollout import Rollout
from rollout_aiohttp import setup
from rollout_demo.audit import Audit, Move
from rollout_demo.counts import Counts
from rollout_demo.lines import Message
from rollout_demo.narrator import Narrator
from rollout_demo.services import serve
from rollout_sql import open_backend

AT_ONCE: Final = 40  # calls under way
MOST: Final = 6_000  # calls in all
TICK_S: Final = 0.25
_TIMEOUT: Final = ClientTimeout(total=5)


class Stage:
    """A database in ``folder``, and applications that are served until ``stack`` closes."""

    def __init__(self, tell: Narrator, folder: Path, stack: AsyncExitStack) -> None:
        self._tell = tell
        self._url = f"sqlite:///{folder / 'rollout.db'}"
        self._stack = stack

    async def audit(self, name: str) -> Audit:
        """The decisions on the rollout of this name, told as they are read."""
        backend = await open_backend(self._url, migrate=True, process="demo")
        self._stack.push_async_callback(backend.close)
        return Audit(backend, name, self._heard)

    async def open(self, app: web.Application, rollout: Rollout | None = None) -> str:
        """Serve an application, with its rollout if it has one; its address."""
        if rollout is not None:
            setup(app, [rollout], database=self._url, tick_s=TICK_S, process="demo")
        return await serve(app, self._stack)

    def _heard(self, move: Move) -> None:
        """Tell of a group once: its branches move together."""
        unit = move.findings[0].unit if move.findings else move.branch
        first, _, others = unit.partition("+")
        if move.branch == first:
            self._tell.move(replace(move, branch="all") if others else move)


class Visitors:
    """``rate`` calls a second, evenly, as long as they come.

    ``path``: of the n-th call. ``fault_of``: what is wrong with the JSON of its reply, ``""`` if nothing is. ``heard``
    is told how many seconds each right reply took, and its JSON.
    """

    def __init__(
        self,
        path: Callable[[int], str],
        fault_of: Callable[[int, Any], str],
        *,
        rate: float,
        heard: Callable[[float, Any], None] | None = None,
    ) -> None:
        self._path = path
        self._fault_of = fault_of
        self._rate = rate
        self._heard = heard
        self._counts = Counts()
        self._sent = 0
        self._come = True

    @asynccontextmanager
    async def coming_to(self, address: str) -> AsyncIterator[None]:
        """They come during the block; at its end those under way are waited for."""
        self._come = True
        load = asyncio.create_task(self._load(address))
        try:
            yield
        finally:
            self._come = False
            await load

    def count(self) -> Message:
        """What came of the calls that began since the last time; new counts begin."""
        counts, self._counts = self._counts, Counts()
        return counts.to_dict()

    async def _load(self, address: str) -> None:
        room = asyncio.Semaphore(AT_ONCE)
        connector = TCPConnector(limit=AT_ONCE)
        async with (
            ClientSession(address, connector=connector, timeout=_TIMEOUT) as session,
            asyncio.TaskGroup() as all_,
        ):
            while self._come and self._sent < MOST:
                await room.acquire()
                self._sent += 1
                all_.create_task(self._call(session, self._sent)).add_done_callback(lambda _: room.release())
                await asyncio.sleep(1 / self._rate)

    async def _call(self, session: ClientSession, number: int) -> None:
        counts, begun = self._counts, time.monotonic()
        try:
            async with session.get(self._path(number)) as reply:
                status = reply.status
                body = await reply.json() if status == 200 else None
        except (ClientError, TimeoutError, ValueError) as error:
            counts.failed(type(error).__name__)
            return
        took_s = time.monotonic() - begun
        fault = self._fault_of(number, body) if status == 200 else f"HTTP {status}"
        counts.answered(took_s, status, fault)
        if not fault and self._heard is not None:
            self._heard(took_s, body)
