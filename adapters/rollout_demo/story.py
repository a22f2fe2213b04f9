"""The story, chapter by chapter. Each ends with what must have happened, read from the database, or with ``Unmet``.

1  shadow     tickets differ in their order: found, shown, and held; orders and picks do not wait for it
2  ramp       revision 2 knows that the order does not matter, and every good branch climbs by itself
3  fall       at 25 % the service behind tickets falls ill: rolled back by itself, and no customer gets a wrong reply
4  the end    orders and picks at 100 %; the report, and what to look at next
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.markup import escape

from rollout_demo.audit import COMPLETED, ROLLED_BACK, Audit, Move
from rollout_demo.cast import Cast
from rollout_demo.counts import total
from rollout_demo.lines import Message
from rollout_demo.narrator import Narrator, branch, milliseconds, odds
from rollout_demo.words import compared_of, said, shown, usage

GOOD: Final = ("orders", "picks")
FALLS_AT: Final = "25%"
PATIENCE_S: Final = 60.0  # for one wait; on an idle machine none takes ten seconds


class Story:
    """One telling. ``report``: where the HTML goes. ``ahead_s``: how far the database's clock is ahead of ours."""

    def __init__(self, cast: Cast, backend: Any, tell: Narrator, report: Path, ahead_s: float = 0.0) -> None:
        self.cast = cast
        self.tell = tell
        self.report = report
        self.audit = Audit(backend, cast.rollout, self._heard)
        self._ahead_s = ahead_s
        self._counts: list[Message] = []

    async def run(self) -> None:
        await self.shadow()
        await self.ramp()
        await self.fall()
        await self.end()

    def _heard(self, move: Move) -> None:
        """A decision, as soon as it is read. At the moment in which tickets enters 25 % its service falls ill, once."""
        self.tell.move(move)
        if (move.branch, move.after) == ("tickets", FALLS_AT) and self.cast.tickets.first_bad_at is None:
            self.cast.tickets.ill = True

    # ---- 1

    async def shadow(self) -> None:
        self.tell.chapter("Shadow: the branches run after the reply, and are compared")
        await self.cast.open_shop(1)
        self.tell.event("the shop is open and customers come; three in ten calls run in shadow too")
        await self._differences()
        await self._until_all(
            lambda name: self.audit.stand(name).share > 0, "orders and picks leave shadow by themselves"
        )
        self.audit.must(self.audit.stand("tickets").share == 0, "tickets is held in shadow by its mismatches")
        why = await self._why("tickets")
        self.audit.must("mismatches" in why, f"tickets is held by its mismatches, not by {why}")
        self.tell.event(f"{branch('tickets')} [bold]held[/]: {escape(why)}")

    async def _differences(self) -> None:
        """Wait for comparisons, and show what differs."""
        pairs: Mapping[str, int] = {}

        async def compared() -> bool:
            nonlocal pairs
            pairs = await self.audit.figures("tickets", "P")
            return compared_of(pairs) >= 50

        await self.audit.until(compared, "calls are compared in shadow", PATIENCE_S)
        found, noisy = await self.audit.mismatch("$.tickets"), await self.audit.mismatch("$.summary")
        differed, of = pairs.get("mismatched", 0), compared_of(pairs)
        self.audit.must(found.kind == "order" and differed > 0.9 * of, "tickets differ in their order")
        what = f"[bold]{escape(found.path)}[/] differs in [bold]{found.kind}[/]"
        self.tell.event(f"{branch('tickets')} {what}: {differed} of {of} compared calls")
        for side in ("control", "candidate"):
            self.tell.event(f"[dim]{side:>17}, redacted: {escape(shown(found, side))}[/]")
        if noisy.noise:
            self.tell.event(
                f"{branch('summary')} [bold]{escape(noisy.path)}[/] differs, but control from itself too: noise"
            )

    async def _why(self, unit: str) -> str:
        """What the gates have against a unit."""
        return str((await self._judged())[unit]["reasons"][0])

    async def _judged(self) -> Mapping[str, Any]:
        """The verdict on each unit, judged now by ``rollout check``, which changes nothing."""
        judged = json.loads(await self.cast.command("check", self.cast.rollout, "--output", "json"))
        return {one["unit"]: one["verdict"] for one in judged}

    # ---- 2

    async def ramp(self) -> None:
        self.tell.chapter("The ramp: each step when it has soaked and every gate passes")
        self.tell.say(
            "The page sorts tickets itself, so their order is harmless. Revision 2 says so:"
            ' [bold]Compare(unordered={"$.tickets": "id"})[/], and the evidence starts anew.'
        )
        self._counts.append(await self.cast.close_shop(1))
        await self.cast.open_shop(2)
        self.tell.event("revision 2 is deployed; below: the evidence of each gate that the step is safe")
        await self.audit.until(lambda: self.audit.stand("tickets").share > 0, "tickets leaves the shadow", PATIENCE_S)
        await self._missing()
        await self.audit.until(lambda: self.cast.tickets.ill, f"tickets climbs to {FALLS_AT} by itself", PATIENCE_S)
        self._counts.append(await self.cast.count())

    async def _missing(self) -> None:
        """Tell what the next steps still need, where a gate can say."""
        for unit, verdict in (await self._judged()).items():
            needs = [finding for finding in verdict["findings"] if finding.get("more_calls")]
            if needs:
                slowest = max(needs, key=lambda finding: int(finding["more_calls"]))
                told = f"{slowest['gate']} {odds(slowest['log_promote'])}"
                self.tell.event(f"{branch(unit)} [bold]holds[/]: {told}, about {slowest['more_calls']:,} more calls")

    # ---- 3

    async def fall(self) -> None:
        self.tell.chapter(f"The fall: at {FALLS_AT} the service behind tickets turns slow and wrong")
        self.tell.say(
            "Half of its answers now come after 2 s (the branch is cut after 0.5 s), half are another customer's"
            " (the branch looks, and raises). Where a live branch fails, the customer gets control's reply."
        )
        await self.audit.until(
            lambda: self.audit.stand("tickets").mode == ROLLED_BACK, "tickets is rolled back by itself", PATIENCE_S
        )
        await self.audit.watch(2.0)  # the last calls that were under way, and some after them
        counts = await self.cast.count()
        self._counts.append(counts)
        tickets, decided_at = self.cast.tickets, self.audit.last("tickets", "rollback").at - self._ahead_s
        first, last = tickets.first_bad_at or 0.0, tickets.last_live_at or 0.0
        self.audit.must(first > 0, "the ill service answers live calls")
        self.audit.must(last < time.time() - 0.5, "no live call reaches tickets after its rollback")
        self.audit.must(
            counts["wrong"] + counts["errors"] == 0, f"every customer is answered right: {counts['faults']}"
        )
        self.tell.facts(
            ("first bad reply → rollback", f"[bold]{decided_at - first:.1f} s[/]"),
            ("rollback → last live call", f"{max(0.0, last - decided_at):.2f} s"),
            ("bad replies to the branch", str(tickets.bad)),
            ("customers, meanwhile", f"[bold green]{said(counts)}[/]"),
            ("their p50 and p95", f"{milliseconds(counts['p50_s'])}, {milliseconds(counts['p95_s'])}"),
        )

    # ---- 4

    async def end(self) -> None:
        self.tell.chapter("Meanwhile the others have gone on, to 100%")
        await self._until_all(
            lambda name: self.audit.stand(name).mode == COMPLETED, "orders and picks reach 100%, and complete"
        )
        self.audit.must(
            all(self.audit.stand(name).share == 1 for name in GOOD), "orders and picks are live for everybody"
        )
        self.audit.must(self.audit.stand("summary").share == 0, "summary never leaves the shadow")
        self.audit.must(self.audit.stand("tickets").mode == ROLLED_BACK, "tickets stays rolled back")
        fallbacks = (await self.audit.figures("tickets", "B")).get("fallbacks", 0)
        self.audit.must(fallbacks >= 5, f"control stands in where tickets fails, and that is counted ({fallbacks})")
        self._counts.append(await self.cast.count())
        everything = total(*self._counts)
        self.audit.must(everything["ok"] > 0, "customers come")
        self.audit.must(
            everything["wrong"] + everything["errors"] == 0, "every customer is answered right, all the time"
        )
        await self.cast.command("report", self.cast.rollout, "--format", "html", "--out", str(self.report))
        self.audit.must("<html" in self.report.read_text(encoding="utf-8")[:500], "the report is an HTML page")
        self.tell.facts(
            ("branches", " · ".join(f"{branch(name, 0)} {stand}" for name, stand in self.audit.stands.items())),
            ("customers", f"[bold green]{said(everything)}[/]"),
            ("fallbacks", f"{fallbacks} live calls of tickets went to control, as the database counts"),
            ("summary", usage(await self.audit.figures("summary", "P"))),
            ("decisions", f"{len(self.audit.moves)} moves, each stored with its findings, in a chain of hashes"),
            ("report", str(self.report)),
        )

    async def _until_all(self, true: Any, promise: str) -> None:
        """Wait until something is true of every good branch."""
        await self.audit.until(lambda: all(true(name) for name in GOOD), promise, PATIENCE_S)
