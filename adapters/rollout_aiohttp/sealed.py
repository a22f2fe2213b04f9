"""A sealed request: a real `web.Request` over a copy, without a connection. What a handler does with it cannot reach
the user.

JSON, text, forms, multipart, cookies, `match_info`, `app`, `config_dict`, `remote` and the keys of earlier
middlewares work as on the original. What is written goes to a bounded `Sink`. A WebSocket is refused.
`on_response_prepare` signals do not run: they belong to what is sent, and this is not. The application, its pools and
the objects behind the request's keys are the shared ones.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from rollout.domain.call import Call
from rollout_aiohttp.internals import SealedRequest
from rollout_aiohttp.sink import MAX_REPLY, NoConnection, NoSendfile, SealedError, Sink
from rollout_aiohttp.snapshot import RequestSnapshot, wants_upgrade

_READ_LIMIT = 2**18  # aiohttp's own for a request; bounds a line, not the body


def sealed_request(call: Call, *, limit: int = MAX_REPLY) -> SealedRequest:
    """A sealed request of a call. ``limit``: bytes that a handler may write to it.

    Raises ``SealedError`` where the call does not come from an aiohttp request. Needs a running loop.
    """
    snapshot = getattr(call.source, "snapshot", None)
    if not isinstance(snapshot, RequestSnapshot):
        raise SealedError(
            f"{call!r} does not come from an aiohttp request but from {type(call.source).__name__}, so no request can "
            "be made of it. Use a call of the middleware, or write the branch as a function of the call."
        )
    return seal(snapshot, call.body, limit=limit)


def seal(snapshot: RequestSnapshot, body: bytes, *, limit: int = MAX_REPLY) -> SealedRequest:
    """A sealed request of a snapshot and the copy of its body."""
    loop = asyncio.get_running_loop()
    connection = NoConnection(*snapshot.limits)
    request = SealedRequest(
        _message(snapshot),
        _payload(connection, body, loop),
        cast(RequestHandler, connection),
        Sink(limit),
        cast("asyncio.Task[None]", None),  # as after the end of any request: the user's task is none of ours
        cast(asyncio.AbstractEventLoop, NoSendfile(loop)),
        client_max_size=snapshot.client_max_size,
        client_max_fields=snapshot.client_max_fields,
        state=dict(snapshot.stored),
        scheme=snapshot.scheme,
        host=snapshot.host,
        remote=snapshot.remote,
    )
    match = web.UrlMappingMatchInfo(dict(snapshot.path_params), snapshot.route)
    for app in reversed(snapshot.apps):
        match.add_app(app)
    match.freeze()
    request.match_with(match)
    return request


def _message(snapshot: RequestSnapshot) -> RawRequestMessage:
    headers = snapshot.headers
    return RawRequestMessage(
        method=snapshot.method,
        path=str(snapshot.rel_url),
        version=snapshot.version,
        headers=headers,
        raw_headers=tuple(
            (name.encode("utf-8"), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()
        ),
        should_close=not snapshot.keep_alive,
        compression=None,  # the copy of the body is what aiohttp unpacked
        upgrade=wants_upgrade(headers),
        chunked=False,
        url=snapshot.rel_url,
    )


def _payload(connection: NoConnection, body: bytes, loop: asyncio.AbstractEventLoop) -> StreamReader:
    if not body:
        return EMPTY_PAYLOAD
    payload = StreamReader(cast(Any, connection), _READ_LIMIT, loop=loop)
    payload.feed_data(body)
    payload.feed_eof()
    return payload
