"""``status --watch``: a screen that follows the database; where nobody looks (a pipe, a log), a line for each
change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rollout.errors import DatabaseError
from rollout.usecases.look import Status
from rollout_render import screens, words
from rollout_render.clean import clean
from rollout_render.terminal import cell, console

if TYPE_CHECKING:
    from rollout.domain.standing import Standing

EVERY_S = 1.0
Look = Callable[[], Awaitable[Status]]
Changes = Callable[[], AsyncIterator[int]]


async def watch(look: Look, changes: Changes, *, rounds: int | None = None, every_s: float = EVERY_S) -> Status | None:
    """Show how things stand, again at every change and at least every second, until cancelled (Ctrl-C).

    ``rounds``: how many looks before it ends by itself; None: never. Returns the last status seen. A database that
    goes away is told on the screen and asked again; what was seen last stays.
    """
    screen = console()
    show = _screen if screen.is_terminal else _lines
    return await show(screen, _looks(look, changes, rounds, every_s))


async def _looks(
    look: Look, changes: Changes, rounds: int | None, every_s: float
) -> AsyncIterator[tuple[Status | None, str]]:
    """One (status, trouble) after the other; the status is None while the database cannot be asked."""
    feed = changes()
    change: asyncio.Task[int] | None = None
    done = 0
    try:
        while rounds is None or done < rounds:
            try:
                yield await look(), ""
            except DatabaseError as error:
                yield None, clean(error, 300)
            done += 1
            if done == rounds:
                break
            if change is None or change.done():
                change = asyncio.ensure_future(_next(feed))
            await asyncio.wait({change}, timeout=every_s)
    finally:
        if change is not None:
            change.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await change


async def _next(feed: AsyncIterator[int]) -> int:
    """The next change; a feed that ends or fails leaves the pace to the timeout."""
    try:
        return await anext(feed)
    except (StopAsyncIteration, DatabaseError):
        await asyncio.sleep(EVERY_S)
        return -1


async def _screen(screen: Console, looks: AsyncIterator[tuple[Status | None, str]]) -> Status | None:
    last: Status | None = None
    try:
        with Live(console=screen, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            async for seen, trouble in looks:
                last = seen or last
                live.update(_page(last, trouble), refresh=True)
    finally:  # the screen is gone: leave what was seen last where it can be scrolled to
        if last is not None:
            screen.print(screens.status(last))
    return last


def _page(seen: Status | None, trouble: str) -> RenderableType:
    """The screen: what was seen last, and any trouble under it."""
    parts: list[RenderableType] = [screens.status(seen)] if seen else [Text("asking the database …", style="dim")]
    if trouble:
        parts += [
            Text(""),
            cell(f"The database cannot be asked now; this is what was seen last. {trouble}", "bold red"),
        ]
    return Group(*parts, Text(""), Text("Ctrl-C ends", style="dim"))


async def _lines(screen: Console, looks: AsyncIterator[tuple[Status | None, str]]) -> Status | None:
    """One line for each branch that stands differently than before."""
    told: dict[tuple[str, str], tuple[str, ...]] = {}
    last: Status | None = None
    was_in_trouble = False
    async for seen, trouble in looks:
        if trouble and not was_in_trouble:
            screen.print(cell(f"the database cannot be asked: {trouble}"), soft_wrap=True)
        was_in_trouble = bool(trouble)
        if seen is None:
            continue
        last = seen
        for branch in (branch for rollout in seen.rollouts for branch in rollout.branches):
            key, now = (branch.rollout, branch.branch), (branch.at, branch.word.value, _stable(branch))
            if told.get(key) != now:
                told[key] = now
                line = f"{words.utc(seen.at)} {branch.rollout}/{branch.branch} {branch.at} "
                line += f"{branch.word.text}: {branch.why}"
                screen.print(cell(line), soft_wrap=True)
    return last


def _stable(branch: Standing) -> str:
    """What a line is about, less what counts down or up with every look."""
    return branch.cause or ",".join(f"{finding.gate}={finding.grade.value}" for finding in branch.findings)
