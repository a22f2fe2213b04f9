"""Run any aiohttp handler on a sealed request and take its answer, whatever kind of response it is."""

from __future__ import annotations

import inspect
from typing import Any, Final

from aiohttp import hdrs, web

from rollout.domain.call import Reply
from rollout_aiohttp.internals import SealedRequest
from rollout_aiohttp.replies import reply_of, reply_of_exception
from rollout_aiohttp.sink import SealedError

# aiohttp adds these when a response is prepared; control's reply is taken before that, so both sides go without.
_ADDED_ON_SENDING: Final = (hdrs.CONNECTION, hdrs.CONTENT_LENGTH, hdrs.DATE, hdrs.SERVER, hdrs.TRANSFER_ENCODING)


async def run_sealed(handler: Any, request: web.Request) -> Reply:
    """The reply of a handler: a function, a bound method, a class view, a callable instance, one of a sub-application.

    A raised ``HTTPException`` is a reply that is ``raised``; any other exception passes through. A file or a stream
    is read into the reply up to the limit of the sealed request. Raises ``SealedError`` above that, where a WebSocket
    is opened, and where the handler returns no response. A sealed request serves one run.
    """
    if not isinstance(request, SealedRequest):
        raise SealedError("run_sealed needs a sealed request: make one with sealed_request(call).")
    try:
        return await _answer(handler, request)
    except web.HTTPException as error:
        return reply_of_exception(error)
    finally:
        request.close_files()


async def _answer(handler: Any, request: SealedRequest) -> Reply:
    response = handler(request)
    if inspect.isawaitable(response):
        response = await response
    if not isinstance(response, web.StreamResponse):
        name = getattr(handler, "__qualname__", repr(handler))
        raise SealedError(f"{name} returned {type(response).__name__}, which is no response. Return a web.Response.")
    reply = reply_of(response)
    return await _written(response, request) if reply is None else reply


async def _written(response: web.StreamResponse, request: SealedRequest) -> Reply:
    """The reply of a response that must be written to be known."""
    await response.prepare(request)
    await response.write_eof()
    headers = response.headers.copy()
    for name in _ADDED_ON_SENDING:
        headers.popall(name, None)
    if request.sink.compressed:
        headers.popall(hdrs.CONTENT_ENCODING, None)  # the sink has it as it was before
    return Reply(response.status, tuple(headers.items()), bytes(request.sink.body))
