"""Handlers behind rollouts, as a process of its own: ``python -m tests.ramps.handlers '{…}'``.

``GET /0``, ``GET /1`` …, each wrapped by a rollout of its own, ``ramp-0``, ``ramp-1`` … A call fails with the same
probability whoever answers it, the handler or the branch that replaces it; but for those that are told to be broken.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from aiohttp import web

from rollout import Branch, Budget, Call, Ramp, Rollout, Shadow, Store, gates
from rollout_aiohttp import setup
from tests.support.shop import serve

ERROR_RATE: Final = 0.001
BROKEN_RATE: Final = 0.5
ANSWER: Final = {"answer": 42}


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """``healthy``, ``broken``: how many of each; the broken ones come last, and fail half of their live calls.

    ``keyed``: whether callers keep their side, and are scored once; else each call is drawn by itself. ``harm``: the
    harm budget. ``tick_s``: the controller's interval. ``latency_s``: the budget of a call; the settle time is 0.1 s
    more.
    """

    database: str
    healthy: int
    broken: int = 0
    keyed: bool = False
    seed: int = 1
    stages: str = "shadow 5% 25% 50% 100%"
    harm: float = 0.02
    tick_s: float = 0.1
    latency_s: float = 0.1

    @property
    def count(self) -> int:
        return self.healthy + self.broken


def name_of(number: int) -> str:
    return f"ramp-{number}"


def application(handlers: Handlers) -> web.Application:
    app = web.Application()
    rollouts = [_declared(handlers, number) for number in range(handlers.count)]
    for number, rollout in enumerate(rollouts):
        app.router.add_get(f"/{number}", rollout.control)
    setup(app, rollouts, database=handlers.database, tick_s=handlers.tick_s, process="handlers")
    return app


def _declared(handlers: Handlers, number: int) -> Rollout:
    dice = Random(f"{handlers.seed}: {number}")
    live_rate = ERROR_RATE if number < handlers.healthy else BROKEN_RATE
    return Rollout(
        name_of(number),
        control=_control(dice),
        join="replace",
        branches=[Branch("answer", _answer(dice, live_rate), part="$")],
        budget=Budget(latency_s=handlers.latency_s),
        key=_user if handlers.keyed else None,
        ramp=Ramp.parse(handlers.stages, soak=0, harm=handlers.harm),
        gates=[gates.errors(), gates.mismatches(at_most=0.05)],
        # A busy machine would shed the shadows that these proofs are about.
        shadow=Shadow(sample=0.25, noise=0.0, reverse=0.25, max_lag_s=60.0),
        store=Store(sample=0.01),
    )


def _user(call: Call) -> str:
    return call.headers["X-User-Id"]


def _control(dice: Random) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def control(_: web.Request) -> web.Response:
        if dice.random() < ERROR_RATE:
            raise web.HTTPInternalServerError
        return web.json_response(ANSWER)

    return control


def _answer(dice: Random, live_rate: float) -> Callable[[Call], Awaitable[dict[str, int]]]:
    async def answer(call: Call) -> dict[str, int]:
        if dice.random() < (ERROR_RATE if call.is_shadow else live_rate):
            raise RuntimeError("it fails now and then")
        return ANSWER

    return answer


if __name__ == "__main__":
    asyncio.run(serve(application(Handlers(**json.loads(sys.argv[1])))))
