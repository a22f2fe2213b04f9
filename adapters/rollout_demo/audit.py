"""What was decided, read from the database as it is decided: the demo believes nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

SHADOW, ROLLED_BACK, COMPLETED = "shadow", "rolled_back", "completed"
_LOOK_S: Final = 0.1


class Unmet(Exception):
    """Something that the story promises did not happen; the text says what, and where things stood."""


@dataclass(frozen=True, slots=True)
class Move:
    """One branch that a decision moved. ``at``: epoch seconds by the database's clock; ``findings`` of its gates.
    ``by``: who and why, where it was a person."""

    branch: str
    action: str
    before: str
    after: str
    at: float
    findings: tuple[Any, ...] = ()
    by: str = ""


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
        self.rollout = rollout
        self.moves: list[Move] = []
        self.stands: Mapping[str, Stand] = {}
        self._backend = backend
        self._heard = heard
        self._revision = -1
        self._read = 0

    async def catch_up(self) -> None:
        """Read what is new, if anything is."""
        revision = await self._backend.state.revision()
        if revision == self._revision:
            return
        self._revision = revision
        states = (await self._backend.state.load()).states.get(self.rollout, {})
        self.stands = {name: Stand(state.share, str(state.mode)) for name, state in states.items()}
        for decision in reversed(await self._backend.state.decisions(self.rollout, limit=50)):
            if decision.number > self._read:
                self._read = decision.number
                self._take(decision)

    def _take(self, decision: Any) -> None:
        for move in decision.moves:
            own = (finding for finding in decision.findings if move["branch"] in finding.unit.split("+"))
            by = f"by {decision.actor}: {decision.reason}" if str(decision.trigger) == "person" else ""
            found = Move(move["branch"], decision.action, move["from"], move["to"], decision.at, tuple(own), by)
            self.moves.append(found)
            self._heard(found)

    async def until(self, true: Callable[[], Awaitable[bool] | bool], promise: str, within_s: float) -> None:
        """Read on until something is true. ``Unmet`` with ``promise`` if it is not in time."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            await self.catch_up()
            answer = true()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(_LOOK_S)
        raise Unmet(f"{promise}: not within {within_s:.0f} s. {self.now()}")

    async def watch(self, seconds: float) -> None:
        """Read on for a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await self.catch_up()
            await asyncio.sleep(_LOOK_S)

    def must(self, happened: bool, promise: str) -> None:
        """``Unmet`` if something promised did not happen."""
        if not happened:
            raise Unmet(f"it was promised that {promise}. {self.now()}")

    def now(self) -> str:
        """Where everybody stands, as a sentence."""
        return f"Now: {', '.join(f'{branch} {stand}' for branch, stand in self.stands.items()) or 'nothing is known'}."

    def stand(self, branch: str) -> Stand:
        return self.stands.get(branch, Stand())

    def last(self, branch: str, action: str) -> Move:
        """The last such move of a branch. ``Unmet`` if there is none."""
        for move in reversed(self.moves):
            if (move.branch, move.action) == (branch, action):
                return move
        raise Unmet(f"there is no decision to {action} {branch}. {self.now()}")

    # ---- what was observed

    async def mismatch(self, path: str) -> Any:
        """The path that differs most, below ``path``, with a stored example. ``Unmet`` if none does."""
        found = await self._backend.ledger.mismatches(self.rollout, path=path)
        self.must(bool(found), f"the comparison finds that {path} differs")
        return found[0]

    async def figures(self, unit: str, arm: str) -> Mapping[str, int]:
        """The counts of a unit and arm so far, of all its stages."""
        found: dict[str, int] = {}
        for total in await self._backend.ledger.totals(self.rollout):
            if (total.unit, total.arm) == (unit, arm):
                for name, count in total.figures.counts.items():
                    found[name] = found.get(name, 0) + count
        return found
