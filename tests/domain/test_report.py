"""The report is built from sums alone, and says what it does not know."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from math import isinf
from typing import Any

import pytest

from rollout.domain import report_parts as parts
from rollout.domain.durations import percent
from rollout.domain.evidence import Figures
from rollout.domain.gates import Finding, Grade
from rollout.domain.histogram import Histogram
from rollout.domain.intervals import difference
from rollout.domain.outcomes import RunOutcome
from rollout.domain.ramp import Ramp
from rollout.domain.report import Material, build, fields, verdict
from rollout.domain.report_cost import bill, costs
from rollout.domain.report_outcomes import Newest, fan_out_time, outcomes
from rollout.domain.report_values import Losses, Outcomes
from rollout.domain.standing import Standing, Word, stands, worst
from rollout.domain.state import BranchPolicy, BranchState, FlagOverride, Mode, Policy
from rollout.ports import MismatchCount, Totals
from rollout.testing import sample_policy

NOW = 1_767_614_400.0


def state(**changes: Any) -> BranchState:
    defaults: dict[str, Any] = {"rollout": "profile", "branch": "orders", "entered_at": NOW - 700}
    return BranchState(**{**defaults, **changes})


def finding(grade: Grade, why: str = "because", gate: str = "errors") -> Finding:
    return Finding(gate=gate, unit="orders", grade=grade, observed=0.05, limit=0.01, n=100, why=why, unit_name="%")


def standing(
    one: BranchState,
    *findings: Finding,
    policy: Policy | None = None,
    flags: tuple[FlagOverride, ...] = (),
    now: float = NOW,
) -> Standing:
    (found,) = stands(policy or sample_policy(), {one.branch: one}, {"orders": findings}, flags, now)
    return found


def build_of(totals: list[Totals], **changes: Any) -> Any:
    material: dict[str, Any] = {
        "policy": sample_policy(),
        "standings": (),
        "accounts": {},
        "totals": totals,
        "ever": totals,
        "curves": {},
        "extent": None,
        "newest": {},
        "paths": (),
        "examples": (),
        "trials": (),
        "kept": {},
        "decisions": (),
        "late_blocks": 0,
        "processes": (),
        "stored": (0, None, None),
        "rows": 0,
        "now": NOW,
        "since": NOW - 3_600,
        "database": "memory:",
    }
    return build(Material(**{**material, **changes}))


def whole(**counts: int) -> Totals:
    return Totals("", "*", 0, Figures({name.replace("__", ":"): count for name, count in counts.items()}))


# Where a branch stands


def test_a_branch_whose_gates_pass_after_the_soak_is_ready() -> None:
    found = standing(state(), finding(Grade.passed))
    assert (found.word, found.next) == (Word.ready, "1%")


def test_too_little_data_does_not_hold_a_branch_that_soaks() -> None:
    found = standing(state(entered_at=NOW - 60), finding(Grade.doubt))
    assert (found.word, found.left_s) == (Word.soaking, 540.0)


def test_too_little_data_holds_once_the_soak_is_over() -> None:
    found = standing(state(), finding(Grade.doubt, "12 calls, 50 are needed"))
    assert (found.word, found.why) == (Word.holding, "errors: 12 calls, 50 are needed")


def test_a_breach_holds_even_during_the_soak_and_the_worst_is_told_first() -> None:
    found = standing(state(entered_at=NOW), finding(Grade.doubt), finding(Grade.breach, "5% failed", "latency p95"))
    assert (found.word, found.why) == (Word.holding, "latency p95: 5% failed")


def test_a_gate_that_cannot_judge_holds() -> None:
    assert standing(state(entered_at=NOW), finding(Grade.error)).word is Word.holding


def test_no_finding_at_all_is_no_pass() -> None:
    assert standing(state()).word is Word.holding


def test_an_approval_that_is_missing_names_the_command() -> None:
    policy = sample_policy(ramp=Ramp(approve=(0.01,)))
    found = standing(state(), finding(Grade.passed), policy=policy)
    assert (found.word, found.why) == (Word.waiting, "a person must approve 1%: rollout approve profile orders")


def test_an_approval_that_was_given_lets_it_pass() -> None:
    policy = sample_policy(ramp=Ramp(approve=(0.01,)))
    assert standing(state(approved=0.01), finding(Grade.passed), policy=policy).word is Word.ready


def test_a_freeze_is_told_with_the_time_that_is_left() -> None:
    policy = sample_policy(ramp=Ramp(freeze=("Mon 11:00 - Mon 13:00",)))  # NOW is a Monday, 12:00
    found = standing(state(), finding(Grade.passed), policy=policy)
    assert (found.word, found.why) == (Word.frozen, "promotion is frozen for 1h")


LATE = Ramp(deadline_s=600.0)  # the stage was entered 700 s ago


@pytest.mark.parametrize("grade", [Grade.doubt, Grade.passed])
def test_after_the_deadline_a_person_decides_whether_the_gates_pass_or_not(grade: Grade) -> None:
    found = standing(state(), finding(grade), policy=sample_policy(ramp=LATE))
    assert found.word is Word.undecided
    assert found.why == (
        "the deadline of 10m passed 1m40s ago; a person decides: rollout promote profile orders, "
        "or begin again: rollout reset profile orders"
    )


@pytest.mark.parametrize("grade", [Grade.breach, Grade.error])
def test_what_a_gate_has_against_a_branch_is_told_before_its_deadline(grade: Grade) -> None:
    assert standing(state(), finding(grade), policy=sample_policy(ramp=LATE)).word is Word.holding


def test_before_the_deadline_nobody_is_asked() -> None:
    policy = sample_policy(ramp=Ramp(deadline_s=701.0))
    assert standing(state(), finding(Grade.passed), policy=policy).word is Word.ready


def test_an_undecided_branch_speaks_for_those_that_wait() -> None:
    late = standing(state(), finding(Grade.doubt), policy=sample_policy(ramp=LATE))
    assert worst([late, standing(state(mode=Mode.paused))]) is Word.undecided
    assert verdict("profile", [late], 10, join="overlay").sentence.startswith("Undecided: orders.")


def test_a_pause_for_a_wrong_split_of_calls_acquits_the_branch_and_names_the_command() -> None:
    paused = state(mode=Mode.paused, stage=3, share=0.25, cause="allocation")
    reasons = {"orders": "31% of 9,000 calls that count were drawn, and 25% should be"}
    (found,) = stands(sample_policy(), {"orders": paused}, {}, (), NOW, reasons=reasons)
    assert found.word is Word.paused
    assert found.why == (
        "the split of calls is wrong, which is no fault of the branch: 31% of 9,000 calls that count were drawn, and "
        "25% should be; when that is mended: rollout resume profile orders"
    )


def test_a_pause_by_a_person_says_nothing_of_the_split() -> None:
    paused = state(mode=Mode.paused, cause="person")
    (found,) = stands(sample_policy(), {"orders": paused}, {}, (), NOW, reasons={"orders": "lunch"})
    assert found.why == "by a person: lunch"


def test_a_flag_that_is_off_for_everybody_is_told() -> None:
    flag = FlagOverride(flag="profile", value="off")
    assert "off for everybody" in standing(state(), finding(Grade.passed), flags=(flag,)).why


def test_a_rolled_back_branch_tells_its_cause_and_has_no_next_step() -> None:
    found = standing(state(mode=Mode.rolled_back, stage=3, cause="errors"))
    assert (found.word, found.why, found.next) == (Word.rolled_back, "errors", "")


def test_the_worst_branch_speaks_for_all() -> None:
    good, bad = standing(state(), finding(Grade.passed)), standing(state(mode=Mode.rolled_back))
    assert worst([good, bad]) is Word.rolled_back
    assert verdict("profile", [good, bad], 10, join="overlay").word is Word.rolled_back


@pytest.mark.parametrize(
    ("live", "join", "required", "told"),
    [
        ((), "overlay", True, "Rolled back: tickets. Users get control's answers."),
        (("orders",), "overlay", True, "Rolled back: tickets, which users get from control; orders stays live."),
        (("a", "b"), "overlay", True, "Rolled back: tickets, which users get from control; a and b stay live."),
        (("orders",), "replace", True, "Rolled back: tickets. Users get control's answers."),
        (("orders",), "replace", False, "Rolled back: tickets, of which users see nothing; orders stays live."),
    ],
)
def test_a_rollback_is_told_with_what_users_get_meanwhile(
    live: tuple[str, ...], join: str, required: bool, told: str
) -> None:
    shadowed = replace(standing(state(), finding(Grade.breach)), branch="summary")
    bad = replace(standing(state(mode=Mode.rolled_back)), branch="tickets", required=required)
    others = [replace(standing(state(stage=2, share=0.25)), branch=name) for name in live]
    assert verdict("profile", [*others, shadowed, bad], 10, join=join).sentence == told


def test_the_verdict_says_so_when_no_call_was_recorded() -> None:
    assert (
        "No call has been recorded"
        in verdict("profile", [standing(state(), finding(Grade.passed))], 0, join="overlay").sentence
    )


# The funnel


def test_the_steps_of_the_funnel_add_up_with_their_drops() -> None:
    figures = whole(calls=100, drawn=60, started=50, finished=48, compared=45, stored=40, skipped__flag=30,
                    refused__lag=10, dropped__queue_full=2).figures  # fmt: skip
    steps = parts.funnel(figures).steps
    for before, after in pairwise(steps):
        assert before.count - after.count == sum((*after.drops.values(), *after.ended.values())), after.name
    assert (steps[1].drops, steps[1].ended) == ({"flag": 30}, {"not drawn by the sample": 10})
    assert (steps[3].drops, steps[4].ended) == ({"not finished in time": 2}, {"incomparable": 3})
    assert (steps[5].drops, steps[5].ended) == ({"queue_full": 2}, {"matched and not kept by store.sample": 3})


def test_live_calls_outside_the_sample_were_served_and_are_not_lost() -> None:
    served = {"calls": 100, "drawn": 90, "started": 40, "served__candidate": 30, "served__fallback": 5}
    step = parts.funnel(whole(**served).figures).steps[2]
    assert (step.ended, step.drops) == ({"live and outside the sample": 35}, {"not begun in time": 15})


def test_trials_are_stored_that_the_database_holds_also_if_their_process_ended_before_it_could_say_so() -> None:
    """The last second of the demo: 1,026 finished, 1,015 queued, 1,012 told to be stored, 1,015 rows."""
    figures = whole(calls=1_026, finished=1_026, compared=1_026, queued=1_015, stored=1_012).figures
    untold, told, purged = (parts.funnel(figures, rows).steps[5] for rows in (0, 1_015, 7))
    assert (told.count, told.drops, told.ended) == (1_015, {}, {"matched and not kept by store.sample": 11})
    assert untold == purged
    assert (untold.count, untold.drops) == (1_012, {"not taken by the database yet": 3})


def test_rows_of_other_calls_make_no_more_stored_than_were_queued() -> None:
    assert parts.funnel(whole(queued=5, stored=2).figures, 1_000).steps[5].count == 5


def test_nothing_lost_is_told_by_zeros() -> None:
    found = build_of([whole(calls=90, drawn=60, started=20, finished=20, compared=20, stored=20, served__candidate=40)])
    assert found.losses == Losses(
        calls={}, shadows={}, trials={}, late_blocks=0, not_compared=40, not_drawn=30, fallbacks=0
    )


def test_whatever_is_lost_is_told_by_its_reason() -> None:
    counts = {"calls": 100, "skipped__too_large": 5, "drawn": 90, "refused__lag": 8, "started": 80, "finished": 79}
    found = build_of([whole(**counts, compared=79, queued=79, stored=70, dropped__queue_full=4)], late_blocks=6)
    assert found.losses == Losses(
        calls={"too_large": 5},
        shadows={"lag": 8, "not begun in time": 2, "not finished in time": 1},
        trials={"queue_full": 4, "not taken by the database yet": 5},
        late_blocks=6,
        not_compared=0,
        not_drawn=5,
        fallbacks=0,
    )


def test_an_empty_funnel_has_no_shares() -> None:
    assert [step.of_seen for step in parts.funnel(Figures()).steps] == [None] * 6


# Both sides


def test_failed_calls_are_slower_than_every_quantile() -> None:
    histogram = Histogram()
    for _ in range(90):
        histogram.add(0.1)
    figures = Figures({"calls": 100, "bad": 10}, {"latency": histogram})
    b = Totals("orders", "B", 2, figures)
    (line,) = [one for one in build_of([b]).latency if one.side == "candidate"]
    assert line.p50_s is not None
    assert 0.097 < line.p50_s < 0.103
    assert line.p95_s is not None
    assert isinf(line.p95_s)
    assert (line.calls, line.failed) == (100, 10)


def test_arms_of_different_entries_are_not_added_up() -> None:
    def arm(name: str, entry: int, latency: float) -> Totals:
        histogram = Histogram()
        histogram.add(latency, 50)
        return Totals("orders", name, entry, Figures({"calls": 50}, {"latency": histogram}))

    report = build_of([arm("A", 1, 9.0), arm("B", 1, 9.0), arm("A", 2, 0.1), arm("B", 2, 0.1)])
    assert all(line.p50_s is not None and line.p50_s < 1 for line in report.latency)


def test_a_curve_has_few_points_whatever_was_counted() -> None:
    histogram = Histogram()
    for bucket in range(1_200):
        histogram[bucket] = 10**6
    curve = parts.shape(histogram)
    assert len(curve) <= 201
    assert abs(sum(share for _, share in curve) - 1) < 1e-9


# Cost


def test_cost_is_projected_to_every_call_of_a_month() -> None:
    pairs = Figures({"costed": 200, "cost_nano": 200 * 2_000_000, "tokens_in": 400, "tokens_out": 100})
    (line,) = costs(parts.by_unit([Totals("summary", "P", 1, pairs)]), 10.0)
    assert line.per_call_usd == Decimal("0.002")
    assert line.month_usd == 51840
    assert line.tokens_in == 2.0


def test_runs_without_a_price_are_unknown_and_not_free() -> None:
    (line,) = costs(parts.by_unit([Totals("summary", "P", 1, Figures({"unpriced": 7}))]), 10.0)
    assert (line.per_call_usd, line.month_usd, line.unpriced) == (None, None, 7)


def test_control_is_told_once_and_all_branches_together() -> None:
    def pairs(unit: str, nano: int, unpriced: int = 0) -> Totals:
        counts = {
            "control_costed": 10,
            "control_cost_nano": 10_000,
            "costed": 10,
            "cost_nano": nano,
            "unpriced": unpriced,
        }
        return Totals(unit, "P", 1, Figures(counts))

    lines = costs(parts.by_unit([pairs("a", 20_000), pairs("b", 5_000)]), 1.0)
    assert [(line.unit, line.side) for line in lines] == [
        ("", "control"), ("a", "branch"), ("b", "branch"), ("", "all branches"),
    ]  # fmt: skip
    assert lines[-1].per_call_usd == Decimal("0.0000025")


def test_all_branches_together_are_unknown_as_soon_as_one_is() -> None:
    a, b = Figures({"costed": 1, "cost_nano": 5}), Figures({"unpriced": 1})
    lines = costs(parts.by_unit([Totals("a", "P", 1, a), Totals("b", "P", 1, b)]), 1.0)
    assert lines[-1].per_call_usd is None


def test_without_usage_there_is_no_cost_line() -> None:
    assert costs(parts.by_unit([Totals("orders", "B", 1, Figures({"calls": 5}))]), 1.0) == ()


def test_control_whose_price_nobody_knows_is_unknown_and_its_tokens_are_told() -> None:
    counts = {"control_unpriced": 3, "control_costed": 1, "control_cost_nano": 7, "control_tokens_in": 40}
    (line,) = costs(parts.by_unit([Totals("a", "P", 1, Figures(counts))]), 1.0)
    assert (line.side, line.calls, line.costed, line.unpriced) == ("control", 4, 1, 3)
    assert (line.tokens_in, line.tokens_out) == (10.0, 0.0)


def test_all_branches_together_name_no_calls_as_each_may_have_seen_others() -> None:
    totals = [Totals(unit, "P", 1, Figures({"costed": calls})) for unit, calls in (("a", 5), ("b", 9))]
    assert [line.calls for line in costs(parts.by_unit(totals), 1.0)] == [5, 9, None]


def usage(unit: str, nano: int, **more: int) -> Totals:
    """Ten calls, of which control cost 1 000 nano-dollars each and the unit ``nano``."""
    counts = {"control_costed": 10, "control_cost_nano": 10_000, "costed": 10, "cost_nano": 10 * nano}
    return Totals(unit, "P", 1, Figures({**counts, **more}))


def bill_of(policy: Policy, *totals: Totals, calls_per_s: float | None = 1.0) -> Any:
    return bill(costs(parts.by_unit(totals), calls_per_s), policy, calls_per_s, ())


def test_an_overlay_pays_control_and_every_branch_of_every_call() -> None:
    found = bill_of(branches("a", "b"), usage("a", 2_000), usage("b", 500))
    assert found.control_share == 1.0
    assert (found.per_call_usd, found.today_per_call_usd) == (Decimal("0.0000035"), Decimal("0.000001"))
    assert (found.month_usd, found.today_month_usd) == (Decimal("9.072"), Decimal("2.592"))
    assert found.more_usd == Decimal("6.48")


def test_what_replaces_control_pays_it_for_reverse_shadow_only() -> None:
    policy = replace(branches("a"), join="replace", reverse=0.01)
    found = bill_of(policy, usage("a", 500))
    assert (found.control_share, found.per_call_usd) == (0.01, Decimal("0.00000051"))
    assert found.more_usd == (Decimal("0.00000051") - Decimal("0.000001")) * 30 * 86_400


def test_a_bill_with_a_branch_that_has_no_price_or_has_not_run_is_unknown() -> None:
    policy = branches("a", "b", "c")
    found = bill_of(policy, usage("a", 500), usage("b", 500, unpriced=1))
    assert (found.per_call_usd, found.month_usd, found.more_usd) == (None, None, None)
    assert list(found.unknown) == ["b", "c"]
    assert found.today_per_call_usd == Decimal("0.000001")


def test_control_that_never_recorded_usage_costs_nothing() -> None:
    free = Totals("a", "P", 1, Figures({"costed": 10, "cost_nano": 10_000}))
    found = bill_of(branches("a"), free, calls_per_s=None)
    assert (found.today_per_call_usd, found.per_call_usd, found.month_usd) == (0, Decimal("0.000001"), None)


def test_what_control_spent_so_far_is_unknown_as_only_compared_calls_record_it() -> None:
    control, branch = costs(parts.by_unit([usage("a", 500)]), 1.0)
    assert (control.side, control.spent_usd, control.per_call_usd) == ("control", None, Decimal("0.000001"))
    assert branch.spent_usd == Decimal("0.000005")


def test_a_bill_names_the_branches_that_it_supposes_at_100_percent() -> None:
    stand = [replace(standing(state()), branch=name, share=share) for name, share in (("a", 0.0), ("b", 0.01))]
    assert build_of([usage("a", 500)], standings=stand).bill.supposed == ["a"]


def test_without_usage_there_is_no_bill() -> None:
    assert bill_of(branches("a")) is None


# How runs ended


def branches(*names: str, unit: str = "") -> Policy:
    found = [BranchPolicy(name=name, unit=unit or name, salt="salt") for name in names]
    return sample_policy(branches=tuple(found))


def ends_of(policy: Policy, *totals: Totals, newest: Newest | None = None) -> tuple[Outcomes, ...]:
    return outcomes(parts.by_unit(totals), policy, newest or {})


def test_runs_are_told_by_branch_and_mode_and_add_up() -> None:
    live = Figures({"outcome:ok": 7, "outcome:skipped": 3, "skipped:when": 2, "skipped:after": 1, "retried": 4})
    shadow = Figures({"outcome:short_circuited": 5, "hedged": 6, "sla_missed": 1})
    told = ends_of(
        branches("b", "a"), Totals("a", "B", 1, live), Totals("a", "P", 1, shadow), Totals("b", "P", 1, live)
    )
    assert [(line.branch, line.mode, line.runs) for line in told] == [
        ("b", "shadow", 10), ("a", "live", 10), ("a", "shadow", 5),
    ]  # fmt: skip
    for line in told:
        assert set(line.ended) == set(RunOutcome)
        assert sum(line.ended.values()) == line.runs
    assert told[1].reasons == {"skipped": {"when": 2, "after": 1}}
    assert [told[1].retried, told[2].hedged, told[2].sla_missed] == [4, 6, 1]


def test_a_branch_that_was_never_asked_for_has_no_line() -> None:
    assert ends_of(branches("a"), Totals("a", "B", 1, Figures({"calls": 9}))) == ()


def test_the_branches_of_a_group_are_told_one_by_one() -> None:
    counts = {"outcome:ok": 9, "of:a:outcome:ok": 9, "outcome:over_budget": 2, "of:b:outcome:over_budget": 2}
    counts |= {"over_budget:usd": 2, "of:b:over_budget:usd": 2, "of:a:retried": 3}
    a, b = ends_of(branches("a", "b", unit="both"), Totals("both", "P", 1, Figures(counts)))
    assert (a.runs, a.ended["ok"], a.retried, a.reasons) == (9, 9, 3, {})
    assert (b.runs, b.ended["ok"], b.retried, b.reasons) == (2, 0, 0, {"over_budget": {"usd": 2}})


def test_what_is_orphaned_is_of_the_newest_second_with_a_run_and_not_added_up() -> None:
    ran = Figures({"outcome:ok": 1, "orphans": 2})
    steps = [(1, {"P": Figures({"outcome:ok": 1, "orphans": 9})}), (2, {"P": ran}), (3, {"P": Figures({"pairs": 1})})]
    (line,) = ends_of(
        branches("a"), Totals("a", "P", 1, Figures({"outcome:ok": 5, "orphans": 50})), newest={"a": steps}
    )
    assert line.orphaned == 2


def test_what_is_orphaned_is_not_known_of_a_branch_that_did_not_run_of_late() -> None:
    (line,) = ends_of(branches("a"), Totals("a", "P", 1, Figures({"outcome:ok": 5})))
    assert line.orphaned is None


def test_work_stands_beside_the_way_through_it() -> None:
    time = fan_out_time(Figures({"fan_outs": 2, "work_us": 360_000, "path_us": 190_000}))
    assert time is not None
    assert (time.trials, time.work_s, time.path_s) == (2, 0.18, 0.095)
    assert time.times == pytest.approx(1.895, abs=0.001)


def test_without_a_fan_out_there_is_no_time_and_one_that_took_none_has_no_ratio() -> None:
    assert fan_out_time(Figures()) is None
    none = fan_out_time(Figures({"fan_outs": 1}))
    assert none is not None
    assert none.times is None


def test_errors_tell_failures_only_each_as_a_share_of_all_that_were_asked_for() -> None:
    counts = {f"outcome:{outcome}": 1 for outcome in RunOutcome} | {"outcome:skipped": 90}
    told = {line.what: line.share for line in parts.errors(parts.by_unit([Totals("a", "P", 1, Figures(counts))]))}
    assert told == dict.fromkeys(
        ("error", "soft_timeout", "hard_timeout", "rejected", "short_circuited", "over_budget"), 0.01
    )


def test_a_live_call_without_a_good_reply_is_no_failure_of_a_branch_whose_runs_were_well() -> None:
    """The last second of the demo: seven callers were cut off when the process stopped."""
    orders = Totals("orders", "B", 1, Figures({"calls": 60, "bad": 7, "outcome:ok": 58, "outcome:cancelled": 2}))
    tickets = Totals("tickets", "B", 1, Figures({"calls": 100, "bad": 60, "fallbacks": 60}))
    told = [(line.unit, line.side, line.what, line.count) for line in parts.errors(parts.by_unit([orders, tickets]))]
    assert told == [
        ("orders", "call", "no good reply, live", 7),
        ("tickets", "candidate", "fell back to control", 60),
    ]


# What differs


def test_mismatches_stand_beside_their_noise_most_frequent_first() -> None:
    pairs = Totals("orders", "P", 1, Figures({"matched": 90, "mismatched": 10, "noise": 20, "noise_mismatched": 1}))
    paths = [
        MismatchCount("profile", "orders", "$.a", "value", 2, 5),
        MismatchCount("profile", "orders", "$.b", "missing", 10),
    ]
    report = build_of([pairs, whole(calls=100, compared=100)], paths=paths)
    assert [(m.path, m.share, m.noise_share) for m in report.mismatches] == [("$.b", 0.1, 0.0), ("$.a", 0.02, 0.25)]
    assert report.comparisons[0].mismatch_share == 0.1
    assert report.comparisons[0].noise_share == 0.05


def test_pairs_of_which_a_side_failed_stand_beside_those_that_were_compared() -> None:
    counts = {"pairs": 9, "matched": 4, "candidate_bad": 3, "control_bad": 4, "only_control_bad": 2}
    (found,) = build_of([Totals("orders", "P", 1, Figures(counts))]).comparisons
    assert (found.compared, found.branch_failed, found.control_failed) == (4, 3, 2)


def test_a_unit_that_always_failed_is_named_among_the_comparisons() -> None:
    (found,) = build_of([Totals("orders", "P", 1, Figures({"pairs": 5, "candidate_bad": 5}))]).comparisons
    assert (found.unit, found.compared, found.mismatch_share, found.branch_failed) == ("orders", 0, None, 5)


def test_paths_are_shares_of_all_calls_ever_compared_since_that_is_what_they_are_counted_of() -> None:
    paths = [MismatchCount("profile", "orders", "$.a", "value", 10)]
    report = build_of([whole(calls=10, compared=10)], ever=[whole(calls=1_000, compared=1_000)], paths=paths)
    assert report.mismatches[0].share == 0.01


def test_how_far_a_path_is_beyond_its_noise_is_told_with_an_interval_or_not_at_all() -> None:
    paths = [MismatchCount("profile", "orders", "$.a", "value", 50, 1)]
    noisy = Totals("orders", "P", 1, Figures({"matched": 950, "mismatched": 50, "noise": 100, "noise_mismatched": 1}))
    (told,) = build_of([noisy, whole(compared=1_000)], paths=paths).mismatches
    assert told.excess == pytest.approx(0.04)
    assert (told.excess_low, told.excess_high) == difference(50, 1_000, 1, 100)
    (untold,) = build_of([whole(compared=1_000)], paths=paths).mismatches
    assert (untold.excess, untold.excess_low, untold.excess_high) == (None, None, None)


def test_a_path_is_a_share_of_the_calls_in_which_its_unit_was_compared_as_the_comparisons_are() -> None:
    units = [
        Totals("tickets", "P", 1, Figures({"matched": 381, "mismatched": 166, "noise": 40})),
        Totals("orders", "P", 1, Figures({"matched": 1_026, "noise": 48})),
    ]
    paths = [
        MismatchCount("profile", "tickets", "$.tickets", "order", 166, 20),
        MismatchCount("profile", "", "$.at", "value", 513),
        MismatchCount("profile", "gone", "$.gone", "value", 171),
    ]
    report = build_of([*units, whole(calls=3_000, compared=1_026)], paths=paths, policy=branches("orders", "tickets"))
    shares = {m.path: m.share for m in report.mismatches}
    assert shares == {"$.tickets": 166 / 547, "$.at": 0.5, "$.gone": 171 / 1_026}
    assert shares["$.tickets"] == {c.unit: c.mismatch_share for c in report.comparisons}["tickets"]
    assert {m.path: m.noise_share for m in report.mismatches}["$.tickets"] == 0.5


def test_a_path_of_a_group_is_a_share_of_the_calls_of_the_group() -> None:
    group = Totals("main", "P", 1, Figures({"matched": 15, "mismatched": 5}))
    paths = [MismatchCount("profile", "a", "$.a", "value", 5)]
    report = build_of([group, whole(compared=100)], paths=paths, policy=branches("a", "b", unit="main"))
    assert report.mismatches[0].share == 0.25


def test_what_was_not_seen_since_the_policy_in_force_began_comes_last_however_frequent() -> None:
    paths = [
        MismatchCount("profile", "orders", "$.mended", "order", 90, first_at=NOW - 900, last_at=NOW - 600.001),
        MismatchCount("profile", "orders", "$.now", "value", 3, first_at=NOW - 900, last_at=NOW - 600),
    ]
    report = build_of([whole(compared=100)], paths=paths, policy=sample_policy(registered_at=NOW - 600))
    assert [(m.path, m.current) for m in report.mismatches] == [("$.now", True), ("$.mended", False)]
    assert report.policy_at == NOW - 600


# The rest


def test_the_rate_is_that_of_the_time_in_which_there_were_calls() -> None:
    window = build_of([whole(calls=1_200)], extent=(int(NOW - 600), int(NOW - 480))).window
    assert (window.first, window.last, window.calls_per_s) == (NOW - 600, NOW - 480, 10.0)


def test_what_was_dropped_is_told() -> None:
    done = build_of([whole(calls=5, dropped__queue_full=3, hook__key=2)], late_blocks=4).completeness
    assert (dict(done.dropped), dict(done.hooks), done.late_blocks) == ({"queue_full": 3}, {"key": 2}, 4)


def test_every_field_of_the_policy_names_its_origin() -> None:
    found = {field.name: field.origin for field in fields(sample_policy(origins={"ramp": "spec rollout.toml"}))}
    assert found["ramp"] == found["ramp.approve"] == "spec rollout.toml"
    assert found["join"] == "code"


def test_the_harm_budget_and_the_deadline_are_fields_of_the_policy() -> None:
    shown = {field.name: field.value for field in fields(sample_policy(ramp=Ramp(harm=0.02, deadline_s=7 * 86_400.0)))}
    assert (shown["ramp.harm"], shown["ramp.deadline"]) == ("2%", "7d")
    assert {field.name: field.value for field in fields(sample_policy())}["ramp.deadline"] is None


def test_a_report_of_nothing_is_a_report() -> None:
    report = build_of([])
    assert report.window.calls_per_s is None
    assert report.latency == report.cost == report.errors == ()
    assert percent(0.25) == "25%"
