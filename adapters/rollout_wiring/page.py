"""The live page as a server of its own: the command ``serve``."""

from __future__ import annotations

import asyncio
import signal
from ipaddress import ip_address
from typing import TYPE_CHECKING

import click

from rollout.ports import Backend
from rollout_render.doors import database, named
from rollout_wiring.commands import run
from rollout_wiring.embed import page_application, page_problems

if TYPE_CHECKING:
    from rollout_page import Page


@click.command()
@named(
    "--host", "PAGE_HOST", default="127.0.0.1", show_default=True, help="Elsewhere than on this machine: with a token."
)
@named("--port", "PAGE_PORT", type=click.IntRange(0, 65_535), default=8321, show_default=True, help="0: any free one.")
@named("--view-token", "PAGE_VIEW_TOKEN", "view", default="", metavar="TEXT", help="With it people sign in to look.")
@named(
    "--operate-token",
    "PAGE_OPERATE_TOKEN",
    "operate",
    default="",
    metavar="TEXT",
    help="With it people sign in to look and act. Better in the variable: lists of processes show options.",
)
@named(
    "--external-path",
    "PAGE_EXTERNAL_PATH",
    default="",
    metavar="PATH",
    help="The path that browsers know it by, where a proxy in front changes paths.",
)
@database()
def serve(host: str, port: int, view: str, operate: str, external_path: str, url: str) -> None:
    """Serve the live page, until SIGTERM or Ctrl-C. Shows every rollout of the database, and moves them.

    Without a token it is for this machine alone, and shows only. To make one: openssl rand -hex 24
    """
    from rollout_page import Page

    page = Page(view=view, operate=operate, external_path=external_path)
    if problems := page_problems(page):
        raise click.UsageError("\n".join(map(str, problems)))
    if not page.closed and not _is_loopback(host):
        raise click.UsageError(f"{host} is not this machine alone. Declare a token: --operate-token, or --view-token.")
    run(url, lambda backend: _serve(backend, page, host, port))


async def _serve(backend: Backend, page: Page, host: str, port: int) -> None:
    from rollout_page import serve

    ended = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, ended.set)

    def told(address: str) -> None:
        may = "sign in to act" if page.operate else "sign in to look" if page.closed else "to look, on this machine"
        click.echo(f"{address} shows {backend.url} ({may}); Ctrl-C ends it", err=True)

    path, application = page_application(page, lambda: backend)
    await serve(application, path, host, port, told, ended.wait())


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
