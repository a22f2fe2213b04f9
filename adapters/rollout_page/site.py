"""The application below the page's path: who may come in, what they see, and what they ask for.

Everything is looked up when it is asked for; only those who follow share a look (``feed``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from rollout.domain.state import Decision
from rollout.engine.timers import clock_of
from rollout.errors import Conflict, DatabaseError, IllegalTransition, Outdated, Refused, UnknownName
from rollout.ports import Backend
from rollout.usecases import look, reporting
from rollout_page.acting import Asked, Unclear
from rollout_page.crossings import is_from_this_page, is_local
from rollout_page.declared import Page
from rollout_page.drawing import Drawing
from rollout_page.feed import Feed, Full
from rollout_page.guests import SESSION_S, Failures, Guest, Role, Tokens
from rollout_page.pages import STATIC, Frame, Notice, Pages
from rollout_page.stream import follow

DECISIONS: Final = 20  # that the timeline shows
COOKIE: Final = "rollout_page"
_LARGEST_FORM: Final = 16 * 1024
_FORM_S: Final = 10.0  # what a form may take to arrive
_LONGEST_NAME: Final = 60
_GUEST: Final = web.RequestKey("rollout_page_guest", Guest)
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

log = logging.getLogger("rollout.page")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page_of(
    page: Page, backend: Callable[[], Backend | None], drawing: Drawing, *, look_s: float = 2.0
) -> web.Application:
    """An application to be mounted at ``page.path``. ``backend``: None while there is none yet; ``drawing``: of the
    report; ``look_s``: seconds between two looks for those who follow. These are let go when the application around it
    begins to shut down.
    """
    site = Site(page, backend, Pages(page.path, drawing), look_s)
    app = web.Application(middlewares=[site.guarded])
    app.on_response_prepare.append(_protect)
    app.on_shutdown.append(site.close)
    app.add_routes(
        [
            web.get("", site.rollouts),
            web.get("/", site.rollouts),
            web.get("/stream", site.rollouts_stream, allow_head=False),
            web.get("/sign-in", site.sign_in),
            web.post("/sign-in", site.signed_in),
            web.post("/sign-out", site.signed_out),
            web.get("/static/{file}", site.static),
            web.get("/r/{name}", site.rollout),
            web.post("/r/{name}", site.act),
            web.get("/r/{name}/stream", site.rollout_stream, allow_head=False),
            web.get("/r/{name}/report", site.report),
        ]
    )
    return app


async def _protect(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


class Site:
    """See the module."""

    def __init__(self, page: Page, backend: Callable[[], Backend | None], pages: Pages, look_s: float) -> None:
        self._page = page
        self._find_backend = backend
        self._pages = pages
        self._tokens = Tokens(page)
        self._failures = Failures()
        self._feed = Feed(self._look, page.viewers, look_s)

    async def close(self, _: web.Application) -> None:
        await self._feed.close()

    # ---- who may come in

    @web.middleware
    async def guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets in whom it may, and turns what is refused into a page that says so."""
        if not self._page.closed and not is_local(request):
            return self._refuse(
                request, 403, "Only from this machine", "No token is declared, so this page is for this machine alone."
            )
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD) and not self._is_meant(request):
            return self._refuse(request, 403, "Not from this page", "The form was not sent by this page. Load it anew.")
        open_to_all = request.match_info.handler in (self.sign_in, self.signed_in, self.static)
        if not open_to_all:
            if (wait_s := self._wait_s(request)) > 0 and hdrs.AUTHORIZATION in request.headers:
                return self._too_often(request, wait_s)
            guest = self._guest(request)
            if guest is None:
                return self._unknown(request)
            request[_GUEST] = guest
        try:
            return await handler(request)
        except UnknownName as error:
            return self._refuse(request, 404, "Not here", str(error))
        except DatabaseError as error:
            return self._refuse(request, 503, "The database cannot be used now", str(error))
        except Full:
            return web.Response(status=503, text="as many follow as may\n", headers={hdrs.RETRY_AFTER: "60"})

    def _is_meant(self, request: web.Request) -> bool:
        """No browser sends a bearer's token by itself, so a request that has one is meant."""
        return hdrs.AUTHORIZATION in request.headers or is_from_this_page(request)

    def _guest(self, request: web.Request) -> Guest | None:
        """Who it is: by cookie, by a bearer's token, or, where no token is declared, somebody of this machine."""
        if not self._page.closed:
            return Guest(role=Role.view, name="")
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme:
            role = self._tokens.role_of(token.strip()) if scheme.lower() == "bearer" else None
            if role is None:
                self._failures.note(_peer(request), _now())
                return None
            return Guest(role=role, name="bearer")
        return self._tokens.guest(request.cookies.get(COOKIE, ""), time.time())

    def _unknown(self, request: web.Request) -> web.Response:
        """Whoever is not known: a person is led to the form, a program is told."""
        if request.method == hdrs.METH_GET and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            onward = quote(request.rel_url.path)
            return web.Response(status=303, headers={hdrs.LOCATION: f"{self._page.path}/sign-in?onward={onward}"})
        response = self._refuse(request, 401, "Sign in first", "Your session is over, or there was none.")
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        return response

    async def sign_in(self, request: web.Request) -> web.Response:
        """The form for a token."""
        return self._signing_in(request, 200, None, request.query.get("onward", ""))

    async def signed_in(self, request: web.Request) -> web.Response:
        """Take a token once, and give a cookie for it."""
        if (wait_s := self._wait_s(request)) > 0:
            return self._too_often(request, wait_s)
        form = await _form(request)
        name = " ".join(form.get("name", "").split())[:_LONGEST_NAME]
        role = self._tokens.role_of(form.get("token", "").strip())
        if role is None:
            self._failures.note(_peer(request), _now())
            log.warning("a wrong token from %s", _peer(request), extra={"event": "page_wrong_token"})
            notice = Notice(tone="bad", title="That token is not one of this page's", lines=())
            return self._signing_in(request, 403, notice, form.get("onward", ""))
        if not name:
            notice = Notice(tone="bad", title="Your name is missing", lines=("It goes into the audit.",))
            return self._signing_in(request, 400, notice, form.get("onward", ""))
        response = web.Response(status=303, headers={hdrs.LOCATION: self._onward(form.get("onward", ""))})
        response.set_cookie(
            COOKIE,
            self._tokens.session(role, name, time.time(), secrets.token_urlsafe(16)),
            max_age=int(SESSION_S),
            path=self._page.path,
            httponly=True,
            samesite="Strict",
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return response

    async def signed_out(self, request: web.Request) -> web.Response:
        response = web.Response(status=303, headers={hdrs.LOCATION: f"{self._page.path}/sign-in"})
        response.del_cookie(COOKIE, path=self._page.path)
        return response

    def _signing_in(self, request: web.Request, status: int, notice: Notice | None, onward: str) -> web.Response:
        return _html(self._pages.sign_in(self._frame(request, notice), self._onward(onward)), status)

    def _onward(self, path: str) -> str:
        """Where to go after signing in: nowhere but here."""
        return path if path.startswith(f"{self._page.path}/") else self._page.path

    def _wait_s(self, request: web.Request) -> float:
        return self._failures.wait_s(_peer(request), _now())

    def _too_often(self, request: web.Request, wait_s: float) -> web.Response:
        response = self._refuse(request, 429, "Too many wrong tokens", f"Try again in {wait_s:.0f} s.")
        response.headers[hdrs.RETRY_AFTER] = str(int(wait_s) + 1)
        return response

    # ---- what they see

    async def static(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        text = self._pages.static(name)
        if text is None:
            return web.Response(status=404, text="not here\n")
        return web.Response(text=text, content_type=STATIC.get(name, "text/css"))

    async def rollouts(self, request: web.Request) -> web.Response:
        return _html(self._pages.rollouts(self._frame(request), await look.status(self._backend())))

    async def rollout(self, request: web.Request) -> web.Response:
        return await self._rollout(request, 200, None)

    async def report(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        report = await reporting.report(self._backend(), name)
        # In a thread: the loop is that of the user's application, and a report is long.
        return _html(await asyncio.to_thread(self._pages.report, self._frame(request), report, self._path(name)))

    async def rollouts_stream(self, request: web.Request) -> web.StreamResponse:
        return await follow(request, self._feed, "")

    async def rollout_stream(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        look.known(await self._backend().state.load(), name)
        return await follow(request, self._feed, name)

    async def _look(self, topic: str) -> Mapping[str, str]:
        """One look, for all who follow: at all rollouts, or at one."""
        backend = self._backend()
        if not topic:
            return self._pages.rollouts_parts(await look.status(backend))
        decisions = await look.history(backend, topic, DECISIONS)
        return self._pages.rollout_parts(await look.show(backend, topic), decisions)

    async def _rollout(self, request: web.Request, status: int, notice: Notice | None) -> web.Response:
        name, backend = request.match_info["name"], self._backend()
        shown = await look.show(backend, name)
        decisions = await look.history(backend, name, DECISIONS)
        return _html(self._pages.rollout(self._frame(request, notice), shown, decisions, self._path(name)), status)

    # ---- what they ask for

    async def act(self, request: web.Request) -> web.Response:
        """Carry a form out, or tell why not, with how things stand now."""
        guest, name = request[_GUEST], request.match_info["name"]
        form = await _form(request)
        if not guest.operates:
            return self._refuse(request, 403, "You may look", "To act, sign in with the token that operates.")
        if not guest.made(form.get("proof", "")):
            return self._refuse(request, 403, "Not from this page", "The form is somebody else's. Load the page anew.")
        try:
            asked = Asked.of(form)
            done = await asked.carry_out(self._backend(), name, f"{guest.name}@page")
        except Unclear as error:
            return await self._rollout(request, 400, _notice(form, "Not done", str(error)))
        except Outdated as error:
            title, why = "Not done: it changed since you looked", "Below is how it stands now. Decide again."
            return await self._rollout(request, 409, _notice(form, title, why, tone="wait", unseen=error.since))
        except (Refused, IllegalTransition, Conflict) as error:
            return await self._rollout(request, 409, _notice(form, "Not done", str(error)))
        if not done.changed:
            return await self._rollout(request, 200, _notice({}, "Nothing to do", done.note, tone="wait"))
        (newest, *_) = await look.history(self._backend(), name, 1)
        return web.Response(status=303, headers={hdrs.LOCATION: f"{self._path(name)}#decision-{newest.number}"})

    # ---- the frame

    def _backend(self) -> Backend:
        backend = self._find_backend()
        if backend is None:
            raise DatabaseError("The database was not reached yet since this process started. It is tried again.")
        return backend

    def _path(self, name: str) -> str:
        return f"{self._page.path}/r/{quote(name, safe='')}"

    def _frame(self, request: web.Request, notice: Notice | None = None) -> Frame:
        return Frame(guest=request.get(_GUEST), closed=self._page.closed, notice=notice)

    def _refuse(self, request: web.Request, status: int, title: str, why: str) -> web.Response:
        notice = Notice(tone="bad", title=title, lines=why.splitlines())
        return _html(self._pages.message(self._frame(request, notice)), status)


def _notice(
    form: Mapping[str, str], title: str, why: str, *, tone: str = "bad", unseen: Sequence[Decision] = ()
) -> Notice:
    """``form``: what was posted, so that the reason need not be typed again."""
    typed, branch = form.get("reason", ""), form.get("branch", "")
    return Notice(tone=tone, title=title, lines=why.splitlines(), unseen=unseen, typed=typed, branch=branch)


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a small form; one that is large, slow, or no such form is refused."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType(text="only forms are taken here\n")
    if request.content_length is None or request.content_length > _LARGEST_FORM:
        raise web.HTTPRequestEntityTooLarge(_LARGEST_FORM, request.content_length or 0, text="the form is too large\n")
    try:
        async with asyncio.timeout(_FORM_S):
            posted = await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the form did not arrive\n") from None
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def _peer(request: web.Request) -> str:
    return request.remote or "somebody"


def _now() -> float:
    return clock_of(asyncio.get_running_loop())()
