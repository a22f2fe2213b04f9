"""The page as a server of its own, for ``rollout serve``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from rollout.errors import RolloutError

_SHUTDOWN_S: Final = 3.0  # what requests under way are given


async def serve(
    page: web.Application, path: str, host: str, port: int, told: Callable[[str], None], ended: Awaitable[object]
) -> None:
    """Serve until ``ended`` is over. ``port``: 0 takes any that is free; ``told`` hears the address."""
    app = web.Application()
    app.router.add_get("/", _to(path))
    app.add_subapp(path, page)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise RolloutError(f"{host}:{port} cannot be served: {error.strerror}. Choose another --port.") from error
        taken = runner.addresses[0][1]
        told(f"http://{f'[{host}]' if ':' in host else host}:{taken}{path}")
        await ended
    finally:
        await runner.cleanup()


def _to(path: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={hdrs.LOCATION: path})

    return elsewhere
