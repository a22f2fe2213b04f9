"""A monolith whose shadow branches do their worst, as a process of its own.

    GET /{kind}/{ms}/{number}    control awaits ``ms`` milliseconds; the branch in its shadow is of that kind

Unwrapped it is the same application without ``setup``: what users would have had.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from rollout import Branch, Breaker, Call, Parts, Reply, Reserve, Retry, Rollout, Shadow, record_usage
from rollout_aiohttp import setup
from tests.support.shop import serve, statistics_of

KINDS = ("sleeps", "raises", "huge", "mutates", "stubborn", "burns", "spends", "trips")
BURN_S = 0.02
HUGE_TEXT = "x" * 10 * 2**20
HUGE_LIST = ["y" * 1_000] * 10_000


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """``database``: empty for the unwrapped application. ``shed``: whether a late loop sheds shadows, as it should;
    without, every shadow does its worst."""

    database: str = ""
    shed: bool = True


def truth(kind: str, number: int) -> bytes:
    """What control answers, to the byte."""
    orders = [{"id": n, "total": n * 1.25, "state": "shipped"} for n in range(number % 7)]
    return json.dumps({"kind": kind, "number": number, "orders": orders, "blob": "control " * 100}).encode()


def control_of(kind: str) -> Any:
    async def control(request: web.Request) -> web.Response:
        await asyncio.sleep(int(request.match_info["ms"]) / 1000)
        number = int(request.match_info["number"])
        headers = {"X-Number": str(number), "ETag": f'"{number}"'}
        return web.Response(body=truth(kind, number), content_type="application/json", headers=headers)

    return control


async def sleeps(_: Call) -> Any:
    await asyncio.sleep(10)


async def raises(_: Call) -> Any:
    raise RuntimeError("x" * 10_000)


async def huge(call: Call) -> Any:
    """10 MB, made before: to make it is to burn."""
    return HUGE_TEXT if int(call.path_params["number"]) // len(KINDS) % 2 else HUGE_LIST


async def mutates(call: Call) -> Any:
    """Writes to everything it can reach."""
    reach: tuple[Any, ...] = (call.headers, call.path_params, call.query, call.cookies, call.state, call.resources)
    for thing in reach:
        with contextlib.suppress(Exception):
            thing["number"] = "mutated"
        with contextlib.suppress(Exception):
            thing.clear()
    for name in ("body", "path", "key", "source", "is_shadow", "deadline"):
        with contextlib.suppress(Exception):
            setattr(call, name, "mutated")
    return {"mutated": True}


def spoil(call: Call, control: Reply | None, parts: Parts) -> Any:
    """An aggregator that does the same to control's reply and to the parts."""
    assert control is not None
    value = json.loads(control.body)
    value["orders"].clear()
    value["number"] = "mutated"
    for name in ("body", "status", "headers"):
        with contextlib.suppress(Exception):
            setattr(control, name, "mutated")
    with contextlib.suppress(Exception):
        control.headers[0] = ("X-Number", "mutated")  # type: ignore[index]
    with contextlib.suppress(Exception):
        parts["mutates"].clear()
    return value


async def stubborn(_: Call) -> Any:
    """Goes on for three seconds, whoever cancels it."""
    end = time.monotonic() + 3.0
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


async def burns(call: Call) -> Any:
    """20 ms of computing in eight of ten calls: of all kinds together, in every tenth."""
    if int(call.path_params["number"]) // len(KINDS) % 10 < 8:
        end = time.thread_time() + BURN_S
        while time.thread_time() < end:
            pass
    return []


async def spends(_: Call) -> Any:
    """Five cents a call; the day's budget is for twenty calls."""
    record_usage(input_tokens=1_000, output_tokens=100, usd="0.05")
    return []


async def trips(_: Call) -> Any:
    """A failure that is retried, until retry budget and breaker have enough of it."""
    raise ConnectionError("nobody listens")


BRANCHES: Mapping[str, Any] = {
    "sleeps": sleeps,
    "raises": raises,
    "huge": huge,
    "mutates": mutates,
    "stubborn": stubborn,
    "burns": burns,
    "spends": spends,
    "trips": trips,
}
GUARDS: Mapping[str, Mapping[str, Any]] = {
    "stubborn": {"hard_timeout_s": 0.2},
    "spends": {"reserve": Reserve(usd="0.05")},
    "trips": {"retry": Retry(attempts=3, base_s=0.01), "breaker": Breaker(window=20, open_s=1.0)},
}


def application(hostile: Hostile) -> tuple[web.Application, Any]:
    app = web.Application()
    controls = {kind: control_of(kind) for kind in KINDS}
    for kind, control in controls.items():
        app.router.add_get(f"/{kind}/{{ms}}/{{number}}", control)
    if not hostile.database:
        return app, None
    rollouts = [
        Rollout(
            kind,
            control=controls[kind],
            branches=[Branch(kind, BRANCHES[kind], part="$.orders", **GUARDS.get(kind, {}))],
            aggregate=spoil if kind == "mutates" else None,
            shadow=Shadow(
                max_lag_s=(0.015 if kind == "burns" else 0.05) if hostile.shed else 60.0,
                usd_per_day="1" if kind == "spends" else None,
            ),
        )
        for kind in KINDS
    ]

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(statistics_of(engine))

    app.router.add_get("/stats", stats)
    engine = setup(app, rollouts, database=hostile.database, drain_s=2.0)
    return app, engine


if __name__ == "__main__":
    asyncio.run(serve(*application(Hostile(**json.loads(sys.argv[1])))))
