"""The story, chapter by chapter. Each ends with what must have happened, read from the database, or with ``Unmet``.

1  shadow     tickets differ in their order: found, shown, and held; orders and picks do not wait for it
2  ramp       revision 2 knows that the order does not matter; the good branches climb by themselves
3  fall       at 25 % the service behind tickets falls ill: rolled back by itself, no customer gets a wrong reply
4  the end    orders and picks at 100 %; the report, and what to look at next
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

from rollout_demo.audit import COMPLETED, ROLLED_BACK, Audit, Move, Unmet
from rollout_demo.cast import Cast, total
from rollout_demo.lines import Message
from rollout_demo.narrator import Narrator, branch, milliseconds, share

GOOD: Final = ("orders", "picks")
FALLS_AT: Final = 0.25
PATIENCE_S: Final = 60.0  # for one chapter; on an idle machine each takes a quarter of it


class Story:
    """One telling. ``report``: where the HTML goes."""

    def __init__(self, cast: Cast, backend: Any, tell: Narrator, report: Path) -> None:
        self.cast = cast
        self.tell = tell
        self.report = report
        self.audit = Audit(backend, cast.rollout, self._heard)
        self._counts: list[Message] = []

    async def run(self) -> None:
        await self.shadow()
        await self.ramp()
        await self.fall()
        await self.end()

    def _heard(self, move: Move) -> None:
        """A decision, as soon as it is read. The service falls ill at the very moment in which tickets enters 25 %."""
        self.tell.move(move)
        if (move.branch, move.after) == ("tickets", share(FALLS_AT)):
            self.cast.tickets.ill = True

    # ---- 1

    async def shadow(self) -> None:
        self.tell.chapter("Shadow: the branches run after the reply, and are compared")
        await self.cast.open_shop(1)
        self.tell.event("the shop is open and customers come; half of the calls run in shadow too")
        compared, differed = await self._compared("tickets", at_least=60)
        found = await self._mismatch("$.tickets")
        noisy = await self._mismatch("$.summary")
        self._must(found.kind == "order" and differed > 0.9 * compared, "tickets differ in their order")
        self.tell.event(
            f"{branch('tickets')} [bold]$.tickets[/] differs in [bold]{found.kind}[/]:"
            f" {differed} of {compared} compared calls"
        )
        for side in ("control", "candidate"):
            self.tell.event(f"[dim]{side:>17}, redacted: {_shown(found, side)}[/]")
        if noisy.noise:
            self.tell.event(f"{branch('summary')} [bold]$.summary[/] differs, but control from itself too: noise")
        await self.audit.until(
            lambda: all(self.audit.stand(name).share > 0 for name in GOOD),
            "orders and picks leave shadow by themselves",
            PATIENCE_S,
        )
        self._must(self.audit.stand("tickets").share == 0, "tickets is held in shadow by its mismatches")
        self.tell.event(f"{branch('tickets')} [bold]held[/]: {await self._why('tickets')}")

    # ---- 2

    async def ramp(self) -> None:
        self.tell.chapter("The ramp: each step when it has soaked and every gate passes")
        self.tell.say(
            "The page sorts tickets itself, so their order is harmless. Revision 2 says so:"
            ' [bold]Compare(unordered={"$.tickets": "id"})[/], and the evidence starts anew.'
        )
        self._counts.append(await self.cast.close_shop(1))
        await self.cast.open_shop(2)
        self.tell.event("revision 2 is deployed")
        await self.audit.until(
            lambda: self.cast.tickets.ill, "tickets, compared without regard to order, climbs to 25%", PATIENCE_S
        )
        self._counts.append(await self.cast.count())

    # ---- 3

    async def fall(self) -> None:
        tickets = self.cast.tickets
        self.tell.chapter("The fall: at 25% the service behind tickets turns slow and wrong")
        self.tell.say(
            "Every other answer now comes after 2 s (the branch is cut long before), the rest are another"
            " customer's (the branch looks, and raises). Where a branch fails, the customer gets control's reply."
        )
        await self.audit.until(
            lambda: self.audit.stand("tickets").mode == ROLLED_BACK, "tickets is rolled back by itself", PATIENCE_S
        )
        rollback = self.audit.last("tickets", "rollback")
        self._must(self.audit.stand("tickets").share == 0, "tickets is live for nobody after its rollback")
        await asyncio.sleep(1.5)  # the last calls that were under way, and some after them
        counts = await self.cast.count()
        self._counts.append(counts)
        self._must(tickets.first_bad_at is not None, "the ill service answered live calls")
        assert tickets.first_bad_at is not None
        assert tickets.last_live_at is not None
        decided_at = rollback.at - self.audit.ahead_s
        self.tell.facts(
            ("first bad reply → rollback", f"[bold]{decided_at - tickets.first_bad_at:.1f} s[/]"),
            ("rollback → last live call", f"{max(0.0, tickets.last_live_at - decided_at):.2f} s"),
            ("bad replies to the branch", f"{tickets.bad}, each one answered by control instead"),
            ("customers, meanwhile", self._customers(counts)),
        )
        self._must(counts["wrong"] + counts["errors"] == 0, f"no customer got a wrong reply: {counts['faults']}")
        self._must(time.time() - tickets.last_live_at > 1.0, "no live call reaches tickets after its rollback")

    # ---- 4

    async def end(self) -> None:
        self.tell.chapter("Meanwhile, the others have gone on")
        await self.audit.until(
            lambda: all(self.audit.stand(name).mode == COMPLETED for name in GOOD),
            "orders and picks reach 100% by themselves and are completed",
            PATIENCE_S,
        )
        self._must(self.audit.stand("summary").share == 0, "summary never left the shadow")
        self._must(self.audit.stand("tickets").mode == ROLLED_BACK, "tickets stays rolled back")
        self._counts.append(await self.cast.count())
        everything = total(*self._counts)
        self._must(everything["ok"] > 0, "customers came")
        self._must(everything["wrong"] + everything["errors"] == 0, "no customer got a wrong reply, all the time")
        await self.cast.command("report", self.cast.rollout, "--format", "html", "--out", str(self.report))
        self._must("<html" in self.report.read_text(encoding="utf-8")[:500], "the report is an HTML page")
        stands = " · ".join(f"{branch(name, 0)} {stand}" for name, stand in self.audit.stands.items())
        self.tell.facts(
            ("branches", stands),
            ("customers", f"{everything['ok']:,} right replies, [bold]0 wrong, 0 errors[/]"),
            ("decisions", f"{len(self.audit.moves)}, each with its findings, chained by hashes"),
            ("report", str(self.report)),
        )

    # ---- what the chapters ask

    async def _mismatch(self, path: str) -> Any:
        """The path that differs, as counted in the database."""
        found = await self.audit.backend.ledger.mismatches(self.cast.rollout, path=path)
        self._must(bool(found), f"the comparison finds that {path} differs")
        return found[0]

    async def _compared(self, unit: str, at_least: int) -> tuple[int, int]:
        """How many calls of a unit were compared, and how many of those differed, when there are enough."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            totals = await self.audit.backend.ledger.totals(self.cast.rollout)
            pairs = [one.figures for one in totals if (one.unit, one.arm) == (unit, "P")]
            compared = sum(figures[name] for figures in pairs for name in ("matched", "ignored", "mismatched"))
            if compared >= at_least:
                return compared, sum(figures["mismatched"] for figures in pairs)
            await asyncio.sleep(0.2)
        raise Unmet(f"{at_least} calls of {unit} are compared: not within {PATIENCE_S:.0f} s")

    async def _why(self, unit: str) -> str:
        """What the gates have against a unit, judged now by ``rollout check``, which changes nothing."""
        judged = json.loads(await self.cast.command("check", self.cast.rollout, "--output", "json"))
        return str(next(one["verdict"]["reasons"][0] for one in judged if one["unit"] == unit))

    def _customers(self, counts: Message) -> str:
        return (
            f"[bold]{counts['ok']} right, {counts['wrong']} wrong, {counts['errors']} errors[/]"
            f" (p50 {milliseconds(counts['p50_s'])}, p95 {milliseconds(counts['p95_s'])})"
        )

    def _must(self, happened: bool, promise: str) -> None:
        if not happened:
            stands = ", ".join(f"{name} {stand}" for name, stand in self.audit.stands.items())
            raise Unmet(f"it was promised that {promise}. Now: {stands}.")


def _shown(found: Any, side: str) -> str:
    """One side of the stored example, as short text."""
    value = (found.example or {}).get(side)
    return " ".join(f"{name} {value[name]}" for name in value) if isinstance(value, dict) else str(value)
