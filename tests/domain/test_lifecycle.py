"""The lifecycle table, pair by pair, and what its moves keep, whatever the order of events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.domain import lifecycle
from rollout.domain.lifecycle import TABLE, Event, Move, moves
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, BranchState, Mode, Policy
from rollout.errors import IllegalTransition, Refused
from rollout.testing import sample_policy

RAMP = Ramp.parse("shadow 5% 25% 100%")
Table = dict[str, BranchState]


def branch(name: str, *after: str, unit: str = "") -> BranchPolicy:
    return BranchPolicy(name=name, unit=unit or name, salt=unit or name, after=after)


def shop(*branches: BranchPolicy) -> Policy:
    return sample_policy(branches=branches or (branch("orders"),), ramp=RAMP)


def at(name: str, share: float = 0.0, mode: Mode = Mode.active, **changes: object) -> BranchState:
    state = BranchState(rollout="profile", branch=name, stage=RAMP.stages.index(share), share=share, mode=mode)
    return replace(state, **changes)  # type: ignore[arg-type]


def standing(*states: BranchState) -> Table:
    return {state.branch: state for state in states}


def after(found: tuple[Move, ...]) -> Table:
    return {move.after.branch: move.after for move in found}


# Every pair


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("event", Event)
def test_every_pair_moves_as_the_table_says_or_is_refused_with_the_legal_events(mode: Mode, event: Event) -> None:
    share = {Mode.active: 0.05, Mode.paused: 0.05, Mode.rolled_back: 0.0, Mode.completed: 1.0}[mode]
    states = standing(at("orders", 1.0 if event is Event.complete else share, mode))
    before = dict(states)
    if (mode, event) in TABLE:
        (move,) = moves(shop(), states, "orders", event, cause="errors")
        assert move.after.mode is TABLE[mode, event]
        assert move.after.version == move.before.version + 1
    else:
        with pytest.raises(IllegalTransition) as refused:
            moves(shop(), states, "orders", event)
        assert refused.value.legal == tuple(one.value for one in lifecycle.by_hand(mode))
        assert mode.text in str(refused.value)
    assert states == before


def test_the_table_knows_every_mode() -> None:
    assert {mode for mode, _ in TABLE} == set(Mode)
    assert {event for _, event in TABLE} == set(Event)


# One step


def test_a_promotion_enters_the_next_share_as_a_new_entry_and_uses_up_the_approval() -> None:
    (move,) = moves(shop(), standing(at("orders", 0.05, approved=0.25, entry=4)), "orders", Event.promote)
    assert (move.after.share, move.after.stage, move.after.entry, move.after.approved) == (0.25, 2, 5, None)


def test_a_promotion_to_a_share_of_the_ramp_may_skip() -> None:
    (move,) = moves(shop(), standing(at("orders")), "orders", Event.promote, to=1.0)
    assert (move.after.share, move.after.stage) == (1.0, 3)


@pytest.mark.parametrize("to", [0.0, 0.01, 0.05, 0.3, 1.5, -1.0])
def test_a_share_that_does_not_rise_or_is_not_in_the_ramp_is_refused_with_the_legal_ones(to: float) -> None:
    with pytest.raises(Refused, match=r"has: 25%, 100%"):
        moves(shop(), standing(at("orders", 0.05)), "orders", Event.promote, to=to)


def test_there_is_no_step_above_the_last() -> None:
    with pytest.raises(Refused, match="last stage"):
        moves(shop(), standing(at("orders", 1.0)), "orders", Event.promote)


def test_a_share_that_the_ramp_no_longer_has_goes_on_to_the_next_above_it() -> None:
    stranger = replace(at("orders"), share=0.1, stage=7)
    (move,) = moves(shop(), standing(stranger), "orders", Event.promote)
    assert (move.after.share, move.after.stage) == (0.25, 2)
    assert lifecycle.stage_at(RAMP, 0.1) == 1


def test_a_rollback_leaves_the_live_calls_and_goes_on_in_shadow() -> None:
    (move,) = moves(shop(), standing(at("orders", 0.25, entry=3)), "orders", Event.rollback, cause="errors")
    state = move.after
    assert (state.share, state.stage, state.shadow, state.cause, state.entry) == (0.0, 0, True, "errors", 4)
    assert move.to_dict() == {"branch": "orders", "from": "25%", "to": "shadow, rolled back"}


def test_a_rollback_for_cost_ends_the_shadow_too() -> None:
    (move,) = moves(shop(), standing(at("orders", 0.25)), "orders", Event.rollback, cause="cost")
    assert not move.after.runs


def test_a_pause_keeps_share_and_soak_clock_and_resume_goes_on_from_there() -> None:
    state = at("orders", 0.25, entered_at=77.0, entry=3)
    (paused,) = moves(shop(), standing(state), "orders", Event.pause, cause="person")
    (resumed,) = moves(shop(), standing(paused.after), "orders", Event.resume)
    for found in (paused.after, resumed.after):
        assert (found.share, found.stage, found.entry, found.entered_at) == (0.25, 2, 3, 77.0)


@pytest.mark.parametrize("event", [Event.resume, Event.reset])
def test_resume_and_reset_of_a_rolled_back_branch_begin_again_in_shadow(event: Event) -> None:
    state = at("orders", 0.0, Mode.rolled_back, shadow=False, cause="cost", entry=6)
    (move,) = moves(shop(), standing(state), "orders", event)
    assert (move.after.mode, move.after.share, move.after.shadow) == (Mode.active, 0.0, True)
    assert (move.after.entry, move.after.cause) == (7, "")


def test_only_the_last_stage_can_be_completed() -> None:
    with pytest.raises(Refused, match="100% come first"):
        moves(shop(), standing(at("orders", 0.25)), "orders", Event.complete)


# Groups and dependants

PAIR = shop(branch("orders", unit="orders+tickets"), branch("tickets", unit="orders+tickets"))
CHAIN = shop(
    branch("tickets"),
    branch("summary", "tickets"),
    branch("digest", "summary", unit="digest+mail"),
    branch("mail", unit="digest+mail"),
    branch("audit", "mail"),
    branch("other"),
)


def everything(policy: Policy, share: float, **changes: object) -> Table:
    return standing(*(at(one.name, share, **changes) for one in policy.branches))  # type: ignore[arg-type]


def test_a_group_moves_as_one() -> None:
    found = after(moves(PAIR, everything(PAIR, 0.05), "orders+tickets", Event.promote))
    assert {name: state.share for name, state in found.items()} == {"orders": 0.25, "tickets": 0.25}


def test_a_branch_that_joined_a_group_later_is_brought_to_the_same_entry() -> None:
    states = standing(at("orders", 0.25, entry=5), at("tickets"))
    assert not lifecycle.aligned(lifecycle.members_of(PAIR, states, "orders+tickets"))
    found = after(moves(PAIR, states, "orders+tickets", Event.reset))
    assert {(state.share, state.entry) for state in found.values()} == {(0.0, 6)}


@pytest.mark.parametrize("event", [Event.rollback, Event.stop_shadow])
def test_a_rollback_takes_all_that_comes_after_with_it_groups_whole(event: Event) -> None:
    found = after(moves(CHAIN, everything(CHAIN, 0.25), "tickets", event, cause="errors"))
    assert set(found) == {"tickets", "summary", "digest", "mail", "audit"}
    assert {state.mode for state in found.values()} == {Mode.rolled_back}
    assert {state.cause for state in found.values()} == {"errors"}


def test_a_rollback_leaves_dependants_alone_that_are_not_live() -> None:
    states = {**everything(CHAIN, 0.0), "tickets": at("tickets", 0.25)}
    assert set(after(moves(CHAIN, states, "tickets", Event.rollback))) == {"tickets"}


@pytest.mark.parametrize("mode", [Mode.paused, Mode.completed])
def test_a_rollback_reaches_dependants_in_every_live_mode(mode: Mode) -> None:
    states = {**everything(CHAIN, 0.0), "tickets": at("tickets", 1.0), "summary": at("summary", 1.0, mode)}
    assert after(moves(CHAIN, states, "tickets", Event.rollback))["summary"].mode is Mode.rolled_back


def test_a_branch_is_not_promoted_above_what_it_comes_after() -> None:
    states = {**everything(CHAIN, 0.05), "tickets": at("tickets", 0.05)}
    with pytest.raises(Refused, match='it comes after "tickets", which is at 5%'):
        moves(CHAIN, states, "summary", Event.promote)
    states["tickets"] = at("tickets", 0.25)
    assert after(moves(CHAIN, states, "summary", Event.promote))["summary"].share == 0.25


# Whatever the order of events

UNITS = tuple(CHAIN.units())
EVENTS = st.lists(st.tuples(st.sampled_from(UNITS), st.sampled_from(Event)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_random_events_keep_every_promise(history: list[tuple[str, Event]]) -> None:
    states = everything(CHAIN, 0.0)
    for unit, event in history:
        before = dict(states)
        try:
            found = moves(CHAIN, states, unit, event, cause="errors")
        except (IllegalTransition, Refused):
            assert states == before
            continue
        for move in found:
            _keeps_its_promises(move, event)
            states[move.after.branch] = move.after
        _stands_soundly(states)


def _keeps_its_promises(move: Move, event: Event) -> None:
    old, new = move.before, move.after
    assert new.version == old.version + 1
    moved = (old.stage, old.share) != (new.stage, new.share)
    anew = event is Event.reset or (event is Event.resume and old.mode is Mode.rolled_back)
    assert new.entry == old.entry + (1 if moved or anew else 0)


def _stands_soundly(states: Table) -> None:
    for state in states.values():
        assert state.share == RAMP.share(state.stage)
        assert state.mode is not Mode.rolled_back or state.share == 0
        assert state.mode is not Mode.completed or state.share == 1
    for unit in UNITS:
        assert lifecycle.aligned(lifecycle.members_of(CHAIN, states, unit))
    for one in CHAIN.branches:
        assert all(states[name].share >= states[one.name].share for name in one.after)


def test_a_decision_tells_what_an_approval_was_for() -> None:
    states = standing(at("orders", 0.05, Mode.active))
    (move,) = moves(shop(), states, "orders", Event.approve)
    assert move.to_dict() == {"branch": "orders", "from": "5%", "to": "5%, approved for 25%"}
    (back,) = moves(shop(), {"orders": move.after}, "orders", Event.rollback)
    assert back.to_dict()["to"] == "shadow, rolled back"
