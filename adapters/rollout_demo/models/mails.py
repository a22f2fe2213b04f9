"""The customers' mails: real requests to the shop, each reply judged by what is true of the mail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, Final

from aiohttp import ClientError, ClientSession

from rollout_demo.models.asking import TASKS
from rollout_demo.models.fanout import SURE
from rollout_demo.models.messages import Message, message
from rollout_demo.traffic import visits
from rollout_demo.truth import key_of

AT_ONCE: Final = 60  # calls under way; when the machine is busy, later ones wait for their turn instead of piling up


@dataclass(slots=True)
class Tally:
    """What became of some mails, by who answered: ``"monolith"`` or ``"fan-out"``, which tells of its ``opinions``.

    ``answers``: the answers to the tasks: right, doubtful (wrong, and the reply says that it is not sure) or wrong.
    ``opinions``: ``"second"``, or why there was none. ``took_s``: seconds.
    """

    answers: Counter[str] = field(default_factory=Counter)
    opinions: Counter[str] = field(default_factory=Counter)
    took_s: dict[str, list[float]] = field(default_factory=lambda: {"monolith": [], "fan-out": []})
    errors: Counter[str] = field(default_factory=Counter)

    def answered(self, reply: Mapping[str, Any], mail: Message, took_s: float) -> None:
        self.took_s["fan-out" if "opinions" in reply else "monolith"].append(took_s)
        self.opinions.update(reply.get("opinions", {}).values())
        self.answers.update(judged(reply, mail))

    def middle_s(self, who: str) -> float:
        """The median latency, in seconds."""
        return quantiles(self.took_s[who], n=2)[0]

    def slow_s(self, who: str) -> float:
        """The 95 % quantile, in seconds."""
        return quantiles(self.took_s[who], n=20)[-1]


def judged(reply: Mapping[str, Any], mail: Message) -> list[str]:
    """For each task: ``right``, ``doubtful``, ``wrong``."""
    truth = {
        "sentiment": mail.sentiment,
        "entities": sorted(mail.entities),
        "summary": f"About a {mail.subject}.",
    }
    found = []
    for task in TASKS:
        answer = reply[task]["answer"]
        if (sorted(answer) if task == "entities" else answer) == truth[task]:
            found.append("right")
        else:
            found.append("wrong" if reply[task]["confidence"] >= SURE else "doubtful")
    return found


class Mails:
    """The load: mails at a mean rate a second, to ``base``; the same mails in the same order for the same seed. Their
    numbers count from 0; ``sent`` so far.
    """

    def __init__(self, session: ClientSession, base: str, *, rate: float, seed: int = 1) -> None:
        self.base = base
        self.tally = Tally()
        self.sent = 0
        self._session = session
        self._visits = visits(rate, seed)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def come(self, most: int) -> None:
        """Send at most so many. Cancelled, it takes those under way with it."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(most):
                visit = next(self._visits)
                due = max(due + visit.gap_s, loop.time() - 0.1)  # after a pause nobody comes twice
                await asyncio.sleep(due - loop.time())
                await self._room.acquire()
                self.sent = number + 1
                group.create_task(self._send(number, key_of(visit.customer)))

    def count(self) -> Tally:
        """The tally so far; a new one begins."""
        tally, self.tally = self.tally, Tally()
        return tally

    async def _send(self, number: int, customer: str) -> None:
        tally, mail, begun = self.tally, message(number), time.monotonic()
        headers = {"X-User-Id": customer, "X-Call-Id": str(number)}
        try:
            async with self._session.post(f"{self.base}/analyse", json={"text": mail.text}, headers=headers) as reply:
                reply.raise_for_status()
                tally.answered(await reply.json(), mail, time.monotonic() - begun)
        except (ClientError, TimeoutError, ValueError, KeyError) as error:
            tally.errors[type(error).__name__] += 1
        finally:
            self._room.release()
