"""One viewer's connection: server-sent events until the viewer, the feed or its time is over."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web

from rollout_page.feed import Feed, Viewer

_BEAT_S: Final = 10.0  # silence after which a beat shows that we live
_LIFE_S: Final = 900.0  # then the browser asks anew, and is asked again who it is
_PATIENCE_S: Final = 10.0  # for a viewer whose connection takes nothing


async def follow(request: web.Request, feed: Feed, topic: str) -> web.StreamResponse:
    """Tell a viewer of a topic. ``Full`` if no more may follow."""
    viewer = feed.join(topic)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"})
    try:
        await response.prepare(request)
        async with asyncio.timeout(_LIFE_S):
            while (message := await _next(viewer)) is not None:
                await _write(request, response, message)
    except (TimeoutError, ConnectionError):
        pass  # its time is over, or the viewer went, or takes nothing: a browser that is there asks anew
    finally:
        feed.leave(viewer)
    return response


async def _next(viewer: Viewer) -> bytes | None:
    """The next message, or a beat."""
    try:
        async with asyncio.timeout(_BEAT_S):
            return await viewer.next()
    except TimeoutError:
        return b"event: beat\ndata: {}\n\n"


async def _write(request: web.Request, response: web.StreamResponse, message: bytes) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await response.write(message)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # else the end of the response would wait for it as well
        raise
