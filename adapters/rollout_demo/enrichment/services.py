"""Three HTTP services of other people: where an address is, what a register says of a company, how good its credit is.

* ``geo`` is always well.
* ``register`` answers 503 to every 40th request, and asks to be left alone for 0.1 s.
* ``score`` can go down: then it takes requests and never answers.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from random import Random
from typing import Any, Final

from aiohttp import web

from rollout_demo.services import serve

BUSY_EVERY: Final = 40
RETRY_AFTER_S: Final = 0.1
_CITIES: Final = ("Aarhus", "Bergen", "Cork", "Delft", "Espoo", "Faro")
_TRADES: Final = ("bakery", "brewery", "carpentry", "dairy", "foundry", "printing")
Facts = dict[str, Any]


def geo(customer: int) -> Facts:
    """Where the customer is: city and district."""
    dice = Random(f"geo of {customer}")
    return {"city": dice.choice(_CITIES), "district": dice.randrange(1, 20)}


def register(customer: int) -> Facts:
    """The customer's company: trade, and the year in which it was founded."""
    dice = Random(f"company of {customer}")
    return {"trade": dice.choice(_TRADES), "founded": dice.randrange(1890, 2025)}


def score(customer: int) -> int:
    """How good the customer's credit is, 1 .. 100."""
    return Random(f"score of {customer}").randrange(1, 101)


class Service:
    """One service: ``GET /{customer}`` answers what ``knows`` says after about ``takes_s`` seconds."""

    def __init__(self, name: str, knows: Any, takes_s: float) -> None:
        self.name = name
        self.address = ""
        self._knows = knows
        self._takes_s = takes_s
        self._dice = Random(name)

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_get("/{customer}", self.answer)
        self.address = await serve(app, stack)

    async def answer(self, request: web.Request) -> web.Response:
        """Half of its time always, the rest by chance."""
        await asyncio.sleep(self._takes_s * (0.5 + min(1.5, self._dice.expovariate(2))))
        return web.json_response(self._knows(int(request.match_info["customer"])))


class Register(Service):
    """``busy``: how often it said 503. ``impatient``: how many of those came back sooner than they were asked to."""

    busy = 0
    impatient = 0

    def __init__(self) -> None:
        super().__init__("register", register, 0.030)
        self._requests = 0
        self._not_before: dict[tuple[str, bool], float] = {}

    async def answer(self, request: web.Request) -> web.Response:
        self._requests += 1
        # A shadow asks for the same customer as the monolith, and neither knows what the other was told.
        who, now = (request.match_info["customer"], _is_shadow(request)), time.monotonic()
        if now < self._not_before.pop(who, 0.0):
            self.impatient += 1
        if self._requests % BUSY_EVERY == 0:
            self.busy += 1
            self._not_before[who] = now + RETRY_AFTER_S
            raise web.HTTPServiceUnavailable(headers={"Retry-After": str(RETRY_AFTER_S)})
        return await super().answer(request)


class Score(Service):
    """``live_at``: when each request came that no shadow made (seconds of ``time.monotonic``)."""

    def __init__(self) -> None:
        super().__init__("score", score, 0.035)
        self.live_at: list[float] = []
        self._well = asyncio.Event()
        self._well.set()

    def go_down(self) -> None:
        self._well.clear()

    def come_back(self) -> None:
        """It answers again, also what has waited."""
        self._well.set()

    async def answer(self, request: web.Request) -> web.Response:
        if not _is_shadow(request):
            self.live_at.append(time.monotonic())
        await self._well.wait()
        return await super().answer(request)


class Street:
    """The three of them, running until the stack closes."""

    def __init__(self) -> None:
        self.geo = Service("geo", geo, 0.020)
        self.register = Register()
        self.score = Score()

    async def open(self, stack: AsyncExitStack) -> dict[str, str]:
        """Their addresses by name."""
        services: tuple[Service, ...] = (self.geo, self.register, self.score)
        for service in services:
            await service.start(stack)
        return {service.name: service.address for service in services}


def _is_shadow(request: web.Request) -> bool:
    return "X-Rollout-Shadow" in request.headers
