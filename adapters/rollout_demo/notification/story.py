"""The story of the notification, chapter by chapter; each ends with what must have happened, or with ``Unmet``.

1  monolith   the platform waits while three messages are sent
2  testers    what writes never runs in shadow: a flag makes it live for two named customers
3  ramp       a person takes the first step, for which there is no evidence; the rest goes by itself
4  crash      a sender fails, the process is killed in the middle: nothing is lost, nothing is sent twice
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, ClientTimeout

from rollout_demo.audit import Audit, Unmet
from rollout_demo.lines import Child, ChildFailed
from rollout_demo.narrator import Narrator, milliseconds
from rollout_demo.notification.orders import CHANNELS, key_of, order
from rollout_demo.notification.platform import Platform
from rollout_demo.notification.sinks import HttpSink, MailSink, Sink
from rollout_sql import open_backend

NAME: Final = "order-paid"
RATE: Final = 20.0  # events a second
MOST: Final = 3_000
TESTERS: Final = ("customer-03", "customer-07")
PATIENCE_S: Final = 30.0  # for one wait; on an idle machine none takes ten seconds
ILL_S: Final = 1.5


async def play(tell: Narrator, folder: Path, *, stages: str = "shadow 25% 100%", enough: int = 50) -> Story:
    """One performance. ``enough``: events that a chapter looks at. Raises ``Unmet`` where the story goes wrong."""
    url = f"sqlite:///{folder / 'rollout.db'}"
    async with AsyncExitStack() as stack:
        backend = await open_backend(url, migrate=True, process="demo")
        stack.push_async_callback(backend.close)
        cast = Cast(folder, url, stages)
        await cast.enter(stack)
        session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=5)))
        platform = Platform(session, rate=RATE)
        stack.push_async_callback(platform.close)
        story = Story(tell, cast, platform, Audit(backend, NAME, tell.move), enough)
        load = asyncio.create_task(platform.send(MOST))
        stack.push_async_callback(_ended, load)
        story.opening()
        try:
            for chapter in (story.monolith, story.testers, story.ramp, story.crash):
                await chapter()
        except ChildFailed as error:
            raise Unmet(str(error)) from error
    tell.say("\n[bold green]All of it happened.[/]")
    return story


async def _ended(load: asyncio.Task[None]) -> None:
    load.cancel()
    await asyncio.wait([load])


class Cast:
    """The three sinks here, and the shop, a process of its own."""

    def __init__(self, folder: Path, database: str, stages: str) -> None:
        self.email, self.sms, self.push = MailSink(0.08), HttpSink(0.06), HttpSink(0.04)
        self._folder = folder
        self._database = database
        self._stages = stages
        self._shops = 0
        self._shop: Child | None = None

    @property
    def sinks(self) -> dict[str, Sink]:
        return dict(zip(CHANNELS, (self.email, self.sms, self.push), strict=True))

    async def enter(self, stack: AsyncExitStack) -> None:
        for sink in (self.email, self.sms, self.push):
            await sink.start(stack)
        stack.push_async_callback(self.close_shop)

    async def open_shop(self, with_: str) -> str:
        """Start a shop, ``"monolith"`` or ``"rollout"``; its address."""
        self._shops += 1
        log = self._folder / f"shop-{self._shops}.log"
        self._shop = await Child.start("rollout_demo.notification.shop", log=log)
        services = {"smtp_port": self.email.port, "sms": self.sms.address, "push": self.push.address}
        opening = {"do": "serve", "with": with_, "database": self._database, "stages": self._stages}
        return str((await self._shop.ask({**opening, **services}, timeout_s=30))["address"])

    async def close_shop(self) -> None:
        if self._shop is not None:
            await self._shop.stop()

    async def crash_shop(self) -> int:
        """Kill it where it stands; its exit code."""
        assert self._shop is not None
        with suppress(ChildFailed):  # it does not live to answer
            await self._shop.ask({"do": "crash"})
        return await self._shop.stop()

    async def command(self, *arguments: str) -> None:
        """Run the ``rollout`` command. ``Unmet`` if it fails."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rollout", *arguments),
            env={**os.environ, "ROLLOUT_DATABASE_URL": self._database, "ROLLOUT_ACTOR": "ann"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        if process.returncode:
            raise Unmet(f"rollout {' '.join(arguments)} ended with {process.returncode}: {errors.decode().strip()}")


class Story:
    """One telling."""

    def __init__(self, tell: Narrator, cast: Cast, platform: Platform, audit: Audit, enough: int) -> None:
        self.tell = tell
        self.cast = cast
        self.platform = platform
        self.audit = audit
        self._enough = enough

    def opening(self) -> None:
        self.tell.title("rollout demo notification", "One event, three messages: acknowledged at once, sent once.")
        self.tell.facts(
            ("platform", f"signs order.paid, {RATE:.0f} a second; sends it until it is acknowledged"),
            ("monolith", "verifies, sends e-mail (SMTP), SMS and push (HTTP), then answers"),
            ("fan-out", "verifies, stores, answers; then all three at once, from the inbox"),
            ("gates", "errors, latency, fallbacks: thresholds, [bold]no error bound[/]"),
        )

    # ---- 1

    async def monolith(self) -> None:
        self.tell.chapter("The monolith: the platform waits until all is sent")
        self.platform.use(await self.cast.open_shop("monolith"))
        await self._acknowledged("monolith", self._enough)
        await self.platform.pause()
        self.tell.facts(("acknowledged in", f"p50 and p95 {self._took('monolith')}"))
        await self.cast.close_shop()

    # ---- 2

    async def testers(self) -> None:
        self.tell.chapter("Named testers: what writes never runs in shadow")
        self.platform.use(await self.cast.open_shop("rollout"))
        await asyncio.gather(
            *(
                self._command("flag", "set", NAME, "on", "--key", name, "--reason", "try it ourselves")
                for name in TESTERS
            )
        )
        await self._acknowledged("inbox", 6)
        served = self.platform.tally.customers["inbox"]
        self.audit.must(served == set(TESTERS), f"the inbox serves the two testers, not {', '.join(sorted(served))}")
        figures = await self.audit.figures("inbox", "P")
        self.audit.must(figures.get("runs", 0) == 0, "the inbox never runs in shadow")
        self.tell.event(f"{' and '.join(TESTERS)} are live; the others are served by the monolith, as before")

    # ---- 3

    async def ramp(self) -> None:
        self.tell.chapter("The ramp: the first step by hand, the others by their gates")
        self.tell.say("No shadow, no evidence: the gates hold. But the testers have their messages, so:")
        await self._command("promote", NAME, "--force", "--yes", "--reason", "seen by testers")
        await self.audit.until(
            lambda: self.audit.stand("inbox").share == 1, "the inbox goes on to 100% by itself", PATIENCE_S
        )
        before = len(self.platform.tally.took_s["inbox"])
        await self._acknowledged("inbox", before + self._enough)
        slow, fast = self.platform.tally.took("monolith"), self.platform.tally.took("inbox")
        self.audit.must(fast[0] < slow[0], "the inbox acknowledges faster than the monolith did")
        self.tell.facts(("acknowledged in", f"p50 and p95 {self._took('monolith')} → [bold]{self._took('inbox')}[/]"))

    # ---- 4

    async def crash(self) -> None:
        self.tell.chapter("A sender fails, and the process is killed in the middle")
        sms = self.cast.sms
        sms.ill = True
        self.tell.event("the SMS service refuses everything (503)")
        await self.audit.watch(ILL_S)
        self.audit.must(sms.refused > 0, "the SMS service refuses messages")
        sms.ill = False
        await self.audit.until(
            lambda: sum(sink.unconfirmed for sink in self.cast.sinks.values()) >= 3,
            "what has waited goes out",
            PATIENCE_S,
        )
        self.tell.event("it is well again, and what has waited goes out; in the middle of that:")
        code = await self.cast.crash_shop()
        self.audit.must(code == -signal.SIGKILL, f"the shop is killed, not ended with {code}")
        open_ = len(self._missing())
        self.tell.event(f"[bold red]SIGKILL[/]: {open_} messages of acknowledged events are not sent yet")
        self.audit.must(open_ > 0, "the crash is in the middle of something")
        self.platform.use(await self.cast.open_shop("rollout"))
        self.tell.event("a new process goes on, with what was taken once the leases have run out")
        await self.platform.pause()
        await self.audit.until(lambda: not self._missing(), "every message is sent", PATIENCE_S)
        self._sums_up()

    def _sums_up(self) -> None:
        acknowledged, sinks = self.platform.tally.acknowledged, self.cast.sinks
        self.audit.must(len(acknowledged) == self.platform.sent, "every event is acknowledged in the end")
        for channel, sink in sinks.items():
            events = {key.partition(".")[0] for key in sink.kept}
            self.audit.must(events == acknowledged, f"each event has its {channel}, and nobody else has")
        kept = sum(len(sink.kept) for sink in sinks.values())
        again = sum(sink.offered.total() for sink in sinks.values()) - kept
        self.tell.facts(
            ("events", f"{len(acknowledged)} sent and acknowledged; {self.platform.tally.again} tried again"),
            ("messages", f"[bold green]{kept} = 3 × {len(acknowledged)}[/]: nothing lost, nothing twice"),
            ("refused", f"{self.cast.sms.refused} times by the SMS service, and sent later"),
            ("offered again", f"{again}, cut between sending and remembering; dropped by their keys"),
        )

    def _missing(self) -> list[str]:
        """The keys of messages that should have been sent by now."""
        sinks, acknowledged = self.cast.sinks, self.platform.tally.acknowledged
        paid = [one for number in range(self.platform.sent) if (one := order(number))["id"] in acknowledged]
        return [key for one in paid for channel in CHANNELS if (key := key_of(one, channel)) not in sinks[channel].kept]

    async def _acknowledged(self, who: str, count: int) -> None:
        await self.audit.until(
            lambda: len(self.platform.tally.took_s[who]) >= count, f"the {who} acknowledges {count} events", PATIENCE_S
        )

    async def _switch_on(self, customer: str) -> None:
        await self._command("flag", "set", NAME, "on", "--key", customer, "--reason", "try it ourselves")

    async def _command(self, *arguments: str) -> None:
        self.tell.command("rollout " + " ".join(f'"{word}"' if " " in word else word for word in arguments))
        await self.cast.command(*arguments)

    def _took(self, who: str) -> str:
        middle, slow = self.platform.tally.took(who)
        return f"{milliseconds(middle)}, {milliseconds(slow)}"
