"""The payment platform: sends each event as a signed webhook, and again until it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Final

from aiohttp import ClientError, ClientSession

from rollout_demo.notification.orders import body_of, order, signed

AT_ONCE: Final = 40
_AGAIN_S: Final = 0.3
_TRIES: Final = 40


@dataclass(slots=True)
class Tally:
    """``acknowledged``: event ids. ``took_s``: by who acknowledged, ``"monolith"`` or ``"inbox"``, the seconds that it
    took. ``again``: how often an event was sent once more.
    """

    acknowledged: set[str] = field(default_factory=set)
    customers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    took_s: dict[str, list[float]] = field(default_factory=lambda: {"monolith": [], "inbox": []})
    again: int = 0

    def took(self, who: str) -> tuple[float, float]:
        """Median and 95 % quantile, in seconds."""
        ranks = quantiles(self.took_s[who], n=20)
        return ranks[9], ranks[-1]


class Platform:
    """``base``: of the shop; events wait while it is empty. ``sent``: how many were begun."""

    def __init__(self, session: ClientSession, *, rate: float) -> None:
        self.base = ""
        self.sent = 0
        self.tally = Tally()
        self._session = session
        self._rate = rate
        self._room = asyncio.Semaphore(AT_ONCE)
        self._open = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def use(self, base: str) -> None:
        self.base = base
        self._open.set()

    async def pause(self) -> None:
        """Begin no more events, and wait until all are acknowledged."""
        self._open.clear()
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._under_way:
            task.cancel()
        await self.pause()

    async def send(self, most: int) -> None:
        """Begin an event every now and then, at most so many."""
        for number in range(most):
            await self._room.acquire()
            await self._open.wait()  # last: between this and the task nobody can pause
            self.sent = number + 1
            task = asyncio.create_task(self._see_through(number))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(1 / self._rate)

    async def _see_through(self, number: int) -> None:
        try:
            for _ in range(_TRIES):
                if await self._acknowledged(number):
                    return
                self.tally.again += 1
                await asyncio.sleep(_AGAIN_S)
        finally:
            self._room.release()

    async def _acknowledged(self, number: int) -> bool:
        paid, begun, tally = order(number), time.monotonic(), self.tally
        body = body_of(paid)
        try:
            async with self._session.post(
                f"{self.base}/hooks/order-paid", data=body, headers=signed(paid, body, time.time())
            ) as reply:
                who = "monolith" if await reply.read() else "inbox"
                if not reply.ok:
                    return False
        except (ClientError, TimeoutError):
            return False
        tally.took_s[who].append(time.monotonic() - begun)
        tally.customers[who].add(paid["customer"])
        tally.acknowledged.add(paid["id"])
        return True
