"""Find control in the routes of an application and of those below it, and hold the order of things against what must
be so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from aiohttp import web

from rollout.definition import Rollout
from rollout.errors import Problem
from rollout_aiohttp.internals import replace_handler


@dataclass(frozen=True, slots=True)
class Found:
    """A route of control.

    ``app`` owns it. ``handler`` is what the router calls, and what ``match_info.handler`` is: for a callable instance
    or a plain function not control itself but aiohttp's wrapper. ``path``: canonical. ``method``: ``*`` is any.
    """

    app: web.Application
    route: web.AbstractRoute
    handler: Any
    method: str
    path: str

    @property
    def joined(self) -> bool:
        """Whether the owner takes no more middlewares: it was joined to another application, or runs already."""
        return self.app.pre_frozen


def find_routes(app: web.Application, control: Any) -> list[Found]:
    """Every route whose handler is control: the same object, or an equal bound method; in sub-applications at any
    depth too.

    Empty when there is none. A handler that *wraps* control (a decorator) is not control.
    """
    return [found for found in all_routes(app) if _is(found.handler, control)]


def all_routes(app: web.Application) -> Iterator[Found]:
    """The routes of an application and of the ones below it."""
    for resource in app.router.resources():
        below = resource.get_info().get("app")
        if below is not None:
            yield from all_routes(below)
            continue
        for route in resource:
            yield Found(app, route, route.handler, route.method, resource.canonical)


def route_problems(app: web.Application, rollouts: Sequence[Rollout]) -> list[Problem]:
    """What is wrong with where the controls stand: not routed, the application frozen, two rollouts on one."""
    problems: list[Problem] = []
    claimed: list[tuple[Any, str]] = []
    for rollout in rollouts:
        where = f'rollout "{rollout.name}"'
        found = find_routes(app, rollout.control)
        if not found:
            problems.append(
                Problem(where, f"control {_name(rollout.control)} is on no route", _hint(app, rollout.control))
            )
        if app.frozen:
            problems.append(Problem(where, "the application is frozen: it runs already", "call setup before it starts"))
        for other, name in claimed:
            if other is rollout.control or any(_is(one.handler, other) for one in found):
                what = f'control {_name(rollout.control)} is that of rollout "{name}" too'
                problems.append(Problem(where, what, "put the branches of both into one rollout"))
        claimed.append((rollout.control, rollout.name))
    return problems


def install(routes: Iterable[Found], middleware: Any) -> list[web.Application]:
    """Put a middleware innermost around routes; the applications that got it as their last middleware.

    A joined application takes no more of them, and one of the application around it would stand outside of the joined
    one's own: it could neither see what those store nor respect what they refuse. There the route's handler is replaced
    by the middleware around it, which nothing can come between.
    """
    owners: dict[int, web.Application] = {}
    for found in routes:
        if found.joined:
            replace_handler(found.route, _around(found.handler, middleware))
        elif id(found.app) not in owners:
            owners[id(found.app)] = found.app
            found.app.middlewares.append(middleware)
    return list(owners.values())


def _around(handler: Any, middleware: Any) -> Any:
    async def wrapped(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = await middleware(request, handler)
        return response

    return functools.update_wrapper(wrapped, handler)


def innermost(app: web.Application, middleware: Any) -> str | None:
    """What is wrong if a middleware is not the innermost of its application: None if it is."""
    middlewares = list(app.middlewares)
    if middleware not in middlewares:
        return "the middleware is not among those of the application: they were replaced after setup"
    after = middlewares[middlewares.index(middleware) + 1 :]
    if not after:
        return None
    names = ", ".join(_name(one) for one in after)
    return f"middleware registered after setup: {names}; it would see what the branches must not. Call setup last"


def cleanup_last(app: web.Application, ctx: Any) -> str | None:
    """What is wrong if a cleanup context is not the last of its application, the first to be left: None if it is."""
    contexts = list(app.cleanup_ctx)
    if ctx not in contexts:
        return "the cleanup context is not among those of the application"
    after = contexts[contexts.index(ctx) + 1 :]
    if not after:
        return None
    names = ", ".join(_name(one) for one in after)
    return f"cleanup context registered after setup: {names}; it would end while shadows still use it. Call setup last"


def _is(handler: Any, control: Any) -> bool:
    if handler is control or _wrapped_by_aiohttp(handler) is control:
        return True
    bound = getattr(control, "__self__", None) is not None and hasattr(control, "__func__")
    return bound and bool(handler == control or _wrapped_by_aiohttp(handler) == control)


def _wrapped_by_aiohttp(handler: Any) -> Any:
    """What aiohttp made an async function of (a callable instance, a plain function); the handler itself if it did
    not.
    """
    module = getattr(handler, "__globals__", {}).get("__name__")
    return getattr(handler, "__wrapped__", handler) if module == web.AbstractRoute.__module__ else handler


def _hint(app: web.Application, control: Any) -> str:
    routes = list(all_routes(app))
    for found in routes:
        inner = _wrapped_by_aiohttp(found.handler)
        while (inner := getattr(inner, "__wrapped__", None)) is not None:
            if inner is control:
                return f"{found.path} has it decorated: pass the decorated handler, as the route has it"
    names = {_name(found.handler): found.path for found in routes}
    near = get_close_matches(_name(control), names, n=3, cutoff=0.4)
    if near:
        return "add the route before setup, or pass one of " + ", ".join(f"{name} ({names[name]})" for name in near)
    return "add the route before setup" + (f"; the routes have {', '.join(sorted(names)[:10])}" if names else "")


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or type(thing).__qualname__)
