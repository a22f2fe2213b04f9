"""The page served over a database in memory, and people who visit it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from rollout.domain.ramp import Ramp
from rollout.testing import ManualClock, MemoryBackend, memory_backend, sample_policy
from rollout_page import Page, page_of
from rollout_render import page as drawing
from tests.render.story import story

OPERATE, VIEW = "operate-operate-operate", "view-view-view-view"
BOTH = Page(operate=OPERATE, view=VIEW)
HTML = {"Accept": "text/html"}


@dataclass
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Mapping[str, str]


class Visitor:
    """A browser without a screen: it keeps its cookies, and its forms come from the page that it loaded."""

    def __init__(self, server: TestServer, client: aiohttp.ClientSession) -> None:
        self._server = server
        self._client = client

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, headers={**HTML, **headers})

    async def head(self, path: str) -> Answer:
        return await self._ask("HEAD", path)

    async def post(self, path: str, form: Any, **headers: str) -> Answer:
        return await self._ask("POST", path, data=form, headers={"Sec-Fetch-Site": "same-origin", **HTML, **headers})

    async def _ask(self, method: str, path: str, **options: Any) -> Answer:
        async with self._client.request(method, self._server.make_url(path), allow_redirects=False, **options) as reply:
            return Answer(reply.status, await reply.text(), reply.headers)

    async def sign_in(self, token: str = OPERATE, name: str = "ann") -> Answer:
        return await self.post("/rollout/sign-in", {"token": token, "name": name})

    async def form(self, number: int = 0, name: str = "profile") -> dict[str, str]:
        """What the form of a unit carries by itself, with a reason."""
        page = (await self.get(f"/rollout/r/{name}")).text
        (proof,) = set(re.findall(r'name="proof" value="([^"]*)"', page))
        own = re.findall(rf'form="form-{number}" type="hidden" name="(\w+)" value="([^"]*)"', page)
        return {"proof": proof, "reason": "because", **{key: unescape(value) for key, value in own}}

    @asynccontextmanager
    async def follow(self, path: str) -> AsyncIterator[Callable[[], Awaitable[dict[str, str]]]]:
        """Follow a stream. What is given waits for the next parts that changed."""
        async with self._client.get(self._server.make_url(path)) as reply:
            assert reply.headers["Content-Type"] == "text/event-stream"

            async def heard() -> dict[str, str]:
                async for line in reply.content:
                    if line.startswith(b"data: ") and (parts := json.loads(line[6:])):
                        return dict(parts)
                raise AssertionError("the stream ended")

            yield heard

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._client.cookie_jar}

    async def act(self, event: str, number: int = 0, **changes: str) -> Answer:
        """Press a button."""
        return await self.post("/rollout/r/profile", {**await self.form(number), "event": event, **changes})


@dataclass
class Served:
    """A page that is served."""

    backend: MemoryBackend
    clock: ManualClock
    server: TestServer

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[Visitor]:
        """Somebody with a browser of their own."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            yield Visitor(self.server, client)

    @asynccontextmanager
    async def operator(self, name: str = "ann") -> AsyncIterator[Visitor]:
        """The same, signed in to act."""
        async with self.visitor() as visitor:
            assert (await visitor.sign_in(OPERATE, name)).status == 303
            yield visitor


@asynccontextmanager
async def served(page: Page = BOTH, *, told: bool = False, below: str = "", **declared: Any) -> AsyncIterator[Served]:
    """Serve it over a rollout of one branch that soaks in shadow, or (``told``) over the whole story. ``below``: the
    path of an application around that in which it is.
    """
    clock = ManualClock()
    memory = memory_backend(clock)
    if told:
        await story(memory, clock, step_s=60)
    else:
        ramp = Ramp.parse("shadow 10% 50% 100%", soak="10m", approve="50%")
        await memory.state.register(sample_policy(**{"ramp": ramp, **declared}), "test")
    app = web.Application()
    app.add_subapp(page.path, page_of(page, lambda: memory, drawing, look_s=0.05))
    if below:
        app, inner = web.Application(), app
        app.add_subapp(below, inner)
    server = TestServer(app)
    async with server:
        yield Served(memory, clock, server)
