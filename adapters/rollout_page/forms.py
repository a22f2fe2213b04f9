"""Forms as they arrive: small, whole and in time, or not at all."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

_LARGEST: Final = 16 * 1024  # bytes
_MOST_S: Final = 10.0  # that one may take to arrive


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of a form. Raises the refusal of one that is large, slow, or no such form."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType(text="only forms are taken here\n")
    if request.content_length is None or request.content_length > _LARGEST:
        raise web.HTTPRequestEntityTooLarge(_LARGEST, request.content_length or 0, text="the form is too large\n")
    try:
        async with asyncio.timeout(_MOST_S):
            posted = await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the form did not arrive\n") from None
    except (LookupError, UnicodeDecodeError):
        raise web.HTTPUnsupportedMediaType(text="the form is not in the charset that it names\n") from None
    return {name: value for name, value in posted.items() if isinstance(value, str)}
