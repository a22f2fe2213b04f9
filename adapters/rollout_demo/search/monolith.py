"""The handler as it is: four indexes, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import ClientMiddlewareType, ClientSession, web

from rollout_demo.search.indexes import NAMES, Hit, best


class Shards:
    """The client of the indexes: what the monolith and the branches share."""

    def __init__(self, session: ClientSession, addresses: Mapping[str, str]) -> None:
        self._session = session
        self._addresses = addresses

    async def ask(self, index: str, word: str) -> list[Hit]:
        async with self._session.get(f"{self._addresses[index]}/search", params={"q": word}) as reply:
            reply.raise_for_status()
            found: list[Hit] = await reply.json()
            return found


SHARDS: Final = web.AppKey("shards", Shards)


def page(word: str, answers: Mapping[str, list[Hit]], missing: Mapping[str, str]) -> dict[str, Any]:
    """The answers of some indexes in one. Any three know every document, so with one missing it is complete."""
    hits = best(hit for found in answers.values() for hit in found)
    return {"query": word, "hits": hits, "complete": len(missing) < 2, "missing": dict(missing)}


async def search(request: web.Request) -> web.Response:
    """``GET /search?q=word``: the best hits of all indexes."""
    word = request.query["q"]
    answers = {name: await request.app[SHARDS].ask(name, word) for name in NAMES}
    return web.json_response(page(word, answers, {}))


def application(addresses: Mapping[str, str], *guards: ClientMiddlewareType) -> web.Application:
    """``addresses``: of the indexes. ``guards``: client middlewares of its session."""
    app = web.Application()
    app.router.add_get("/search", search)

    async def shards(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(middlewares=guards) as session:
            app[SHARDS] = Shards(session, addresses)
            yield

    app.cleanup_ctx.append(shards)
    return app
