"""``rollout demo``: start everybody, tell the story, end everybody.

Exits 0 when all of it happened, 1 when something did not, 130 at Ctrl-C.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from rollout import RolloutError
from rollout_demo import truth
from rollout_demo.audit import Unmet
from rollout_demo.cast import Cast
from rollout_demo.fanout import GATES, SOAK, STAGES
from rollout_demo.lines import ChildFailed
from rollout_demo.narrator import Narrator
from rollout_demo.story import Story
from rollout_sql import masked, open_backend

RATE: Final = 120.0  # calls a second
BOUNDS: Final = {False: (240.0, 40_000), True: (86_400.0, 20_000_000)}  # the most seconds and calls; when served


def run(*, serve: bool = False, database_url: str | None = None, report: Path | None = None) -> int:
    """Tell the story; the exit code.

    * ``serve``: keep the shop open afterwards, its customers coming, until Ctrl-C (a day at most).
    * ``database_url``: where the rollout is recorded. Default: an SQLite file in a fresh temporary folder.
    * ``report``: the file of the HTML report. Default: one in that folder.
    """
    tell = Narrator()
    folder = Path(tempfile.mkdtemp(prefix="rollout-demo-"))
    url = database_url or f"sqlite:///{folder / 'rollout.db'}"
    try:
        asyncio.run(_tell(tell, folder, url, (report or folder / "report.html").absolute(), serve))
    except KeyboardInterrupt:
        tell.stopped()
        return 130
    except (Unmet, ChildFailed, RolloutError) as error:
        tell.failed(str(error), folder)
        return 1
    return 0


async def _tell(tell: Narrator, folder: Path, url: str, report: Path, serve: bool) -> None:
    async with AsyncExitStack() as stack:
        backend = await open_backend(url, migrate=True, process="demo")
        stack.push_async_callback(backend.close)
        cast = Cast(folder, url, await _unused(backend), rate=RATE)
        _opening(tell, cast)
        seconds, calls = BOUNDS[serve]
        await cast.enter(stack, seconds=seconds, calls=calls)
        story = Story(cast, backend, tell, report)
        story.audit.ahead_s = await backend.state.now() - time.time()
        following = asyncio.create_task(story.audit.follow())
        stack.push_async_callback(_end, following)
        await story.run()
        _closing(tell, cast, report)
        if serve:
            await _serve(tell, cast)


async def _unused(backend: Any, name: str = "profile") -> str:
    """A name that no earlier demo on this database has used: where a rollout stands outlives the process."""
    known = (await backend.state.load()).policies
    return next(one for n in range(1, 10_000) if (one := name if n == 1 else f"{name}-{n}") not in known)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _opening(tell: Narrator, cast: Cast) -> None:
    limits = " · ".join(gate.name for gate in GATES)
    tell.title("rollout demo", "A monolith gets a fan-out: in shadow, up a ramp, and back down where it fails.")
    tell.facts(
        ("shop", "GET /profile/{id} asks for orders, tickets, picks, then a model"),
        ("fan-out", "the same four as branches, side by side"),
        ("customers", f"{truth.CUSTOMERS:,}, {cast.rate:.0f} calls a second; arrivals and tokens as in real traces"),
        ("ramp", f"{STAGES}, soak {SOAK}"),
        ("gates", f"{limits} – threshold gates: [bold]no error bound[/]"),
        ("", "Soak and samples are tiny, so that it all fits into a minute."),
        ("database", masked(cast.database)),
    )


def _closing(tell: Narrator, cast: Cast, report: Path) -> None:
    tell.say("\n[bold green]All of it happened.[/] Look further:")
    at = f"--database-url {masked(cast.database)}"
    tell.command(f"rollout status {at}")
    tell.command(f"rollout diff {cast.rollout} {at}")
    tell.command(f"rollout history {cast.rollout} {at}")
    tell.command(f"open {report}")


async def _serve(tell: Narrator, cast: Cast) -> None:
    """Stay open, the service well again; decisions are told as they are made."""
    cast.tickets.ill = False
    at = f"--database-url {masked(cast.database)}"
    tell.say(f"\n[bold]The shop stays open at {cast.address}[/], the tickets service is well again. Ctrl-C ends it.")
    tell.command(f"rollout resume {cast.rollout} tickets --reason mended {at}", "up the ramp again")
    tell.command(f"rollout rollback {cast.rollout} orders --reason trying {at}", "down by hand")
    tell.command(f"rollout status --watch {at}", "watch it")
    tell.command(f"curl -X POST {cast.tickets.address}/ill", "make the service ill; /well ends it")
    tell.command(f"curl {cast.address}/metrics", "what Prometheus sees")
    await asyncio.sleep(BOUNDS[True][0])
