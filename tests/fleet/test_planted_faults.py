"""The product is broken in one place, and the histories find it: an invariant that nothing breaks proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import pytest

from rollout.domain import judgement, lifecycle, verdict
from rollout.domain.evidence import UnitBlock
from rollout.domain.judgement import Case
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState, Change, Decision, Lease, Mode, Snapshot
from rollout.domain.verdict import Context
from rollout.engine import controller, desk
from rollout.engine.asking import Approvals
from rollout.engine.desk import Desk
from rollout.engine.herald import Herald
from rollout.ports import Batch, Ledger, Span
from rollout.testing.memory_ledger import MemoryLedger
from rollout.testing.memory_state import MemoryState
from tests.fleet import invariants
from tests.fleet.chronicle import Law
from tests.fleet.clocks import ProcessClock
from tests.fleet.fleet import Fleet
from tests.fleet.histories import lived
from tests.fleet.invariants import LAWS

Plant = Callable[[pytest.MonkeyPatch, Fleet], None]
SEEDS = 60  # histories, within which each is found


# Who leads


def epoch_not_checked(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(MemoryState, "_fence", lambda self, lease: None)


def lease_taken_from_who_holds_it(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    lease = MemoryState.lease

    async def greedy(self: MemoryState, name: str, holder: str, ttl_s: float) -> Lease | None:
        self._leases = {key: replace(row, expires_at=0.0) for key, row in self._leases.items()}
        return await lease(self, name, holder, ttl_s)

    monkeypatch.setattr(MemoryState, "lease", greedy)


def lease_that_never_runs_out(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    lease = MemoryState.lease

    async def endless(self: MemoryState, name: str, holder: str, ttl_s: float) -> Lease | None:
        return await lease(self, name, holder, 1e9)

    monkeypatch.setattr(MemoryState, "lease", endless)


# When a step is taken


def soak_on_the_clock_of_the_process(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> None:
    soak_left = judgement.soak_left

    def by_its_own_clock(ramp: Ramp, members: Sequence[BranchState], now: float) -> float:
        clock = clock_of_the_leader(fleet)
        return soak_left(ramp, members, now if clock is None else clock.wall())

    monkeypatch.setattr(judgement, "soak_left", by_its_own_clock)


def decisions_on_the_clock_of_the_process(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> None:
    take = Desk._take

    def by_its_own_clock(self: Desk, snapshot: Snapshot) -> None:
        clock = clock_of_the_leader(fleet)
        take(self, snapshot if clock is None else replace(snapshot, now=clock.wall()))

    monkeypatch.setattr(Desk, "_take", by_its_own_clock)


def clock_of_the_leader(fleet: Fleet) -> ProcessClock | None:
    """The clock of the process that decides now; None for a person."""
    stepping = fleet.timeline.stepping
    return next((process.clock for process in fleet.processes if process.ticking is stepping), None)


def soak_that_goes_on(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(MemoryState, "_entered", lambda self, before, after: after)


def freeze_ignored(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    seen_as(monkeypatch, frozen_s=0.0)


def flag_ignored(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    seen_as(monkeypatch, closed_by="")


def soak_that_never_ends(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    seen_as(monkeypatch, soak_left_s=1.0)


def seen_as(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """A unit seems to stand otherwise than it does."""
    context_of = judgement.context_of

    def changed(case: judgement.Case) -> Context:
        return replace(context_of(case), **changes)

    monkeypatch.setattr(judgement, "context_of", changed)


def step_left_out(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(lifecycle, "step_to", lambda ramp, share, to=None: ramp.stages[-1])


def policy_read_once(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    load = MemoryState.load

    async def old(self: MemoryState) -> Snapshot:
        first = {name: versions[:1] for name, versions in self._policies.items()}
        known, self._policies = self._policies, first
        try:
            return await load(self)
        finally:
            self._policies = known

    monkeypatch.setattr(MemoryState, "load", old)


# What is counted


def batch_written_again(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    append = MemoryLedger.append

    async def forgetful(self: MemoryLedger, batch: Batch) -> None:
        self._batches.clear()
        await append(self, batch)

    monkeypatch.setattr(MemoryLedger, "append", forgetful)


def stages_pooled(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    pooled(monkeypatch, lambda span: [replace(span, entry=entry) for entry in range(1, span.entry + 1)])


def versions_pooled(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    pooled(monkeypatch, lambda span: [replace(span, version=version) for version in range(1, span.version + 1)])


def pooled(monkeypatch: pytest.MonkeyPatch, alike: Callable[[Span], list[Span]]) -> None:
    """What was counted under several keys is read as one."""
    blocks_of = MemoryLedger.blocks_of

    async def pooling(self: MemoryLedger, spans: Sequence[Span]) -> list[list[UnitBlock]]:
        found = [await blocks_of(self, alike(span)) for span in spans]
        return [sorted(chain(*lists), key=lambda block: block.second) for lists in found]

    monkeypatch.setattr(MemoryLedger, "blocks_of", pooling)


def evidence_carried_over(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(judgement.Bench, "enter", lambda self, stage: None)


def key_scored_by_each_process(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    append = MemoryLedger.append

    async def apart(self: MemoryLedger, batch: Batch) -> None:
        own = f"{sum(batch.process.encode()) % 256:02x}"
        subjects = [one._replace(key_hash=own + one.key_hash[2:]) for one in batch.subjects]
        await append(self, replace(batch, subjects=subjects))

    monkeypatch.setattr(MemoryLedger, "append", apart)


def late_blocks_taken(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(MemoryLedger, "_is_late", lambda self, stage, second: False)


def nothing_folded(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    async def idle(ledger: Ledger, known: object, cases: object, margin_s: float) -> None:
        """Read nothing."""

    monkeypatch.setattr(controller, "gather", idle)


# What is written, and told


def last_writer_wins(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    transition = MemoryState.transition

    async def careless(self: MemoryState, change: Change) -> list[BranchState]:
        stored = [self._states[before.rollout][before.branch] for before in change.before]
        return await transition(self, replace(change, before=stored))

    monkeypatch.setattr(MemoryState, "transition", careless)


def entry_that_does_not_rise(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(lifecycle, "_differs", lambda state, changes: False)


def state_half_written(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    transition = MemoryState.transition

    async def half(self: MemoryState, change: Change) -> list[BranchState]:
        written = await transition(self, change)
        for state in written:
            self._states[state.rollout][state.branch] = replace(state, entered_at=state.entered_at - 1.0)
        return written

    monkeypatch.setattr(MemoryState, "transition", half)


def audit_that_forks(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    append = MemoryState._append

    def forking(self: MemoryState, decision: Decision) -> Decision:
        before = dict(self._hashes)
        sealed = append(self, decision)
        self._hashes = before or self._hashes
        return sealed

    monkeypatch.setattr(MemoryState, "_append", forking)


def audit_without_pauses(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    append = MemoryState._append

    def forgetful(self: MemoryState, decision: Decision) -> Decision:
        return append(self, replace(decision, moves=()) if decision.action == "pause" else decision)

    monkeypatch.setattr(MemoryState, "_append", forgetful)


def everybody_told_twice(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    hand_over = Herald._hand_over

    async def twice(self: Herald, decision: Decision) -> None:
        await hand_over(self, decision)
        await hand_over(self, decision)

    monkeypatch.setattr(Herald, "_hand_over", twice)


def told_only_by_whom_it_was_decided(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    begin = Herald.begin

    async def forgetful(self: Herald, lease: Lease) -> None:
        await begin(self, lease)
        newest = await self._state.decisions(limit=1)
        if self._revision == -1:
            self._seen = newest[0].number

    monkeypatch.setattr(Herald, "begin", forgetful)


def asked_by_memory(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    async def never(self: Approvals, case: Case) -> bool:
        return False

    monkeypatch.setattr(Approvals, "_is_asked", never)


# What is done about harm


def rollback_tried_once(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(desk, "_INSIST", 1)


def breach_overlooked(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    monkeypatch.setattr(verdict, "_harm", lambda context, findings: [])


def rollback_that_is_not_heard_of(monkeypatch: pytest.MonkeyPatch, _: Fleet) -> None:
    load = MemoryState.load
    served: dict[str, BranchState] = {}

    async def deaf(self: MemoryState) -> Snapshot:
        snapshot = await load(self)
        states = {name: dict(of) for name, of in snapshot.states.items()}
        for of in states.values():
            for branch, state in of.items():
                if state.live:
                    served[branch] = state
                elif state.mode is Mode.rolled_back and branch in served:
                    of[branch] = replace(state, share=served[branch].share)
        return replace(snapshot, states=states)

    monkeypatch.setattr(MemoryState, "load", deaf)


#: The invariant, and a fault that it finds, by itself.
PLANTED: Final[tuple[tuple[Law, Plant], ...]] = (
    (invariants.only_the_newest_leader_decides, epoch_not_checked),
    (invariants.only_the_newest_leader_saves, epoch_not_checked),
    (invariants.one_leads_at_a_time, lease_taken_from_who_holds_it),
    (invariants.somebody_leads, lease_that_never_runs_out),
    (invariants.nothing_is_promoted_before_its_time, soak_on_the_clock_of_the_process),
    (invariants.nothing_is_promoted_before_its_time, freeze_ignored),
    (invariants.decisions_are_dated_by_the_databases_clock, decisions_on_the_clock_of_the_process),
    (invariants.a_stage_begins_when_it_is_written, soak_that_goes_on),
    (invariants.nothing_is_promoted_against_a_flag, flag_ignored),
    (invariants.the_healthy_moves_on, soak_that_never_ends),
    (invariants.a_step_up_is_the_next_one, step_left_out),
    (invariants.a_step_is_taken_under_the_newest_policy, policy_read_once),
    (invariants.every_call_is_folded_once, batch_written_again),
    (invariants.every_call_is_folded_once, stages_pooled),
    (invariants.every_call_is_folded_once, versions_pooled),
    (invariants.a_decision_rests_on_its_own_stage, evidence_carried_over),
    (invariants.a_key_is_scored_once, key_scored_by_each_process),
    (invariants.what_is_late_is_counted, late_blocks_taken),
    (invariants.gates_fold_again, nothing_folded),
    (invariants.versions_rise_by_one, last_writer_wins),
    (invariants.another_stage_is_another_entry, entry_that_does_not_rise),
    (invariants.the_database_holds_what_was_written, state_half_written),
    (invariants.the_audit_is_whole, audit_that_forks),
    (invariants.the_audit_explains_every_state, audit_without_pauses),
    (invariants.people_are_told_once, everybody_told_twice),
    (invariants.people_are_told_of_everything, told_only_by_whom_it_was_decided),
    (invariants.people_are_asked_once, asked_by_memory),
    (invariants.a_rollback_is_carried_out, rollback_tried_once),
    (invariants.a_bad_branch_is_rolled_back, breach_overlooked),
    (invariants.nobody_serves_what_was_rolled_back, rollback_that_is_not_heard_of),
    (invariants.everybody_follows, rollback_that_is_not_heard_of),
)


def test_every_invariant_has_a_fault_that_it_finds() -> None:
    assert {law for laws in LAWS.values() for law in laws} == {law for law, _ in PLANTED}


@pytest.mark.parametrize(("law", "plant"), PLANTED, ids=lambda one: one.__name__)
def test_a_planted_fault_is_found(law: Law, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {kind: [law] for kind, laws in LAWS.items() if law in laws}
    for seed in range(SEEDS):
        fleet = Fleet(seed, laws=alone)
        with monkeypatch.context() as broken:
            plant(broken, fleet)
            lived(fleet)
        if any(what.startswith(law.__name__) for what in fleet.chronicle.broken):
            return
    raise AssertionError(f"{law.__name__} found nothing in {SEEDS} histories with {plant.__name__}")
