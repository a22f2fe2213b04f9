"""Sequential gates in the hands of the controller: what an account is carried over, and what begins a new one."""

from __future__ import annotations

import pytest

from rollout import Branch, Rollout, gates
from rollout.domain.gates import Finding
from rollout.domain.judgement import ACCOUNT
from rollout.domain.lifecycle import ALLOCATION
from rollout.domain.ramp import Ramp
from rollout.domain.sequential.account import Account
from rollout.domain.state import Mode
from rollout.domain.verdict import Action
from rollout.engine.declared import policy_of
from rollout.ports import GateCheckpoint
from rollout.testing import sample_policy
from rollout.usecases import steer
from tests.support.ramping import SETTLE_S, Truth, World

ERRORS = (gates.errors(),)
RAMP = Ramp.parse("shadow 10% 50% 100%", soak=5, harm=0.02)


async def world(**options: object) -> World:
    return await World(**{"ramp": RAMP, "gates": ERRORS, **options}).begin()  # type: ignore[arg-type]


def finding(world: World, unit: str = "orders") -> Finding:
    return world.controller.verdicts["profile", unit].findings[0]


async def stored(world: World) -> GateCheckpoint:
    found = await world.backend.state.checkpoint("profile", "orders")
    assert found is not None
    return found


def log_e(checkpoint: GateCheckpoint) -> float:
    return Account.load(ERRORS, checkpoint.states[ACCOUNT]).log_e


async def test_a_healthy_branch_goes_all_the_way_and_is_completed() -> None:
    one = await world()
    await one.until(1.0)
    await one.seconds(20)
    assert (await one.state()).mode is Mode.completed
    assert [decision.action for decision in await one.decisions()] == ["promote"] * 3 + ["complete"]


async def test_a_branch_that_turns_bad_is_rolled_back_and_the_decision_holds_the_numbers() -> None:
    one = await world()
    await one.until(0.5)
    one.truths["orders"] = Truth(bad=0.1)
    await one.seconds(30)
    (decision,) = await one.decisions("rollback")
    assert (await one.state()).cause == "errors"
    (found,) = decision.findings
    assert found.bound
    assert found.log_e is not None
    assert found.log_limit is not None
    assert found.log_e >= found.log_limit
    assert (found.observed or 0) > (found.baseline or 0)


async def test_the_leader_tells_what_each_gate_holds() -> None:
    one = await world()
    await one.until(0.1)
    await one.seconds(5)
    found = one.controller.evidence()
    assert set(found) == {("profile", "orders", "errors", side) for side in ("rollback", "promote")}
    assert found["profile", "orders", "errors", "rollback"] < 1 < found["profile", "orders", "errors", "promote"]


async def test_at_100_percent_pairs_roll_back() -> None:
    one = await world(ramp=Ramp.parse("shadow 50% 100%", soak=5, harm=0.05, bake="10m"))
    await one.until(1.0)
    one.truths["orders"] = Truth(bad=0.1)
    await one.seconds(30)
    assert (await one.state()).mode is Mode.rolled_back


async def test_evidence_against_a_branch_is_carried_from_stage_to_stage_and_for_the_step_is_not() -> None:
    one = await world(control=Truth(bad=0.01), truths={"orders": Truth(bad=0.012)})
    await one.until(0.1)
    await one.seconds(2)
    await one.until(0.5)
    before = log_e(await stored(one))
    await one.second()
    assert finding(one).log_promote == pytest.approx(0.0)
    await one.seconds(2)
    assert log_e(await stored(one)) >= before - 1
    checkpoint = await stored(one)
    assert (checkpoint.account, checkpoint.entry) == (1, (await one.state()).entry)


async def test_another_leader_goes_on_where_the_first_stopped() -> None:
    one, other = await world(), await world()
    for step in range(60):
        await one.second()
        if step == 30:
            await other.controller.stop()
            other.controller = other.another("p2")
        await other.second()
    assert (await stored(one)).states == (await stored(other)).states
    assert [d.moves for d in await one.decisions()] == [d.moves for d in await other.decisions()]


