"""Who may come in: from where, with which token, and how they sign in and out."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from rollout.engine.timers import clock_of
from rollout_page.answers import GUEST, Answers, html
from rollout_page.crossings import is_from_this_page, is_local
from rollout_page.declared import Page
from rollout_page.forms import form_of
from rollout_page.guests import SESSION_S, Failures, Guest, Role, Tokens
from rollout_page.pages import Notice

COOKIE: Final = "rollout_page"
_LONGEST_NAME: Final = 60
_READS: Final = (hdrs.METH_GET, hdrs.METH_HEAD)

log = logging.getLogger("rollout.page")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Entrance:
    """``open_to_all``: handlers for whoever may reach the page at all, besides the form to sign in."""

    def __init__(self, page: Page, answers: Answers, open_to_all: Collection[Handler]) -> None:
        self._page = page
        self._answers = answers
        self._open_to_all = (self.sign_in, self.signed_in, *open_to_all)
        self._tokens = Tokens(page)
        self._failures = Failures()

    @property
    def _base(self) -> str:
        return self._answers.pages.base

    @web.middleware
    async def guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets in whom it may, and tells the others why not."""
        if not self._page.closed and not is_local(request):
            why = "No token is declared, so this page is for this machine alone."
            return self._answers.refuse(request, 403, "Only from this machine", why)
        if request.method not in _READS and not _is_meant(request):
            why = "The form was not sent by this page. Load it anew."
            return self._answers.refuse(request, 403, "Not from this page", why)
        if request.match_info.handler in self._open_to_all:
            return await handler(request)
        wait_s = self._wait_s(request)
        guest = self._guest(request, wait_s == 0)
        if guest is None and wait_s > 0 and _bearer(request) is not None:
            return self._too_often(request, wait_s)
        if guest is None:
            return self._unknown(request)
        request[GUEST] = guest
        return await handler(request)

    def _guest(self, request: web.Request, may_guess: bool) -> Guest | None:
        """Who it is: by a bearer's token, by cookie (a proxy may send a bearer's token of its own with everything), or,
        where no token is declared, somebody of this machine. ``may_guess``: whether a token is looked at.
        """
        if not self._page.closed:
            return Guest(role=Role.view, name="")
        token = _bearer(request)
        if token is not None and may_guess and (role := self._tokens.role_of(token)) is not None:
            return Guest(role=role, name="bearer")
        guest = self._tokens.guest(request.cookies.get(COOKIE, ""), time.time())
        if guest is None and token is not None and may_guess:
            self._wrong(request, token)
        return guest

    def _unknown(self, request: web.Request) -> web.Response:
        """Whoever is not known: a person is led to the form, a program is told."""
        if request.method == hdrs.METH_GET and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            below = request.rel_url.raw_path.removeprefix(str(request.app.router["rollouts"].url_for()))
            onward = quote(f"{self._base}{below}")
            return web.Response(status=303, headers={hdrs.LOCATION: f"{self._base}/sign-in?onward={onward}"})
        response = self._answers.refuse(request, 401, "Sign in first", "Your session is over, or there was none.")
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        return response

    # ---- signing in and out

    async def sign_in(self, request: web.Request) -> web.Response:
        """The form for a token."""
        return self._form(request, 200, None, request.query.get("onward", ""))

    async def signed_in(self, request: web.Request) -> web.Response:
        """Take a token once, and give a cookie for it."""
        form = await form_of(request)
        if (wait_s := self._wait_s(request)) > 0:  # not before: many forms may be on their way at once
            return self._too_often(request, wait_s)
        name = " ".join(form.get("name", "").split())[:_LONGEST_NAME]
        onward = form.get("onward", "")
        token = form.get("token", "").strip()
        role = self._tokens.role_of(token)
        if role is None:
            self._wrong(request, token)
            notice = Notice(tone="bad", title="That token is not one of this page's", lines=())
            return self._form(request, 403, notice, onward)
        if not name:
            notice = Notice(tone="bad", title="Your name is missing", lines=("It goes into the audit.",))
            return self._form(request, 400, notice, onward)
        response = web.Response(status=303, headers={hdrs.LOCATION: self._onward(onward)})
        response.set_cookie(
            COOKIE,
            self._tokens.session(role, name, time.time(), secrets.token_urlsafe(16)),
            max_age=int(SESSION_S),
            path=self._base,
            httponly=True,
            samesite="Strict",
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return response

    async def signed_out(self, _: web.Request) -> web.Response:
        """Take the cookie back."""
        response = web.Response(status=303, headers={hdrs.LOCATION: f"{self._base}/sign-in"})
        response.del_cookie(COOKIE, path=self._base)
        return response

    def _form(self, request: web.Request, status: int, notice: Notice | None, onward: str) -> web.Response:
        frame = self._answers.frame(request, notice)
        return html(self._answers.pages.sign_in(frame, self._onward(onward)), status)

    def _onward(self, path: str) -> str:
        """Where to go after signing in: nowhere but here."""
        return path if path.startswith(f"{self._base}/") and path.isprintable() else self._base

    # ---- wrong tokens

    def _wrong(self, request: web.Request, token: str) -> None:
        self._failures.note(_peer(request), token, _now())
        log.warning("a wrong token from %s", _peer(request), extra={"event": "page_wrong_token"})

    def _wait_s(self, request: web.Request) -> float:
        return self._failures.wait_s(_peer(request), _now())

    def _too_often(self, request: web.Request, wait_s: float) -> web.Response:
        why = f"Try again in {wait_s:.0f} s."
        response = self._answers.refuse(request, 429, "Too many wrong tokens", why)
        response.headers[hdrs.RETRY_AFTER] = str(int(wait_s) + 1)
        return response


def _is_meant(request: web.Request) -> bool:
    """No browser sends a bearer's token by itself, so a request that has one is meant."""
    return _bearer(request) is not None or is_from_this_page(request)


def _bearer(request: web.Request) -> str | None:
    """The token of a bearer. Of any other scheme there is none: a proxy in front may ask for a password, which browsers
    then send by themselves.
    """
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _peer(request: web.Request) -> str:
    return request.remote or "somebody"


def _now() -> float:
    return clock_of(asyncio.get_running_loop())()
