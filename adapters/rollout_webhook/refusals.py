"""What is said of the requests that were refused: every one is counted, and a line a second is logged for each reason,
so that nobody can fill a disk with them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Final

EVERY_S: Final = 1.0

log = logging.getLogger("rollout.webhook")


class Refusals:
    """``counts``: where to count, under ``refused:REASON``. ``clock``: monotonic seconds."""

    def __init__(self, webhook: str, counts: Counter[str], clock: Callable[[], float]) -> None:
        self._webhook = webhook
        self._counts = counts
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def note(self, reason: str) -> None:
        """Count one, and log it or remember that it was not."""
        self._counts[f"refused:{reason}"] += 1
        now = self._clock()
        if now - self._logged_at.get(reason, -inf) < EVERY_S:
            self._unsaid[reason] += 1
            return
        self._logged_at[reason] = now
        more = self._unsaid.pop(reason, 0)
        words = "webhook %s refused a request: %s" + (f" (and {more} more since the last line)" if more else "")
        log.warning(words, self._webhook, reason, extra={"event": "webhook_refused", "reason": reason})
