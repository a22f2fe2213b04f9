"""A real server whose handler hands its request to the test, before and after it has answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

Probe = Callable[[web.Request], Awaitable[Any]]
Exchange = Callable[..., Awaitable[tuple[Any, ClientResponse]]]
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def exchange(aiohttp_client: AiohttpClient) -> Exchange:
    """``seen, response = await exchange(probe, method, path, **kwargs)``: what a probe in a handler returned.

    ``route=`` (default ``/profile/{id}``), ``app=`` and ``answer=`` (a handler) may be given; the rest is the client's.
    """

    async def run(
        probe: Probe,
        method: str = "GET",
        path: str = "/profile/7",
        *,
        route: str = "/profile/{id}",
        app: web.Application | None = None,
        answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ClientResponse]:
        seen: list[Any] = []

        async def handler(request: web.Request) -> web.StreamResponse:
            seen.append(await probe(request))
            return web.Response(text="answer") if answer is None else await answer(request)

        app = web.Application() if app is None else app
        app.router.add_route("*", route, handler)
        client = await aiohttp_client(app)
        response = await client.request(method, path, **kwargs)
        await response.read()  # kept: the test may read it again
        assert seen, f"the handler was not reached: {response.status}"
        return seen[0], response

    return run
