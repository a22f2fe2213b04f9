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
        if admitted.__class__ is Trial:
            response: web.StreamResponse = await admitted.serve(handler)
            return response
        try:
            response = await handler(request)
        except BaseException as error:
            runtime.count_error(admitted, started, error)  # type: ignore[arg-type]  # a cell: trials are served above
            raise
        runtime.count(admitted, started, response)  # type: ignore[arg-type]
        return response

    return rollout_middleware
