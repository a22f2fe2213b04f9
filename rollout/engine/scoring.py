"""Which calls are scored: the first of each key in a live stage, by the arm it was in."""

from __future__ import annotations

from rollout.domain.redaction import Redactor
from rollout.domain.routing import Assignment
from rollout.engine.cells import Cell, Scored
from rollout.engine.counting import SeenKeys
from rollout.engine.second import Second
from rollout.engine.view import View


class Scoring:
    """The keys that were scored in the stages under way, by unit and entry: a stage entered anew begins with none."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._seen: dict[tuple[str, int], SeenKeys] = {}

    def begin(self, view: View) -> None:
        """Keep what was seen in the stages that go on, and forget the others."""
        self._seen = {
            (plan.name, plan.entry): self._seen.get((plan.name, plan.entry), SeenKeys())
            for plan in view.plans
            if plan.stage_live
        }

    def cell(
        self, view: View, second: Second, cell: Cell, assignment: Assignment, key: str, epoch: float
    ) -> Cell | Scored:
        """The cell, wrapped if this is the first call of the key in a live stage. ``epoch``: when the call started."""
        if not view.first(key):
            return cell
        text = self._redactor.key(key)
        number = int(text[:16].ljust(16, "0"), 16)
        units = [
            index
            for index in view.scored
            if assignment.arms[index] and _scores(view, index, assignment, key) and self._is_first(view, index, number)
        ]
        return Scored(cell, assignment.arms, second, units, text, epoch) if units else cell

    def _is_first(self, view: View, index: int, number: int) -> bool:
        plan = view.plans[index]
        seen = self._seen.get((plan.name, plan.entry))
        return seen is not None and seen.first(number)


def _scores(view: View, index: int, assignment: Assignment, key: str) -> bool:
    """Keys that were live in an earlier stage already are watched by pairs, not scored again."""
    plan = view.plans[index]
    return assignment.arms[index] == "A" or plan.earlier == 0 or view.bucket(index, key) >= plan.earlier