async def test_resume_after_a_rollback_begins_a_new_account() -> None:
    one = await world()
    await one.until(0.5)
    one.truths["orders"] = Truth(bad=0.2)
    await one.seconds(30)
    assert (await one.state()).mode is Mode.rolled_back
    one.truths.clear()
    await steer.resume(one.backend, "profile", actor="ann", reason="mended")
    state = await one.state()
    assert (state.account, state.earlier) == (state.entry, 0.0)
    await one.until(1.0)


async def test_a_new_policy_version_begins_a_new_account() -> None:
    one = await world()
    await one.until(0.5)
    one.truths["orders"] = Truth(bad=0.03)
    await one.seconds(4)
    assert log_e(await stored(one)) > 0
    changed = sample_policy(branches=one.branches, ramp=RAMP, gates=ERRORS, settle_s=SETTLE_S, revision="2")
    await one.backend.state.register(changed, "test")
    one.truths.clear()
    await one.seconds(4)
    assert log_e(await stored(one)) < 0


async def test_a_promotion_remembers_the_highest_share_that_was_live() -> None:
    one = await world()
    await one.until(0.5)
    assert (await one.state()).earlier == 0.1
    await steer.pause(one.backend, "profile", actor="ann", reason="lunch")
    await steer.resume(one.backend, "profile", actor="ann", reason="done")
    assert ((await one.state()).earlier, (await one.state()).account) == (0.1, 1)


async def test_calls_that_are_not_drawn_as_they_should_be_pause_the_ramp_and_resume_counts_anew() -> None:
    one = await world(calls=1_000)
    await one.until(0.5)
    draws = one._arms

    def misdrawn(state, truth):  # type: ignore[no-untyped-def]
        found = dict(draws(state, truth))
        if "A" in found:
            found["A"] = one._side(100, one.control)
        return found

    one._arms = misdrawn  # type: ignore[method-assign]
    await one.seconds(10)
    state = await one.state()
    assert (state.mode, state.cause, state.share) == (Mode.paused, ALLOCATION, 0.5)
    one._arms = draws  # type: ignore[method-assign]
    await steer.resume(one.backend, "profile", actor="ann", reason="the cache is gone")
    after = await one.state()
    assert (after.share, after.entry, after.account) == (0.5, state.entry + 1, state.entry + 1)
    await one.until(1.0)


async def test_calls_that_were_drawn_one_by_one_are_all_counted_in_a_later_stage_too() -> None:
    """Nobody of them was live before."""
    one = await world(calls=1_000)
    await one.until(0.5)
    await one.seconds(4)
    assert (await one.state()).mode is Mode.active
    assert not [decision for decision in await one.decisions() if decision.action == "pause"]


async def test_a_deadline_that_passed_leaves_the_step_to_a_person() -> None:
    one = await world(ramp=Ramp.parse("shadow 10% 50%", soak=5, harm=0.02, deadline=30))
    one.flow = False
    await one.seconds(31)
    one.flow = True
    await one.seconds(30)
    verdict = one.controller.verdicts["profile", "orders"]
    assert verdict.gates_pass
    assert verdict.action is Action.hold
    assert "undecided: the deadline passed" in verdict.reason
    assert (await one.state()).share == 0
    await steer.promote(one.backend, "profile", actor="ann", reason="slow but sure")
    assert (await one.state()).share == 0.1


async def test_branches_of_one_salt_are_judged_as_one() -> None:
    """Their arms are the same calls: apart, each would be blamed for the other."""

    async def fetch(call: object) -> object:
        return None

    declared = Rollout(
        "profile",
        control=fetch,
        branches=[Branch("orders", fetch, salt="one"), Branch("tickets", fetch, salt="one")],
        gates=list(ERRORS),
    )
    (unit,) = policy_of(declared).units()
    assert unit == "orders+tickets"
