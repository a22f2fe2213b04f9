"""What every answer of the page has in common: its headers, its frame, and how a refusal is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from rollout_page.guests import Guest
from rollout_page.pages import Frame, Notice, Pages

#: Who asks, once they were let in.
GUEST: Final = web.RequestKey("rollout_page_guest", Guest)

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # none at all would take the Origin of our own forms away
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def protect(_: web.Request, response: web.StreamResponse) -> None:
    """Every answer is protected, whoever made it."""
    response.headers.update(_HEADERS)


class Answers:
    """Makes pages of what is to be said. ``closed``: whether people must sign in."""

    def __init__(self, pages: Pages, *, closed: bool) -> None:
        self.pages = pages
        self._closed = closed

    def frame(self, request: web.Request, notice: Notice | None = None) -> Frame:
        return Frame(guest=request.get(GUEST), closed=self._closed, notice=notice)

    def refuse(self, request: web.Request, status: int, title: str, why: str) -> web.Response:
        """A page that says what was refused, and what to do."""
        notice = Notice(tone="bad", title=title, lines=why.splitlines())
        return html(self.pages.message(self.frame(request, notice)), status)


def html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")
