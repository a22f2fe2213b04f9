"""Three HTTP services of the shop, each on a port and with an SQLite file of its own: orders, tickets, picks.

Tickets has a second, newer endpoint, the one that the fan-out asks. The demo can make that endpoint ill: every other
answer then comes too late, and the rest belong to somebody else.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from aiohttp import web

from rollout_demo import truth

LATE_S: Final = 2.0  # how long the ill endpoint takes; well above the hard timeout of the branch
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A service: its name, the rows of a customer, and the mean time that it takes for an answer, in seconds."""

    name: str
    rows: Callable[[int], Iterable[Row]]
    takes_s: float


KINDS: Final = (
    Kind("orders", truth.orders, 0.007),
    Kind("tickets", truth.tickets, 0.009),
    Kind("picks", truth.picks, 0.006),
)


class Service:
    """One service: ``GET /{name}/{customer}``, rows by id."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.file = folder / f"{kind.name}.db"
        self.address = ""
        self._dice = Random(kind.name)
        self._db = sqlite3.connect(self.file)
        self._seed()

    def _seed(self) -> None:
        rows = [(customer, row["id"], json.dumps(row)) for customer in _customers() for row in self.kind.rows(customer)]
        with self._db:
            self._db.execute(
                "create table documents (customer integer, id integer, body text, primary key (customer, id))"
            )
            self._db.executemany("insert into documents values (?, ?, ?)", rows)

    def rows(self, customer: int, order: str = "id") -> list[Row]:
        """The customer's rows. Waits for nothing: the file is small and in the page cache, a thread would cost more."""
        found = self._db.execute(f"select body from documents where customer = ? order by {order}", (customer,))
        return [json.loads(body) for (body,) in found]

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        self.routes(app.router)
        stack.callback(self._db.close)
        self.address = await serve(app, stack)

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"/{self.kind.name}/{{customer}}", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        await self.work()
        return web.json_response(self.rows(int(request.match_info["customer"])))

    async def work(self) -> None:
        """Take as long as such a service does: half of it always, the rest by chance."""
        await asyncio.sleep(self.kind.takes_s * (0.5 + min(3.0, self._dice.expovariate(2))))


class Tickets(Service):
    """Tickets, with the newer endpoint ``GET /v2/tickets/{customer}``: newest first, and sometimes ill.

    What it sees of the ill time, for the story: when the first bad answer to a *live* call went out and when the last
    live call came in (epoch seconds), and how many of them were bad. Shadow calls are marked, and not counted.
    """

    ill = False
    first_bad_at: float | None = None
    last_live_at: float | None = None
    bad = 0

    def routes(self, router: web.UrlDispatcher) -> None:
        super().routes(router)
        router.add_get("/v2/tickets/{customer}", self.newer)
        router.add_post("/{health:ill|well}", self.become)

    async def newer(self, request: web.Request) -> web.Response:
        customer = int(request.match_info["customer"])
        live = "X-Rollout-Shadow" not in request.headers
        if live:
            self.last_live_at = time.time()
        await self.work()
        if self.ill:
            customer = await self._be_ill(customer, live)
        return web.json_response(self.rows(customer, "id desc"))

    async def become(self, request: web.Request) -> web.Response:
        """``POST /ill`` and ``POST /well``, for who plays with the demo."""
        self.ill = request.match_info["health"] == "ill"
        return web.Response(text=f"tickets is {request.match_info['health']}\n")

    async def _be_ill(self, customer: int, live: bool) -> int:
        """Come late, or look up somebody else."""
        if live:
            self.bad += 1
            self.first_bad_at = self.first_bad_at or time.time()
        if self._dice.random() < 0.5:
            await asyncio.sleep(LATE_S)
            return customer
        return customer % truth.CUSTOMERS + 1


def make(folder: Path) -> tuple[Service, Tickets, Service]:
    """The three services, seeded; the same every time."""
    orders, tickets, picks = KINDS
    return Service(orders, folder), Tickets(tickets, folder), Service(picks, folder)


async def serve(app: web.Application, stack: AsyncExitStack) -> str:
    """Serve an application on the loopback interface until the stack closes; its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


def _customers() -> range:
    return range(1, truth.CUSTOMERS + 1)
