"""Asks people for approvals: once for each entry of a stage, whoever leads, and however often it is looked at.

What was asked is read from the audit; what is kept here is only a copy, so that it is not read at every tick.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from rollout.domain.approvals import began_at, is_asked, question
from rollout.domain.gates import Finding
from rollout.domain.judgement import Case
from rollout.domain.state import Lease
from rollout.errors import Conflict, Fenced
from rollout.ports import StateStore

_PAGE: Final = 50

log = logging.getLogger("rollout.controller")


class Approvals:
    """See the module."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._asked: dict[tuple[str, str], int] = {}  # rollout and unit → the entry that was asked about

    async def ask(self, case: Case, target: float, findings: Sequence[Finding], lease: Lease) -> None:
        """Write the question that ``target`` waits for, unless it was written before. ``Fenced`` as any decision.

        Where somebody moved the unit meanwhile nothing is written: the next tick judges anew.
        """
        unit = (case.policy.rollout, case.unit)
        entry = max(state.entry for state in case.members)
        if self._asked.get(unit) == entry:
            return
        if not await self._is_asked(case):
            asked = question(case, target, findings, lease)
            try:
                await self._state.transition(asked)
            except Fenced:
                raise
            except Conflict:
                return
            log.info("%s: %s", case.policy.rollout, asked.decision.reason, extra={"event": "approval_awaited"})
        self._asked[unit] = entry

    async def _is_asked(self, case: Case) -> bool:
        """Look through the audit, back to where the unit entered its stage."""
        before: int | None = None
        while page := await self._state.decisions(case.policy.rollout, limit=_PAGE, before=before):
            if is_asked(case, page):
                return True
            if len(page) < _PAGE or page[-1].at < began_at(case):
                return False
            before = page[-1].number
        return False
