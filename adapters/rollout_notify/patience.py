"""How long a message is tried, and how it can end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rollout.domain.inbox import Redelivery
from rollout.domain.retry import retry_after_s
from rollout_notify.client import NotTaken


class Outcome(StrEnum):
    """How a message to a target ended."""

    delivered = "delivered"
    refused = "refused"  # by an answer that another attempt would not change
    given_up = "given_up"  # after every attempt, or out of time
    dropped = "dropped"  # because too many waited
    shutdown = "shutdown"  # not told when this process ended: the next leader tells it


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a message is tried.

    * ``tries``: how often, and how long to wait in between: full jitter. Default ten times, 4 minutes on average.
    * ``within_s``: seconds from when it was told until the last attempt begins. Default 900. A ``Retry-After`` beyond
      it is not waited for.
    """

    tries: Redelivery = field(default_factory=lambda: Redelivery(attempts=10, base_s=2.0, cap_s=120.0))
    within_s: float = 900.0

    def wait_s(self, attempt: int, error: NotTaken, *, age_s: float, dice: float, wall: float) -> float | None:
        """Seconds until the next attempt; None if there is none. The jitter comes on top of what is asked for.

        ``attempt``: the one that failed, the first is 1. ``age_s``: of the message; ``dice``: in [0, 1); ``wall``:
        epoch seconds.
        """
        jitter_s = self.tries.wait_s(attempt, dice)
        if not error.transient or jitter_s is None:
            return None
        wait_s = (retry_after_s(error, wall) or 0.0) + jitter_s
        return wait_s if age_s + wait_s <= self.within_s else None
