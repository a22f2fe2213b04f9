"""What must always hold of a fleet: laws, each a function of its own that says what broke.

They are held against what happened at the moment when it happens (``MOVED``: a change was written; ``LEASED``,
``SAVED``, ``READ``, ``FOLDED``, ``TICKED``, ``SECOND``, ``TOLD``), or at the end of the history (``ENDED``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rollout.domain.approvals import ASK
from rollout.domain.audit import verify
from rollout.domain.evidence import ARMS
from rollout.domain.gates import GateSpec
from rollout.domain.lifecycle import Event, place
from rollout.domain.limits.window import Sums
from rollout.domain.routing import plan_units
from rollout.domain.state import BranchState, Decision, Lease, Mode, Policy, Trigger
from rollout.domain.verdict import Action
from rollout.engine.judging import MARGIN_S
from rollout.ports import GateCheckpoint
from tests.fleet.books import Folding, sums

if TYPE_CHECKING:
    from tests.fleet.chronicle import Chronicle, Laws, Moved
    from tests.fleet.fleet import Ending, Fleet
    from tests.fleet.process import Process

HEAR_S: Final = 1.5  # from a decision until every process that is well works from it
FIND_S: Final = 25  # seconds of traffic until a bad branch that is live is rolled back
LONG_S: Final = 3_600.0  # the window of the gate that only counts: longer than any history
_FOLD_S: Final = 4.0  # beyond settle time and margin: a few ticks
_CLOCK_S: Final = 0.01  # of the database's, in SQLite
_STALE_S: Final = 30.0  # no decision is older when it is written
_TELL_S: Final = 3.0  # from a decision until people are told of it, while all is well


# A change was written


def versions_rise_by_one(_: Chronicle, moved: Moved) -> Iterator[str]:
    """No transition is lost, and none is made twice. A question moves nobody."""
    rise = 0 if moved.change.decision.action == ASK else 1
    for before, written in zip(moved.change.before, moved.written, strict=True):
        known = moved.known[written.branch]
        if (before.version, written.version) != (known.version, known.version + rise):
            yield f"{written.branch} went from version {before.version} to {written.version}, it was at {known.version}"


def only_the_newest_leader_decides(_: Chronicle, moved: Moved) -> Iterator[str]:
    lease = moved.change.lease
    if lease is not None and not _holds(lease, moved.newest, moved.now):
        yield f"{moved.who} moved a branch in epoch {lease.epoch}, but {moved.newest} holds the lease"
    if lease is None and moved.change.decision.trigger is Trigger.controller:
        yield f"{moved.who} moved a branch without a lease"


def decisions_are_dated_by_the_databases_clock(_: Chronicle, moved: Moved) -> Iterator[str]:
    age = moved.now - moved.change.decision.at
    if abs(age) > _STALE_S:
        yield f"{moved.who} decided {age:.1f} s before it was written, by the database's clock"


def a_stage_begins_when_it_is_written(_: Chronicle, moved: Moved) -> Iterator[str]:
    """The soak clock: it starts with a new entry, by the database's clock, and nothing else moves it."""
    for written in moved.written:
        known = moved.known[written.branch]
        wanted = moved.now if written.entry > known.entry else known.entered_at
        if abs(written.entered_at - wanted) > _CLOCK_S:
            yield f"{written.branch} entered its stage at {written.entered_at:.3f} instead of {wanted:.3f}"


def another_stage_is_another_entry(_: Chronicle, moved: Moved) -> Iterator[str]:
    for written in moved.written:
        known = moved.known[written.branch]
        changed = (written.stage, written.share) != (known.stage, known.share)
        if written.entry < known.entry or (changed and written.entry == known.entry):
            yield f"{written.branch} went to {place(written)} with entry {written.entry} after {known.entry}"


def a_step_up_is_the_next_one(_: Chronicle, moved: Moved) -> Iterator[str]:
    if moved.change.decision.action != Event.promote:
        return
    ramp = _policy_of(moved).ramp
    for written in moved.written:
        known = moved.known[written.branch]
        wanted = next((share for share in ramp.stages if share > known.share), None)
        if written.share != wanted or known.mode is not Mode.active:
            yield f"{written.branch} went from {place(known)} to {place(written)} on the ramp {ramp.text()}"


