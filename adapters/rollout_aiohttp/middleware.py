"""The middleware: a look-up for handlers that are not wrapped, a count for calls that are not drawn, a trial for the
rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from rollout.engine.runtime import Runtime
from rollout.engine.trial import Trial

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_middleware(runtimes: Mapping[Any, Runtime]) -> Any:
    """The middleware of one application. ``runtimes``: the router's handler → its rollout; filled when the engine
    has started.
    """

    @web.middleware
    async def rollout_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        runtime = runtimes.get(handler)
        if runtime is None or not runtime.active or request.method not in runtime.methods:
            return await handler(request)
        started = runtime.time()
        try:
            admitted = runtime.admit(request, started)
        except Exception as error:
            runtime.fault("admit", error)
            return await handler(request)
        if runtime.measuring:
            runtime.measured(started)
        if isinstance(admitted, Trial):
            response: web.StreamResponse = await admitted.serve(handler)
            return response
        try:
            response = await handler(request)
        except BaseException as error:
            _count(runtime.count_error, runtime, admitted, started, error)
            raise
        try:
            runtime.count(admitted, started, response)  # type: ignore[arg-type]  # a cell: trials are served above
        except Exception as error:
            runtime.fault("count", error)
        return response

    return rollout_middleware


def _count(count: Callable[..., None], runtime: Runtime, *what: Any) -> None:
    """Count; whatever goes wrong in that is ours, and not the user's."""
    try:
        count(*what)
    except Exception as error:
        runtime.fault("count", error)
