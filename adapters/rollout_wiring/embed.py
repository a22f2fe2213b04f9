"""The application's side: an engine put together of the adapters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rollout.definition import Rollout
from rollout.domain.codec import STANDARD, Codec
from rollout.engine.controller import Controller
from rollout.engine.process import Engine, Options
from rollout.ports import Backend, FlagSource, Host


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def make_engine(
    rollouts: Sequence[Rollout],
    *,
    host: Host,
    database: str,
    migrate: bool | None,
    controller: bool,
    tick_s: float,
    process: str,
    drain_s: float,
    flags: FlagSource | None,
    routes: Mapping[str, tuple[str, ...]],
) -> Engine:
    """An engine on a database. ``DatabaseError`` for an address that cannot be one; the database itself is opened at
    start.
    """
    from rollout_sql import open_backend
    from rollout_sql.urls import target_of

    target_of(database)

    async def open_(name: str) -> Backend:
        return await open_backend(database, migrate=migrate, process=name)

    def lead(backend: Backend, name: str) -> Controller:
        return Controller(backend.state, backend.ledger, SystemClock(), holder=name, tick_s=tick_s)

    heard, closing = [], []
    if flags is None:
        from rollout_openfeature import OpenFeatureFlags

        own = OpenFeatureFlags()
        own.bind()
        heard.append(own.update)
        closing.append(own.close)
        flags = own
    return Engine(
        rollouts,
        host=host,
        open_backend=open_,
        flags=flags,
        codec=fastest_codec(),
        controller=lead if controller else None,
        heard=heard,
        closing=closing,
        routes=routes,
        options=Options(process=process, drain_s=drain_s),
    )


def fastest_codec() -> Codec:
    """orjson's where the extra ``speed`` is installed, else the standard library's. They agree; one is faster."""
    try:
        from rollout_orjson import codec
    except ImportError:
        return STANDARD
    return codec()


def metrics_page(engine: Engine) -> Callable[[], tuple[bytes, str]]:
    """What renders the metrics of an engine: a function that gives the page and its content type."""
    from rollout_prometheus import RolloutCollector, exposition

    collector = RolloutCollector(engine.metrics)
    return lambda: exposition(collector)
