"""What is decided about the events of a webhook: what counts as one, when it is delivered again, when it is given up.

An event is delivered at least once: what acts on it makes itself safe with the idempotency keys of its steps, which
stay the same through every attempt and in every process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final

MOST_TEXT: Final = 200  # characters of an event's id, and of a step's name
MOST_STEPS: Final = 1_000
MOST_ATTEMPTS: Final = 100


class Stored(StrEnum):
    """What became of an event that was put into an inbox."""

    new = "new"
    known = "known"  # one with its id came before: a replay, or a platform that did not hear the first answer
    full = "full"  # the inbox holds as many as it may: not stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """When an event whose delivery failed is tried again.

    * ``attempts``: in total, the first one counted, 1 .. 100. Default 10. Then the event is dead: kept, not tried.
    * ``base_s``, ``cap_s``: the wait after the n-th attempt is drawn from [0, min(``cap_s``, ``base_s`` · 2^(n-1)))
      seconds: full jitter, after Brooker, "Exponential Backoff And Jitter" (AWS, 2015). Defaults 2 and 600, with which
      the ten attempts take about 9 minutes on average, 17 at most.
    """

    attempts: int = 10
    base_s: float = 2.0
    cap_s: float = 600.0

    def problems(self) -> Iterator[str]:
        """Every mistake, each with its remedy."""
        whole = isinstance(self.attempts, int) and not isinstance(self.attempts, bool)
        if not (whole and 1 <= self.attempts <= MOST_ATTEMPTS):
            yield f"attempts is {self.attempts!r}; give a whole number from 1 to {MOST_ATTEMPTS}"
        amounts = [_is_amount(self.base_s), _is_amount(self.cap_s)]
        for name, good in zip(("base_s", "cap_s"), amounts, strict=True):
            if not good:
                yield f"{name} is {getattr(self, name)!r}; it must be 0 or more seconds, and finite"
        if all(amounts) and self.base_s > self.cap_s:
            yield f"base_s={self.base_s:g} is above cap_s={self.cap_s:g}; lower base_s or raise cap_s"

    def wait_s(self, attempt: int, dice: float) -> float | None:
        """Seconds to wait after an attempt that failed (the first is 1); None: it was the last. ``dice``: in [0, 1)."""
        if attempt >= self.attempts:
            return None
        return dice * min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))


def idempotency_key(webhook: str, event_id: str, step: str) -> str:
    """64 hex digits for one step of one event, the same in every attempt: SHA-256 of the three as a JSON array, in
    which no other three look the same.
    """
    return hashlib.sha256(json.dumps([webhook, event_id, step]).encode()).hexdigest()


def is_short_text(value: object) -> bool:
    """Whether a value may be an event's id or a step's name: 1 to 200 printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= MOST_TEXT and value.isprintable()


def payload_of(body: bytes) -> Mapping[str, Any]:
    """The JSON object that ``body`` holds. ``ValueError`` if it holds anything else."""
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"the body is not a JSON object but a {type(value).__name__}")
    return value


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
