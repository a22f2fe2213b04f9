"""The verdict: the worst wins, a breach rolls back whatever else, and everything else only holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.domain.gates import Finding, Grade
from rollout.domain.judgement import Case, context_of
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState, FlagOverride, Mode
from rollout.domain.verdict import Action, Context, decide
from rollout.testing import sample_policy

LIVE = Context(mode=Mode.active, share=0.25, target=0.5)
SHADOW = Context(mode=Mode.active, share=0.0, target=0.25)


def finding(grade: Grade, gate: str = "errors") -> Finding:
    return Finding(gate=gate, unit="orders", grade=grade, why="it says so")


PASS, DOUBT, ERROR, BREACH = map(finding, Grade)
KINDS = ("errors", "latency p95", "mismatches", "sla", "fallbacks", "cost")


def test_passing_gates_promote_one_step() -> None:
    verdict = decide(LIVE, [PASS, PASS])
    assert (verdict.action, verdict.target, verdict.gates_pass) == (Action.promote, 0.5, True)


def test_after_the_last_stage_it_is_completed() -> None:
    seen = replace(PASS, n=40)
    verdict = decide(replace(LIVE, share=1.0, target=None), [seen])
    assert (verdict.action, verdict.reason) == (Action.complete, "every gate passes")


def test_what_is_completed_says_which_gates_saw_nothing() -> None:
    findings = [PASS, replace(PASS, gate="mismatches", n=40), replace(PASS, gate="latency p95")]
    verdict = decide(replace(LIVE, share=1.0, target=None), findings)
    assert verdict.action is Action.complete
    assert verdict.reason == "every gate passes, though nothing was seen by errors, latency p95 at this stage"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [Mode.active, Mode.paused, Mode.completed])
def test_a_breach_rolls_back_whatever_is_live(kind: str, mode: Mode) -> None:
    context = replace(
        LIVE, mode=mode, soak_left_s=9.0, frozen_s=9.0, approval=True, closed_by="flag", auto=False, behind_s=9.0
    )
    verdict = decide(context, [PASS, ERROR, finding(Grade.breach, kind)])
    assert (verdict.action, verdict.cause) == (Action.rollback, kind)
    assert verdict.reasons == (f"{kind}: it says so",)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_breach_in_shadow_is_not_ready(kind: str) -> None:
    verdict = decide(SHADOW, [finding(Grade.breach, kind), PASS])
    assert verdict.action is Action.hold
    assert verdict.reasons[0] == f"not ready, {kind}: it says so"


@pytest.mark.parametrize("mode", [Mode.active, Mode.paused, Mode.rolled_back])
def test_a_breach_of_cost_stops_the_shadow_once(mode: Mode) -> None:
    dear = [finding(Grade.breach, "cost")]
    assert decide(replace(SHADOW, mode=mode), dear).action is Action.stop_shadow
    assert decide(replace(SHADOW, mode=mode, shadow=False), dear).action is Action.hold


@pytest.mark.parametrize("one", [DOUBT, ERROR])
def test_doubt_and_error_hold_and_never_roll_back(one: Finding) -> None:
    for context in (LIVE, SHADOW):
        verdict = decide(context, [PASS, one])
        assert (verdict.action, verdict.gates_pass) == (Action.hold, False)


def test_no_finding_at_all_is_no_pass() -> None:
    assert decide(LIVE, []).action is Action.hold


HOLDS: dict[str, dict[str, Any]] = {
    "soak: 2m5s left": {"soak_left_s": 125.0},
    "promotion is frozen for 1h": {"frozen_s": 3600.0},
    "a person must approve 50%": {"approval": True},
    "the flag": {"closed_by": "the flag is off"},
    "after tickets": {"waits_for": "after tickets"},
    "by hand": {"auto": False},
    "still to be read": {"behind_s": 60.0},
    "paused (person)": {"mode": Mode.paused, "cause": "person"},
    "completed": {"mode": Mode.completed},
    "rolled back (errors)": {"mode": Mode.rolled_back, "share": 0.0, "cause": "errors"},
}


@pytest.mark.parametrize(("said", "changes"), HOLDS.items(), ids=HOLDS)
def test_each_thing_that_holds_is_named(said: str, changes: dict[str, Any]) -> None:
    verdict = decide(replace(LIVE, **changes), [PASS])
    assert (verdict.action, verdict.gates_pass) == (Action.hold, True)
    assert said in verdict.reason


CONTEXTS = st.builds(
    Context,
    mode=st.sampled_from([Mode.active, Mode.paused, Mode.completed]),
    share=st.sampled_from([0.0, 0.25, 1.0]),
    target=st.sampled_from([None, 0.5]),
    soak_left_s=st.sampled_from([0.0, 5.0]),
    frozen_s=st.sampled_from([0.0, 5.0]),
    approval=st.booleans(),
    closed_by=st.sampled_from(["", "flag"]),
    waits_for=st.sampled_from(["", "branch"]),
    auto=st.booleans(),
    behind_s=st.sampled_from([0.0, 5.0]),
    shadow=st.booleans(),
)
FINDINGS = st.lists(st.builds(finding, st.sampled_from(Grade), st.sampled_from(KINDS)), max_size=4)


@settings(max_examples=200, deadline=None)
@given(CONTEXTS, FINDINGS)
def test_it_moves_up_only_when_nothing_at_all_is_against_it(context: Context, findings: list[Finding]) -> None:
    verdict = decide(context, findings)
    grades = {one.grade for one in findings}
    if context.live and Grade.breach in grades:
        assert verdict.action is Action.rollback
    if verdict.action in (Action.promote, Action.complete):
        assert grades == {Grade.passed}
        assert context.mode is Mode.active
        assert not (context.soak_left_s)
        assert not (context.closed_by)
        assert not (context.behind_s)
    if verdict.action is Action.promote:
        assert not (context.frozen_s)
        assert not (context.approval)
        assert not (context.waits_for)
        assert context.auto
    assert verdict.reasons


# Where a unit stands

MONDAY_NOON = 1_767_614_400.0


def case(state: dict[str, Any] | None = None, flags: tuple[FlagOverride, ...] = (), **ramp: Any) -> Context:
    policy = sample_policy(ramp=Ramp.parse("shadow 25% 100%", soak=60, bake=300, **ramp))
    stands = BranchState(rollout="profile", branch="orders", **{"entered_at": MONDAY_NOON - 50, **(state or {})})
    return context_of(Case(policy=policy, unit="orders", states={"orders": stands}, flags=flags, now=MONDAY_NOON))


def test_soak_counts_from_the_entry_and_bake_at_the_last_stage() -> None:
    assert case().soak_left_s == 10.0
    assert case({"share": 1.0, "stage": 2}).soak_left_s == 250.0
    assert case({"share": 1.0, "stage": 2}).target is None


def test_a_freeze_window_is_seen() -> None:
    assert case(freeze=["Mon 08:00 - Mon 13:00"]).frozen_s == 3600.0
    assert case(freeze=["Tue 08:00 - Tue 13:00"]).frozen_s == 0.0


def test_an_approval_covers_the_share_that_was_approved() -> None:
    assert case(approve="25%").approval
    assert not case({"approved": 0.25}, approve="25%").approval
    assert case({"approved": 0.25, "share": 0.25, "stage": 1}, approve="100%").approval


@pytest.mark.parametrize(
    ("override", "closed"),
    [
        (FlagOverride(flag="profile", value="off"), True),
        (FlagOverride(flag="profile", value="shadow"), True),
        (FlagOverride(flag="profile", value="auto"), False),
        (FlagOverride(flag="profile", value="off", key="alice"), False),
        (FlagOverride(flag="cart", value="off"), False),
    ],
)
def test_a_flag_that_is_off_for_everybody_stands_in_the_way(override: FlagOverride, closed: bool) -> None:
    assert bool(case(flags=(override,)).closed_by) is closed
