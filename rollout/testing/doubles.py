"""Time, dice and flags that do as they are told."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from itertools import cycle
from typing import Any, Final

from rollout.ports import FlagAnswer

LEVELS: Final = ("off", "shadow", "auto", "on")


class ManualClock:
    """A ``Clock`` that moves only when told.

    ``monotonic``: seconds, begins at 1 000. ``wall``: epoch seconds, begins at 2026-01-05 12:00 UTC, a Monday.
    """

    def __init__(self, *, monotonic: float = 1_000.0, wall: float = 1_767_614_400.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Both times pass. ``ValueError`` below 0: time does not run backwards, but ``jump_wall`` does."""
        if seconds < 0:
            raise ValueError(
                f"a clock cannot advance by {seconds} s; use jump_wall() for a wall clock that is set back"
            )
        self._monotonic += seconds
        self._wall += seconds

    def jump_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back; no time passes."""
        self._wall += seconds


class SystemClock:
    """The real time, as a ``Clock``."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class FixedDice:
    """A source of randomness, called for a number in [0, 1).

    ``FixedDice(0.2, 0.9)`` gives these in turn, over and over; ``FixedDice(seed=7)`` the same random numbers in every
    run. ``thrown`` counts the calls.
    """

    def __init__(self, *script: float, seed: int = 0) -> None:
        if any(not 0 <= number < 1 for number in script):
            raise ValueError(f"dice give numbers in [0, 1), not {script}")
        self._next = cycle(script).__next__ if script else random.Random(seed).random
        self.thrown = 0

    def __call__(self) -> float:
        self.thrown += 1
        return self._next()


class FakeFlags:
    """A ``FlagSource`` of a dictionary: ``FakeFlags({"profile": "auto", ("profile", "alice"): "on"})``.

    A flag that nobody set is not found and answers ``default``. With ``instant=False`` every answer must be awaited, as
    from a remote provider. ``asked`` lists the (flag, key) of each ``ask``.
    """

    def __init__(
        self,
        answers: Mapping[str | tuple[str, str], str] | None = None,
        *,
        default: str = "auto",
        instant: bool = True,
    ) -> None:
        self._answers: dict[tuple[str, str | None], str] = {}
        self._broken = ""
        self.default = default
        self.instant = instant
        self.asked: list[tuple[str, str | None]] = []
        for name, value in (answers or {}).items():
            flag, key = (name, None) if isinstance(name, str) else name
            self.set(flag, value, key)

    def set(self, flag: str, value: str, key: str | None = None) -> None:
        """From now on the flag answers ``value``: to one key, or to everybody. ``ValueError`` for an unknown value."""
        if value not in LEVELS:
            raise ValueError(f'"{value}" is no value of a flag; use one of {", ".join(LEVELS)}')
        self._answers[flag, key] = value

    def break_with(self, reason: str = "error") -> None:
        """From now on every answer is ``off`` for that reason: ``error``, ``type``, ``timeout`` or ``not_ready``."""
        self._broken = reason

    def heal(self) -> None:
        self._broken = ""

    def peek(self, flag: str, key: str | None) -> FlagAnswer | None:
        return self._answer(flag, key) if self.instant else None

    def answers_alike(self) -> bool:
        """Never: a test may change an answer at any time."""
        return False

    async def ask(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        self.asked.append((flag, key))
        return self._answer(flag, key)

    def _answer(self, flag: str, key: str | None) -> FlagAnswer:
        if self._broken:
            return FlagAnswer("off", self._broken)
        if (flag, key) in self._answers:
            return FlagAnswer(self._answers[flag, key], "targeting_match" if key is not None else "static")
        if (flag, None) in self._answers:
            return FlagAnswer(self._answers[flag, None], "static")
        return FlagAnswer(self.default, "default", found=False)
