"""``rollout demo``: start everybody, tell the story, end everybody.

Exits 0 when all of it happened, 1 when something did not, 130 at Ctrl-C.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from rollout import RolloutError
from rollout_demo import truth
from rollout_demo.audit import Unmet
from rollout_demo.cast import Cast
from rollout_demo.fanout import FULL, GATES, Pace
from rollout_demo.lines import ChildFailed
from rollout_demo.narrator import Narrator
from rollout_demo.story import Story
from rollout_sql import masked, open_backend

RATE: Final = 100.0  # calls a second
FOR_A_STEP: Final = 20
BOUND: Final = "no worse than control, yet rolled back: probability at most 1%"
STORY: Final = (300.0, 50_000)  # the most seconds and calls of the customers
SERVED: Final = (86_400.0, 15_000_000)


def run(*, serve: bool = False, database_url: str | None = None, report: Path | None = None) -> int:
    """Tell the story; the exit code.

    * ``serve``: keep the shop open afterwards, its customers coming, until Ctrl-C (a day at most).
    * ``database_url``: where the rollout is recorded; brought up to date. Default: SQLite in a fresh temporary folder.
    * ``report``: the file of the HTML report. Default: one in that folder.
    """
    tell = Narrator()
    folder = Path(tempfile.mkdtemp(prefix="rollout-demo-"))
    url = database_url or f"sqlite:///{folder / 'rollout.db'}"
    try:
        asyncio.run(play(tell, folder, url, (report or folder / "report.html").absolute(), serve=serve))
    except KeyboardInterrupt:
        tell.stopped()
        return 130
    except (Unmet, ChildFailed, RolloutError) as error:
        tell.failed(str(error), folder)
        return 1
    return 0


async def play(
    tell: Narrator, folder: Path, url: str, report: Path, *, serve: bool = False, pace: Pace = FULL
) -> Story:
    """One performance. Raises ``Unmet``, ``ChildFailed`` or an error of the toolkit's where it goes wrong."""
    async with AsyncExitStack() as stack:
        backend = await open_backend(url, migrate=True, process="demo")
        stack.push_async_callback(backend.close)
        cast = Cast(folder, url, await _unused(backend), rate=RATE, pace=pace)
        _opening(tell, cast)
        seconds, calls = SERVED if serve else STORY
        await cast.enter(stack, seconds=seconds, calls=calls)
        ahead_s = await backend.state.now() - time.time()
        story = Story(cast, backend, tell, report, ahead_s)
        await story.run()
        _closing(tell, cast)
        if serve:
            await _serve(tell, cast, story)
    return story


async def _unused(backend: Any, name: str = "profile") -> str:
    """A name that no earlier demo on this database has used: where a rollout stands outlives the process."""
    known = (await backend.state.load()).policies
    return next(one for n in range(1, 10_000) if (one := name if n == 1 else f"{name}-{n}") not in known)


def _opening(tell: Narrator, cast: Cast) -> None:
    names = " · ".join(gate.name for gate in GATES)
    tell.title("rollout demo", "A monolith gets a fan-out: in shadow, up a ramp, and back down where it fails.")
    tell.facts(
        ("shop", "GET /profile/{id} asks for orders, tickets, picks, then a model"),
        ("fan-out", "the same four as branches, side by side"),
        ("customers", f"{truth.CUSTOMERS:,}, {cast.rate:.0f} calls a second; arrivals and tokens as in real traces"),
        ("ramp", f"{cast.pace.stages}, soak {cast.pace.soak}; a step may harm {cast.pace.harm} of all calls"),
        ("gates", f"{names}; a step takes {FOR_A_STEP}:1 from each"),
        ("bound", f"[bold]{BOUND}[/]"),
        ("database", masked(cast.database)),
    )


def _closing(tell: Narrator, cast: Cast) -> None:
    tell.say("\n[bold green]All of it happened.[/] Look further:")
    tell.command(f"export ROLLOUT_DATABASE_URL={masked(cast.database)}")
    for verb in ("status", f"show {cast.rollout}", f"diff {cast.rollout}", f"history {cast.rollout}"):
        tell.command(f"{_command()} {verb}")


async def _serve(tell: Narrator, cast: Cast, story: Story) -> None:
    """Stay open, the service well again; decisions are told as they are made."""
    cast.tickets.ill = False
    rollout = _command()
    tell.say(f"\n[bold]The shop stays open at {cast.address}[/], the service is well again. In another terminal:")
    tell.command(f"{rollout} status --watch")
    tell.command(f"{rollout} serve", "the same in a browser, with the evidence")
    tell.command(f"{rollout} resume {cast.rollout} tickets --reason mended", "up the ramp again, from shadow")
    tell.command(f"{rollout} rollback {cast.rollout} orders --reason trying", "down by hand")
    tell.command(f"curl -X POST {cast.tickets.address}/ill", "break the service; /well mends it")
    tell.command(f"curl {cast.address}/metrics", "what Prometheus sees")
    tell.say("\nEvery decision is told here. [bold]Ctrl-C[/] ends it.")
    await story.audit.watch(SERVED[0])


def _command() -> str:
    """How the command line is called from here: by name, or by its path in an environment that is not activated."""
    beside = Path(sys.executable).with_name("rollout")
    if shutil.which("rollout") or not beside.exists():
        return "rollout"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)
