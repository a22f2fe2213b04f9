"""The application's side: an engine put together of the adapters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rollout.definition import Rollout
from rollout.domain.codec import STANDARD, Codec
from rollout.engine.controller import Controller
from rollout.engine.process import Engine, Options
from rollout.errors import Problem
from rollout.ports import Backend, FlagSource, Host, Notifier, Tracing

if TYPE_CHECKING:
    from rollout_notify import Target


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
    notify: Sequence[Target],
    tracing: Tracing | None,
    routes: Mapping[str, tuple[str, ...]],
) -> Engine:
    """An engine on a database. ``DatabaseError`` for an address that cannot be one; the database itself is opened at
    start. ``notify``: targets without mistakes (``notify_problems``).
    """
    from rollout_sql import open_backend
    from rollout_sql.urls import target_of

    target_of(database)

    async def open_(name: str) -> Backend:
        return await open_backend(database, migrate=migrate, process=name)

    notifier = notifier_of(notify)

    def lead(backend: Backend, name: str) -> Controller:
        clock = SystemClock()
        return Controller(backend.state, backend.ledger, clock, holder=name, notifier=notifier, tick_s=tick_s)

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
        notifier=notifier,
        tracing=tracing,
        heard=heard,
        closing=closing,
        routes=routes,
        options=Options(process=process, drain_s=drain_s),
    )


def notify_problems(notify: Any) -> list[Problem]:
    """Every mistake in the targets that were given."""
    from rollout_notify import problems_of

    return problems_of(notify)


def notifier_of(targets: Sequence[Target]) -> Notifier | None:
    """What tells these targets; None where there are none. aiohttp's client is imported only where it is needed."""
    if not targets:
        return None
    from rollout_notify import Notifications

    return Notifications(targets)


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


def page_problems(page: Any) -> list[Problem]:
    """Every mistake in a page that was declared, by its path alone or as a ``Page``."""
    from rollout_page import as_page, page_problems

    return list(page_problems(as_page(page)))


def page_application(page: Any, backend: Callable[[], Backend | None]) -> tuple[str, Any]:
    """The path and the application of a page without mistakes. ``backend``: None while there is none yet."""
    from rollout_page import Page, as_page, page_of
    from rollout_render import page as drawing

    declared: Page = as_page(page)
    return declared.path, page_of(declared, backend, drawing)
