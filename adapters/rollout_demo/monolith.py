"""The shop as it is: one handler that asks everybody, one after the other. Nothing in here knows of rollouts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import ClientMiddlewareType, ClientSession, TCPConnector, web

from rollout_demo.backoffice import BACK_OFFICE, BackOffice


async def profile(request: web.Request) -> web.Response:
    """``GET /profile/{id}?context=…&generate=…``: everything the shop knows of a customer, the last chat summed up."""
    office, customer = request.app[BACK_OFFICE], int(request.match_info["id"])
    orders = await office.orders(customer)
    tickets = await office.tickets(customer)
    picks = await office.picks(customer)
    summary = await office.summary(customer, int(request.query["context"]), int(request.query["generate"]))
    return web.json_response({"id": customer, "orders": orders, "tickets": tickets, "picks": picks, "summary": summary})


def application(addresses: dict[str, str], *guards: ClientMiddlewareType) -> web.Application:
    """The shop. ``addresses``: of its services; ``guards``: client middlewares of its session."""
    app = web.Application()
    app.router.add_get("/profile/{id}", profile)

    async def back_office(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(middlewares=guards, connector=TCPConnector(limit=0)) as session:
            app[BACK_OFFICE] = BackOffice(session, addresses)
            yield

    app.cleanup_ctx.append(back_office)
    return app
