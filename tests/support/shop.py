"""A small shop behind a rollout, as a process of its own: ``python -m tests.support.shop '{"database": "sqlite:///…"}'``.

GET  /profile/{id}   wrapped: control says {"by": "control"}, the branch of its part {"by": "branch"}
POST /break          from now on the branch answers with a wrong number (or raises: /break?how=raise)
GET  /stats          what this process counted, where its branches stand, and whether it leads
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rollout import Branch, Budget, Call, Compare, Ramp, Rollout, Shadow
from rollout.engine.process import Engine
from rollout_aiohttp import setup
from tests.support import thresholds

LATENCY_S = 0.4
SETTLE_S = LATENCY_S + 0.1


@dataclass(frozen=True, kw_only=True)
class Shop:
    """``traffic``: calls a second that the process makes to itself, without a socket; each one adds its time (8 bytes)
    to the file ``calls`` before it is made. ``fork``: how many workers to
    fork after ``setup`` and before the start."""

    database: str
    process: str = ""
    ramp: str = "shadow 50% 100%"
    soak_s: float = 3600.0
    tick_s: float = 1.0
    latency_s: float = LATENCY_S
    minimum: int = 50
    controller: bool = True
    traffic: float = 0.0
    calls: str = ""
    clock_off_s: float = 0.0
    fork: int = 0


class Monolith:
    """The handlers. ``broken``: how the branch goes wrong, or ``""``."""

    def __init__(self) -> None:
        self.broken = ""

    async def profile(self, request: web.Request) -> web.Response:
        number = len(request.match_info["id"])
        return web.json_response({"id": request.match_info["id"], "orders": {"by": "control", "n": number}})

    async def orders(self, call: Call) -> dict[str, Any]:
        if self.broken == "raise":
            raise RuntimeError("the orders are broken")
        number = len(call.path_params["id"])
        return {"by": "branch", "n": -1 if self.broken else number}

    async def breaks(self, request: web.Request) -> web.Response:
        self.broken = request.query.get("how", "wrong")
        return web.json_response({"broken": self.broken})


def declared(shop: Shop, monolith: Monolith) -> Rollout:
    limits: dict[str, Any] = {"minimum": shop.minimum, "window": 60}
    return Rollout(
        "profile",
        control=monolith.profile,
        branches=[Branch("orders", monolith.orders, part="$.orders")],
        budget=Budget(latency_s=shop.latency_s),
        compare=Compare(ignore=["$.orders.by"]),
        ramp=Ramp.parse(shop.ramp, soak=shop.soak_s),
        shadow=Shadow(max_lag_s=60),  # a busy machine would shed the shadows that these proofs are about
        gates=[thresholds.errors(**limits), thresholds.mismatches(**limits)],
        key=lambda call: call.headers.get("X-User-Id"),
    )


def application(shop: Shop) -> tuple[web.Application, Engine]:
    monolith = Monolith()
    app = web.Application()
    app.router.add_get("/profile/{id}", monolith.profile)
    app.router.add_post("/break", monolith.breaks)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(statistics_of(engine))

    app.router.add_get("/stats", stats)
    engine = setup(
        app,
        [declared(shop, monolith)],
        database=shop.database,
        migrate=True,
        controller=shop.controller,
        tick_s=shop.tick_s,
        process=shop.process,
    )
    return app, engine


def statistics_of(engine: Engine) -> dict[str, Any]:
    """JSON-ready."""
    shot = engine.metrics()
    snapshot = engine.snapshot
    leading: Any = engine.controller
    return {
        "process": engine.process,
        "counts": {name: dict(figures.counts) for name, figures in shot.rollouts.items()},
        "outcomes": {"/".join(name): figures.starting("outcome:") for name, figures in shot.branches.items()},
        "written": shot.written,
        "failures": shot.write_failures,
        "dropped": {"/".join(name): count for name, count in shot.dropped.items()},
        "leader": shot.leader,
        "fenced": getattr(leading, "fenced", 0),
        "offset": {name: runtime.tally.offset for name, runtime in engine.runtimes.items()},
        "states": {} if snapshot is None else {b: state_of(s) for b, s in snapshot.states.get("profile", {}).items()},
    }


def state_of(state: Any) -> dict[str, Any]:
    names = ("stage", "share", "mode", "entered_at", "entry", "version")
    return {name: getattr(state, name) for name in names}


async def serve(app: web.Application, engine: Engine | None = None, shop: Shop | None = None) -> None:
    """Serve until SIGTERM; print where, when ready."""
    ending = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ending.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        said: dict[str, Any] = {"port": runner.addresses[0][1], "pid": os.getpid()}
        if engine is not None:
            said |= statistics_of(engine)
        os.write(sys.stdout.fileno(), f"{json.dumps(said)}\n".encode())  # at once: forked workers share the pipe
        if shop is not None and shop.traffic:
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(call_itself(app, shop))
                await ending.wait()
                calling.cancel()
        else:
            await ending.wait()
    finally:
        await runner.cleanup()


async def call_itself(app: web.Application, shop: Shop, seconds: float = 600.0) -> None:
    """Traffic without a socket, at an even pace, for at most ten minutes."""
    tally = os.open(shop.calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if shop.calls else None
    loop = asyncio.get_running_loop()
    began = due = loop.time()
    made = 0
    try:
        while (now := loop.time()) - began < seconds:
            due = max(due + 1 / shop.traffic, now - 0.1)  # what a busy machine was too late for is left out
            await asyncio.sleep(max(0.0, due - now))
            made += 1
            if tally is not None:
                os.write(tally, struct.pack("d", time.time()))
            headers = {"X-User-Id": f"user-{os.getpid()}-{made}"}
            await app._handle(make_mocked_request("GET", f"/profile/{made}", headers=headers, app=app))
    finally:
        if tally is not None:
            os.close(tally)


def main() -> None:
    shop = Shop(**json.loads(sys.argv[1]))
    if shop.clock_off_s:
        right = time.time
        time.time = lambda: right() + shop.clock_off_s
    app, engine = application(shop)
    if not shop.fork:
        asyncio.run(serve(app, engine, shop))
        return
    workers = []
    for _ in range(shop.fork):
        pid = os.fork()
        if pid == 0:
            asyncio.run(serve(app, engine, shop))
            os._exit(0)
        workers.append(pid)

    def end(*_: object) -> None:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    for pid in workers:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