def nothing_is_promoted_before_its_time(_: Chronicle, moved: Moved) -> Iterator[str]:
    """Soak (or bake) over, by the database's clock, and no freeze."""
    decision = moved.change.decision
    if not _up_by_gates(decision):
        return
    ramp = _policy_of(moved).ramp
    if decision.action == Event.promote and ramp.frozen_until(decision.at) is not None:
        yield f"{decision.action} at {decision.at:.3f}, while promotion is frozen ({', '.join(ramp.freeze)})"
    for before in moved.change.before:
        soaked, wanted = decision.at - before.entered_at, ramp.soak_at(before.stage)
        if soaked < wanted:
            yield f"{before.branch}: {decision.action} after {soaked:.3f} of {wanted:.3f} s at {place(before)}"


def nothing_is_promoted_against_a_flag(_: Chronicle, moved: Moved) -> Iterator[str]:
    decision = moved.change.decision
    if decision.action == Event.promote and moved.closed_at is not None and moved.closed_at < decision.at:
        yield f"{moved.who} promoted though the flag had been closed {decision.at - moved.closed_at:.1f} s before"


def a_step_is_taken_under_the_newest_policy(_: Chronicle, moved: Moved) -> Iterator[str]:
    """A rollback that lost a race may rest on the policy of its tick: it is tried anew at once."""
    decision = moved.change.decision
    old = decision.policy_version != moved.policy.version and moved.policy.registered_at < decision.at
    if old and decision.action in (Event.promote, Event.complete):
        yield f"{moved.who} decided under version {decision.policy_version}, not {moved.policy.version}"


def a_decision_rests_on_its_own_stage(chronicle: Chronicle, moved: Moved) -> Iterator[str]:
    """No finding counts more calls than were ever written of the stage that it is about."""
    decision = moved.change.decision
    if not _up_by_gates(decision):
        return
    entries = {before.branch: before.entry for before in moved.change.before}
    for finding in decision.findings:
        unit = _policy_of(moved).units()[finding.unit]
        books = chronicle.books[finding.unit, decision.policy_version, entries[unit[0].name]]
        _, live, pairs = sums(books, 0, 1 << 60)
        if finding.n > max(live, pairs):
            yield f"{finding.gate} of {finding.unit} judged {finding.n} calls of {max(live, pairs)} in its stage"


# Who leads, and what it saves


def one_leads_at_a_time(chronicle: Chronicle, leased: tuple[Lease | None, Lease, int]) -> Iterator[str]:
    before, lease, epoch = leased
    if before is not None and before.holder != lease.holder and before.expires_at > chronicle.now:
        yield f"{lease.holder} leads while the lease of {before.holder} runs"
    if lease.epoch < epoch or (before is not None and before.holder != lease.holder and lease.epoch <= epoch):
        yield f"{lease.holder} leads in epoch {lease.epoch} after epoch {epoch}"


def only_the_newest_leader_saves(
    _: Chronicle, saved: tuple[list[GateCheckpoint], Lease | None, Lease | None, float]
) -> Iterator[str]:
    _checkpoints, lease, newest, now = saved
    if lease is None or not _holds(lease, newest, now):
        yield f"gates were saved under {lease}, but {newest} holds the lease"


def every_call_is_folded_once(chronicle: Chronicle, checkpoint: GateCheckpoint) -> Iterator[str]:
    """Folded is what was written of this very stage up to the closed second and was not late: no more, no less."""
    stage = (checkpoint.unit, checkpoint.version, checkpoint.entry)
    begun, closed = chronicle.begun(stage), checkpoint.closed_second
    slipped = sums(chronicle.stored[checkpoint.unit].slipped, begun, closed)
    written = [one - other for one, other in zip(sums(chronicle.books[stage], begun, closed), slipped, strict=True)]
    counter = next(gate for gate in chronicle.policies[checkpoint.version - 1].gates if gate.window_s >= LONG_S)
    folded = folded_in(checkpoint, counter, written)
    if folded != written:
        yield (
            f"{checkpoint.unit}, version {checkpoint.version}, entry {checkpoint.entry}, up to "
            f"{checkpoint.closed_second}: folded {folded} calls of A, of B, and pairs, written were {written}"
        )


def folded_in(checkpoint: GateCheckpoint, counter: GateSpec, written: list[int]) -> list[int]:
    """What the gate that only counts has folded: calls of A (where it is one that counts them), of B, and pairs."""
    total = Sums()
    for row in checkpoint.states[counter.name]["rows"]:
        total.add(Sums.counts_of(row))
    of_a = total.a["calls"] if counter.kind == "errors" else written[0]
    return [of_a, total.b["calls"], total.p["pairs"]]


def a_key_is_scored_once(chronicle: Chronicle, folding: Folding) -> Iterator[str]:
    """Whoever saw it, and whoever read it: in its stage a key counts once in its arm, and once as a pair."""
    if not chronicle.policies[-1].scores_keys:
        return
    for arm, scored in zip(ARMS[:3], folding.scored, strict=True):
        known = len(chronicle.keys[folding.stage, arm])
        if scored > known:
            yield f"{folding.stage}: {scored} keys were scored in arm {arm}, but there were {known}"


