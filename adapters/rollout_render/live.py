"""``--watch``: a screen that follows the database; where nobody looks (a pipe, a log, a dumb terminal), a line for each
change."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from rollout.errors import DatabaseError
from rollout.usecases.look import Shown, Status
from rollout_render import screens, watching, words
from rollout_render.clean import clean
from rollout_render.terminal import cell, console

if TYPE_CHECKING:
    from rollout.domain.standing import Standing

EVERY_S = 1.0
T = TypeVar("T", Status, Shown)
Changes = Callable[[], AsyncIterator[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[T]):
    """How one kind of value is watched. ``bodies``: its screens, the roomiest first; ``last``: what stays when the
    screen is left; ``branches``: those that stand in it."""

    bodies: Callable[[T], Sequence[RenderableType]]
    last: Callable[[T], RenderableType]
    branches: Callable[[T], Sequence[Standing]]


STATUS: View[Status] = View(
    bodies=lambda seen: [watching.status(seen)],
    last=screens.status,
    branches=lambda seen: [branch for rollout in seen.rollouts for branch in rollout.branches],
)
SHOW: View[Shown] = View(
    bodies=lambda seen: [watching.show(seen, roomy=True), watching.show(seen, roomy=False)],
    last=screens.show,
    branches=lambda seen: seen.status.branches,
)


async def watch(
    look: Callable[[], Awaitable[T]],
    changes: Changes,
    view: View[T],
    *,
    rounds: int | None = None,
    every_s: float = EVERY_S,
) -> T | None:
    """Show how things stand, again at every change and at least every ``every_s`` seconds, until cancelled (Ctrl-C).

    ``rounds``: how many looks before it ends by itself; None: never. Returns what was seen last. A database that goes
    away is told on the screen and asked again; what was seen last stays.
    """
    screen = console()
    looks = _looks(look, changes, rounds, every_s)
    if screen.is_terminal and not screen.is_dumb_terminal:
        return await _screen(screen, looks, view, every_s)
    return await _lines(screen, looks, view)


async def _looks(
    look: Callable[[], Awaitable[T]], changes: Changes, rounds: int | None, every_s: float
) -> AsyncIterator[tuple[T | None, str]]:
    """One (value, trouble) after the other; the value is None while the database cannot be asked."""
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
                change = asyncio.ensure_future(_next(feed, every_s))
            await asyncio.wait({change}, timeout=every_s)
    finally:
        if change is not None:
            change.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await change


async def _next(feed: AsyncIterator[int], every_s: float) -> int:
    """The next change; a feed that ends or fails leaves the pace to the timeout."""
    try:
        return await anext(feed)
    except (StopAsyncIteration, DatabaseError):
        await asyncio.sleep(every_s)
        return -1


async def _screen(
    screen: Console, looks: AsyncIterator[tuple[T | None, str]], view: View[T], every_s: float
) -> T | None:
    last: T | None = None
    try:
        with Live(console=screen, screen=True, auto_refresh=False) as live, _signals(live):
            async for seen, trouble in looks:
                last = seen or last
                bodies = view.bodies(last) if last else [Text("asking the database …", style="dim")]
                live.update(watching.Fitted(bodies, watching.foot(every_s, trouble)), refresh=True)
    finally:  # the screen is gone: leave what was seen last where it can be scrolled to
        if last is not None:
            screen.print(view.last(last))
    return last


@contextlib.contextmanager
def _signals(live: Live) -> Iterator[None]:
    """A window that changes its size is drawn at once; whoever asks this process to end is given the terminal back, as
    at Ctrl-C."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # a coroutine runs
    added = []
    # Neither is there on Windows (no such signal, or a loop that cannot) nor outside the main thread (RuntimeError or
    # ValueError, by the loop): then the next look draws, and an end is an end.
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
        for number, answer in ((signal.SIGWINCH, live.refresh), (signal.SIGTERM, task.cancel)):
            loop.add_signal_handler(number, answer)
            added.append(number)
    try:
        yield
    finally:
        for number in added:
            loop.remove_signal_handler(number)


async def _lines(screen: Console, looks: AsyncIterator[tuple[T | None, str]], view: View[T]) -> T | None:
    """One line for each branch that stands differently than before."""
    told: dict[tuple[str, str], tuple[str, ...]] = {}
    last: T | None = None
    was_in_trouble = False
    async for seen, trouble in looks:
        if trouble and not was_in_trouble:
            screen.print(cell(f"the database cannot be asked: {trouble}"), soft_wrap=True)
        was_in_trouble = bool(trouble)
        if seen is None:
            continue
        last = seen
        for branch in view.branches(seen):
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
