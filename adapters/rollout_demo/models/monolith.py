"""The shop's analysis as it is: the dear model for everything, one question after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import ClientMiddlewareType, ClientSession, TCPConnector, web

from rollout_demo.models.asking import MODELS, TASKS, Models
from rollout_demo.models.server import LARGE


async def analyse(request: web.Request) -> web.Response:
    """``POST /analyse`` with ``{"text": …}``: sentiment, entities and summary of what a customer wrote."""
    models, text = request.app[MODELS], (await request.json())["text"]
    found = {}
    for task in TASKS:
        found[task] = await models.ask(LARGE, task, text, by="monolith", call=request.headers["X-Call-Id"])
    return web.json_response(found)


def application(address: str, *guards: ClientMiddlewareType) -> web.Application:
    """The shop. ``address``: of the models; ``guards``: client middlewares of its session."""
    app = web.Application()
    app.router.add_post("/analyse", analyse)

    async def models(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(middlewares=guards, connector=TCPConnector(limit=0)) as session:
            app[MODELS] = Models(session, address)
            yield

    app.cleanup_ctx.append(models)
    return app
