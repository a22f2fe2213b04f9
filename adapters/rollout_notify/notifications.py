"""``Notifications``: the notifier that the leader hands its decisions to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from rollout.domain.state import Decision
from rollout_notify.client import Client, Posts
from rollout_notify.line import Bounds, Line
from rollout_notify.patience import Patience
from rollout_notify.targets import Target


class Notifications:
    """A ``rollout.ports.Notifier`` of several targets, each with a line of its own.

    Nothing here waits for a receiver: ``tell`` only writes the message and puts it into the lines.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        posts: Posts | None = None,
        patience: Patience | None = None,
        bounds: Bounds | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """``targets``: without mistakes (``problems_of``). ``bounds``: of each target; ``dice``: for the jitter."""
        self._posts = posts or Client()
        self._lines = [
            Line(target, self._posts, patience=patience or Patience(), bounds=bounds or Bounds(), dice=dice)
            for target in targets
        ]

    async def tell(self, decision: Decision) -> None:
        """Put a decision into every line."""
        for line in self._lines:
            line.add(decision)

    def unsettled(self) -> int | None:
        """The lowest number that any target was not told of, and that is not given up."""
        return min((number for line in self._lines if (number := line.unsettled()) is not None), default=None)

    def counts(self) -> dict[tuple[str, str], int]:
        """(target, outcome) → messages; every pair from the start."""
        return {
            (line.target.name, outcome.value): count for line in self._lines for outcome, count in line.counts.items()
        }

    async def drain(self, within_s: float) -> None:
        """Go on for at most so many seconds, then close. What is left stays unsettled."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while (running := self._running()) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(running, timeout=left)
        for line in self._lines:
            await line.close()
        await self._posts.close()

    def _running(self) -> list[asyncio.Task[None]]:
        return [line.task for line in self._lines if line.task is not None]
