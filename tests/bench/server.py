"""A server of one variant of the request path, for a load from outside: ``python -m tests.bench.server VARIANT``
prints its port.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.bench.request_path import BRANCHES, application, by_hand, empty
from tests.bench.wrapped import launchdarkly, wrapped

LONGEST_S = 300.0  # it ends by itself, whoever started it


async def app_of(variant: str) -> web.Application:
    match variant:
        case "empty":
            return application(empty)
        case "by hand":
            return by_hand(BRANCHES).app
        case "LaunchDarkly":
            return launchdarkly()[0].app
        case "inactive":
            return (await wrapped(variant, shadow=False)).variant.app
        case "not drawn":
            return (await wrapped(variant, sample=0.0)).variant.app
        case "shadow":
            return (await wrapped(variant)).variant.app
    raise SystemExit(f"there is no variant {variant}")


async def serve(variant: str) -> None:
    runner = web.AppRunner(await app_of(variant), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    try:
        await asyncio.sleep(LONGEST_S)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
