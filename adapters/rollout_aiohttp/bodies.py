"""Copy the body of a request before control reads it, such that control cannot tell.

The bytes are read from the request's stream and put back into the same stream, not cached on the request: so `read`,
`text`, `json`, `post`, `multipart`, `content`, `can_read_body` and `clone` behave as without us, also for a reader
that an earlier middleware made and handed on. `Expect: 100-continue` needs no care: aiohttp (or the route's own
`expect_handler`) has answered it before any middleware runs, so the body is on its way.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from rollout_aiohttp.internals import cached_body, is_untouched, put_back
from rollout_aiohttp.snapshot import wants_upgrade


def skip_reason(request: web.Request, max_body: int) -> str | None:
    """Why the body of a request is not copied; None if it can be. Decided without I/O. ``max_body`` in bytes,
    inclusive.

    * ``upgrade``: the client asks to leave HTTP (a WebSocket, CONNECT).
    * ``streamed``: the length is not known (chunked).
    * ``too_large``: above ``max_body``, or above the application's ``client_max_size``: control answers that with 413
    itself. * ``consumed``: somebody read of it, and aiohttp keeps no copy. * ``broken``: the connection failed while
    the body came; control shall meet the error, if it reads.
    """
    if (hdrs.UPGRADE in request.headers and wants_upgrade(request.headers)) or request.method == hdrs.METH_CONNECT:
        return "upgrade"
    if not request.body_exists:
        return None
    cached = cached_body(request)
    if cached is not None:
        return "too_large" if len(cached) > max_body else None
    if not is_untouched(request.content):
        return "consumed"
    if request.content.exception() is not None:
        return "broken"
    length = request.content_length
    if length is None or hdrs.TRANSFER_ENCODING in request.headers:
        return "streamed"
    return "too_large" if length > _limit(request, max_body) else None


async def read_body(request: web.Request, max_body: int) -> bytes | None:
    """A copy of the body, unpacked if it came compressed; ``b""`` if there is none. To be called where
    ``skip_reason`` is None.

    None: it is larger than allowed once unpacked, or broke off. Then too, all that was read has been put back, so
    control reads on from the beginning, and meets the same error as without us. Raises nothing but a cancellation.
    """
    if not request.body_exists:
        return b""
    cached = cached_body(request)
    if cached is not None:
        return cached
    content = request.content
    limit = _limit(request, max_body)
    body = bytearray()
    try:
        while len(body) <= limit and (chunk := await content.readany()):
            body += chunk
    except Exception:  # the stream raises it again to whoever reads next: control
        return None
    finally:
        read = bytes(body)
        put_back(content, read)
    return read if len(read) <= limit else None


def _limit(request: web.Request, max_body: int) -> int:
    return min(max_body, request.client_max_size) if request.client_max_size else max_body
