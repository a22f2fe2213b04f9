"""The story of the enriched record, chapter by chapter. Each ends with what must have happened, or with ``Unmet``.

1  monolith   three services one after the other; whenever the register is busy, there is no record
2  ramp       the fan-out in shadow, compared, and up by itself
3  live       three at once; a busy register is asked again, after the pause that it asked for
4  down       the score goes down: timeouts, an open breaker, probes, and a closed one
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from rollout_aiohttp import guard
from rollout_demo.audit import COMPLETED, Audit
from rollout_demo.enrichment import services
from rollout_demo.enrichment.fanout import BRANCHES, HARD_S, HARM, NAME, OPEN_S, PROBES, UNIT, rollout
from rollout_demo.enrichment.monolith import application
from rollout_demo.enrichment.services import Street
from rollout_demo.lines import Message
from rollout_demo.narrator import Narrator, milliseconds
from rollout_demo.stage import Stage, Visitors
from rollout_demo.words import said

CUSTOMERS: Final = 2_000
RATE: Final = 60.0
PATIENCE_S: Final = 60.0  # for one wait; on an idle machine the ramp takes twenty, nothing else five


async def play(tell: Narrator, folder: Path, *, stages: str = "shadow 20% 50% 100%", look_s: float = 2.0) -> Story:
    """One performance. ``stages``: of the ramp. ``look_s``: how long monolith and fan-out are watched."""
    async with AsyncExitStack() as stack:
        street = Street()
        addresses = await street.open(stack)
        story = Story(tell, Stage(tell, folder, stack), street, addresses, look_s)
        await story.run(stages)
    return story


class Story:
    """One telling. ``monolith`` and ``fan_out``: what the visitors counted of each."""

    def __init__(
        self, tell: Narrator, stage: Stage, street: Street, addresses: Mapping[str, str], look_s: float
    ) -> None:
        self.tell = tell
        self.street = street
        self.scores = Scores()
        self.visitors = Visitors(path_of, fault_of, rate=RATE, heard=self.scores.heard)
        self.audit: Audit
        self.monolith: Message
        self.fan_out: Message
        self._stage = stage
        self._addresses = addresses
        self._look_s = look_s

    async def run(self, stages: str) -> None:
        self._opening(stages)
        self.audit = await self._stage.audit(NAME)
        await self.begin()
        address = await self._stage.open(application(self._addresses, guard()), rollout(stages))
        async with self.visitors.coming_to(address):
            await self.ramp()
            await self.live()
            await self.down()
        await self.end()

    def _opening(self, stages: str) -> None:
        self.tell.title("rollout demo enrichment", "A customer record, completed by three services of other people.")
        self.tell.facts(
            ("handler", "GET /customers/{id} asks geo, then the register, then the score"),
            ("fan-out", "all at once; the score is optional"),
            ("register", f"503 to every {services.BUSY_EVERY}th request, Retry-After: {services.RETRY_AFTER_S}"),
            ("visitors", f"{RATE:.0f} calls a second; they check every record"),
            ("ramp", f"{stages}; a step may harm {HARM} of all calls, and soaks 1 s"),
            ("gates", "fallbacks, latency p75, mismatches: evidence of 20:1 for a step"),
        )

    # ---- 1

    async def begin(self) -> None:
        self.tell.chapter("The monolith: one after the other")
        async with self.visitors.coming_to(await self._stage.open(application(self._addresses))):
            await self._watch()
        self.monolith = self.visitors.count()
        self.tell.event(f"p50 {milliseconds(self.monolith['p50_s'])}, the sum of the three")
        self.tell.event(f"{said(self.monolith)}: a busy register, and there is no record")
        self.audit.must(self.monolith["errors"] > 0, "the monolith fails when the register is busy")
        self.audit.must(self.monolith["wrong"] == 0, f"every record is right: {self.monolith['faults']}")

    # ---- 2

    async def ramp(self) -> None:
        self.tell.chapter("The rollout: in shadow, compared, and up by itself")
        promise = "the fan-out reaches 100% by itself, and is completed"
        await self.audit.until(
            lambda: all(self.audit.stand(name).mode == COMPLETED for name in BRANCHES), promise, PATIENCE_S
        )
        pairs = await self.audit.figures(UNIT, "P")
        self.audit.must(pairs.get("matched", 0) >= 20, f"records are compared, and match: {pairs}")
        self.audit.must(pairs.get("mismatched", 0) == 0, f"no record differs: {pairs}")
        self.audit.must(self.visitors.count()["wrong"] == 0, "every record is right during the ramp")

    # ---- 3

    async def live(self) -> None:
        self.tell.chapter("The fan-out, live for everybody")
        before = self.street.register.busy
        await self._watch()
        self.fan_out = self.visitors.count()
        busy = self.street.register.busy - before
        faster = f"[bold]{milliseconds(self.fan_out['p50_s'])}[/] instead of {milliseconds(self.monolith['p50_s'])}"
        self.tell.event(f"p50 {faster}: the slowest of the three")
        self.tell.event(f"{said(self.fan_out)}: busy {busy} times, and asked again")
        self.audit.must(
            self.fan_out["wrong"] + self.fan_out["errors"] == 0, f"nobody notices: {self.fan_out['faults']}"
        )
        self.audit.must(self.fan_out["p50_s"] < self.monolith["p50_s"], "the fan-out is faster than the monolith")

    # ---- 4

    async def down(self) -> None:
        self.tell.chapter("The score goes down, and is left out")
        cut, asked = self.scores.missing["hard_timeout"], len(self.street.score.live_at)
        self.street.score.go_down()
        self.tell.event("the score takes requests, and never answers")
        await self._until(lambda: self.scores.missing["hard_timeout"] > cut, "the score is cut at its hard timeout")
        self.tell.event(f"records without score: [bold]hard_timeout[/], cut after {HARD_S * 1000:.0f} ms")
        await self._until(lambda: self.scores.missing["short_circuited"] > 0, "the breaker opens")
        timeouts = self.scores.missing["hard_timeout"]
        self.tell.event(f"{timeouts} of them later the breaker opens: [bold]short_circuited[/], no more waiting")
        await self._probed_in_vain(cut + len(self.street.score.live_at) - asked)
        self.street.score.come_back()
        self.tell.event("the score is well")
        self.scores.in_a_row = 0
        await self._until(lambda: self.scores.in_a_row >= 2 * PROBES, "the breaker closes")
        self.tell.event(f"half-open: {PROBES} probes, all answered; closed, and every record has its score")
        late, at_once = self.scores.usual_s("hard_timeout"), self.scores.usual_s("short_circuited")
        self.tell.event(f"a record took {milliseconds(late)} before the breaker opened, {milliseconds(at_once)} after")
        self.audit.must(at_once < HARD_S <= late, "an open breaker spares the visitors the wait")
        counts = self.visitors.count()
        self.audit.must(counts["wrong"] + counts["errors"] == 0, f"every record is right, all the time: {counts}")

    async def _probed_in_vain(self, cut: int) -> None:
        """The first round of probes, while the score is still down. ``cut``: records without score by then."""
        arrived = self.street.score.live_at
        asked = len(arrived)
        await self._until(lambda: len(arrived) > asked, "the breaker lets a probe through")
        await self._until(lambda: self.scores.missing["hard_timeout"] >= cut + PROBES, "the probes time out")
        probes = len(arrived) - asked
        self.tell.event(f"half-open after {OPEN_S:g} s: {probes} probes, all too late; open again")
        self.audit.must(probes == PROBES, f"exactly {PROBES} requests reach a score that is down, not {probes}")

    # ---- the end

    async def end(self) -> None:
        figures = await self._recorded()
        self.audit.must(figures.get("retried", 0) > 0, f"the retries are in the database: {figures}")
        self.audit.must(self.street.register.impatient == 0, "nobody comes back sooner than the register asked")
        self.audit.must(
            self.audit.stand("score").mode == COMPLETED, "an optional part that is missing rolls nothing back"
        )
        self.tell.chapter("What the database says of the live calls")
        self.tell.facts(*_table(figures))
        self.tell.say("\n[bold green]All of it happened.[/]")

    async def _recorded(self) -> Mapping[str, int]:
        """The figures of the live calls, when every refusal that the visitors saw is in the database."""
        figures: Mapping[str, int] = {}

        async def all_there() -> bool:
            nonlocal figures
            figures = await self.audit.figures(UNIT, "B")
            return all(figures.get(f"outcome:{why}", 0) == self.scores.missing[why] for why in self.scores.missing)

        await self.audit.until(
            all_there, f"the database counts what the visitors saw, {dict(self.scores.missing)}", PATIENCE_S
        )
        return figures

    async def _watch(self) -> None:
        """Look on for a while, and until the register has been busy in it."""
        before = self.street.register.busy
        await asyncio.sleep(self._look_s)
        await self._until(lambda: self.street.register.busy > before, "the register is busy now and then")

    async def _until(self, true: Any, promise: str) -> None:
        await self.audit.until(true, promise, PATIENCE_S)


class Scores:
    """What the visitors see of the score. ``in_a_row``: how many records had one since the last that had none."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self._took_s: defaultdict[str, list[float]] = defaultdict(list)  # why there was none → seconds of each

    @property
    def missing(self) -> Counter[str]:
        """Why there was none → how many records."""
        return Counter({why: len(took_s) for why, took_s in self._took_s.items()})

    def usual_s(self, why: str) -> float:
        """The median of the seconds that such records took."""
        return median(self._took_s[why])

    def heard(self, took_s: float, record: Mapping[str, Any]) -> None:
        why = record["missing"].get("score")
        if why is None:
            self.in_a_row += 1
        else:
            self.in_a_row = 0
            self._took_s[why].append(took_s)


def path_of(number: int) -> str:
    return f"/customers/{_customer(number)}"


def fault_of(number: int, record: Any) -> str:
    """What is wrong with the record of the n-th call; a score may be missing if the record says so."""
    customer = _customer(number)
    right: dict[str, Any] = {
        "id": customer,
        "place": services.geo(customer),
        "company": services.register(customer),
        "score": services.score(customer),
    }
    if "score" in record.get("missing", ()):
        del right["score"]
    found = {name: value for name, value in record.items() if name != "missing"}
    return "" if found == right else f"not the record of customer {customer}"


def _customer(number: int) -> int:
    return number % CUSTOMERS + 1


def _table(figures: Mapping[str, int]) -> list[tuple[str, str]]:
    return [
        ("calls", f"{figures.get('calls', 0):,}, {figures.get('fallbacks', 0)} of them answered by the monolith"),
        ("retried", f"{figures.get('retried', 0)} requests to the register"),
        ("hard timeouts", f"{figures.get('outcome:hard_timeout', 0)} of the score"),
        ("short-circuited", f"{figures.get('outcome:short_circuited', 0)} calls that did not wait for it"),
        ("SLA missed", f"{figures.get('sla_missed', 0)} of {figures.get('runs', 0):,} runs"),
    ]
