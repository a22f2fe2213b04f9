"""Gives the notifier what people are to be told: what moved a branch, and what waits for their approval.

The audit is the outbox. The leader goes through it in its order, from where the last one ended, and the database knows
up to which decision everything was told or given up. So a decision whose leader died before it could tell is told by
the next one; and one that was told, but not yet noted as told, is told again, by each further leader once, with the
same number and hash: at least once, and exactly once where no leader is lost.
"""

from __future__ import annotations

import logging
from typing import Final

from rollout.domain.approvals import ASK
from rollout.domain.state import Decision, Lease
from rollout.ports import Notifier, StateStore

STALE_S: Final = 3_600.0  # what is older when a leader begins is history, and told to nobody

_PAGE: Final = 50

log = logging.getLogger("rollout.controller")


class Herald:
    """See the module. ``begin`` at the start of each tick that leads, ``tell`` at its end."""

    def __init__(self, state: StateStore, notifier: Notifier) -> None:
        self._state = state
        self._notifier = notifier
        self._epoch = -1
        self._revision = -1
        self._seen = 0  # the newest decision that was gone through here
        self._noted = 0  # up to which the database knows everything to be told
        self._since = 0.0

    async def begin(self, lease: Lease) -> None:
        """Go on where the last leader ended; where nobody ever led, from now on."""
        if lease.epoch == self._epoch:
            return
        noted = await self._state.told()
        if noted is None:
            newest = await self._state.decisions(limit=1)
            noted = newest[0].number if newest else 0
            await self._state.save_told(noted, lease)
        self._since = await self._state.now() - STALE_S
        self._noted, self._seen = noted, max(noted, self._seen)
        self._revision, self._epoch = -1, lease.epoch

    async def tell(self, lease: Lease) -> None:
        """Hand over what is new in the audit, and note what was told since."""
        revision = await self._state.revision()
        if revision != self._revision:
            for decision in await self._news():
                if decision.at >= self._since and (decision.moves or decision.action == ASK):
                    await self._hand_over(decision)
                self._seen = decision.number
            self._revision = revision
        await self.note(lease)

    async def note(self, lease: Lease) -> None:
        """Let the database know up to which decision everything is told, or given up."""
        if lease.epoch != self._epoch:
            return
        waiting = self._notifier.unsettled()
        told = self._seen if waiting is None else min(self._seen, waiting - 1)
        if told > self._noted:
            await self._state.save_told(told, lease)
            self._noted = told

    async def _news(self) -> list[Decision]:
        """The decisions after the last one that was gone through, oldest first."""
        found: list[Decision] = []
        before: int | None = None
        while page := await self._state.decisions(limit=_PAGE, before=before):
            found += [decision for decision in page if decision.number > self._seen]
            before = page[-1].number
            if before <= self._seen + 1 or page[-1].at < self._since:
                break
        return found[::-1]

    async def _hand_over(self, decision: Decision) -> None:
        try:
            await self._notifier.tell(decision)
        except Exception:
            log.exception("the notifier failed", extra={"event": "notifier_failed"})
