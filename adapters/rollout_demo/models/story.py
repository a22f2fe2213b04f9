"""The story of the models, chapter by chapter; each ends with what must have happened, or with ``Unmet``.

1  monolith   the dear model for everything, one question after the other
2  shadow     the fan-out beside it: compared, and what it would cost
3  ramp       up by itself, as long as it is no slower and no dearer
4  live       what was escalated, what was not and why, and that no call went over its budget
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import fmean
from typing import Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from rollout_aiohttp import guard, setup
from rollout_demo.audit import Audit, Move
from rollout_demo.models.asking import TASKS
from rollout_demo.models.fanout import BUDGET, branches, rollout, second
from rollout_demo.models.mails import AT_ONCE, Mails, Tally
from rollout_demo.models.monolith import application
from rollout_demo.models.server import ModelServer, Spent
from rollout_demo.models.words import REASONS, bill, dollars, observed
from rollout_demo.narrator import Narrator, milliseconds
from rollout_demo.services import serve
from rollout_demo.words import compared_of
from rollout_sql import open_backend

NAME: Final = "analysis"
RATE: Final = 25.0  # mails a second
MOST: Final = 3_000  # mails
PATIENCE_S: Final = 30.0  # for one wait; on an idle machine none takes ten seconds
#: What moves together: the cheap branches, and each of the dear ones.
FIRST: Final = "+".join(TASKS)
UNITS: Final = (FIRST, *map(second, TASKS))
TOLD: Final = ("latency p90", "cost")  # of a step: what the fan-out is for; of a rollback, what was breached


async def play(tell: Narrator, folder: Path, *, stages: str = "shadow 25% 100%", enough: int = 60) -> Story:
    """One performance. ``enough``: calls that a chapter looks at. Raises ``Unmet`` where the story goes wrong."""
    url = f"sqlite:///{folder / 'rollout.db'}"
    async with AsyncExitStack() as stack:
        backend = await open_backend(url, migrate=True, process="demo")
        stack.push_async_callback(backend.close)
        server = ModelServer()
        await server.start(stack)
        session = await stack.enter_async_context(
            ClientSession(connector=TCPConnector(limit=AT_ONCE), timeout=ClientTimeout(total=10))
        )
        mails = Mails(session, await serve(application(server.address), stack), rate=RATE)
        story = Story(tell, server, mails, Audit(backend, NAME, lambda move: story.heard(move)), enough)
        story.opening(stages)
        load = asyncio.create_task(mails.come(MOST))
        stack.push_async_callback(_ended, load)
        await story.monolith()
        mails.base = await serve(wrapped(server.address, url, stages), stack)
        await story.shadow()
        await story.ramp()
        await story.live()
    tell.say("\n[bold green]All of it happened.[/]")
    return story


def wrapped(address: str, database: str, stages: str) -> web.Application:
    """The shop with its rollout. In shadow, the models may be asked all the same."""
    app = application(address, guard(allow=[f"{address}/v1/"]))
    setup(app, [rollout(NAME, stages=stages)], database=database, tick_s=0.5, process="shop")
    return app


async def _ended(load: asyncio.Task[None]) -> None:
    load.cancel()
    await asyncio.wait([load])


class Story:
    """One telling."""

    def __init__(self, tell: Narrator, server: ModelServer, mails: Mails, audit: Audit, enough: int) -> None:
        self.tell = tell
        self.server = server
        self.mails = mails
        self.audit = audit
        self._enough = enough
        self.before = Tally()
        self.after = Tally()

    def heard(self, move: Move) -> None:
        """A decision; of the cheap branches, which move together, one is told of. The bake after 100 % is left out."""
        if move.branch in TASKS[1:] or move.action == "complete":
            return
        who = "cheap ones" if move.branch in TASKS else move.branch
        is_back = move.action == "rollback"
        style = "bold red" if is_back else "bold green"
        told = [
            finding
            for finding in move.findings
            if (str(finding.grade) == "breach" if is_back else finding.gate in TOLD)
        ]
        numbers = " · ".join(map(observed, told))
        self.tell.event(f"[cyan]{who:<11}[/] [{style}]{move.before} → {move.after}[/]  {numbers}")

    def opening(self, stages: str) -> None:
        self.tell.title("rollout demo models", "A cheap model first; the dear one where it is needed and affordable.")
        self.tell.facts(
            ("shop", "POST /analyse: sentiment, entities and summary of a mail"),
            ("local-large", "right; about 0.2 s; $15 and $75 per million tokens"),
            ("local-small", "right where it is sure; about 50 ms; $0.25 and $1.25"),
            ("budget of a call", f"{BUDGET.latency_s} s, {BUDGET.tokens:,} tokens, ${BUDGET.usd}"),
            ("ramp", f"{stages}; the cheap ones together, then each dear one"),
            ("gates", "errors, latency, mismatches, cost: thresholds, [bold]no error bound[/]"),
        )

    # ---- 1

    async def monolith(self) -> None:
        self.tell.chapter("The monolith: the dear model, three times in a row")
        await self._answered("monolith")
        self.before = self.mails.count()
        self._faultless(self.before)
        self.tell.facts(
            ("p50 and p95", f"[bold]{_times(self.before, 'monolith')}[/]"),
            ("bill", bill(self.server.per_call("monolith"))),
        )

    # ---- 2

    async def shadow(self) -> None:
        self.tell.chapter("Shadow: both sides run, the customers see the monolith's answer")
        pairs: Mapping[str, int] = {}

        async def compared() -> bool:
            nonlocal pairs
            pairs = await self.audit.figures(FIRST, "P")
            return compared_of(pairs) >= self._enough

        await self.audit.until(compared, "calls are compared in shadow", PATIENCE_S)
        monolith = pairs["control_cost_nano"] / pairs["control_costed"]
        spent = [(await self.audit.figures(unit, "P")).get("cost_nano", 0) for unit in UNITS]
        fan_out = sum(spent) / pairs["costed"]
        self.audit.must(0 < fan_out < monolith, "the fan-out costs less than the monolith")
        self.tell.facts(
            ("differ", f"{pairs.get('mismatched', 0)} of {compared_of(pairs)} compared calls"),
            ("cost of a call", f"monolith {dollars(monolith)}, fan-out [bold]{dollars(fan_out)}[/], as recorded"),
        )

    # ---- 3

    async def ramp(self) -> None:
        self.tell.chapter("The ramp: each step when it has soaked and every gate passes")
        await self.audit.until(
            lambda: all(self.audit.stand(branch.name).share == 1 for branch in branches()),
            "every branch reaches 100%",
            PATIENCE_S,
        )

    # ---- 4

    async def live(self) -> None:
        self.tell.chapter("Live: what was escalated, and what was not")
        self.mails.count()
        since = self.mails.sent
        await self.audit.until(lambda: set(REASONS) <= set(self.mails.tally.opinions), self._promise(), PATIENCE_S)
        await self._answered("fan-out")
        self.after = self.mails.count()
        self._faultless(self.after)
        opinions = self.after.opinions
        self.tell.facts(*((name, f"{opinions[name]:>4}  {meaning}") for name, meaning in REASONS.items()))
        self._better(since)
        self._within_budget([*self.server.per_call("fan-out"), *self.server.per_call("fan-out in shadow")])

    def _promise(self) -> str:
        return f"live replies show every reason ({', '.join(REASONS)})"

    def _better(self, since: int) -> None:
        before, after = self.server.per_call("monolith"), self.server.per_call("fan-out", since)
        cheaper = fmean(one.nano for one in before) / fmean(one.nano for one in after)
        faster = self.before.middle_s("monolith") / self.after.middle_s("fan-out")
        self.audit.must(cheaper > 1, "the live fan-out costs less than the monolith did")
        self.audit.must(faster > 1, "the live fan-out is faster than the monolith was")
        answers = self.after.answers
        doubtful = f"{answers['doubtful']} of {answers.total()} wrong, and marked as doubtful; none unmarked"
        self.tell.say("")
        self.tell.facts(
            ("p50 and p95", f"{_times(self.before, 'monolith')} → [bold]{_times(self.after, 'fan-out')}[/]"),
            ("bill before", bill(before)),
            ("bill now", f"{bill(after)} ([bold]{cheaper:.1f} times cheaper[/])"),
            ("answers", doubtful),
        )

    def _within_budget(self, calls: Sequence[Spent]) -> None:
        """As the model server counted: the toolkit's own books are not asked."""
        tokens, nano = max(one.tokens for one in calls), max(one.nano for one in calls)
        assert BUDGET.tokens is not None
        assert BUDGET.nano is not None
        self.audit.must(tokens <= BUDGET.tokens, f"no call uses more than {BUDGET.tokens:,} tokens, and {tokens:,} is")
        self.audit.must(nano <= BUDGET.nano, f"no call costs more than ${BUDGET.usd}, and {dollars(nano)} is")
        self.tell.facts(
            ("most of a call", f"{tokens:,} of {BUDGET.tokens:,} tokens; {dollars(nano)} of ${BUDGET.usd}"),
            ("", f"of {len(calls):,} calls, live and shadow, as the model server counts"),
        )

    async def _answered(self, who: str) -> None:
        """Wait until enough mails are answered."""
        await self.audit.until(
            lambda: len(self.mails.tally.took_s[who]) >= self._enough, f"the {who} answers mails", PATIENCE_S
        )

    def _faultless(self, tally: Tally) -> None:
        self.audit.must(not tally.errors, f"every mail is answered: {dict(tally.errors)}")
        self.audit.must(tally.answers["wrong"] == 0, "no wrong answer looks sure")


def _times(tally: Tally, who: str) -> str:
    return f"{milliseconds(tally.middle_s(who))}, {milliseconds(tally.slow_s(who))}"
