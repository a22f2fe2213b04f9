"""What a person can do to a rollout, what is refused, and what the refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.domain.lifecycle import Event
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, FlagOverride, Mode, Trigger
from rollout.domain.verdict import Action
from rollout.errors import Conflict, IllegalTransition, Refused, UnknownName
from rollout.ports import Backend, TrialRecord
from rollout.testing import sample_batch, sample_trial
from rollout.usecases import steer
from rollout.usecases.steer import Steered
from tests.support.ramping import Truth, World

BY: dict[str, Any] = {"reason": "because", "actor": "ann"}
HAND = Ramp.parse("shadow 10% 50% 100%", soak=10, auto=False)


def unit(name: str, *after: str, of: str = "", flag: str | None = None) -> BranchPolicy:
    return BranchPolicy(name=name, unit=of or name, salt=of or name, after=after, flag=flag)


async def ready(seconds: int = 20, **world: Any) -> World:
    """A rollout moved by hand, whose gates are through and whose soak is over."""
    found = await World(**{"ramp": HAND, **world}).begin()
    await found.seconds(seconds)
    return found


# Promote


async def test_a_promotion_takes_one_step_and_is_recorded_with_its_findings() -> None:
    world = await ready()
    done = await steer.promote(world.backend, "profile", "orders", **BY)
    assert done.changed
    assert [move.to_dict() for move in done.moves] == [{"branch": "orders", "from": "shadow", "to": "10%"}]
    assert done.moves[0].after.entered_at == world.clock.wall()
    (decision,) = await world.decisions()
    assert (decision.actor, decision.trigger, decision.reason) == ("ann", Trigger.person, "because")
    assert len(decision.findings) == len(world.gates)


@pytest.mark.parametrize("to", ["50%", 0.5, "0.5"])
async def test_a_promotion_to_a_share_of_the_ramp(to: str | float) -> None:
    world = await ready()
    done = await steer.promote(world.backend, "profile", "orders", to=to, **BY)
    assert done.moves[0].after.share == 0.5


WRONG_SHARES: dict[str | float, str] = {
    "25%": "25% is no step up from 10%. The ramp shadow 10% 50% 100% has: 50%, 100%.",
    "10%": "10% is no step up from 10%",
    0.0: "0% is no step up",
    "150%": "150% is out of range; a share lies between 0% and 100%",
    25: "25 is out of range",
    "-1%": "out of range",
    "half": '"half" is not a share',
}


@pytest.mark.parametrize(("to", "said"), WRONG_SHARES.items())
async def test_a_share_that_is_wrong_is_refused_with_the_legal_ones(to: str | float, said: str) -> None:
    world = await ready()
    await steer.promote(world.backend, "profile", "orders", **BY)
    with pytest.raises(Refused) as refused:
        await steer.promote(world.backend, "profile", "orders", to=to, **BY)
    assert said in str(refused.value)
    assert (await world.state()).share == 0.1


async def test_a_promotion_is_refused_while_it_soaks() -> None:
    world = await ready(seconds=5)
    with pytest.raises(Refused, match="orders to 10%: soak: 5s left"):
        await steer.promote(world.backend, "profile", "orders", **BY)
    assert not await world.decisions()


async def test_a_promotion_is_refused_while_a_gate_is_not_through() -> None:
    world = await ready(truths={"orders": Truth(bad=0.3)})
    with pytest.raises(Refused, match=r"not ready, errors: .* above the limit") as refused:
        await steer.promote(world.backend, "profile", **BY)
    assert "Force skips gates" in str(refused.value)


async def test_a_promotion_without_any_evidence_is_refused() -> None:
    world = await World(ramp=HAND).begin()
    world.clock.advance(60)
    with pytest.raises(Refused, match="0 of 50"):
        await steer.promote(world.backend, "profile", **BY)


async def test_a_promotion_is_refused_in_a_freeze_and_before_an_approval() -> None:
    world = await ready(ramp=replace(HAND, freeze=("Mon 00:00 - Tue 00:00",), approve=(0.1,)))
    with pytest.raises(Refused) as refused:
        await steer.promote(world.backend, "profile", **BY)
    assert "frozen" in str(refused.value)
    assert "a person must approve 10%" in str(refused.value)


async def test_force_skips_gates_soak_freeze_and_approval_and_says_so() -> None:
    world = await World(ramp=replace(HAND, freeze=("Mon 00:00 - Tue 00:00",), approve=(0.1,))).begin()
    done = await steer.promote(world.backend, "profile", force=True, **BY)
    assert done.moves[0].after.share == 0.1
    assert (await world.decisions())[0].reason == "forced: because"


@pytest.mark.parametrize("force", [False, True])
async def test_nothing_skips_a_flag_that_is_closed(force: bool) -> None:
    world = await ready()
    await steer.set_flag(world.backend, "profile", "shadow", **BY)
    with pytest.raises(Refused, match='the flag "profile" is shadow for everybody'):
        await steer.promote(world.backend, "profile", force=force, **BY)


@pytest.mark.parametrize("force", [False, True])
async def test_nothing_skips_a_branch_that_it_comes_after(force: bool) -> None:
    world = await ready(branches=(unit("tickets"), unit("summary", "tickets")))
    with pytest.raises(Refused, match='it comes after "tickets", which is at shadow'):
        await steer.promote(world.backend, "profile", "summary", force=force, **BY)


async def test_all_branches_step_together_whatever_comes_after_what() -> None:
    world = await ready(branches=(unit("summary", "tickets"), unit("tickets"), unit("a", of="g"), unit("b", of="g")))
    done = await steer.promote(world.backend, "profile", **BY)
    assert {move.after.branch: move.after.share for move in done.moves} == dict.fromkeys(
        ["summary", "tickets", "a", "b"], 0.1
    )
    assert len(await world.decisions()) == 1


async def test_all_or_none() -> None:
    world = await ready(branches=("orders", "tickets"), truths={"tickets": Truth(bad=0.5)})
    with pytest.raises(Refused, match="tickets to 10%: not ready"):
        await steer.promote(world.backend, "profile", **BY)
    assert (await world.state("orders")).share == 0
    await steer.promote(world.backend, "profile", "orders", **BY)
    assert (await world.state("orders")).share == 0.1


async def test_paused_branches_stay_where_they_are_when_all_step() -> None:
    world = await ready(branches=("orders", "tickets"))
    await steer.pause(world.backend, "profile", "tickets", **BY)
    done = await steer.promote(world.backend, "profile", **BY)
    assert [move.after.branch for move in done.moves] == ["orders"]
    with pytest.raises(IllegalTransition, match="resume"):
        await steer.promote(world.backend, "profile", "tickets", **BY)
    await steer.pause(world.backend, "profile", "orders", **BY)
    with pytest.raises(Refused, match="orders is at 10%, paused, tickets is at shadow, paused"):
        await steer.promote(world.backend, "profile", **BY)


async def test_there_is_no_step_above_the_last() -> None:
    world = await ready()
    await steer.promote(world.backend, "profile", to="100%", force=True, **BY)
    with pytest.raises(Refused, match="100% is the last stage"):
        await steer.promote(world.backend, "profile", "orders", **BY)


# Rollback


async def test_a_rollback_is_immediate_and_twice_is_once() -> None:
    world = await ready()
    await steer.promote(world.backend, "profile", **BY)
    first = await steer.rollback(world.backend, "profile", "orders", **BY)
    assert (first.changed, first.moves[0].after.cause, first.moves[0].after.share) == (True, "person", 0.0)
    again = await steer.rollback(world.backend, "profile", **BY)
    assert again == Steered(
        rollout="profile",
        event=Event.rollback,
        changed=False,
        reason="because",
        note="orders is rolled back already (person)",
    )
    assert len(await world.decisions("rollback")) == 1


async def test_a_rollback_of_everything_is_one_decision_with_each_branch_once() -> None:
    world = await ready(branches=(unit("tickets"), unit("summary", "tickets"), unit("other")))
    await steer.promote(world.backend, "profile", **BY)
    done = await steer.rollback(world.backend, "profile", **BY)
    assert [move.after.branch for move in done.moves] == ["tickets", "summary", "other"]
    assert len(await world.decisions("rollback")) == 1


@pytest.mark.parametrize("mode", [Mode.active, Mode.paused, Mode.completed])
async def test_a_rollback_works_in_every_live_mode(mode: Mode) -> None:
    world = await ready(ramp=Ramp.parse("shadow 100%", soak=5), seconds=20 if mode is Mode.completed else 8)
    if mode is Mode.paused:
        await steer.pause(world.backend, "profile", **BY)
    assert (await world.state()).mode is mode
    await steer.rollback(world.backend, "profile", **BY)
    assert (await world.state()).mode is Mode.rolled_back


# Pause, resume, reset


async def test_pause_and_resume_keep_the_stage_and_the_soak_clock() -> None:
    world = await ready()
    await steer.promote(world.backend, "profile", **BY)
    entered = (await world.state()).entered_at
    await steer.pause(world.backend, "profile", **BY)
    await world.seconds(12)
    await steer.resume(world.backend, "profile", **BY)
    state = await world.state()
    assert (state.mode, state.share, state.entered_at) == (Mode.active, 0.1, entered)
    await steer.promote(world.backend, "profile", **BY)


async def test_resume_after_a_rollback_begins_again_in_shadow() -> None:
    world = await ready()
    await steer.promote(world.backend, "profile", **BY)
    await steer.rollback(world.backend, "profile", **BY)
    await steer.resume(world.backend, "profile", **BY)
    state = await world.state()
    assert (state.mode, state.share, state.cause, state.entered_at) == (Mode.active, 0.0, "", world.clock.wall())
    with pytest.raises(Refused, match="0 of 50"):
        await steer.promote(world.backend, "profile", **BY)


async def test_reset_takes_live_dependants_along_once() -> None:
    world = await ready(branches=(unit("tickets"), unit("summary", "tickets")))
    await steer.promote(world.backend, "profile", **BY)
    done = await steer.reset(world.backend, "profile", **BY)
    assert [(move.after.branch, move.after.share) for move in done.moves] == [("tickets", 0.0), ("summary", 0.0)]


Verb = Callable[..., Awaitable[Steered]]


@pytest.mark.parametrize(
    ("verb", "said"), [(steer.resume, "Possible now: promote"), (steer.pause, "Possible now: resume")]
)
async def test_an_illegal_event_names_the_legal_ones_and_changes_nothing(verb: Verb, said: str) -> None:
    world = await ready()
    if verb is steer.pause:
        await steer.pause(world.backend, "profile", **BY)
    before = await world.backend.state.revision()
    with pytest.raises(IllegalTransition, match=said):
        await verb(world.backend, "profile", **BY)
    assert await world.backend.state.revision() == before


# Approve


async def test_an_approval_lets_the_controller_take_the_step() -> None:
    world = await ready(ramp=replace(HAND, auto=True, approve=(0.1,)))
    await steer.approve(world.backend, "profile", **BY)
    assert (await world.state()).share == 0
    await world.second()
    assert (await world.state()).share == 0.1


async def test_an_approval_is_refused_before_soak_and_gates_are_through() -> None:
    ramp = replace(HAND, auto=True, approve=(0.1,))
    world = await ready(ramp=ramp, seconds=5)
    with pytest.raises(Refused, match="orders: soak"):
        await steer.approve(world.backend, "profile", **BY)
    world = await ready(ramp=ramp, truths={"orders": Truth(bad=0.3)})
    with pytest.raises(Refused, match="not ready"):
        await steer.approve(world.backend, "profile", **BY)


async def test_an_approval_that_nobody_waits_for_is_refused() -> None:
    world = await ready()
    with pytest.raises(
        Refused, match="Nothing waits for an approval: the stages that need one are none; orders at shad"
    ):
        await steer.approve(world.backend, "profile", **BY)


# Check


async def test_check_judges_now_and_changes_nothing() -> None:
    world = await ready(ramp=replace(HAND, auto=True), seconds=5)
    await world.traffic()
    world.clock.advance(20)
    before = await world.backend.state.revision(), await world.backend.state.checkpoint("profile", "orders")
    (seen,) = await steer.check(world.backend, "profile")
    assert (seen.unit, seen.verdict.action, seen.verdict.target) == ("orders", Action.promote, 0.1)
    assert seen.findings == seen.verdict.findings
    assert seen.findings[0].n == 600
    after = await world.backend.state.revision(), await world.backend.state.checkpoint("profile", "orders")
    assert after == before


async def test_check_and_the_controller_agree() -> None:
    world = await ready(truths={"orders": Truth(bad=0.02, differs=0.02)})
    (seen,) = await steer.check(world.backend, "profile", "orders")
    assert seen.verdict == world.controller.verdicts["profile", "orders"]


async def test_check_works_without_any_controller() -> None:
    world = await World(ramp=Ramp.parse("shadow 10% 50% 100%", soak=10)).begin()
    for _ in range(20):
        await world.traffic()
        world.clock.advance(1)
    (seen,) = await steer.check(world.backend, "profile")
    assert seen.verdict.action is Action.promote


# Names


@pytest.mark.parametrize("verb", [steer.promote, steer.rollback, steer.pause, steer.resume, steer.reset, steer.approve])
async def test_an_unknown_name_is_answered_with_the_nearest(verb: Verb) -> None:
    world = await ready(seconds=1)
    with pytest.raises(UnknownName, match='Did you mean "profile"'):
        await verb(world.backend, "profil", **BY)
    with pytest.raises(UnknownName, match='Did you mean "orders"'):
        await verb(world.backend, "profile", "order", **BY)


async def test_a_group_may_be_named_by_any_of_its_branches() -> None:
    world = await ready(branches=(unit("a", of="a+b"), unit("b", of="a+b")))
    done = await steer.promote(world.backend, "profile", "b", **BY)
    assert [move.after.branch for move in done.moves] == ["a", "b"]
    done = await steer.rollback(world.backend, "profile", "a+b", **BY)
    assert len(done.moves) == 2


# Races


async def test_a_rollback_gets_through_whatever_others_write() -> None:
    world = await ready(ramp=replace(HAND, auto=True))
    first = await asyncio.gather(
        steer.rollback(world.backend, "profile", **BY),
        steer.promote(world.backend, "profile", force=True, **BY),
        steer.pause(world.backend, "profile", **BY),
        return_exceptions=True,
    )
    assert isinstance(first[0], Steered)
    assert (await world.state()).mode is Mode.rolled_back


async def test_a_promotion_is_judged_anew_on_what_a_rollback_left() -> None:
    world = await ready()
    original = world.backend.state.transition
    raced = False

    async def racing(decided: Any) -> Any:
        nonlocal raced
        if not raced:
            raced = True
            await steer.rollback(world.backend, "profile", **BY)
        return await original(decided)

    world.backend.state.transition = racing  # type: ignore[method-assign,assignment]
    with pytest.raises(IllegalTransition, match="rolled back"):
        await steer.promote(world.backend, "profile", "orders", **BY)


async def test_who_always_loses_is_told() -> None:
    world = await ready()

    async def conflict(decided: Any) -> Any:
        raise Conflict("somebody was faster")

    world.backend.state.transition = conflict  # type: ignore[method-assign,assignment]
    with pytest.raises(Conflict):
        await steer.pause(world.backend, "profile", **BY)


# Flags


async def test_flags_are_set_listed_and_cleared() -> None:
    world = await ready(seconds=1, branches=(unit("orders", flag="new-orders"),))
    await steer.set_flag(world.backend, "profile", "on", key="alice", **BY)
    await steer.set_flag(world.backend, "new-orders", "off", **BY)
    await steer.set_flag(world.backend, "profile", "auto", **BY)
    found = await steer.list_flags(world.backend)
    assert [(one.flag, one.value, one.key) for one in found] == [
        ("new-orders", "off", None),
        ("profile", "auto", None),
        ("profile", "on", "alice"),
    ]
    assert await steer.clear_flag(world.backend, "profile", key="alice", **BY)
    assert not await steer.clear_flag(world.backend, "profile", key="alice", **BY)
    assert len(await steer.list_flags(world.backend, "profile")) == 1


async def test_a_flag_that_is_wrong_is_refused() -> None:
    backend: Backend = (await ready(seconds=1)).backend
    with pytest.raises(UnknownName, match='Did you mean "profile"'):
        await steer.set_flag(backend, "profle", "off", **BY)
    with pytest.raises(Refused, match="Use one of off, shadow, auto, on"):
        await steer.set_flag(backend, "profile", "maybe", **BY)
    with pytest.raises(Refused, match="cannot be on for everybody"):
        await steer.set_flag(backend, "profile", "on", **BY)
    with pytest.raises(Refused, match="key is empty"):
        await steer.set_flag(backend, "profile", "off", key="", **BY)
    with pytest.raises(UnknownName):
        await steer.clear_flag(backend, "profle", **BY)


async def test_a_stored_flag_that_nothing_declares_any_more_can_be_cleared() -> None:
    backend = (await ready(seconds=1)).backend
    await backend.state.set_flag(FlagOverride(flag="gone", value="off"))
    assert await steer.clear_flag(backend, "gone", **BY)


# Purge


def trial(number: int, at: float, key_hash: str) -> TrialRecord:
    return sample_trial(number, at=at, key_hash=key_hash)


async def test_purge_by_age_by_key_and_of_a_rollout() -> None:
    from rollout.domain.redaction import Redactor

    world = await ready(seconds=1)
    backend, now = world.backend, world.clock.wall()
    alice = Redactor(await backend.state.secret()).key("alice")
    await backend.ledger.append(sample_batch(trial(1, now - 90_000, "b"), trial(2, now, alice), trial(3, now, "b")))
    assert await steer.purge(backend, older_than="1d") == 1
    assert await steer.purge(backend, key="alice") == 1
    assert await steer.purge(backend, rollout="profile") == 1
    with pytest.raises(Refused, match="Say what to purge"):
        await steer.purge(backend)
    with pytest.raises(Refused, match="not a duration"):
        await steer.purge(backend, older_than="long")
    with pytest.raises(UnknownName):
        await steer.purge(backend, rollout="profil")
