"""aiohttp, as the engine sees it (``rollout.ports.Host``)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rollout.domain.call import Call, CallSource, Reply
from rollout_aiohttp.bodies import read_body, skip_reason
from rollout_aiohttp.replies import reply_of, reply_of_exception, response_of
from rollout_aiohttp.runs import run_sealed
from rollout_aiohttp.sealed import sealed_request
from rollout_aiohttp.source import RequestSource


class AiohttpHost:
    """See ``rollout.ports.Host``; ``native`` is a ``web.Request``."""

    source = RequestSource  # called for every call of an active rollout: a method in between would cost as much again
    skip_reason = staticmethod(skip_reason)
    reply_of = staticmethod(reply_of)

    def has_body(self, native: web.Request) -> bool:
        return native.body_exists

    async def read_body(self, native: web.Request, max_body: int) -> bytes | None:
        return await read_body(native, max_body)

    def keep(self, source: CallSource, *, whole: bool) -> None:
        assert isinstance(source, RequestSource)
        if whole:
            source.keep()
        else:
            source.hold()

    def reply_of_error(self, error: BaseException) -> Reply | None:
        return reply_of_exception(error) if isinstance(error, web.HTTPException) else None

    def response_of(self, reply: Reply, control: Any | None) -> web.Response:
        return response_of(reply, control=control)

    async def run_again(self, handler: Any, call: Call) -> Reply:
        return await run_sealed(handler, sealed_request(call))
