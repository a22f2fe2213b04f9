"""The handler as it is: three services, one after the other, and no reply at all if one of them fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import ClientError, ClientMiddlewareType, ClientSession, ClientTimeout, web


class Sources:
    """The client of the services: what the monolith and the branches share."""

    def __init__(self, session: ClientSession, addresses: Mapping[str, str]) -> None:
        self._session = session
        self._addresses = addresses

    async def ask(self, service: str, customer: str) -> Any:
        """What a service knows of a customer. Raises ``ClientResponseError`` where it refuses."""
        async with self._session.get(f"{self._addresses[service]}/{customer}") as reply:
            reply.raise_for_status()
            return await reply.json()


SOURCES: Final = web.AppKey("sources", Sources)
TIMEOUT: Final = ClientTimeout(total=1.0)


async def customer(request: web.Request) -> web.Response:
    """``GET /customers/{id}``: the record of a customer, enriched."""
    sources, number = request.app[SOURCES], request.match_info["id"]
    try:
        place = await sources.ask("geo", number)
        company = await sources.ask("register", number)
        score = await sources.ask("score", number)
    except (ClientError, TimeoutError) as error:
        raise web.HTTPBadGateway(text=f"{type(error).__name__}\n") from error
    return web.json_response({"id": int(number), "place": place, "company": company, "score": score, "missing": {}})


def application(addresses: Mapping[str, str], *guards: ClientMiddlewareType) -> web.Application:
    """``addresses``: of the services. ``guards``: client middlewares of its session."""
    app = web.Application()
    app.router.add_get("/customers/{id}", customer)

    async def sources(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(middlewares=guards, timeout=TIMEOUT) as session:
            app[SOURCES] = Sources(session, addresses)
            yield

    app.cleanup_ctx.append(sources)
    return app
