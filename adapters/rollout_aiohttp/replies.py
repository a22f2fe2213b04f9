"""From aiohttp's responses to replies, and back. A copy is taken of what control answered before it is sent, and
changes nothing of it.

What cannot be copied has no reply: streams, WebSockets, files, bodies that are generated, and responses that were
begun already.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.payload import Payload
from multidict import CIMultiDict

from rollout.domain.call import Reply
from rollout_aiohttp.internals import cookies_of, copy_encoding, payload_bytes
from rollout_aiohttp.raises import exception_of

# RFC 9110, 7.6.1: these speak of one connection, not of the reply. The length is the server's to count.
_OF_THE_CONNECTION: Final = (
    hdrs.CONNECTION,
    hdrs.CONTENT_LENGTH,
    "Keep-Alive",
    hdrs.PROXY_AUTHENTICATE,
    hdrs.PROXY_AUTHORIZATION,
    "Proxy-Connection",
    hdrs.TE,
    hdrs.TRAILER,
    hdrs.TRANSFER_ENCODING,
    hdrs.UPGRADE,
)


def reply_of(response: web.StreamResponse) -> Reply | None:
    """A copy of a response that was not sent yet; None where it cannot be copied.

    The body is as before compression, and shared where it is ``bytes``. Cookies set on the response are among the
    headers, as ``Set-Cookie``. An ``HTTPException`` gives a reply that is ``raised``.
    """
    if not _has_its_body(type(response)) or response.prepared:
        return None
    body: Any = response.body  # type: ignore[attr-defined]  # of web.Response, which it is
    if body.__class__ is not bytes:
        if body is None:
            body = b""
        elif isinstance(body, Payload):
            body = payload_bytes(body)
            if body is None:
                return None
        else:
            body = bytes(body)  # a bytearray can change
    headers = tuple(response.headers.items())
    cookies = cookies_of(response)
    if cookies:
        headers += tuple((hdrs.SET_COOKIE, morsel.OutputString()) for morsel in cookies.values())
    return Reply(response.status, headers, body, raised=isinstance(response, web.HTTPException))


def reply_of_exception(error: web.HTTPException) -> Reply:
    """The reply of a raised ``HTTPException``: status, headers and body of the exception, which is left as it is."""
    reply = reply_of(error)
    if reply is not None:
        return reply
    # A body that cannot be copied (a file, say) on an exception: status and headers are what it is compared by.
    return Reply(error.status, tuple(error.headers.items()), b"", raised=True)


def response_of(reply: Reply, *, control: web.StreamResponse | None = None) -> web.Response:
    """A fresh response of a reply. An ``HTTPException`` of its status where control raised, or the reply is
    ``raised``: *raise* it.

    A reply below 300 is returned, even where control raised. ``control`` is control's own response or exception, if
    it ran: its wish to close the connection, to compress or to chunk, its keys and (same status) its reason are
    carried over.
    """
    raised = reply.raised or (isinstance(control, web.HTTPException) and reply.status >= 300)
    headers = CIMultiDict(reply.headers.items_)
    for name in _OF_THE_CONNECTION:
        headers.popall(name, None)
    reason = control.reason if control is not None and control.status == reply.status else None
    response: web.Response
    if raised:
        response = exception_of(reply.status, reason, headers, reply.body, control)
    else:
        response = web.Response(status=reply.status, reason=reason, headers=headers, body=reply.body)
    if control is not None:
        _carry_over(control, response)
    return response


@lru_cache(maxsize=256)
def _has_its_body(kind: type[web.StreamResponse]) -> bool:
    """Whether a class of responses sends its ``body`` and nothing else:

    ``web.Response`` and what does not change how it is sent.
    """
    senders = ("prepare", "write_eof", "_start")
    return issubclass(kind, web.Response) and all(
        getattr(kind, name) is getattr(web.Response, name) for name in senders
    )


def _carry_over(control: web.StreamResponse, response: web.Response) -> None:
    for key in control:
        response[key] = control[key]
    if control.keep_alive is False:
        response.force_close()
    if hdrs.CONTENT_ENCODING not in response.headers:
        copy_encoding(control, response)
    if cookies := cookies_of(control):
        _cookies_to_jar(cookies, response)


def _cookies_to_jar(cookies: Any, response: web.Response) -> None:
    """Set control's cookies the way control did, for outer middlewares that look at or delete them, instead of as
    headers.
    """
    headers = response.headers
    sent = headers.popall(hdrs.SET_COOKIE, [])
    kept = {morsel.OutputString(): (name, morsel) for name, morsel in cookies.items()}
    for value in sent:
        if value in kept:
            name, morsel = kept[value]
            response.cookies[name] = morsel.copy()
        else:
            headers.add(hdrs.SET_COOKIE, value)
