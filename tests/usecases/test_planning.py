"""What ``plan`` and ``simulate`` work from: what is in force, what was recorded, and what a person says instead."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rollout import gates
from rollout.domain.evidence import Arm, Figures
from rollout.domain.histogram import Histogram, bucket_of
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, FlagOverride, Mode
from rollout.errors import Refused, UnknownName
from rollout.testing import (
    ManualClock,
    MemoryBackend,
    memory_backend,
    sample_batch,
    sample_block,
    sample_change,
    sample_policy,
)
from rollout.usecases.planning import Setting, Wanted, look_ahead, plan, setting, settings, simulate
from rollout.usecases.rates import Traffic
from rollout.usecases.reached import Failing

HOUR = 3_600
WALL = 1_767_614_400.0


async def registered(clock: ManualClock | None = None, **changes: Any) -> MemoryBackend:
    backend = memory_backend(clock or ManualClock(wall=WALL))
    await backend.state.register(sample_policy(**changes), "me")
    return backend


async def recorded(backend: MemoryBackend, second: int = int(WALL) - HOUR, version: int = 1, **arms: Figures) -> None:
    """In one second, an hour ago; ``all``: what the rollout itself counted then, which is never absent."""
    units: dict[str, tuple[str, Arm]] = {
        "all": ("", "*"),
        "a": ("orders", "A"),
        "b": ("orders", "B"),
        "pairs": ("orders", "P"),
    }
    blocks = []
    for name, figures in {"all": Figures(), **arms}.items():
        unit, arm = units[name]
        blocks.append(sample_block(second, arm, figures, unit=unit, version=version))
    await backend.ledger.append(sample_batch(*blocks))


async def hour_of_calls(backend: MemoryBackend, until: int = int(WALL)) -> None:
    """Ten calls a second."""
    for second in range(until - HOUR, until, 60):
        await recorded(backend, second, all=Figures({"calls": 600}))


async def put(backend: MemoryBackend, branch: str = "orders", **moved: Any) -> None:
    """Bring a branch where it shall stand, at once."""
    state = (await backend.state.load()).states["profile"][branch]
    await backend.state.transition(sample_change(state, **moved))


async def of(backend: MemoryBackend, branch: str | None = None, **wanted: Any) -> Setting:
    return await setting(backend, "profile", branch, wanted=Wanted(**{"traffic": 10.0, **wanted}))


PAIRS = Figures(
    {
        "pairs": 2_000, "control_bad": 4, "only_control_bad": 4, "matched": 1_980, "mismatched": 10, "ignored": 6,
        "runs": 2_000, "sla_missed": 20, "noise": 200, "noise_mismatched": 1, "costed": 2_000,
        "cost_nano": 4_000_000_000, "control_costed": 2_000, "control_cost_nano": 2_000_000_000,
    },
    {"control": Histogram({bucket_of(0.1): 1_500, bucket_of(0.2): 496})},
)  # fmt: skip


async def test_what_was_recorded_is_taken() -> None:
    backend = await registered()
    await hour_of_calls(backend)
    await recorded(backend, pairs=PAIRS)
    about = (await of(backend, traffic=None)).about
    assert about.traffic == pytest.approx(10, rel=0.02)
    assert about.recorded == Traffic(calls=36_000, since=WALL - HOUR, until=WALL - 59)
    truth = about.truth
    assert truth.errors == pytest.approx(0.002)
    assert truth.mismatches == pytest.approx(10 / 1_996)
    assert truth.noise == pytest.approx(0.005)
    assert truth.sla_missed == pytest.approx(0.01)
    assert truth.latency_s == pytest.approx(0.1, rel=0.02)
    assert truth.sigma == pytest.approx(0.42, rel=0.05)
    assert (truth.nano, truth.worse_errors) == (0, None)  # no gate looks at costs
    assert set(about.origins.values()) == {"recorded"}


async def test_what_a_person_says_counts_before_what_was_recorded() -> None:
    backend = await registered()
    await recorded(backend, all=Figures({"calls": 36_000}), pairs=PAIRS)
    about = (await of(backend, errors=0.05, mismatches=0.0, traffic=3.0)).about
    assert (about.truth.errors, about.truth.mismatches, about.traffic) == (0.05, 0.0, 3.0)
    assert [about.origins[name] for name in ("errors", "mismatches", "traffic", "noise")] == [
        "given", "given", "given", "recorded",
    ]  # fmt: skip


async def test_few_calls_tell_nothing() -> None:
    backend = await registered()
    await recorded(backend, pairs=Figures({"pairs": 90, "matched": 90, "control_bad": 9, "only_control_bad": 9}))
    about = (await of(backend)).about
    assert (about.truth.errors, about.origins["errors"]) == (0.001, "assumed")


async def test_a_control_that_never_failed_is_not_taken_to_never_fail() -> None:
    backend = await registered()
    await recorded(backend, a=Figures({"calls": 5_000}), pairs=Figures({"pairs": 200, "matched": 200}))
    about = (await of(backend)).about
    assert about.truth.errors == pytest.approx(0.0001)
    assert about.origins["errors"] == "unseen"


async def test_silence_after_the_last_call_changes_nothing() -> None:
    clock = ManualClock(wall=WALL)
    backend = await registered(clock)
    await hour_of_calls(backend)
    await recorded(backend, pairs=PAIRS)
    before = await of(backend, traffic=None)
    for silence_s in (600, 40 * 86_400):
        clock.advance(silence_s)
        after = await of(backend, traffic=None)
        assert (after.about, after.scenario) == (before.about, before.scenario)


async def test_calls_count_from_a_day_before_the_newest_one_on() -> None:
    backend = await registered()
    await hour_of_calls(backend, until=int(WALL) - 2 * 86_400)
    await recorded(backend, int(WALL) - 2 * 86_400, pairs=PAIRS)
    await hour_of_calls(backend)
    about = (await of(backend, traffic=None)).about
    assert about.recorded == Traffic(calls=36_000, since=WALL - HOUR, until=WALL - 59)
    assert about.origins["errors"] == "assumed"


@pytest.mark.parametrize("calls", [0, 1])
async def test_fewer_than_two_calls_are_no_traffic(calls: int) -> None:
    backend = await registered()
    if calls:
        await recorded(backend, all=Figures({"calls": calls}))
    with pytest.raises(Refused, match=r"Fewer than two calls of profile .* --traffic 5/h"):
        await of(backend, traffic=None)


# The policy in force

OLD = Figures({"pairs": 500, "control_bad": 1, "matched": 300, "mismatched": 200, "runs": 500, "sla_missed": 5})


async def test_what_was_recorded_under_an_older_policy_does_not_count_where_there_is_enough_under_the_newest() -> None:
    backend = await registered()
    await recorded(backend, pairs=OLD)
    assert (await of(backend)).about.truth.mismatches == 0.4
    await backend.state.register(sample_policy(revision="mended"), "me")
    await recorded(backend, version=2, pairs=Figures({"pairs": 300, "matched": 297, "mismatched": 3}))
    about = (await of(backend)).about
    assert (about.truth.mismatches, about.origins["mismatches"]) == (0.01, "recorded")
    assert (about.truth.sla_missed, about.origins["sla_missed"]) == (0.01, "older")


async def test_older_figures_that_stand_in_are_told_as_such() -> None:
    backend = await registered()
    await recorded(backend, pairs=OLD)
    await backend.state.register(sample_policy(revision="mended"), "me")
    await recorded(backend, version=2, pairs=Figures({"pairs": 50, "matched": 50}))
    about = (await of(backend)).about
    assert about.truth.mismatches == pytest.approx(200 / 550)
    assert {about.origins[name] for name in ("errors", "mismatches", "sla_missed")} == {"older"}


# Costs


@pytest.mark.parametrize(
    ("gate", "nano", "control"),
    [
        ({"usd_per_call": "0.01"}, 5e6, 0.0),
        ({"worse_by": 0.1}, 1e6, 1e6),
        ({"usd_per_call": "0.01", "worse_by": 0.1}, 5e6, 5e6),
    ],
)
async def test_costs_that_nobody_knows_are_within_their_limits(gate: Any, nano: float, control: float) -> None:
    about = (await of(await registered(gates=(gates.cost(**gate),)))).about
    assert (about.truth.nano, about.truth.control_nano) == (nano, control)
    assert about.origins["nano"] == "assumed"


async def test_dearer_is_dearer_than_control() -> None:
    backend = await registered(gates=(gates.cost(worse_by=0.1),))
    await recorded(backend, pairs=PAIRS)
    truth = (await of(backend, dearer=0.3)).about.truth
    assert (truth.control_nano, round(truth.nano)) == (1e6, 1_300_000)
    assert (await of(backend)).about.truth.nano == 2e6


# The ramp


async def test_another_ramp_and_harm_budget_can_be_tried_with_the_soak_in_force() -> None:
    backend = await registered(ramp=Ramp.parse("shadow 5% 100%", soak="2h", approve="5% 100%"))
    at = await of(backend, ramp="shadow 50% 100%", harm=0.1)
    ramp = at.scenario.policy.ramp
    assert (ramp.stages, ramp.harm, ramp.soak_s) == ((0.0, 0.5, 1.0), 0.1, 7_200)
    assert at.about.people == ("a person must approve 100%",)


async def test_it_may_begin_at_any_stage_of_the_ramp() -> None:
    backend = await registered()
    assert (await of(backend, start=0.05)).scenario.start == 2
    with pytest.raises(Refused, match="7% is no stage"):
        await of(backend, start=0.07)


@pytest.mark.parametrize("wanted", [{"ramp": "50% 100%"}, {"ramp": "shadow 50% 20%"}, {"harm": 0.0}])
async def test_a_ramp_that_is_none_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="cannot be tried"):
        await of(await registered(), **wanted)


async def test_users_are_told_apart_only_where_they_keep_their_bucket() -> None:
    assert (await of(await registered(keyed=True), users=100)).about.truth.users == 100
    with pytest.raises(Refused, match="Leave the users out"):
        await of(await registered(keyed=True, sticky=False), users=100)


async def test_a_truth_that_cannot_be_is_refused() -> None:
    with pytest.raises(Refused, match="errors is 2"):
        await of(await registered(), errors=2.0)


async def test_the_unit_of_a_branch_is_looked_at_and_the_first_by_default() -> None:
    backend = await registered(branches=("orders", "tickets"))
    assert [(await of(backend)).about.unit, (await of(backend, "tickets")).about.unit] == ["orders", "tickets"]
    assert (await of(backend)).about.units == 2
    with pytest.raises(UnknownName, match="Did you mean"):
        await of(backend, "ticket")
    with pytest.raises(UnknownName):
        await setting(backend, "profil", wanted=Wanted())


# The verbs


async def test_a_plan_that_fits_offers_nothing_else() -> None:
    at = await of(await registered(ramp=Ramp.parse("shadow 50% 100%", harm=0.05)))
    assert plan(at).in_time is None
    found = plan(at, 86_400.0)
    assert (found.in_time, found.options, found.loosest) == (True, (), None)


async def test_a_plan_begins_where_the_branch_stands() -> None:
    backend = await registered(ramp=Ramp.parse("shadow 25% 50% 100%", soak="1m"))
    await put(backend, stage=2, share=0.5, entry=2)
    found = plan(await of(backend))
    assert [step.share for step in found.steps] == [0.5, 1.0]
    assert found.reached is not None
    assert (found.reached.share, found.reached.waits) == (0.5, "")
    assert found.left_s == pytest.approx(found.seconds)


async def test_it_may_begin_elsewhere_and_then_nothing_of_it_is_over() -> None:
    backend = await registered(ramp=Ramp.parse("shadow 25% 50% 100%", soak="1m"))
    await put(backend, stage=2, share=0.5, entry=2)
    found = plan(await of(backend, start=0.0))
    assert [step.share for step in found.steps] == [0.0, 0.25, 0.5, 1.0]
    assert (found.reached, found.left_s) == (None, found.seconds)


async def test_a_stage_that_another_ramp_leaves_out_is_entered_anew_from_the_one_below() -> None:
    clock = ManualClock(wall=WALL)
    backend = await registered(clock, ramp=Ramp.parse("shadow 25% 50% 100%", soak="1m"))
    await put(backend, stage=1, share=0.25, entry=2)
    clock.advance(HOUR)
    found = plan(await of(backend, ramp="shadow 50% 100%"))
    assert [step.share for step in found.steps] == [0.0, 0.5, 1.0]
    assert found.left_s == pytest.approx(found.seconds)


async def test_calls_that_came_at_the_stage_and_soak_that_passed_are_not_waited_for_again() -> None:
    clock = ManualClock(wall=WALL - HOUR)
    backend = await registered(clock, ramp=Ramp.parse("shadow 50% 100%", soak="1s"), gates=(gates.mismatches(),))
    at_first = plan(await of(backend, traffic=1.0))
    await recorded(backend, all=Figures({"calls": 600}))
    clock.advance(30)
    early = plan(await of(backend, traffic=1.0))
    first, second, _ = at_first.steps
    assert (first.waits_for, at_first.left_s) == (("mismatches",), at_first.seconds)
    assert first.seconds is not None
    assert first.calls is not None
    assert second.seconds is not None
    assert early.left_s == pytest.approx(first.seconds * (1 - 600 / first.calls) + second.seconds)
    clock.advance(HOUR)
    await hour_of_calls(backend)
    assert plan(await of(backend, traffic=1.0)).left_s == second.seconds


async def test_calls_that_came_are_no_evidence_of_what_a_person_supposes_nor_of_a_newer_policy() -> None:
    clock = ManualClock(wall=WALL - HOUR)
    backend = await registered(clock)
    await hour_of_calls(backend)
    clock.advance(HOUR)
    seen = (await of(backend)).reached
    assert seen is not None
    assert seen.calls == pytest.approx(36_000)
    supposed = [await of(backend, errors=0.01), await of(backend, mismatches=0.0)]
    await backend.state.register(sample_policy(revision="mended"), "me")
    newer = await of(backend)
    assert [one.reached and one.reached.calls for one in (*supposed, newer)] == [0, 0, 0]


async def test_silence_is_no_evidence_though_the_soak_goes_on() -> None:
    clock = ManualClock(wall=WALL)
    backend = await registered(clock, ramp=Ramp.parse("shadow 50% 100%", soak="1s"), gates=(gates.mismatches(),))
    await hour_of_calls(backend, until=int(WALL))
    early = plan(await of(backend))
    clock.advance(10 * 86_400)
    assert plan(await of(backend)).left_s == early.left_s == early.seconds


async def test_nothing_is_left_of_a_completed_ramp() -> None:
    backend = await registered()
    await put(backend, stage=5, share=1.0, mode=Mode.completed, entry=2)
    found = plan(await of(backend), 60.0)
    assert (found.steps, found.seconds, found.calls, found.left_s, found.in_time) == ((), 0, 0, 0, True)


@pytest.mark.parametrize("mode", [Mode.rolled_back, Mode.paused])
async def test_what_must_be_resumed_first_says_so_and_never_comes_there_by_itself(mode: Mode) -> None:
    backend = await registered(ramp=Ramp.parse("shadow 50% 100%"))
    await put(backend, mode=mode, cause="errors")
    found = plan(await of(backend), 365.0 * 86_400)
    assert found.reached is not None
    assert found.reached.waits == f"{mode.text} (errors): rollout resume profile orders"
    assert found.seconds is not None
    assert (found.left_s, found.in_time, found.options, found.loosest) == (None, False, (), None)


def shadow(runs: int, failed: int, control: int = 0) -> Figures:
    return Figures({"pairs": runs, "runs": runs, "candidate_bad": failed, "control_bad": control})


async def shadowed(backend: MemoryBackend, pairs: Figures, entry: int = 2, version: int = 1) -> None:
    """What its pairs were two days before the newest call, at an entry of a stage."""
    second = int(WALL) - 2 * 86_400
    await backend.ledger.append(sample_batch(sample_block(second, "P", pairs, entry=entry, version=version)))
    await recorded(backend, int(WALL) - 60, all=Figures({"calls": 600}))


async def failing(backend: MemoryBackend) -> Failing | None:
    reached = (await of(backend)).reached
    assert reached is not None
    return reached.failing


async def rolled_back() -> MemoryBackend:
    backend = await registered()
    await put(backend, mode=Mode.rolled_back, entry=2, cause="errors")
    return backend


async def test_what_fails_in_shadow_since_its_rollback_is_told_with_its_counts_however_long_ago() -> None:
    backend = await rolled_back()
    assert await failing(backend) is None
    await shadowed(backend, shadow(400, 100, control=4))
    assert await failing(backend) == Failing(runs=400, failed=100)


@pytest.mark.parametrize(
    "pairs",
    [shadow(400, 0), shadow(400, 20), shadow(400, 100, control=100), shadow(400, 100, control=95), shadow(1, 1)],
    ids=["none failed", "few failed", "as often as control", "hardly more often", "one run"],
)
async def test_what_fails_hardly_more_often_than_control_is_not_told_as_failing(pairs: Figures) -> None:
    backend = await rolled_back()
    await shadowed(backend, pairs)
    assert await failing(backend) is None


async def test_what_failed_before_the_rollback_or_under_an_older_policy_is_not_told_as_failing() -> None:
    backend = await rolled_back()
    await shadowed(backend, shadow(400, 400), entry=1)
    assert await failing(backend) is None
    await shadowed(backend, shadow(300, 300))
    assert await failing(backend) == Failing(runs=300, failed=300)
    await backend.state.register(sample_policy(revision="mended"), "me")
    assert await failing(backend) is None


async def test_what_is_not_rolled_back_is_not_told_as_failing() -> None:
    backend = await registered()
    await shadowed(backend, shadow(400, 400), entry=1)
    assert await failing(backend) is None


async def test_a_flag_and_a_deadline_that_passed_stand_in_the_way_too() -> None:
    clock = ManualClock(wall=WALL)
    backend = await registered(clock, ramp=Ramp.parse("shadow 50% 100%", deadline="2h"))
    await backend.state.set_flag(FlagOverride(flag="profile", value="off"))
    (reached,) = [one.reached for one in look_ahead([await of(backend)]).units]
    assert reached is not None
    assert reached.waits == 'the flag "profile" is off for everybody'
    clock.advance(3 * HOUR)
    reached = (await of(backend)).reached
    assert reached is not None
    assert reached.waits == (
        "the deadline of its stage passed 1h ago: rollout promote profile orders, or rollout reset profile orders"
    )


async def test_a_branch_waits_for_the_one_that_it_comes_after_where_that_does_not_move() -> None:
    after = BranchPolicy(name="summary", unit="summary", salt="s", part="$.summary", after=("orders",))
    backend = await registered(branches=("orders", after), ramp=Ramp.parse("shadow 50% 100%"))
    assert [one.reached and one.reached.waits for one in await units_of(backend)] == ["", ""]
    await put(backend, mode=Mode.paused)
    assert [one.reached and one.reached.waits for one in await units_of(backend)] == [
        "paused: rollout resume profile orders",
        'it comes after "orders", which is at shadow',
    ]


# All units


async def units_of(backend: MemoryBackend, **wanted: Any) -> Sequence[Setting]:
    return await settings(backend, "profile", wanted=Wanted(**{"traffic": 10.0, **wanted}))


async def test_the_outlook_is_that_of_the_slowest_branch() -> None:
    backend = await registered(branches=("orders", "tickets"), ramp=Ramp.parse("shadow 50% 100%"))
    await put(backend, stage=1, share=0.5, entry=2)
    found = look_ahead(await units_of(backend), 365.0 * 86_400)
    orders, tickets = found.units
    assert (orders.about.unit, tickets.about.unit) == ("orders", "tickets")
    assert (orders.left_s or 0) < (tickets.left_s or 0)
    assert (found.left_s, found.in_time) == (tickets.left_s, True)
    assert look_ahead(await units_of(backend), 1.0).in_time is False


async def test_a_rollout_without_a_branch_has_no_outlook() -> None:
    with pytest.raises(Refused, match="profile has no branch yet: start the application"):
        await units_of(await registered(branches=()))


async def test_the_outlook_is_never_where_one_branch_never_comes_there() -> None:
    backend = await registered(branches=("orders", "tickets"), ramp=Ramp.parse("shadow 50% 100%"))
    await put(backend, "tickets", mode=Mode.rolled_back)
    found = look_ahead(await units_of(backend), 365.0 * 86_400)
    assert [one.left_s is None for one in found.units] == [False, True]
    assert (found.left_s, found.in_time) == (None, False)
    assert {step.worst_errors for one in found.units for step in one.steps} == {None}


async def test_a_plan_that_does_not_fit_offers_what_does_with_the_approvals_that_are_left() -> None:
    ramp = Ramp.parse("shadow 1% 25% 100%", approve="1% 100%")
    found = plan(await of(await registered(ramp=ramp), traffic=50 / HOUR), 4 * 86_400.0)
    assert found.in_time is False
    assert {option.ramp: option.approve for option in found.options}["shadow 25% 100%"] == "100%"
    assert found.loosest is None


async def test_a_stage_at_which_a_branch_stands_is_never_left_out() -> None:
    at = await of(await registered(ramp=Ramp.parse("shadow 1% 25% 100%")), traffic=50 / HOUR)
    found = plan(replace(at, standing={0.01}), 4 * 86_400.0)
    assert found.in_time is False
    assert {option.ramp for option in found.options} <= {"shadow 1% 25% 100%"}


async def test_where_nothing_fits_the_loosest_ramp_tells_why() -> None:
    at = await of(await registered(gates=(gates.mismatches(),), ramp=Ramp.parse("shadow 50% 100%")), traffic=5 / HOUR)
    found = plan(at, 86_400.0)
    assert (found.in_time, found.options) == (False, ())
    assert found.loosest is not None
    assert (found.loosest.ramp, found.loosest.harm, found.loosest.waits_for) == (
        "shadow 50% 100%", 0.1, ("mismatches",),
    )  # fmt: skip


async def test_a_simulation_tells_after_each_ramp_how_many_are_done() -> None:
    at = await of(await registered(ramp=Ramp.parse("shadow 50% 100%", harm=0.05, soak="1m")))
    told: list[int] = []
    found = simulate(at, runs=3, seed=7, dice=random.Random, done=told.append)
    assert told == [1, 2, 3]
    assert (found.summary.runs, found.seed, found.start) == (3, 7, "shadow")
    assert found == simulate(at, runs=3, seed=7, dice=random.Random)
    assert found != simulate(at, runs=3, seed=8, dice=random.Random)