# After a tick, every second


def a_rollback_is_carried_out(chronicle: Chronicle, ticked: tuple[Process, float]) -> Iterator[str]:
    """Whoever else wrote meanwhile: a tick that found harm and came to its end has ended it."""
    process, began = ticked
    controller = process.controller
    assert controller is not None
    if not controller.leader or controller.last_success_at != process.clock.wall():
        return
    for (_, unit), verdict in controller.verdicts.items():
        if verdict.action is Action.rollback:
            found = [state for state in chronicle.states.values() if chronicle.units[state.branch] == unit]
            ended = any(
                moved.at >= began and not state.live and chronicle.units[state.branch] == unit
                for moved in chronicle.moved
                for state in moved.written
            )
            if any(state.live for state in found) and not ended:
                yield f"{process.who} wanted {unit} rolled back ({verdict.cause}), but it stands at {place(found[0])}"


def everybody_follows(chronicle: Chronicle, fleet: Fleet) -> Iterator[str]:
    """Every process works from what was decided, a moment after it was, unless something is wrong."""
    if not fleet.well or chronicle.changed_at[-1] > fleet.timeline.now - HEAR_S:
        return
    policy = chronicle.policies[-1]
    decided = (plan_units(policy, chronicle.states), policy.version)
    for process in fleet.processes:
        standing = process.standing
        if standing is None or (standing.plans, standing.version) != decided:
            at = standing and (standing.plans, standing.version)
            yield f"{process.who} works from {at}, decided is {decided}"


def nobody_serves_what_was_rolled_back(chronicle: Chronicle, fleet: Fleet) -> Iterator[str]:
    if not fleet.well:
        return
    since = fleet.timeline.now - HEAR_S
    dark = {name for name, state in chronicle.states.items() if not state.live}
    dark -= {state.branch for moved in chronicle.moved if moved.at > since for state in moved.written}
    for process in fleet.processes:
        for plan in process.standing.plans if process.standing else ():
            if plan.limit and dark.issuperset(plan.branches):
                yield f"{process.who} still serves {plan.limit / 100:g}% by {plan.name}"


def a_bad_branch_is_rolled_back(_: Chronicle, fleet: Fleet) -> Iterator[str]:
    for unit, (_stage, seconds) in fleet.exposed.items():
        if seconds > FIND_S:
            yield f"{unit} has been bad and live for {seconds:.0f} s"


# People are told


def people_are_told_once(chronicle: Chronicle, told: tuple[str, Decision]) -> Iterator[str]:
    """By each controller, in the order of the audit, and only of what concerns them."""
    who, decision = told
    if decision.number <= max(chronicle.told[who], default=0):
        yield f"{who} tells of {decision.action} {decision.moves} once more, or too late"
    if not (decision.moves or decision.action == ASK):
        yield f"{who} tells of {decision.action}, which moved nobody"


def people_are_asked_once(chronicle: Chronicle, moved: Moved) -> Iterator[str]:
    """For each approval, in each entry of a stage; and nobody is asked for one that is given."""
    if moved.change.decision.action != ASK:
        return
    for state in moved.written:
        if (chronicle.units[state.branch], state.entry) in chronicle.asked:
            yield f"{moved.who} asks for {state.branch} once more, in entry {state.entry}"
        if state.approved is not None or state.mode is not Mode.active:
            yield f"{moved.who} asks for {state.branch}, which is at {place(state)}, approved for {state.approved}"


def people_are_told_of_everything(chronicle: Chronicle, ending: Ending) -> Iterator[str]:
    """Whoever led, and whoever was killed between a decision and its telling."""
    told = {number for numbers in chronicle.told.values() for number in numbers}
    for decision in ending.decisions:
        concerns = bool(decision.moves) or decision.action == ASK
        recent = decision.at > chronicle.now - _TELL_S
        if concerns and not recent and decision.number > (chronicle.told_from or 0) and decision.number not in told:
            yield f"nobody was told of decision {decision.number}, {decision.action} {decision.moves}"


# The end


def the_audit_is_whole(_: Chronicle, ending: Ending) -> Iterator[str]:
    for broken in verify(ending.decisions):
        yield str(broken)


