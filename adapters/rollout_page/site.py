"""The application below the page's path: what people see, follow, and ask for.

Everything is looked up when it is asked for; only those who follow share a look (``feed``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from rollout.domain.state import Decision
from rollout.errors import Conflict, DatabaseError, IllegalTransition, Outdated, Refused, UnknownName
from rollout.ports import Backend
from rollout.usecases import look, reporting
from rollout_page.acting import Asked, Unclear
from rollout_page.answers import GUEST, Answers, html, protect
from rollout_page.declared import Page
from rollout_page.drawing import Drawing
from rollout_page.entrance import Entrance, Handler
from rollout_page.feed import Feed, Full
from rollout_page.forms import form_of
from rollout_page.pages import STATIC, Notice, Pages
from rollout_page.stream import follow

DECISIONS: Final = 20  # that the timeline shows
_ROOT: Final = "rollouts"
REPORTS_AT_ONCE: Final = 2  # the others wait: each takes time of the user's application, and memory


def page_of(
    page: Page, backend: Callable[[], Backend | None], drawing: Drawing, *, look_s: float = 2.0
) -> web.Application:
    """An application to be mounted at ``page.path``. ``backend``: None while there is none yet; ``drawing``: of the
    report; ``look_s``: seconds between two looks for those who follow. These are let go when the application around it
    begins to shut down.
    """
    pages = Pages(drawing)
    answers = Answers(pages, closed=page.closed)
    site = Site(page, backend, answers, look_s)
    entrance = Entrance(page, answers, open_to_all=[site.static])
    app = web.Application(middlewares=[entrance.guarded, site.explained])

    async def find_place(_: web.Application) -> None:
        """Not before the application starts is it known what it was mounted below, and that below what else."""
        pages.base = page.external_path or str(app.router[_ROOT].url_for())

    app.on_startup.append(find_place)
    app.on_response_prepare.append(protect)
    app.on_shutdown.append(site.close)
    app.add_routes(
        [
            web.get("", site.rollouts, name=_ROOT),
            web.get("/", site.rollouts),
            web.get("/stream", site.rollouts_stream, allow_head=False),
            web.get("/sign-in", entrance.sign_in),
            web.post("/sign-in", entrance.signed_in),
            web.post("/sign-out", entrance.signed_out),
            web.get("/static/{file}", site.static),
            web.get("/r/{name}", site.rollout),
            web.post("/r/{name}", site.act),
            web.get("/r/{name}/stream", site.rollout_stream, allow_head=False),
            web.get("/r/{name}/report", site.report),
        ]
    )
    return app


class Site:
    """See the module."""

    def __init__(self, page: Page, backend: Callable[[], Backend | None], answers: Answers, look_s: float) -> None:
        self._find_backend = backend
        self._answers = answers
        self._pages = answers.pages
        self._feed = Feed(self._look, page.viewers, look_s)
        self._reports = asyncio.Semaphore(REPORTS_AT_ONCE)

    async def close(self, _: web.Application) -> None:
        await self._feed.close()

    @web.middleware
    async def explained(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turns what cannot be shown into an answer that says why."""
        try:
            return await handler(request)
        except UnknownName as error:
            return self._answers.refuse(request, 404, "Not here", str(error))
        except DatabaseError as error:
            return self._answers.refuse(request, 503, "The database cannot be used now", str(error))
        except Full:
            return web.Response(status=503, text="as many follow as may\n", headers={hdrs.RETRY_AFTER: "60"})

    # ---- what they see

    async def static(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        text = self._pages.static(name)
        if text is None:
            return web.Response(status=404, text="not here\n")
        return web.Response(text=text, content_type=STATIC[name])

    async def rollouts(self, request: web.Request) -> web.Response:
        return html(self._pages.rollouts(self._answers.frame(request), await look.status(self._backend())))

    async def rollout(self, request: web.Request) -> web.Response:
        return await self._rollout(request, 200, None)

    async def report(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        async with self._reports:
            report, frame = await reporting.report(self._backend(), name), self._answers.frame(request)
            # In a thread: the loop is that of the user's application, and a report is long.
            return html(await asyncio.to_thread(self._pages.report, frame, report, self._path(name)))

    async def _rollout(self, request: web.Request, status: int, notice: Notice | None) -> web.Response:
        name, backend = request.match_info["name"], self._backend()
        shown = await look.show(backend, name)
        decisions = await look.history(backend, name, DECISIONS)
        frame = self._answers.frame(request, notice)
        return html(self._pages.rollout(frame, shown, decisions, self._path(name)), status)

    # ---- what they follow

    async def rollouts_stream(self, request: web.Request) -> web.StreamResponse:
        return await follow(request, self._feed, "")

    async def rollout_stream(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not self._feed.is_followed(name):  # else it is there
            look.known(await self._backend().state.load(), name)
        return await follow(request, self._feed, name)

    async def _look(self, topic: str) -> Mapping[str, str]:
        """One look, for all who follow: at all rollouts, or at one."""
        backend = self._backend()
        if not topic:
            return self._pages.rollouts_parts(await look.status(backend))
        decisions = await look.history(backend, topic, DECISIONS)
        return self._pages.rollout_parts(await look.show(backend, topic), decisions)

    # ---- what they ask for

    async def act(self, request: web.Request) -> web.Response:
        """Carry a form out, or tell why not, with how things stand now."""
        guest, name = request[GUEST], request.match_info["name"]
        form = await form_of(request)
        if not guest.operates:
            why = "To act, sign in with the token that operates."
            return self._answers.refuse(request, 403, "You may look", why)
        if not guest.made(form.get("proof", "")):
            why = "The form is somebody else's. Load the page anew."
            return self._answers.refuse(request, 403, "Not from this page", why)
        try:
            done = await Asked.of(form).carry_out(self._backend(), name, f"{guest.name}@page")
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

    def _backend(self) -> Backend:
        backend = self._find_backend()
        if backend is None:
            raise DatabaseError("The database was not reached yet since this process started. It is tried again.")
        return backend

    def _path(self, name: str) -> str:
        return f"{self._pages.base}/r/{quote(name, safe='')}"


def _notice(
    form: Mapping[str, str], title: str, why: str, *, tone: str = "bad", unseen: Sequence[Decision] = ()
) -> Notice:
    """``form``: what was posted, so that the reason need not be typed again."""
    typed, branch = form.get("reason", ""), form.get("branch", "")
    return Notice(tone=tone, title=title, lines=why.splitlines(), unseen=unseen, typed=typed, branch=branch)
