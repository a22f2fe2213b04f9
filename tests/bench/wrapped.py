"""The toolkit's own variants of the request-path benchmark, and LaunchDarkly's migrator beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from ldclient import Config, Context, LDClient, Result
from ldclient.integrations.test_data import TestData
from ldclient.migrations import ExecutionOrder, MigratorBuilder, Stage

from rollout import Branch, Rollout, Shadow
from rollout.engine.process import Engine, Options
from rollout.engine.runtime import Runtime
from rollout.ports import Backend
from rollout.testing import memory_backend
from rollout_aiohttp.host import AiohttpHost
from rollout_aiohttp.middleware import make_middleware
from rollout_openfeature import OpenFeatureFlags
from rollout_wiring.embed import fastest_codec
from tests.bench.request_path import BODY, BRANCHES, CONTROL, MOST_TURNS, Variant, application, control


@dataclass(slots=True)
class Wrapped:
    """A variant of ours, with what is needed to look inside: its runtime, and its queue of records."""

    variant: Variant
    runtime: Runtime
    engine: Engine


async def wrapped(name: str, *, share: float = 0.0, sample: float = 1.0, shadow: bool = True) -> Wrapped:
    """Control wrapped by a rollout of three trivial branches, all at one share; on a database in memory that nobody
    writes to, so
    that only the request path is measured."""
    orders, tickets, summary = BRANCHES
    rollout = Rollout(
        "profile",
        control=control,
        branches=[
            Branch("orders", orders, part="$.orders"),
            Branch("tickets", tickets, part="$.tickets"),
            Branch("summary", summary, part="$.summary", required=False),
        ],
        key=lambda call: call.headers.get("X-User-Id"),
        shadow=Shadow(sample=sample, noise=0.0, queue=100_000, max_lag_s=60.0),
    )
    flags = OpenFeatureFlags()
    backend = memory_backend()

    async def open_backend(_: str) -> Backend:
        return backend

    engine = Engine(
        [rollout],
        host=AiohttpHost(),
        open_backend=open_backend,
        flags=flags,
        heard=[flags.update],
        codec=fastest_codec(),
        options=Options(record_every_s=3600.0, queue=10**6, queue_bytes=2**40),
    )
    await engine.start()
    runtime = engine.runtimes["profile"]
    await _settle(engine)
    assert engine.snapshot is not None
    states = engine.snapshot.states["profile"]
    moved = {
        branch: replace(state, share=share, stage=int(share > 0), shadow=shadow) for branch, state in states.items()
    }
    runtime.decide(engine.snapshot.policies["profile"], moved)
    app = application(make_middleware({control: runtime}))
    return Wrapped(Variant(name, app, _drain(engine, runtime)), runtime, engine)


async def _settle(engine: Engine) -> None:
    """Stop the writer: its time is reported on its own."""
    for task in engine._tasks:
        if task.get_name() == "rollout-recorder":
            task.cancel()
    await asyncio.sleep(0)


def _drain(engine: Engine, runtime: Runtime) -> Callable[[], Awaitable[None]]:
    async def drain() -> None:
        for _ in range(MOST_TURNS):
            if not len(runtime.lane) and not runtime.lane.running:
                break
            await asyncio.sleep(0)
        assert not runtime.lane.running
        assert engine.recorder is not None
        engine.recorder.trials.take(10**9, 2**62)

    return drain


def launchdarkly() -> tuple[Variant, LDClient]:
    """LaunchDarkly's migrator in its shadow stage, offline: reads old and new one after the other, compares, tracks.
    Synchronous, so the
    three branches are one plain function; no shadow after the reply, no copy, no limit of time."""
    data = TestData.data_source()
    data.update(data.flag("profile").variations("off", "shadow", "live").variation_for_all(1))
    client = LDClient(Config("none", update_processor_class=data, send_events=False))

    def old(_: Any) -> Result:
        return Result.success(json.loads(BODY))

    def new(_: Any) -> Result:
        return Result.success({**CONTROL, "orders": CONTROL["orders"], "tickets": CONTROL["tickets"]})

    migrator = (
        MigratorBuilder(client)
        .read_execution_order(ExecutionOrder.SERIAL)
        .read(old, new, lambda a, b: a == b)
        .write(old, new)
        .build()
    )
    assert not isinstance(migrator, str)

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        context = Context.create(request.headers["X-User-Id"])
        migrator.read("profile", context, Stage.OFF)
        response: web.StreamResponse = await handler(request)
        return response

    return Variant("LaunchDarkly", application(middleware)), client
