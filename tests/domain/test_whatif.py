"""What another setting would have made of a recorded call, figures of many, and what the records cannot tell."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome
from rollout.domain.state import BranchPolicy, Policy
from rollout.domain.whatif import estimate
from rollout.domain.whatif.estimate import Interval, figure, mean, quantile_of, share
from rollout.domain.whatif.frontier import SETTINGS, Point, as_seconds, frontier
from rollout.domain.whatif.prediction import Unknown, check, predict
from rollout.domain.whatif.recorded import OK, Past, RecordedCall, RecordedRun, quantile
from rollout.domain.whatif.remedies import never_ran, unanswered
from rollout.domain.whatif.replay import Beyond, Doubt, Replayed, replay
from rollout.domain.whatif.setting import Setting, rules_of
from rollout.errors import Refused, UnknownName
from rollout.testing import sample_policy

SOFT, HARD = RunOutcome.soft_timeout, RunOutcome.hard_timeout
NOTHING = Setting()


def branch(name: str, *after: str, required: bool = False, **fields: Any) -> BranchPolicy:
    defaults: dict[str, Any] = {"part": f"$.{name}", "hard_timeout_s": 1.0}
    return BranchPolicy(name=name, unit=name, salt=name, required=required, after=after, **{**defaults, **fields})


def policy(*branches: BranchPolicy, **fields: Any) -> Policy:
    """A required ``a`` and an optional ``b``, unless told otherwise, and two seconds for a call."""
    return sample_policy(branches=branches or (branch("a", required=True), branch("b")), **{"latency_s": 2.0, **fields})


def ok(took_s: float, **fields: Any) -> RecordedRun:
    return RecordedRun(OK, took_s, **fields)


def call(control_s: float = 0.05, **runs: RecordedRun | float) -> RecordedCall:
    """A call whose runs returned a part after so many seconds, or ended as told."""
    made = {name: run if isinstance(run, RecordedRun) else ok(run) for name, run in runs.items()}
    return RecordedCall(control_s=control_s, runs=made)


def under(
    setting: Setting,
    recorded: RecordedCall,
    of: Policy | None = None,
    beyond: Beyond = Beyond.soon,
    past: Past | None = None,
) -> Replayed:
    of = of or policy()
    setting.check(of)
    return replay(recorded, rules_of(of, setting, past or Past.of([recorded])), beyond)


# One call: how long


def test_a_fan_out_takes_as_long_as_its_slowest_branch_and_the_user_waits_for_control_too() -> None:
    found = under(NOTHING, call(0.3, a=0.1, b=0.2))
    assert (found.fan_out_s, found.user_s, found.parts, found.complete) == (0.2, 0.3, 2, True)
    assert under(NOTHING, call(0.3, a=0.1, b=0.2), policy(join="replace")).user_s == 0.2


def test_branches_that_come_after_others_add_up_along_the_slowest_path() -> None:
    chain = policy(branch("a"), branch("b"), branch("c", "a", "b"), branch("d", "c"))
    assert under(NOTHING, call(a=0.1, b=0.3, c=0.2, d=0.05), chain).fan_out_s == pytest.approx(0.55)


def test_the_graph_counts_and_not_the_order_of_declaration() -> None:
    assert under(NOTHING, call(a=0.1, b=0.3), policy(branch("b", "a"), branch("a"))).fan_out_s == pytest.approx(0.4)


def test_after_a_soft_timeout_nobody_waits_for_an_optional_branch() -> None:
    found = under(Setting(soft_s={"b": 0.15}), call(a=0.1, b=0.4))
    assert (found.fan_out_s, found.parts, found.complete, found.fell_back) == (0.15, 1, False, False)


def test_a_part_that_comes_before_the_candidate_is_made_counts_however_late_it_is() -> None:
    found = under(Setting(soft_s={"b": 0.15}), call(a=0.5, b=0.4))
    assert (found.fan_out_s, found.parts, found.complete) == (0.5, 2, True)


def test_a_soft_timeout_counts_from_the_start_of_its_branch() -> None:
    chain = policy(branch("a", required=True), branch("b", "a"))
    found = under(Setting(soft_s={"b": 0.15}), call(a=0.1, b=0.4), chain)
    assert found.fan_out_s == pytest.approx(0.25)


def test_what_waits_for_a_late_branch_is_never_started() -> None:
    chain = policy(branch("a"), branch("b"), branch("c", "b"))
    found = under(Setting(soft_s={"b": 0.15}), call(a=0.1, b=0.4, c=ok(0.1, tokens=9, nano=9)), chain)
    assert (found.fan_out_s, found.parts, found.used.tokens, found.used.lost_nano) == (0.15, 1, 0, 0)


def test_a_hard_timeout_cuts_an_optional_branch_and_costs_its_part() -> None:
    found = under(Setting(hard_s={"b": 0.15}), call(a=0.1, b=0.4))
    assert (found.fan_out_s, found.parts, found.complete, found.fell_back) == (0.15, 1, False, False)


def test_a_timer_may_have_fired_late_where_it_was_in_force_and_not_where_it_was_not() -> None:
    recorded = call(a=0.1, b=1.0005)
    assert under(NOTHING, recorded).complete
    assert not under(Setting(hard_s={"b": 1.0}), recorded).complete


def test_a_required_branch_that_is_cut_gives_the_user_controls_reply() -> None:
    cut = Setting(hard_s={"a": 0.15})
    found = under(cut, call(0.3, a=0.4, b=0.1))
    assert (found.fan_out_s, found.user_s, found.fell_back, found.compared) == (0.15, 0.3, True, False)
    instead = under(cut, call(0.3, a=0.4, b=0.1), policy(join="replace"))
    assert instead.user_s == pytest.approx(0.45), "control begins when the branch has failed"


def test_where_branches_come_too_late_to_fall_back_control_begins_in_time() -> None:
    slow = policy(join="replace", latency_s=0.5)
    found = under(
        NOTHING, call(0.2, a=0.4, b=0.1), replace(slow, branches=[branch("a", hard_timeout_s=0.5), branch("b")])
    )
    assert found.fell_back
    assert found.user_s == pytest.approx(0.3 + 0.2)


def test_the_deadline_of_the_call_cuts_everything() -> None:
    chain = policy(branch("a"), branch("b", "a"), branch("c", "b"), latency_s=0.5)
    found = under(NOTHING, call(a=0.3, b=0.4, c=RecordedRun(RunOutcome.skipped, 0.0)), chain)
    assert (found.fan_out_s, found.parts, found.doubts) == (0.5, 1, ())


def test_once_live_a_part_that_comes_while_control_runs_is_used() -> None:
    setting = Setting(soft_s={"b": 0.15})
    recorded = call(0.5, a=0.1, b=0.4)
    found = under(replace(setting, live=True), recorded)
    assert (found.fan_out_s, found.user_s, found.parts, found.complete) == (0.15, 0.5, 2, True)
    assert under(setting, recorded).parts == 1
    assert under(replace(setting, live=True), recorded, policy(join="replace")).parts == 1


# One call: what came of it


def test_a_dropped_branch_is_neither_waited_for_nor_missed() -> None:
    found = under(Setting(dropped=frozenset("b")), call(a=0.1, b=ok(0.4, tokens=9, nano=7)))
    assert (found.fan_out_s, found.parts, found.complete) == (0.1, 1, True)
    assert (found.used.tokens, found.used.nano, found.used.lost_nano) == (0, 0, 0)


def test_what_comes_after_a_dropped_branch_goes_too() -> None:
    chain = policy(branch("a", required=True), branch("b"), branch("c", "b"))
    assert under(Setting(dropped=frozenset("b")), call(a=0.1, b=0.2, c=0.2), chain).parts == 1


def test_what_a_run_used_that_is_cut_before_it_says_so_is_told_apart() -> None:
    used = under(Setting(soft_s={"b": 0.15}), call(a=ok(0.1, tokens=5, nano=50), b=ok(0.4, tokens=9, nano=90))).used
    assert (used.tokens, used.nano, used.lost_nano) == (5, 50, 90)
    assert (used.most_tokens, used.most_nano) == (5, 50)


def test_a_cost_that_nobody_knows_is_not_nothing() -> None:
    found = under(NOTHING, call(a=0.1, b=ok(0.1, nano=None)))
    assert (found.used.nano, found.used.most_nano) == (0, inf)
    assert found.doubts == (("b", Doubt.unpriced),)


@pytest.mark.parametrize("outcome", [RunOutcome.rejected, RunOutcome.short_circuited, RunOutcome.over_budget])
def test_a_run_that_was_refused_at_the_door_stays_refused(outcome: RunOutcome) -> None:
    found = under(Setting(soft_s={"b": 0.1}), call(a=0.2, b=RecordedRun(outcome, 0.0)))
    assert (found.parts, found.complete, found.fell_back, found.doubts) == (1, False, False, ())
    needed = under(NOTHING, call(a=RecordedRun(outcome, 0.0), b=0.1))
    assert needed.fell_back


@pytest.mark.parametrize(("reason", "doubts"), [("usd", [("b", Doubt.refused)]), ("time", [])])
def test_what_a_budget_refused_might_run_where_others_take_less_of_it(reason: str, doubts: list[Any]) -> None:
    three = policy(branch("a", required=True), branch("b"), branch("c"))
    recorded = call(a=0.1, b=RecordedRun(RunOutcome.over_budget, 0.0, reason=reason), c=0.1)
    assert under(Setting(soft_s={"c": 0.05}), recorded, three).doubts == ()
    found = under(Setting(dropped=frozenset("c")), recorded, three)
    assert [doubt for doubt in found.doubts if doubt[0]] == doubts


def test_a_branch_that_was_not_wanted_stays_so_and_is_not_missed() -> None:
    found = under(Setting(soft_s={"b": 0.1}), call(a=0.2, b=RecordedRun(RunOutcome.skipped, 0.0, reason="when")))
    assert (found.parts, found.complete, found.doubts) == (1, True, ())


def test_an_error_is_an_end_of_its_own() -> None:
    failed = under(NOTHING, call(a=RecordedRun(RunOutcome.error, 0.2), b=0.1))
    assert (failed.fell_back, failed.fan_out_s) == (True, 0.2)
    answered = under(NOTHING, call(a=RecordedRun(RunOutcome.answered, 0.2), b=0.1))
    assert not answered.fell_back


# One call: whether it differs


def differing(*branches: str, **runs: float) -> RecordedCall:
    return replace(call(**runs), outcome=Outcome.mismatched, differs=frozenset(branches))


def test_in_an_overlay_what_differs_in_a_part_goes_with_the_part() -> None:
    gone = Setting(dropped=frozenset("b"))
    assert under(NOTHING, differing("b", a=0.1, b=0.1)).differs
    assert not under(gone, differing("b", a=0.1, b=0.1)).differs
    assert under(gone, differing("a", "b", a=0.1, b=0.1)).differs
    assert under(gone, differing("", a=0.1, b=0.1)).differs, "what lies in no part may come from any"


@pytest.mark.parametrize(
    "of",
    [
        policy(join="replace"),
        policy(branch("a", required=True), branch("b", part=None)),
        policy(branch("a", required=True), branch("b", part="$.a")),
    ],
    ids=["instead of control", "at no place", "laid over another part"],
)
def test_where_nothing_stands_in_for_a_missing_part_nobody_knows_whether_the_reply_differs(of: Policy) -> None:
    setting = Setting(soft_s={"b": 0.15})
    recorded = call(a=0.1, b=0.4)
    found = [under(setting, recorded, of, beyond) for beyond in Beyond]
    assert {one.differs for one in found} == {True, False}
    assert found[0].doubts == (("", Doubt.other_parts),)


def test_what_could_not_be_compared_still_is_not() -> None:
    assert not under(NOTHING, replace(call(a=0.1, b=0.1), outcome=Outcome.incomparable)).compared


# One call: where its record does not speak


def test_what_was_cut_later_than_it_would_be_now_is_known() -> None:
    for end in (SOFT, HARD):
        found = under(Setting(soft_s={"b": 0.15}), call(a=0.1, b=RecordedRun(end, 0.3)))
        assert (found.fan_out_s, found.parts, found.doubts) == (0.15, 1, ())


def test_what_was_cut_sooner_than_it_would_be_now_lies_between_bounds() -> None:
    setting = Setting(soft_s={"b": 0.5})
    recorded = call(a=0.1, b=RecordedRun(SOFT, 0.3))
    soon, late, never = (under(setting, recorded, beyond=beyond) for beyond in Beyond)
    assert soon.doubts[0] == never.doubts[0] == ("b", Doubt.cut)
    assert soon.fan_out_s == pytest.approx(0.3, abs=0.002)
    assert soon.complete
    assert (late.fan_out_s, late.complete) == (0.5, True)
    assert (never.fan_out_s, never.complete) == (0.5, False)


def test_a_run_that_was_cut_costs_at_most_what_any_run_did() -> None:
    past = Past.of([call(a=0.1, b=ok(0.2, tokens=100, nano=900)), call(a=0.1, b=ok(0.2, tokens=300, nano=500))])
    used = under(Setting(soft_s={"b": 0.5}), call(a=0.1, b=RecordedRun(SOFT, 0.3)), past=past).used
    assert (used.tokens, used.most_tokens, used.nano, used.most_nano) == (0, 300, 0, 900)


def test_what_never_began_because_another_was_cut_is_not_known_where_that_is_not() -> None:
    chain = policy(branch("a", required=True), branch("b", soft_timeout_s=0.3), branch("c", "b"))
    recorded = call(a=0.1, b=RecordedRun(SOFT, 0.3), c=RecordedRun(RunOutcome.skipped, 0.0))
    assert under(NOTHING, recorded, chain).doubts == ()
    doubts = under(Setting(soft_s={"b": 0.5}), recorded, chain).doubts
    assert {("b", Doubt.cut), ("c", Doubt.not_asked)} <= set(doubts)


def test_the_soft_timeout_in_force_stays_where_none_is_asked() -> None:
    in_force = policy(branch("a", required=True), branch("b", soft_timeout_s=0.3))
    found = under(NOTHING, call(a=0.1, b=0.9), in_force)
    assert (found.fan_out_s, found.parts) == (0.3, 1)


def test_what_a_quorum_went_on_without_is_known_until_then_and_no_longer() -> None:
    recorded = call(a=0.3, b=RecordedRun(RunOutcome.cancelled, 0.3))
    assert under(NOTHING, recorded).doubts[0] == ("b", Doubt.cut)
    assert under(Setting(soft_s={"b": 0.2}), recorded).doubts == ()


# A second opinion


STAGED = policy(branch("cheap", required=True), branch("dear", "cheap", part="$.cheap"))
SURE = RecordedRun(RunOutcome.skipped, 0.0, reason="confident")


def staged(sure: float | None, dear: RecordedRun) -> RecordedCall:
    return call(cheap=ok(0.1, nano=10, sure=sure), dear=dear)


TELLING = Past.of([staged(0.5, ok(0.3, tokens=70, nano=700))])


def test_below_a_lower_confidence_fewer_are_asked_for_a_second_opinion() -> None:
    recorded = staged(0.7, ok(0.3, nano=700))
    assert under(Setting(confidence={"dear": 0.8}), recorded, STAGED, past=TELLING).used.nano == 710
    found = under(Setting(confidence={"dear": 0.6}), recorded, STAGED, past=TELLING)
    assert (found.used.nano, found.used.lost_nano, found.fan_out_s, found.complete) == (10, 0, 0.1, True)
    assert found.doubts == (("", Doubt.other_parts),), "the first opinion stands where the second did"


def test_who_cannot_say_how_sure_it_is_is_asked_for_a_second_opinion() -> None:
    recorded = staged(None, ok(0.3, nano=700))
    assert under(Setting(confidence={"dear": 0.1}), recorded, STAGED, past=TELLING).used.nano == 710


def test_what_a_second_opinion_would_have_been_that_was_never_asked_is_not_known() -> None:
    setting = Setting(confidence={"dear": 0.95})
    found = [under(setting, staged(0.92, SURE), STAGED, beyond, TELLING) for beyond in Beyond]
    assert ("dear", Doubt.not_asked) in found[0].doubts
    assert [one.parts for one in found] == [2, 2, 1]
    assert (found[0].used.nano, found[0].used.most_nano) == (10, 710)
    assert [one.fan_out_s for one in found] == [0.1, 1.1, 1.1]


def test_where_nobody_wrote_down_how_sure_the_first_was_nothing_is_known() -> None:
    unheard = Past.of([staged(None, ok(0.3))])
    for recorded in (staged(None, ok(0.3)), staged(None, SURE)):
        found = under(Setting(confidence={"dear": 0.5}), recorded, STAGED, past=unheard)
        assert ("dear", Doubt.unheard) in found.doubts


def test_without_a_new_confidence_it_is_asked_as_it_was() -> None:
    assert under(NOTHING, staged(0.5, ok(0.3)), STAGED).parts == 2
    assert under(NOTHING, staged(0.95, SURE), STAGED).parts == 1
    lost = policy(branch("cheap"), branch("dear", "cheap"))
    assert ("dear", Doubt.not_asked) in under(Setting(hard_s={"cheap": 0.05}), staged(0.95, SURE), lost).doubts


# What may be asked


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (Setting(soft_s={"a": 0.1}), "a is required: no call goes on without it"),
        (Setting(soft_s={"b": 1.5}), "soft timeout of b is above its hard one, 1s"),
        (Setting(soft_s={"b": 0.0}), "soft timeout of b is 0 s; it must be above 0"),
        (Setting(hard_s={"b": inf}), "hard timeout of b is inf s"),
        (Setting(hard_s={"b": 3.0}), "hard timeout of b is above the budget of the call, 2s"),
        (Setting(dropped=frozenset("ab")), "no branch would be left"),
        (Setting(dropped=frozenset("b"), hard_s={"b": 0.1}), "b is dropped and set at once"),
        (Setting(confidence={"b": 1.5}), "the confidence of b is 1.5"),
        (Setting(confidence={"a": 0.5}), "a comes after nothing, so it is no second opinion"),
    ],
    ids=lambda value: "" if isinstance(value, Setting) else value[:30],
)
def test_a_setting_that_cannot_be_is_refused_with_what_to_do(setting: Setting, why: str) -> None:
    with pytest.raises(Refused, match=why):
        setting.check(policy())


def test_whoever_names_the_first_opinion_is_told_the_second() -> None:
    with pytest.raises(Refused, match="name the one that comes after it: dear"):
        Setting(confidence={"cheap": 0.5}).check(STAGED)


def test_a_branch_that_is_not_there_is_told() -> None:
    with pytest.raises(UnknownName, match=r"Known: a, b\."):
        Setting(dropped=frozenset({"tickets"})).check(policy())


# Figures


def test_figures_of_one_kind_of_call_are_those_of_the_call() -> None:
    found = predict([call(0.3, a=0.1, b=ok(0.2, tokens=8, nano=5))] * 50, rules_of(policy(), NOTHING, Past()))
    assert (found.user.p50.value, found.user.p99.value, found.fan_out.p95.value) == (0.3, 0.3, 0.2)
    assert (found.complete.value, found.parts.value, found.tokens.value, found.nano.value) == (1.0, 2.0, 8.0, 5.0)
    assert found.mismatched is not None
    assert (found.mismatched.value, found.fell_back.value, found.unknown) == (0.0, 0.0, ())
    assert found.complete.low == pytest.approx(50 / (50 + 1.96**2))


@pytest.mark.parametrize(
    ("n", "q", "place"), [(1, 0.5, 1), (4, 0.75, 3), (20, 0.95, 19), (21, 0.95, 20), (100, 0.07, 7)]
)
def test_a_quantile_of_the_past_is_the_least_that_has_the_share_at_or_below_it(n: int, q: float, place: int) -> None:
    assert quantile([float(number) for number in range(1, n + 1)], q) == place


def test_a_quantile_next_to_all_of_it_has_no_end_however_weights_are_rounded() -> None:
    values = [float(number) for number in range(1_000)]
    found = quantile_of(1 - 1e-10)(values, [1 / 0.3] * 1_000)
    assert (found.value, found.high) == (inf, inf)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_is_a_value_that_was_seen_inside_its_interval(values: list[float], q: float) -> None:
    found = quantile_of(q)(values, [1.0] * len(values))
    assert found.value in values
    assert found.low <= found.value <= found.high
    assert sum(value <= found.value for value in values) >= q * len(values) - 1e-6
    assert sum(value < found.value for value in values) <= q * len(values) + 1e-6


def test_intervals_hold_what_they_promise() -> None:
    dice = Random(7)
    held = dict.fromkeys(("quantile", "share", "mean"), 0)
    for _ in range(400):
        values = [dice.random() for _ in range(200)]
        ones, weights = [value < 0.3 for value in values], [1.0] * 200
        for name, found, truth in (
            ("quantile", quantile_of(0.9)(values, weights), 0.9),
            ("share", share(ones, weights), 0.3),
            ("mean", mean(values, weights), 0.5),
        ):
            held[name] += found.low <= truth <= found.high
    assert all(0.92 <= count / 400 <= 0.98 for count in held.values()), held


def test_a_call_that_stands_for_ten_counts_ten_times_but_says_less() -> None:
    weighted = share([1, 0], [10.0, 10.0]), share([1, 0, 0], [10.0, 5.0, 5.0])
    assert [one.value for one in weighted] == [0.5, 0.5]
    assert quantile_of(0.5)([1.0, 2.0, 3.0], [1.0, 1.0, 10.0]).value == 3.0
    assert mean([0.0, 3.0], [2.0, 1.0]).value == 1.0
    assert estimate.effective([10.0] * 4) == pytest.approx(4)
    assert estimate.effective([10.0, 1.0]) < 2


def test_the_highest_quantile_of_few_calls_is_bounded_by_nothing() -> None:
    found = quantile_of(0.99)([float(number) for number in range(50)], [1.0] * 50)
    assert (found.value, found.high) == (49.0, inf)
    assert figure(found, found, estimate.latencies).high is None


def test_a_figure_is_unknown_where_best_and_worst_are_too_far_apart() -> None:
    near = figure(Interval(1.0, 0.9, 1.1), Interval(1.04, 1.0, 1.2), estimate.latencies)
    assert (near.value, near.low, near.high) == (1.02, 0.9, 1.2)
    far = figure(Interval(1.2, 1.1, 1.3), Interval(1.0, 0.9, 1.1), estimate.latencies)
    assert (far.value, far.low, far.high) == (None, 1.0, 1.2)
    for low in (0.0, 1.0, inf):
        boundless = figure(Interval(low, low, low), Interval(inf, inf, inf), estimate.means)
        assert (boundless.value, boundless.high) == (None, None)


def test_a_few_calls_that_cannot_tell_only_widen_the_interval() -> None:
    calls = [call(a=0.1, b=0.2)] * 995 + [call(a=0.1, b=RecordedRun(SOFT, 0.3))] * 5
    past = Past.of(calls)
    found = predict(calls, rules_of(policy(), Setting(soft_s={"b": 0.5}), past))
    assert found.user.p95.value == 0.2
    assert found.complete.value == pytest.approx(0.9975)
    assert Unknown(branch="b", doubt=Doubt.cut, calls=5) in found.unknown


def test_many_calls_that_cannot_tell_make_it_unknown_with_what_to_record() -> None:
    calls = [call(a=0.1, b=0.2)] * 50 + [call(a=0.1, b=RecordedRun(SOFT, 0.3))] * 50
    setting = Setting(soft_s={"b": 0.5})
    found = predict(calls, rules_of(policy(), setting, Past.of(calls)))
    assert (found.user.p95.value, found.complete.value) == (None, None)
    assert (found.user.p50.value, found.complete.low, found.complete.high) == (0.2, 0.5, 1.0)
    told = unanswered(found.unknown, policy(), setting)
    assert [one.remedy for one in told if one.branch == "b"] == [
        "Record it in shadow with its soft timeout at 500ms or more, and ask again."
    ]


def test_every_doubt_is_told_with_a_remedy() -> None:
    setting = Setting(confidence={"dear": 0.95})
    found = unanswered([Unknown(branch="dear", doubt=doubt, calls=7) for doubt in Doubt], STAGED, setting)
    assert len({one.why for one in found}) == len(Doubt)
    assert all(one.remedy.endswith(".") and one.calls == 7 for one in found)
    assert any("escalate_below=0.95" in one.remedy for one in found)


def test_a_timeout_of_a_branch_that_never_ran_is_unknown() -> None:
    past = Past.of([call(a=0.1, b=RecordedRun(RunOutcome.skipped, 0.0))] * 9)
    (told,) = never_ran(policy(), Setting(soft_s={"b": 0.2}), past)
    assert (told.branch, told.calls) == ("b", 9)
    assert not list(never_ran(policy(), Setting(dropped=frozenset("b")), past))


def test_a_second_opinion_that_was_never_wanted_is_known_and_one_that_nobody_recorded_is_not() -> None:
    asked = Setting(confidence={"dear": 0.5})
    assert not list(never_ran(STAGED, asked, Past.of([staged(0.95, SURE)])))
    (told,) = never_ran(STAGED, asked, Past.of([call(cheap=0.1)]))
    assert told.remedy == "Let dear run in shadow for a while, and ask again."


def test_the_replay_is_checked_against_what_was_measured() -> None:
    calls = [replace(call(0.1, a=0.2, b=0.3), candidate_s=0.33)] * 10 + [call(0.1, a=0.2, b=RecordedRun(SOFT, 0.3))]
    found = check(calls, rules_of(policy(), NOTHING, Past.of(calls)))
    assert found is not None
    assert (found.calls, found.measured_s, found.replayed_s) == (10, 0.33, 0.3)
    assert found.error == pytest.approx(-0.09, abs=0.01)
    assert check(calls[-1:], rules_of(policy(), NOTHING, Past.of(calls))) is None


RUNS = st.builds(
    RecordedRun,
    st.sampled_from([OK, RunOutcome.error, SOFT, HARD, RunOutcome.skipped, RunOutcome.over_budget]),
    st.floats(0.001, 0.9),
    st.integers(0, 100),
    st.none() | st.integers(0, 100),
)
CALLS = st.lists(
    st.builds(lambda control_s, **runs: call(control_s, **runs), st.floats(0, 1), a=RUNS, b=RUNS, c=RUNS),
    min_size=1,
    max_size=12,
)
GRAPHS = st.sampled_from(
    [
        policy(branch("a", required=True), branch("b"), branch("c")),
        policy(branch("a", required=True), branch("b", "a"), branch("c", "b"), join="replace"),
        policy(branch("a"), branch("b", "a"), branch("c", "a")),
    ]
)
SETTINGS_ASKED = st.builds(
    lambda b, c, hard, live: Setting(soft_s={"b": b, "c": c}, hard_s={"a": hard}, live=live),
    st.floats(0.01, 0.9),
    st.floats(0.01, 0.9),
    st.floats(0.01, 1.5),
    st.booleans(),
)


@settings(deadline=None)
@given(CALLS, GRAPHS, SETTINGS_ASKED)
def test_every_figure_of_any_call_lies_in_its_interval(calls: list[RecordedCall], of: Policy, setting: Setting) -> None:
    past = Past.of(calls)
    rules = rules_of(of, setting, past)
    found = predict(calls, rules)
    every = [found.complete, found.parts, found.tokens, found.nano, found.fell_back, found.mismatched]
    every += [getattr(one, q) for one in (found.user, found.fan_out) for q in ("p50", "p95", "p99")]
    for one in filter(None, every):
        assert one.high is None or one.low <= one.high + 1e-9
        if one.value is not None:
            assert one.low - 1e-9 <= one.value <= (inf if one.high is None else one.high) + 1e-9
    for recorded in calls:
        for beyond in Beyond:
            seen = replay(recorded, rules, beyond)
            assert 0 <= seen.fan_out_s <= of.latency_s + 1e-9
            assert seen.user_s >= (recorded.control_s if of.join == "overlay" else 0.0)
            assert seen.used.tokens <= seen.used.most_tokens


@settings(deadline=None)
@given(*[st.floats(0.01, 0.9)] * 5)
def test_a_shorter_soft_timeout_never_makes_a_call_slower(
    a: float, b: float, c: float, one: float, other: float
) -> None:
    chain = policy(branch("a", required=True), branch("b"), branch("c", "b"))
    recorded = call(a=a, b=b, c=c)
    short, long = (under(Setting(soft_s={"b": soft, "c": 0.2}), recorded, chain) for soft in sorted((one, other)))
    assert short.fan_out_s <= long.fan_out_s + 1e-9
    assert short.parts <= long.parts


# The frontier


def many(dice: Random, count: int = 400) -> list[RecordedCall]:
    """Calls in which ``b`` and ``c`` take longer when the others do."""
    calls = []
    for _ in range(count):
        load = dice.lognormvariate(0, 0.4)
        times = {
            name: middle * load * dice.lognormvariate(0, 0.3) for name, middle in (("a", 0.05), ("b", 0.1), ("c", 0.15))
        }
        calls.append(call(0.04, **{name: ok(value, nano=1_000_000) for name, value in times.items()}))
    return calls


THREE = policy(branch("a", required=True), branch("b"), branch("c"), latency_s=5.0)


def test_no_point_of_the_frontier_beats_another() -> None:
    calls = many(Random(1))
    found = frontier(calls, THREE, NOTHING, Past.of(calls))
    assert found is not None
    assert found.branches == ("c", "b")
    assert 2 < len(found.points) < found.tried <= SETTINGS
    assert [point.user_s for point in found.points] == sorted(point.user_s for point in found.points)

    def beats(one: Point, other: Point) -> bool:
        return (
            one.user_s < other.user_s * 0.97
            and one.complete > other.complete + 0.01
            and (one.nano or 0) <= (other.nano or 0)
        )

    assert not any(beats(one, other) for one in found.points for other in found.points)
    assert any(point.soft_s == {} for point in found.points), "nothing is more complete than to wait"


def test_the_frontier_keeps_what_was_asked_and_does_not_vary_it() -> None:
    calls = many(Random(1))
    found = frontier(calls, THREE, Setting(soft_s={"b": 0.05}), Past.of(calls))
    assert found is not None
    assert found.branches == ("c",)
    gone = frontier(calls, THREE, Setting(dropped=frozenset("bc")), Past.of(calls))
    assert gone is None


def test_where_control_is_slower_than_every_branch_only_waiting_is_worth_it() -> None:
    calls = [replace(one, control_s=4.0) for one in many(Random(1))]
    found = frontier(
        [replace(one, runs={n: replace(r, nano=0) for n, r in one.runs.items()}) for one in calls],
        THREE,
        NOTHING,
        Past.of(calls),
    )
    assert found is not None
    assert [point.soft_s for point in found.points] == [{}]


def test_a_grid_over_many_branches_stays_small() -> None:
    names = [f"b{number}" for number in range(9)]
    calls = [call(**dict.fromkeys(names, 0.1 + number / 100)) for number in range(40)]
    found = frontier(calls, policy(*map(branch, names)), NOTHING, Past.of(calls))
    assert found is not None
    assert len(found.branches) <= 6
    assert found.tried <= SETTINGS * 2


def test_a_timeout_is_told_as_people_write_it() -> None:
    assert [as_seconds(value) for value in (0.12345, 0.0456, 1.27, 0.0, 12.3)] == [0.12, 0.046, 1.3, 0.001, 12.0]
