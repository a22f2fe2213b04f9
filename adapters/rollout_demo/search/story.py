"""The story of the search, chapter by chapter. Each ends with what must have happened, or with ``Unmet``.

1  monolith   four indexes one after the other: as slow as all of them together
2  ramp       the fan-out in shadow, compared, and up by itself
3  live       three of four are enough, whoever they are
4  one slow   the quorum does not wait for it, and a hedge helps the one that is stuck now and then
5  two slow   no quorum in time: after the soft timeout a page of two indexes, which says what is missing
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final

from rollout_aiohttp import guard
from rollout_demo.audit import COMPLETED, Audit
from rollout_demo.lines import Message
from rollout_demo.narrator import Narrator, milliseconds
from rollout_demo.search.fanout import FEWEST, HARM, HEDGE_S, NAME, QUORUM, RESULTS, SOFT_S, fan_out, rollout
from rollout_demo.search.indexes import DOCUMENTS, NAMES, SLOW_S, STUCK_EVERY, STUCK_S, WORDS, Hit, Indexes, holders
from rollout_demo.search.indexes import search as found_in
from rollout_demo.search.monolith import application
from rollout_demo.stage import Stage, Visitors
from rollout_demo.words import said

RATE: Final = 60.0
PATIENCE_S: Final = 60.0  # for one wait; on an idle machine the ramp takes twenty, nothing else five


async def play(tell: Narrator, folder: Path, *, stages: str = "shadow 20% 50% 100%", look_s: float = 2.0) -> Story:
    """One performance. ``stages``: of the ramp. ``look_s``: how long each state of the indexes is watched."""
    async with AsyncExitStack() as stack:
        indexes = Indexes()
        addresses = await indexes.open(stack)
        story = Story(tell, Stage(tell, folder, stack), indexes, addresses, look_s)
        await story.run(stages)
    return story


class Story:
    """One telling. ``monolith``, ``fan_out``, ``one_slow``, ``two_slow``: what the visitors counted of each."""

    def __init__(
        self, tell: Narrator, stage: Stage, indexes: Indexes, addresses: Mapping[str, str], look_s: float
    ) -> None:
        self.tell = tell
        self.indexes = indexes
        self.fan = fan_out()
        self.pages = Pages()
        self.visitors = Visitors(path_of, fault_of, rate=RATE, heard=self.pages.heard)
        self.audit: Audit
        self.monolith: Message
        self.fan_out: Message
        self.one_slow: Message
        self.two_slow: Message
        self._stage = stage
        self._addresses = addresses
        self._look_s = look_s

    async def run(self, stages: str) -> None:
        self._opening(stages)
        self.audit = await self._stage.audit(NAME)
        await self.begin()
        address = await self._stage.open(application(self._addresses, guard()), rollout(self.fan, stages))
        async with self.visitors.coming_to(address):
            await self.ramp()
            await self.live()
            await self.slow()
            await self.slower()
        self.end()

    def _opening(self, stages: str) -> None:
        self.tell.title("rollout demo search", "Four indexes that hold each document twice: any three know them all.")
        self.tell.facts(
            ("handler", "GET /search?q=word asks all four, one after the other, and ranks"),
            ("fan-out", f"all at once; answers with {QUORUM}, and with {FEWEST} after {SOFT_S * 1000:.0f} ms"),
            ("east", f"stuck for {STUCK_S * 1000:.0f} ms at every {STUCK_EVERY}th request"),
            ("visitors", f"{RATE:.0f} calls a second; they check every page"),
            ("ramp", f"{stages}; a step may harm {HARM} of all calls, and soaks 1 s"),
            ("gates", "errors, latency p75, mismatches: evidence of 20:1 for a step"),
        )

    # ---- 1

    async def begin(self) -> None:
        self.tell.chapter("The monolith: one after the other")
        async with self.visitors.coming_to(await self._stage.open(application(self._addresses))):
            await asyncio.sleep(self._look_s)
        self.monolith = self.visitors.count()
        self.tell.event(f"{_times(self.monolith)}: the sum of the four")
        self._all_right(self.monolith)

    # ---- 2

    async def ramp(self) -> None:
        self.tell.chapter("The rollout: in shadow, compared, and up by itself")
        promise = "the fan-out reaches 100% by itself, and is completed"
        await self.audit.until(lambda: self.audit.stand(RESULTS).mode == COMPLETED, promise, PATIENCE_S)
        pairs = await self.audit.figures(RESULTS, "P")
        self.audit.must(pairs.get("matched", 0) >= 20, f"pages are compared, and match: {pairs}")
        self.audit.must(pairs.get("mismatched", 0) == 0, f"no page differs: {pairs}")
        self._all_right(self.visitors.count())

    # ---- 3

    async def live(self) -> None:
        self.tell.chapter("The fan-out, live for everybody")
        self.fan_out = await self._watch()
        self.tell.event(f"{_times(self.fan_out)}, instead of {_times(self.monolith)}")
        left_out = " · ".join(f"{name} {count}" for name, count in self.pages.missing.most_common())
        self.tell.event(f"{self.pages.complete} complete pages; left out: {left_out}")
        self.audit.must(self.fan_out["p50_s"] < self.monolith["p50_s"], "the fan-out is faster than the monolith")
        self.audit.must(self.pages.complete > 9 * self.pages.partial, "the pages are complete")

    # ---- 4

    async def slow(self) -> None:
        self.tell.chapter("West turns slow")
        self.indexes.west.slow = True
        before = self._count("east", "hedged")
        self.tell.event(f"west takes {SLOW_S * 1000:.0f} ms longer, so every page needs the other three")
        self.one_slow = await self._watch()
        hedged = self._count("east", "hedged") - before
        self.tell.event(f"{_times(self.one_slow)}; {self.pages.complete} complete pages, {self.pages.partial} partial")
        self.tell.event(f"{hedged} times east was asked again, after {HEDGE_S * 1000:.0f} ms without an answer")
        self.audit.must(hedged > 0, "east is hedged when it is stuck")
        self.audit.must(self.pages.complete > self.pages.partial, "one slow index leaves the pages complete")
        self.audit.must(self.one_slow["p50_s"] < SLOW_S, "one slow index does not hold the page")

    # ---- 5

    async def slower(self) -> None:
        self.tell.chapter("South turns slow too")
        self.indexes.south.slow = True
        self.two_slow = await self._watch()
        self.tell.event(f"{_times(self.two_slow)}; {self.pages.complete} complete pages, {self.pages.partial} partial")
        self.audit.must(self.pages.partial > self.pages.complete, "two slow indexes make partial pages")
        why, _ = self.pages.partly.most_common(1)[0]
        self.tell.event(f"they say what is missing: {why}")
        self.audit.must(why == "south soft_timeout · west soft_timeout", f"the late ones are named: {why}")
        self.audit.must(self.two_slow["p50_s"] < SLOW_S, "two slow indexes do not hold the page")
        self.indexes.west.slow = self.indexes.south.slow = False
        before = self.pages.complete
        await self.audit.until(lambda: self.pages.complete > before, "pages are complete again", PATIENCE_S)
        self.tell.event("both are well, and pages are complete again")

    # ---- the end

    def end(self) -> None:
        self.audit.must(self.audit.stand(RESULTS).mode == COMPLETED, "pages that say what they miss roll nothing back")
        self.tell.chapter("What the fan-out counted of its live runs")
        self.tell.facts(*((name, self._row(name)) for name in NAMES))
        self.tell.say("\n[bold green]All of it happened.[/]")

    def _row(self, name: str) -> str:
        counts = {
            "in time": self._count(name, "outcome:ok"),
            "cut by the quorum": self._count(name, "outcome:cancelled"),
            "too late": self._count(name, "outcome:soft_timeout"),
            "hedged": self._count(name, "hedged"),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def _count(self, branch: str, name: str) -> int:
        return self.fan.counts().get((branch, "live"), {}).get(name, 0)

    async def _watch(self) -> Message:
        """What the visitors count from now on, for a while; every page must be right."""
        await asyncio.sleep(0.2)  # calls from before are over
        self.visitors.count()
        self.pages.forget()
        await asyncio.sleep(self._look_s)
        counts = self.visitors.count()
        self._all_right(counts)
        return counts

    def _all_right(self, counts: Message) -> None:
        self.audit.must(counts["ok"] > 0 == counts["wrong"] + counts["errors"], f"every page is right: {said(counts)}")


class Pages:
    """What the visitors see. ``missing``: index → how many pages were without it. ``partly``: what was missing of a
    partial page, and why → how many of them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.complete = 0
        self.missing: Counter[str] = Counter()
        self.partly: Counter[str] = Counter()

    @property
    def partial(self) -> int:
        return self.partly.total()

    def heard(self, _: float, page: Mapping[str, Any]) -> None:
        self.missing.update(page["missing"].keys())
        if page["complete"]:
            self.complete += 1
        else:
            self.partly[" · ".join(f"{name} {why}" for name, why in page["missing"].items())] += 1


def path_of(number: int) -> str:
    return f"/search?q={_word(number)}"


def fault_of(number: int, page: Any) -> str:
    """What is wrong with the page of the n-th call: it must have the best hits of what the answering indexes hold."""
    word, missing = _word(number), frozenset(page.get("missing", NAMES))
    if page.get("query") != word or page.get("complete") is not (len(missing) <= len(NAMES) - QUORUM):
        return f'not a page of "{word}"'
    return (
        "" if page.get("hits") == _right(word, missing) else f'not the best hits of "{word}" without {sorted(missing)}'
    )


@cache
def _right(word: str, missing: frozenset[str]) -> list[Hit]:
    return found_in((number for number in range(DOCUMENTS) if not missing.issuperset(holders(number))), word)


def _word(number: int) -> str:
    return WORDS[number % len(WORDS)]


def _times(counts: Message) -> str:
    return f"p50 {milliseconds(counts['p50_s'])}, p95 {milliseconds(counts['p95_s'])}"
