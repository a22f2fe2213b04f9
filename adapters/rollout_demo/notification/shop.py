"""The shop's process: ``python -m rollout_demo.notification.shop``, told by lines of JSON on standard input what to do.

    {"do": "serve", "with": "monolith" or "rollout", "smtp_port": 1025, "sms": "http://…", "push": "http://…",
     "database": "sqlite:///…", "stages": "shadow 25% 100%"}
    {"do": "crash"}

It answers with its address, and serves until its standard input ends; or it dies at once, as by a power cut.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from aiohttp import web

from rollout_aiohttp import setup
from rollout_demo.lines import Lines, Message
from rollout_demo.notification.fanout import delivery, rollout
from rollout_demo.notification.monolith import application
from rollout_demo.notification.orders import SECRET
from rollout_demo.notification.senders import Addresses, Senders
from rollout_demo.services import serve
from rollout_sql import open_inbox
from rollout_webhook import Hmac, InboxOptions, Redelivery, webhook

OPTIONS: Final = InboxOptions(lease_s=2.0, poll_s=0.2, redelivery=Redelivery(base_s=0.5, cap_s=1.0))


async def main() -> None:
    async with Lines.standard() as lines, AsyncExitStack() as stack:
        while (order := await lines.read()) is not None:
            if order["do"] == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            lines.write({"address": await serve(made(order), stack)})


def made(order: Message) -> web.Application:
    """The shop as it is, or with its rollout."""
    senders = Senders(Addresses(order["smtp_port"], order["sms"], order["push"]))
    app = application(senders)
    if order["with"] == "rollout":
        wrap(app, senders, order["database"], order["stages"])
    return app


def wrap(app: web.Application, senders: Senders, database: str, stages: str) -> None:
    """The inbox has an address of its own, for the platform to use in the end; until then the rollout leads there."""
    hook = webhook(
        app,
        "/hooks/order-paid/inbox",
        "order-paid",
        verify=Hmac(SECRET),
        deliver=delivery(senders),
        inbox=partial(open_inbox, database),
        event_id="$.id",
        key="$.customer",
        options=OPTIONS,
    )
    setup(app, [rollout(hook, stages=stages)], database=database, tick_s=0.5, process="shop")


if __name__ == "__main__":
    asyncio.run(main())
