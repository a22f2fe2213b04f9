"""The ledger in memory: trials, blocks, subjects, mismatches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from rollout.domain.closed import ClosedBlocks
from rollout.domain.evidence import Arm, Block, Figures, Subject, UnitBlock
from rollout.domain.places import under_way
from rollout.domain.report_values import Reporting
from rollout.domain.state import Policy
from rollout.ports import Batch, MismatchCount, Span, Totals, TrialRecord
from rollout.testing.faults import Faults, suffers
from rollout.testing.memory_state import MemoryState
from rollout.testing.memory_subjects import MemorySubjects, Stage, stage_of

OTHER: Final = "(other)"
MOST_PATHS: Final = 500
SAMPLE: Final = 10  # trials named beside a path
HOUR: Final = 3_600
DAY: Final = 86_400
BATCHES_KEPT_S: Final = DAY


class _Row(NamedTuple):
    """Whose figures they are; those of all processes are added up."""

    stage: Stage
    arm: Arm
    second: int
    span: int
    late: bool


class MemoryLedger:
    """A ``Ledger``; the docstrings of the port hold. Nothing awaits inside a write, so each is atomic."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self.faults = faults
        self._state = state
        self._batches: dict[str, float] = {}  # id → when it was written
        self._trials: dict[str, TrialRecord] = {}
        self._blocks: dict[_Row, Figures] = {}
        self._in_time: dict[Stage, dict[int, list[tuple[Arm, Figures]]]] = {}  # the same figures, by second
        self._late: Counter[str] = Counter()
        self._reported: dict[tuple[str, str], set[int]] = {}  # rollout and process → the seconds that it counted
        self._subjects = MemorySubjects()
        self._mismatches: dict[tuple[str, str, str, str], MismatchCount] = {}

    # Writing

    @suffers
    async def append(self, batch: Batch) -> None:
        if batch.id in self._batches:
            return
        trials = [_copied(trial) for trial in batch.trials]  # raises before anything is written
        self._batches[batch.id] = self._state.clock_now()
        for trial in trials:
            self._trials.setdefault(trial.id, trial)
        for block in batch.blocks:
            self._add_block(block)
        self._subjects.add([one for one in batch.subjects if not self._is_late(stage_of(one), int(one.started_at))])
        for mismatch in batch.mismatches:
            self._add_mismatch(mismatch)

    def _add_block(self, block: Block) -> None:
        key = block.key
        stage = (key.rollout, key.unit, key.version, key.entry)
        late = self._is_late(stage, key.second)
        self._late[key.rollout] += late
        self._merge(_Row(stage, key.arm, key.second, key.span, late), block.figures)
        if key.unit == "" and key.span == 1:
            self._reported.setdefault((key.rollout, key.process), set()).add(key.second)

    def _merge(self, row: _Row, figures: Figures) -> None:
        known = self._blocks.get(row)
        if known is None:
            known = self._blocks[row] = Figures()
            if not row.late:
                self._in_time.setdefault(row.stage, {}).setdefault(row.second, []).append((row.arm, known))
        known.merge(figures)

    def _is_late(self, stage: Stage, second: int) -> bool:
        rollout, unit, _, entry = stage
        last_entry, closed = self._state.closed(rollout, unit)
        return entry <= last_entry and second <= closed

    def _add_mismatch(self, new: MismatchCount) -> None:
        paths = {path for rollout, _, path, _ in self._mismatches if rollout == new.rollout} - {OTHER}
        path = new.path if new.path in paths or len(paths) < MOST_PATHS else OTHER
        known = self._mismatches.setdefault(
            (new.rollout, new.branch, path, new.kind),
            MismatchCount(new.rollout, new.branch, path, new.kind, first_at=new.first_at),
        )
        known.count += new.count
        known.noise += new.noise
        known.first_at = min(known.first_at, new.first_at)
        known.last_at = max(known.last_at, new.last_at)
        known.trials = sorted({*known.trials, *new.trials})[:SAMPLE]  # ids rise with time: the first ones stay
        known.example = known.example or new.example

    # What gates and reports read

    @suffers
    async def blocks_of(self, spans: Sequence[Span]) -> list[list[UnitBlock]]:
        return [self._blocks_of(span) for span in spans]

    def _blocks_of(self, span: Span) -> list[UnitBlock]:
        stage = (span.rollout, span.unit, span.version, span.entry)
        found = ClosedBlocks()
        blocks = self._in_time.get(stage, {})
        for second in _within(blocks, span):
            for arm, figures in blocks[second]:
                found.add(second, arm, figures)
        subjects = self._subjects.seconds(stage)
        for second in _within(subjects, span):
            for one in subjects[second].values():
                found.score(second, one.arm, one.marks, one.latency, one.cost, one.control_cost)
        return found.by_time()

    @suffers
    async def totals(
        self, rollout: str, since: float | None = None, until: float | None = None, version: int | None = None
    ) -> list[Totals]:
        sums: dict[tuple[str, str, int], Figures] = {}
        for row, figures in self._counted(rollout, since, until):
            _, unit, counted_under, entry = row.stage
            if version in (None, counted_under):
                sums.setdefault((unit, row.arm, entry), Figures()).merge(figures)
        return [Totals(unit, arm, entry, figures) for (unit, arm, entry), figures in sums.items()]

    @suffers
    async def extent(self, rollout: str, since: float | None = None) -> tuple[int, int] | None:
        own = [row for row, _ in self._counted(rollout, since, None) if row.stage[1] == ""]
        return (min(row.second for row in own), max(row.second + row.span for row in own)) if own else None

    @suffers
    async def series(
        self, rollout: str, unit: str, since: float, until: float, step_s: int
    ) -> list[tuple[int, Mapping[str, Figures]]]:
        steps: dict[int, dict[str, Figures]] = {}
        for row, figures in self._counted(rollout, since, until):
            if row.stage[1] == unit:
                arms = steps.setdefault(row.second // step_s * step_s, {})
                arms.setdefault(row.arm, Figures()).merge(figures)
        return [(second, steps[second]) for second in sorted(steps)]

    def _counted(self, rollout: str, since: float | None, until: float | None) -> Iterable[tuple[_Row, Figures]]:
        for row, figures in self._blocks.items():
            begun = since is None or row.second >= since
            if row.stage[0] == rollout and begun and (until is None or row.second < until):
                yield row, figures

    @suffers
    async def late(self, rollout: str) -> int:
        return self._late[rollout]

    @suffers
    async def mismatches(self, rollout: str, path: str | None = None, limit: int = 100) -> list[MismatchCount]:
        found = [
            replace(count, trials=list(count.trials))
            for count in self._mismatches.values()
            if count.rollout == rollout and path in (None, count.path)
        ]
        return sorted(found, key=lambda one: (-one.count, -one.noise, one.path, one.branch, one.kind))[:limit]

    # Trials

    @suffers
    async def trials(
        self,
        rollout: str,
        *,
        outcome: str | None = None,
        path: str | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> list[TrialRecord]:
        found = [
            trial
            for trial in self._of(rollout)
            if outcome in (None, trial.outcome)
            and (before is None or trial.id < before)
            and (path is None or any(difference.get("path") == path for difference in trial.differences))
        ]
        return [_copied(trial) for trial in found[:limit]]

    @suffers
    async def trial(self, trial_id: str) -> TrialRecord | None:
        found = self._trials.get(trial_id)
        return _copied(found) if found else None

    @suffers
    async def trials_of(self, trial_ids: Sequence[str]) -> list[TrialRecord]:
        return [_copied(self._trials[trial_id]) for trial_id in sorted(set(trial_ids)) if trial_id in self._trials]

    @suffers
    async def sample(self, rollout: str, limit: int, since: float | None = None) -> list[TrialRecord]:
        found = [trial for trial in self._of(rollout) if since is None or trial.at >= since]
        return [replace(_copied(trial), differences=()) for trial in found[:limit]]

    @suffers
    async def processes(self, rollout: str, since: float) -> list[Reporting]:
        found = []
        for (whose, process), seconds in sorted(self._reported.items()):
            if whose == rollout and process and (recent := [second for second in seconds if second >= since]):
                found.append(Reporting(process=process, seconds=len(recent), first=min(recent), last=max(recent)))
        return found

    @suffers
    async def stored(self, rollout: str) -> tuple[int, float | None, float | None]:
        times = [trial.at for trial in self._of(rollout)]
        return len(times), min(times, default=None), max(times, default=None)

    def _of(self, rollout: str) -> list[TrialRecord]:
        """The trials of a rollout, newest first."""
        mine = (trial for trial in self._trials.values() if trial.rollout == rollout)
        return sorted(mine, key=lambda trial: trial.id, reverse=True)

    # Housekeeping

    @suffers
    async def purge(
        self, *, rollout: str | None = None, older_than: float | None = None, key_hash: str | None = None
    ) -> int:
        def goes(whose: str, at: float, key: str) -> bool:
            return rollout in (None, whose) and key_hash in (None, key) and (older_than is None or at < older_than)

        self._subjects.drop(lambda one: goes(one.rollout, one.started_at, one.key_hash))
        doomed = (trial.id for trial in self._trials.values() if goes(trial.rollout, trial.at, trial.key_hash))
        return self._drop(set(doomed))

    @suffers
    async def maintain(self, policies: Mapping[str, Policy]) -> Mapping[str, int]:
        now = self._state.clock_now()
        expired = keys = 0
        for name, policy in policies.items():
            newest = self._of(name)
            doomed = {trial.id for trial in newest if trial.at < now - policy.ttl_s}
            expired += self._drop(doomed.union(trial.id for trial in newest[policy.max_trials :]))
            keys += self._drop_subjects(policy, now - policy.ttl_s)
        old = [batch for batch, at in self._batches.items() if at < now - BATCHES_KEPT_S]
        for batch in old:
            del self._batches[batch]
        return {
            "blocks_rolled_up": self._roll_up(now),
            "trials_dropped": expired,
            "subjects_dropped": keys,
            "batches_dropped": len(old),
        }

    def _drop_subjects(self, policy: Policy, before: float) -> int:
        kept = under_way(policy, self._state.states_of(policy.rollout))

        def goes(one: Subject) -> bool:
            mine = one.rollout == policy.rollout and one.started_at < before
            return mine and (one.unit, one.version, one.entry) not in kept

        return self._subjects.drop(goes)

    def _roll_up(self, now: float) -> int:
        """How many blocks went into longer ones."""
        self._reported = {whose: {s for s in seconds if now - s <= HOUR} for whose, seconds in self._reported.items()}
        longer = {row: span for row in self._blocks if (span := _span_at(now - row.second)) > row.span}
        if longer:
            blocks, self._blocks, self._in_time = self._blocks, {}, {}
            for row, figures in blocks.items():
                span = longer.get(row, row.span)
                self._merge(row._replace(second=row.second // span * span, span=span), figures)
        return len(longer)

    def _drop(self, trial_ids: set[str]) -> int:
        for trial_id in trial_ids:
            del self._trials[trial_id]
        return len(trial_ids)


def _span_at(age_s: float) -> int:
    return HOUR if age_s > DAY else 60 if age_s > HOUR else 1


def _within(seconds: Collection[int], span: Span) -> Iterable[int]:
    """Those of ``seconds`` that lie in a span: no second is looked at twice, and few are looked for."""
    if span.until - span.after < len(seconds):
        return (second for second in range(span.after + 1, span.until + 1) if second in seconds)
    return (second for second in seconds if span.after < second <= span.until)


def _copied(trial: TrialRecord) -> TrialRecord:
    """A trial of its own, as a database gives it back. ``TypeError`` or ``ValueError`` if it is not JSON-ready."""
    differences = json.loads(json.dumps(list(trial.differences), allow_nan=False))
    return replace(trial, labels=dict(trial.labels), differences=differences, runs=[replace(run) for run in trial.runs])
