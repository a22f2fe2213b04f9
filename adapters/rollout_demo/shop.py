"""The shop's process: ``python -m rollout_demo.shop``, told by one line of JSON on standard input what to serve.

    {"addresses": {"orders": "http://127.0.0.1:…", …}, "database": "sqlite:///…", "rollout": "profile",
     "revision": 2, "pace": {"stages": "shadow 25% 100%", "soak": "2s", "harm": "2%"}}

It answers with its own address, and serves until it is asked to stop or its standard input ends: whoever started it
cannot leave it behind.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from rollout_aiohttp import guard, setup
from rollout_demo.fanout import Pace, rollout
from rollout_demo.lines import Lines
from rollout_demo.monolith import application
from rollout_demo.services import serve

TICK_S = 0.5


async def main() -> None:
    async with Lines.standard() as lines, AsyncExitStack() as stack:
        order = await lines.read()
        if order is None:
            return
        lines.write({"address": await start(order, stack)})
        while await lines.read() is not None:
            pass


async def start(order: dict[str, Any], stack: AsyncExitStack) -> str:
    """Serve the shop with its rollout until the stack closes; its address."""
    addresses = order["addresses"]
    app = application(addresses, guard(allow=[f"{addresses['model']}/"]))
    setup(
        app,
        [rollout(order["rollout"], order["revision"], Pace(**order["pace"]))],
        database=order["database"],
        metrics_path="/metrics",
        tick_s=TICK_S,
        process=f"shop-{order['revision']}",
    )
    return await serve(app, stack)


if __name__ == "__main__":
    asyncio.run(main())
