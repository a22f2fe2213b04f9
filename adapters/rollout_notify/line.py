"""The messages to one target: one after the other, each tried for a while, so many at most.

A target that hangs holds up nobody else. Where more comes than it takes, the oldest that waits is dropped: news of now
matter more than those of an hour ago, and the audit holds them all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rollout.domain.state import Decision
from rollout_notify.client import NotTaken, Posts
from rollout_notify.patience import Outcome, Patience
from rollout_notify.targets import Target, place_of

log = logging.getLogger("rollout.notify")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that waits. ``told_at``: on the loop's clock."""

    decision: Decision
    body: bytes
    told_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may wait for one target: so many messages, and so many bytes of them."""

    most: int = 100
    most_bytes: int = 4 * 2**20


class Line:
    """See the module. ``counts``: messages by their outcome. A task runs only while something waits."""

    def __init__(
        self,
        target: Target,
        posts: Posts,
        *,
        patience: Patience,
        bounds: Bounds,
        dice: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.target = target
        self.counts = dict.fromkeys(Outcome, 0)
        self.task: asyncio.Task[None] | None = None
        self._posts = posts
        self._patience = patience
        self._bounds = bounds
        self._dice = dice
        self._wall = wall
        self._waiting: deque[Letter] = deque()
        self._bytes = 0
        self._under_way: Letter | None = None
        self._left: int | None = None  # after the end: the lowest number that was not told
        self._closed = False

    def add(self, decision: Decision) -> None:
        """Take a message; it is on its way when this returns, or waits for those before it."""
        if self._closed:
            self._leave(decision.number, 1)
            return
        body = self.target.body(decision)
        self._waiting.append(Letter(decision, body, asyncio.get_running_loop().time()))
        self._bytes += len(body)
        while len(self._waiting) > self._bounds.most or self._bytes > self._bounds.most_bytes:
            letter = self._next()
            self._settle(letter, Outcome.dropped, "too many wait")
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run(), name=f"rollout-notify-{self.target.name}")

    def unsettled(self) -> int | None:
        """The lowest number that is neither told nor given up."""
        if self._left is not None:
            return self._left
        letter = self._under_way or (self._waiting[0] if self._waiting else None)
        return None if letter is None else letter.decision.number

    async def _run(self) -> None:
        while self._waiting:
            letter = self._under_way = self._next()
            outcome, why = await self._deliver(letter)
            self._settle(letter, outcome, why)
            self._under_way = None
        self.task = None

    def _next(self) -> Letter:
        letter = self._waiting.popleft()
        self._bytes -= len(letter.body)
        return letter

    async def _deliver(self, letter: Letter) -> tuple[Outcome, str]:
        """Try until it is taken, refused, or too late; how it ended, and why."""
        attempt = 1
        while True:
            try:
                await self._posts.post(self.target, letter.decision, letter.body)
                return Outcome.delivered, "told"
            except NotTaken as error:
                wait_s = self._wait_s(attempt, error, letter)
                if wait_s is None:
                    outcome = Outcome.given_up if error.transient else Outcome.refused
                    return outcome, f"{error} (attempt {attempt})"
                if attempt == 1:
                    self._say(logging.WARNING, letter, f"{error}; it is tried again", "notification_delayed")
            except Exception as error:  # of ours; its text may hold the address
                return Outcome.given_up, f"it could not be sent: {type(error).__name__}"
            await asyncio.sleep(wait_s)
            attempt += 1

    def _wait_s(self, attempt: int, error: NotTaken, letter: Letter) -> float | None:
        age_s = asyncio.get_running_loop().time() - letter.told_at
        return self._patience.wait_s(attempt, error, age_s=age_s, dice=self._dice(), wall=self._wall())

    def _settle(self, letter: Letter, outcome: Outcome, why: str) -> None:
        self.counts[outcome] += 1
        level = logging.DEBUG if outcome is Outcome.delivered else logging.WARNING
        self._say(level, letter, why, f"notification_{outcome}")

    def _say(self, level: int, letter: Letter, what: str, event: str) -> None:
        words = "%s (%s), decision %d of %s: %s"
        told = (self.target.name, place_of(self.target.url), letter.decision.number, letter.decision.rollout)
        log.log(level, words, *told, what, extra={"event": event})

    async def close(self) -> None:
        """End at once. What was not told is counted, and stays unsettled."""
        if self._closed:
            return
        self._closed = True
        number, left = self.unsettled(), len(self._waiting) + (self._under_way is not None)
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        if number is not None:
            self._leave(number, left)
            words = "%s (%s): %d messages were not told, from decision %d on; the next leader tells them"
            told = (self.target.name, place_of(self.target.url), left, number)
            log.warning(words, *told, extra={"event": "notification_shutdown"})

    def _leave(self, number: int, count: int) -> None:
        self._left = number if self._left is None else self._left
        self.counts[Outcome.shutdown] += count
