"""``setup``: wrap the handlers of an application with their rollouts. Call it last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

from aiohttp import web

from rollout.definition import Rollout
from rollout.engine.process import Engine
from rollout.engine.runtime import Runtime
from rollout.errors import DeclarationError, Problem
from rollout.mistakes.checks import is_number, of_tracing
from rollout.ports import Tracing
from rollout_aiohttp.host import AiohttpHost
from rollout_aiohttp.middleware import make_middleware
from rollout_aiohttp.routes import all_routes, cleanup_last, find_routes, innermost, install, route_problems

ENGINE: Final = web.AppKey("rollout_engine", Engine)


def setup(
    app: web.Application,
    rollouts: Sequence[Rollout],
    *,
    database: str = "sqlite:///rollout.db",
    migrate: bool | None = None,
    metrics_path: str | None = None,
    controller: bool = True,
    tick_s: float = 1.0,
    process: str = "",
    drain_s: float = 5.0,
    flags: Any = None,
    notify: Sequence[Any] = (),
    page: Any = None,
    tracing: Tracing | None = None,
) -> Engine:
    """Wrap every route of each rollout's control, in sub-applications too. After all routes, middlewares and contexts.

    * ``database``: ``sqlite:///file`` (created at start) or ``postgresql://…`` (for several processes or hosts).
    * ``migrate``: bring the database's schema up to date at start. Default: only a new SQLite file; else it is refused.
    * ``metrics_path``: where to serve Prometheus metrics, such as ``"/metrics"``. Default: nowhere.
    * ``controller``: whether this process may decide. Default True: of all processes one leads at a time.
    * ``tick_s``: seconds between two decisions. Default 1. ``process``: its name. Default: host name and process id.
    * ``drain_s``: the longest that a shutdown waits for the recorder. Default 5 seconds.
    * ``flags``: a ``FlagSource``. Default: OpenFeature, domain ``rollout``.
    * ``notify``: who is told of every transition and of every approval that is waited for, by the process that leads:
      ``rollout_notify.Webhook(url, secret=…)``, ``rollout_notify.Slack(url)``. Default: nobody.
    * ``page``: where to serve the live page, such as ``"/rollout"``: to look, for this machine alone. With tokens, to
      act and from elsewhere: ``rollout_page.Page("/rollout", operate=TOKEN, view=TOKEN)``. Default: nowhere.

    * ``tracing``: who makes spans of the calls that are drawn: ``rollout_otel.OpenTelemetry()``. Default: nobody.

    Returns the engine, which is also ``app[rollout_aiohttp.ENGINE]``. Raises ``DeclarationError`` with every mistake
    of every rollout, and ``DatabaseError`` for an address that cannot be one.
    """
    from rollout_wiring.embed import make_engine, notify_problems, page_application, page_problems

    problems = [problem for rollout in rollouts for problem in rollout.problems()]
    problems += _twice(rollouts)
    problems += _of_options(app, tick_s, drain_s, metrics_path)
    problems += of_tracing("setup", tracing)
    problems += route_problems(app, rollouts)
    problems += notify_problems(notify)
    if page is not None:
        problems += page_problems(page) or list(_page_taken(app, page))
    if problems:
        raise DeclarationError(problems)
    found = {rollout.name: find_routes(app, rollout.control) for rollout in rollouts}
    engine = make_engine(
        rollouts,
        host=AiohttpHost(),
        database=database,
        migrate=migrate,
        controller=controller,
        tick_s=tick_s,
        process=process,
        drain_s=drain_s,
        flags=flags,
        notify=notify,
        tracing=tracing,
        routes={name: tuple(sorted({route.path for route in routes})) for name, routes in found.items()},
    )
    runtimes: dict[Any, Runtime] = {}
    middleware = make_middleware(runtimes)
    owners = install([route for routes in found.values() for route in routes], middleware)

    async def rollouts_running(_: web.Application) -> AsyncIterator[None]:
        _verify_order(app, owners, middleware, rollouts_running)
        engine.started(lambda made: runtimes.update(_by_handler(found, made)))
        await engine.start()
        yield
        await engine.stop()

    app.cleanup_ctx.append(rollouts_running)
    app[ENGINE] = engine
    if metrics_path is not None:
        app.router.add_get(metrics_path, _metrics_handler(engine), name="rollout-metrics")
    if page is not None:
        app.add_subapp(*page_application(page, lambda: engine.backend))
    return engine


def _twice(rollouts: Sequence[Rollout]) -> list[Problem]:
    names = [rollout.name for rollout in rollouts]
    return [
        Problem(f'rollout "{name}"', "is declared twice", "give each rollout a name of its own")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]


def _of_options(app: web.Application, tick_s: Any, drain_s: Any, metrics_path: Any) -> Iterator[Problem]:
    for name, value, least in (("tick_s", tick_s, 0.01), ("drain_s", drain_s, 0.0)):
        if not is_number(value) or not least <= value <= 3600.0:
            yield Problem("setup", f"{name} is {value!r}", f"it must be {least:g} to 3600 seconds")
    if metrics_path is not None:
        if not isinstance(metrics_path, str) or not metrics_path.startswith("/"):
            yield Problem("setup", f"metrics_path is {metrics_path!r}", 'write for example metrics_path="/metrics"')
        elif any(route.path == metrics_path and route.method in ("GET", "*") for route in all_routes(app)):
            yield Problem("setup", f"metrics_path {metrics_path} is a route already", "choose another path")


def _page_taken(app: web.Application, page: Any) -> Iterator[Problem]:
    """That a route answers where the page would be: it comes first, so the page would never be seen. One that takes any
    path is asked after it, for aiohttp begins with what says most of a path.
    """
    path = getattr(page, "path", page)
    for route in all_routes(app):
        if route.path == path or route.path.startswith(f"{path}/"):
            yield Problem("page", f"{path} is taken by the route {route.path}", "choose another path")
            return


def _verify_order(app: web.Application, owners: Sequence[web.Application], middleware: Any, context: Any) -> None:
    """Refuse to start where something was registered after ``setup``."""
    wrong = [*(innermost(owner, middleware) for owner in owners), cleanup_last(app, context)]
    problems = [Problem("setup", what, "move setup(app, …) below it") for what in wrong if what is not None]
    if problems:
        raise DeclarationError(problems)


def _by_handler(found: dict[str, Any], runtimes: dict[str, Runtime]) -> dict[Any, Runtime]:
    return {route.handler: runtimes[name] for name, routes in found.items() for route in routes}


def _metrics_handler(engine: Engine) -> Any:
    from rollout_wiring.embed import metrics_page

    page = metrics_page(engine)

    async def metrics(_: web.Request) -> web.Response:
        body, content_type = page()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return metrics
