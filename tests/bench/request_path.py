"""CPU per call, measured by driving an aiohttp application without a socket: what a middleware adds is a few
microseconds, and a socket's own 100 µs would drown it. Every variant is an application of its own in one process;
rounds are interleaved.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

CONTROL: dict[str, Any] = {
    "id": "u-1",
    "orders": [{"id": n, "total": n * 1.25, "state": "shipped"} for n in range(12)],
    "tickets": [{"id": n, "title": f"ticket {n}", "open": n % 2 == 0} for n in range(10)],
    "summary": {"text": "all is well with this customer " * 8, "score": 0.93},
}
MOST_TURNS = 100_000  # of the event loop, until what a round left behind is done
BODY = json.dumps(CONTROL).encode()


async def control(request: web.Request) -> web.Response:
    """The monolith: a JSON reply of about 1.5 kB."""
    return web.Response(body=BODY, content_type="application/json")


@dataclass(slots=True)
class Variant:
    """One application. ``drain`` waits until everything that its calls left behind is done; ``close`` ends it."""

    name: str
    app: web.Application
    drain: Callable[[], Awaitable[None]] | None = None
    spent: list[float] = field(default_factory=list)


def requests(app: web.Application, count: int) -> list[web.Request]:
    """Requests by ``count`` users. Made beforehand: they are not what is measured."""
    return [
        make_mocked_request("GET", f"/profile/{n}", headers={"X-User-Id": f"user-{n}"}, app=app) for n in range(count)
    ]


async def cpu_per_call(
    variants: Sequence[Variant], *, rounds: int, calls: int, users: int = 500
) -> Mapping[str, float]:
    """Median CPU seconds per call of each variant, rounds interleaved; what calls leave behind is part of their
    cost."""
    made = {variant.name: requests(variant.app, users) for variant in variants}
    for turn in range(rounds + 1):
        for variant in variants if turn % 2 else reversed(variants):
            spent = await _one_round(variant, made[variant.name], calls)
            if turn:  # the first round warms up
                variant.spent.append(spent / calls)
    return {variant.name: statistics.median(variant.spent) for variant in variants}


def added(costs: Mapping[str, float], name: str) -> float:
    """CPU seconds per call that a variant adds to the empty middleware."""
    return costs[name] - costs["empty middleware"]


async def _one_round(variant: Variant, made: Sequence[web.Request], calls: int) -> float:
    handle = variant.app._handle
    users = len(made)
    begun = time.process_time()
    for number in range(calls):
        await handle(made[number % users])
        if number % 16 == 15:  # as many as a busy server has under way
            await asyncio.sleep(0)
    if variant.drain is not None:
        await variant.drain()
    return time.process_time() - begun


def application(*middlewares: Any) -> web.Application:
    app = web.Application(middlewares=list(middlewares))
    app.router.add_get("/profile/{id}", control)
    app.freeze()  # before that, aiohttp runs no middleware
    return app


@web.middleware
async def empty(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    return response


def by_hand(branches: Sequence[Callable[[Any], Awaitable[Any]]]) -> Variant:
    """What somebody writes in an afternoon: ``create_task``, ``gather``, ``loads``, ``==``, ``list.append``. No copy
    of the request, no
    timeout, no redaction, no bound, no count."""
    results: list[bool] = []
    tasks: set[asyncio.Task[None]] = set()

    async def shadow(request: web.Request, body: Any) -> None:
        orders, tickets, summary = await asyncio.gather(*(branch(request) for branch in branches))
        value = json.loads(body)
        results.append({**value, "orders": orders, "tickets": tickets, "summary": summary} == value)

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        task = asyncio.create_task(shadow(request, response.body))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return response  # type: ignore[no-any-return]

    async def drain() -> None:
        for _ in range(MOST_TURNS):
            if not tasks:
                break
            await asyncio.sleep(0)
        assert not tasks
        assert all(results)
        results.clear()

    return Variant("by hand", application(middleware), drain)


async def orders(call: Any) -> Any:
    return CONTROL["orders"]


async def tickets(call: Any) -> Any:
    return CONTROL["tickets"]


async def summary(call: Any) -> Any:
    return CONTROL["summary"]


BRANCHES = (orders, tickets, summary)
