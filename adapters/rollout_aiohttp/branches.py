"""aiohttp handlers as branches, and pages as aggregators: both run on a sealed request, so that nothing they do is
sent.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from rollout.domain.call import Call, Parts, Reply
from rollout_aiohttp.runs import run_sealed
from rollout_aiohttp.sealed import sealed_request
from rollout_aiohttp.sink import MAX_REPLY

PageFn = Callable[[web.Request, Call, "Reply | None", Parts], Any]


def handler_branch(handler: Any, *, limit: int = MAX_REPLY) -> Callable[[Call], Awaitable[Any]]:
    """An aiohttp handler as a branch: ``Branch("v2", handler_branch(profile_v2), part="$")``.

    ``handler``: whatever a route takes. ``limit``: bytes it may write; default 8 MiB, above it the run fails. The
    part is the *parsed JSON* where the handler answers 2xx with a JSON content type and a body that is JSON; in every
    other case (HTML, a redirect, a 404 whether returned or raised) it is the ``Reply``. Exceptions other than
    ``HTTPException`` fail the run. Middlewares do not run again: what they stored in the request is there.
    """

    async def branch(call: Call) -> Any:
        return part_of(await run_sealed(handler, sealed_request(call, limit=limit)))

    branch.__name__ = branch.__qualname__ = getattr(handler, "__name__", type(handler).__name__)
    branch.__doc__ = getattr(handler, "__doc__", None)
    branch.needs_request = True  # type: ignore[attr-defined]  # the engine then keeps the whole request, before control runs
    return branch


def page(fn: PageFn, *, limit: int = MAX_REPLY) -> Callable[[Call, Reply | None, Parts], Awaitable[Any]]:
    """An aggregator with a request, for templates: ``aggregate=page(fn)`` with ``fn(request, call, control, parts)``.

    ``fn``, sync or async, returns (or raises) a response, a ``Reply`` or a JSON value. The request is sealed:
    ``aiohttp_jinja2`` finds the application and the context processors find the request.
    """

    @functools.wraps(fn)
    async def aggregate(call: Call, control: Reply | None, parts: Parts) -> Any:
        values: list[Any] = []

        async def handler(request: web.Request) -> Any:
            made = fn(request, call, control, parts)
            if inspect.isawaitable(made):
                made = await made
            if isinstance(made, web.StreamResponse):
                return made
            values.append(made)
            return web.Response()

        reply = await run_sealed(handler, sealed_request(call, limit=limit))
        return values[0] if values else reply

    aggregate.needs_request = True  # type: ignore[attr-defined]  # as a branch of a handler
    return aggregate


def part_of(reply: Reply) -> Any:
    """The JSON value of a 2xx reply that is JSON by its type and its body; else the reply itself."""
    media_type = reply.content_type.partition(";")[0].strip().lower()
    if not reply.ok or not (media_type == "application/json" or media_type.endswith("+json")):
        return reply
    try:
        return reply.json_value()
    except ValueError:
        return reply
