"""Which calls and pairs are scored, where callers keep their bucket: of each key the first call, and the first pair, of
every unit in the stage.

Whoever differs from others differs at every call, so a key that counted at each of its calls would count as many. Calls
without a key were drawn one by one, and count one by one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from rollout.domain.evidence import marks_of, score
from rollout.domain.redaction import Redactor
from rollout.domain.routing import Assignment
from rollout.engine.cells import Cell, Scored
from rollout.engine.cleanpairs import CLEAN
from rollout.engine.counting import SeenKeys
from rollout.engine.notes import Note
from rollout.engine.second import Second
from rollout.engine.view import View

if TYPE_CHECKING:
    from rollout.engine.trial import Trial

_Stage = tuple[str, int, int]  # unit, version, entry
_CLEAN: Final = Note(CLEAN)
_CLEAN_AND_LATE: Final = Note(CLEAN | marks_of("sla_calls"))


class Scoring:
    """The keys that were scored in the stages under way. A stage entered anew begins with none, and so does another
    version of the policy, as evidence of two versions does not add up.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._calls: dict[_Stage, SeenKeys] = {}
        self._pairs: dict[_Stage, SeenKeys] = {}

    def begin(self, view: View) -> None:
        """Tell a new view which keys were scored in the stages that go on; the others are forgotten with the last view
        of theirs, from which calls may still be under way.
        """
        stages = [(plan.name, view.version, plan.entry) for plan in view.plans]
        self._calls = {stage: self._calls.get(stage) or SeenKeys() for stage in stages}
        self._pairs = {stage: self._pairs.get(stage) or SeenKeys() for stage in stages}
        view.first_calls = [self._calls[stage] for stage in stages]
        view.first_pairs = [self._pairs[stage] for stage in stages]

    def cell(
        self, view: View, second: Second, cell: Cell, assignment: Assignment, key: str, at: float
    ) -> Cell | Scored:
        """The cell, wrapped if this is the first call of the key in a live stage of a unit. ``at``: when the call
        started, on the loop's clock.
        """
        in_arms = [unit for unit in view.scored if assignment.arms[unit]]
        if key in view.seen or not in_arms:
            return cell
        if len(in_arms) == len(view.scored):  # else another answer of a flag may bring it into an arm later
            view.remember_in(view.seen, key)
        text = view.hash_of(key, self._redactor)
        number = int(text, 16)
        units = [unit for unit in in_arms if view.scores(unit, key) and view.first_calls[unit].first(number)]
        if not units:
            return cell
        scored = Scored(cell, assignment.arms, units, text, second.epoch(at))
        second.scored.append(scored)
        return scored

    def pair(self, trial: Trial, unit: int, note: Note) -> None:
        """A pair of a unit has ended: score it, if it is its key's first in the stage, or has no key."""
        view, second, key = trial.view, trial.second, trial.key
        assert second is not None
        if not view.scores_keys:
            return
        if key is None:
            score(second.single_pair(unit), "P", note.marks, -1, note.cost, note.control_cost)
            return
        self._first_pair(trial, second, unit, key, note)

    def clean_pairs(self, trial: Trial, late: Collection[int]) -> None:
        """A clean pair has ended, of a key: the same, for all units. ``late``: those of which a run missed its SLA."""
        view, second, key = trial.view, trial.second, trial.key
        assert second is not None
        assert key is not None
        view.remember_in(view.paired, key)
        for unit in range(len(view.plans)):
            self._first_pair(trial, second, unit, key, _CLEAN_AND_LATE if unit in late else _CLEAN)

    def _first_pair(self, trial: Trial, second: Second, unit: int, key: str, note: Note) -> None:
        assert trial.fan is not None
        text = trial.view.hash_of(key, self._redactor)
        if trial.view.first_pairs[unit].first(int(text, 16)):
            second.subjects.append(second.subject(unit, "P", text, second.epoch(trial.fan.begun), note))
