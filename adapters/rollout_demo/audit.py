"""What was decided, read from the database as it is decided: the demo believes nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SHADOW, ROLLED_BACK, COMPLETED = "shadow", "rolled_back", "completed"


class Unmet(Exception):
    """Something that the story promises did not happen; the text says what, and where things stood."""


@dataclass(frozen=True, slots=True)
class Move:
    """One branch that a decision moved. ``at``: epoch seconds by the database's clock; ``findings`` of its gates."""

    branch: str
    action: str
    before: str
    after: str
    at: float
    reason: str
    findings: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a branch stands: ``share`` of calls that are live, and its mode."""

    share: float = 0.0
    mode: str = "active"

    def __str__(self) -> str:
        at = f"{self.share:.0%}" if self.share else SHADOW
        return at if self.mode == "active" else f"{at}, {self.mode.replace('_', ' ')}"


class Audit:
    """The decisions on one rollout. ``heard`` is told of every move, in the order decided."""

    def __init__(self, backend: Any, rollout: str, heard: Callable[[Move], None]) -> None:
        self.backend = backend
        self.rollout = rollout
        self.moves: list[Move] = []
        self.stands: Mapping[str, Stand] = {}
        self.ahead_s = 0.0  # how far the database's clock is ahead of ours
        self._heard = heard
        self._read = 0
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        """Read every change until cancelled."""
        await self.catch_up()
        async for _ in self.backend.state.changes():
            await self.catch_up()

    async def catch_up(self) -> None:
        """Read what is new."""
        async with self._news:
            decisions = await self.backend.state.decisions(self.rollout, limit=50)
            for decision in reversed(decisions):
                if decision.number > self._read:
                    self._read = decision.number
                    self._take(decision)
            states = (await self.backend.state.load()).states.get(self.rollout, {})
            self.stands = {name: Stand(state.share, str(state.mode)) for name, state in states.items()}
            self._news.notify_all()

    def _take(self, decision: Any) -> None:
        for move in decision.moves:
            found = Move(
                branch=move["branch"],
                action=decision.action,
                before=move["from"],
                after=move["to"],
                at=decision.at,
                reason=decision.reason,
                findings=tuple(finding for finding in decision.findings if move["branch"] in finding.unit.split("+")),
            )
            self.moves.append(found)
            self._heard(found)

    def stand(self, branch: str) -> Stand:
        return self.stands.get(branch, Stand())

    async def until(self, true: Callable[[], bool], promise: str, within_s: float) -> None:
        """Wait until something is true of what was decided. ``Unmet`` with ``promise`` if it is not in time."""
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(true)
        except TimeoutError:
            now = ", ".join(f"{branch} {stand}" for branch, stand in self.stands.items())
            raise Unmet(f"{promise}: not within {within_s:.0f} s. Now: {now}.") from None

    def last(self, branch: str, action: str) -> Move:
        """The last such move of a branch. ``Unmet`` if there is none."""
        for move in reversed(self.moves):
            if (move.branch, move.action) == (branch, action):
                return move
        raise Unmet(f"there is no decision to {action} {branch}")