def the_audit_explains_every_state(_: Chronicle, ending: Ending) -> Iterator[str]:
    """Each move begins where the one before it ended, and the last one where the branch stands."""
    for branch, state in ending.snapshot.states[ending.fleet.declared.rollout].items():
        at, moves = "shadow", 0
        for decision in ending.decisions:
            for move in decision.moves:
                if move["branch"] == branch:
                    if move["from"] != at:
                        yield f"decision {decision.number} moves {branch} from {move['from']}, but it stood at {at}"
                    at, moves = move["to"].partition(", approved for")[0], moves + 1
        if (at, moves) != (place(state), state.version - 1):
            yield f"{branch} is {place(state)} at version {state.version}; the audit has {moves} moves, to {at}"


def what_is_late_is_counted(chronicle: Chronicle, ending: Ending) -> Iterator[str]:
    if ending.late != chronicle.late:
        yield f"{chronicle.late} blocks came too late, the ledger says {ending.late}"


def somebody_leads(chronicle: Chronicle, ending: Ending) -> Iterator[str]:
    leaders = [one.who for one in ending.fleet.processes if one.controller is not None and one.controller.leader]
    if len(leaders) != 1 or chronicle.lease is None or chronicle.lease.expires_at < chronicle.now:
        yield f"{leaders or 'nobody'} leads, the lease is {chronicle.lease}"


def gates_fold_again(chronicle: Chronicle, ending: Ending) -> Iterator[str]:
    policy = chronicle.policies[-1]
    horizon = chronicle.now - policy.settle_s - MARGIN_S - _FOLD_S
    for unit in ending.fleet.units:
        checkpoint, states = chronicle.checkpoints.get(unit), _of(ending.fleet, unit, chronicle)
        runs = any(state.runs and state.entered_at < horizon for state in states)
        if runs and (checkpoint is None or checkpoint.closed_second < horizon):
            yield f"{unit} is folded up to {checkpoint and checkpoint.closed_second}, not {horizon:.0f}"


def the_database_holds_what_was_written(chronicle: Chronicle, ending: Ending) -> Iterator[str]:
    found = ending.snapshot.states[ending.fleet.declared.rollout]
    if found != chronicle.states:
        yield f"the database holds {found}, written was {chronicle.states}"


def the_healthy_moves_on(chronicle: Chronicle, ending: Ending) -> Iterator[str]:
    """A healthy branch that nothing holds has taken a step since everything is well."""
    fleet = ending.fleet
    for unit in fleet.units:
        states = _of(fleet, unit, chronicle)
        last_moved = max(
            (moved.at for moved in chronicle.moved for state in moved.written if state in states), default=0
        )
        waits = any(branch.after for branch in fleet.graph if branch.unit == unit)
        if states[0].mode is Mode.active and not fleet.harmed and last_moved < fleet.well_since and not waits:
            yield f"{unit} still stands at {place(states[0])}"


def _of(fleet: Fleet, unit: str, chronicle: Chronicle) -> list[BranchState]:
    return [state for name, state in chronicle.states.items() if fleet.unit_of(name) == unit]


def _holds(lease: Lease, newest: Lease | None, now: float) -> bool:
    same = newest is not None and (lease.holder, lease.epoch) == (newest.holder, newest.epoch)
    return same and newest is not None and newest.expires_at > now


def _up_by_gates(decision: Decision) -> bool:
    """Whether it is a step up that the gates had to let through."""
    forced = decision.trigger is Trigger.person and decision.reason.startswith("forced")
    return decision.action in (Event.promote, Event.complete) and not forced


def _policy_of(moved: Moved) -> Policy:
    return moved.policies[moved.change.decision.policy_version]


MOVED: Final = (
    versions_rise_by_one,
    only_the_newest_leader_decides,
    decisions_are_dated_by_the_databases_clock,
    a_stage_begins_when_it_is_written,
    another_stage_is_another_entry,
    a_step_up_is_the_next_one,
    nothing_is_promoted_before_its_time,
    nothing_is_promoted_against_a_flag,
    a_step_is_taken_under_the_newest_policy,
    a_decision_rests_on_its_own_stage,
    people_are_asked_once,
)
ENDED: Final = (
    the_audit_is_whole,
    the_audit_explains_every_state,
    people_are_told_of_everything,
    what_is_late_is_counted,
    somebody_leads,
    gates_fold_again,
    the_database_holds_what_was_written,
    the_healthy_moves_on,
)
LAWS: Final[Laws] = {
    "moved": MOVED,
    "leased": (one_leads_at_a_time,),
    "saved": (only_the_newest_leader_saves,),
    "read": (a_key_is_scored_once,),
    "folded": (every_call_is_folded_once,),
    "ticked": (a_rollback_is_carried_out,),
    "told": (people_are_told_once,),
    "second": (everybody_follows, nobody_serves_what_was_rolled_back, a_bad_branch_is_rolled_back),
    "ended": ENDED,
}
