"""Every private name of aiohttp that the adapter touches, each because no public one does it.

`test_internals.py` fails if one changes.
"""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.payload import BytesPayload, Payload

from rollout_aiohttp.sink import SealedError, Sink


class SealedRequest(web.Request):
    """A request that was made of a copy. ``sink`` holds what was written to it."""

    @property
    def sink(self) -> Sink:
        return cast(Sink, self.writer)

    def match_with(self, match: web.UrlMappingMatchInfo) -> None:
        """Set ``match_info``, which is otherwise the router's to do (aiohttp's own ``make_mocked_request`` sets it
        like this).
        """
        self._match_info = match

    def close_files(self) -> None:
        """Close the files of a form that was read, as aiohttp does when a request has ended."""
        self._finish()

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Called by aiohttp before the head of a response is written. The signals of the application are left out."""
        if isinstance(response, web.WebSocketResponse):
            raise SealedError("A WebSocket cannot be opened on a sealed request: it has no connection.")


def cookies_of(response: web.StreamResponse) -> SimpleCookie | None:
    """The cookies set on a response, None if there are none.

    The public property would make an empty jar on the response.
    """
    return response._cookies


def payload_bytes(payload: Payload) -> bytes | None:
    """The bytes of a payload that has them in memory; None for files, generators and multipart."""
    if not isinstance(payload, BytesPayload):
        return None
    value: Any = payload._value
    return bytes(value)


def copy_encoding(source: web.StreamResponse, target: web.Response) -> None:
    """Ask for the same compression and chunking on the target, where the source asks for any."""
    if source.compression:
        target.enable_compression(source._compression_force, source._compression_strategy)
    if source.chunked:
        target.enable_chunked_encoding()


def cached_body(request: web.BaseRequest) -> bytes | None:
    """The body if ``request.read()`` was called before; None if not. Calling it would tell that, but read."""
    return request._read_bytes


def is_untouched(content: StreamReader) -> bool:
    """Whether nothing was read from the body yet."""
    return getattr(content, "_cursor", 0) == 0  # an empty body's reader has none


def put_back(content: StreamReader, data: bytes) -> None:
    """Put bytes that were read back at the head of a body, so that whoever reads it finds it as it was.

    The public ``unread_data`` does the same, but warns at each call that it is deprecated.
    """
    if not data:
        return
    if content._buffer_offset:
        content._buffer[0] = content._buffer[0][content._buffer_offset :]
        content._buffer_offset = 0
    content._size += len(data)
    content._cursor -= len(data)
    content._buffer.appendleft(data)
    content._eof_counter = 0


def replace_handler(route: web.AbstractRoute, handler: Any) -> None:
    """Let a route call another handler. For a sub-application: joining it froze its middlewares, and one of the outer
    application would stand outside of them, where it could neither see what they store nor respect what they refuse.
    """
    route._handler = handler
