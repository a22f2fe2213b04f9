"""The webhook as it is: one message after the other, while the platform waits for its answer."""

from __future__ import annotations

import json
import time
from typing import Final

from aiohttp import web

from rollout_demo.notification.orders import is_signed, text_of
from rollout_demo.notification.senders import Senders

SENDERS: Final = web.AppKey("senders", Senders)


async def order_paid(request: web.Request) -> web.Response:
    """``POST /hooks/order-paid``. If a sender fails, so does this, and the platform sends the event again."""
    body = await request.read()
    if not is_signed(request.headers, body, time.time()):
        raise web.HTTPUnauthorized
    senders, paid = request.app[SENDERS], json.loads(body)
    text = text_of(paid)
    await senders.email(paid, text)
    await senders.sms(paid, text)
    await senders.push(paid, text)
    return web.json_response({"sent": ["email", "sms", "push"]})


def application(senders: Senders) -> web.Application:
    app = web.Application()
    app[SENDERS] = senders
    app.router.add_post("/hooks/order-paid", order_paid)
    app.cleanup_ctx.append(senders.live)
    return app
