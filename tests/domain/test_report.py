"""The report is built from sums alone, and says what it does not know."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from math import isinf
from typing import Any

from rollout.domain import report_parts as parts
from rollout.domain.durations import percent
from rollout.domain.evidence import Figures
from rollout.domain.gates import Finding, Grade
from rollout.domain.histogram import Histogram
from rollout.domain.ramp import Ramp
from rollout.domain.report import Material, build, fields, verdict
from rollout.domain.report_cost import costs
from rollout.domain.standing import Standing, Word, stands, worst
from rollout.domain.state import BranchState, FlagOverride, Mode, Policy
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
        "totals": totals,
        "curves": {},
        "step_s": 60,
        "paths": (),
        "examples": (),
        "decisions": (),
        "late_blocks": 0,
        "stored": (0, None, None),
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


def test_a_flag_that_is_off_for_everybody_is_told() -> None:
    flag = FlagOverride(flag="profile", value="off")
    assert "off for everybody" in standing(state(), finding(Grade.passed), flags=(flag,)).why


def test_a_rolled_back_branch_tells_its_cause_and_has_no_next_step() -> None:
    found = standing(state(mode=Mode.rolled_back, stage=3, cause="errors"))
    assert (found.word, found.why, found.next) == (Word.rolled_back, "errors", "")


def test_the_worst_branch_speaks_for_all() -> None:
    good, bad = standing(state(), finding(Grade.passed)), standing(state(mode=Mode.rolled_back))
    assert worst([good, bad]) is Word.rolled_back
    assert verdict("profile", [good, bad], 10).word is Word.rolled_back


def test_the_verdict_says_so_when_no_call_was_recorded() -> None:
    assert "No call has been recorded" in verdict("profile", [standing(state(), finding(Grade.passed))], 0).sentence


# The funnel


def test_the_steps_of_the_funnel_add_up_with_their_drops() -> None:
    figures = whole(calls=100, drawn=60, started=50, finished=48, compared=45, stored=40, skipped__flag=30,
                    refused__lag=10, dropped__queue_full=2).figures  # fmt: skip
    steps = parts.funnel(figures).steps
    for before, after in pairwise(steps):
        assert before.count - after.count == sum(after.drops.values()), after.name
    assert dict(steps[1].drops) == {"flag": 30, "not drawn by the sample": 10}
    assert dict(steps[5].drops)["queue_full"] == 2


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


# The rest


def test_the_rate_is_that_of_the_time_in_which_there_were_calls() -> None:
    steps = [(int(NOW - 600), {"*": Figures({"calls": 600})}), (int(NOW - 540), {"*": Figures({"calls": 600})})]
    window = build_of([], curves={"": steps}).window
    assert window.calls_per_s == 10.0


def test_what_was_dropped_is_told() -> None:
    done = build_of([whole(calls=5, dropped__queue_full=3, hook__key=2)], late_blocks=4).completeness
    assert (dict(done.dropped), dict(done.hooks), done.late_blocks) == ({"queue_full": 3}, {"key": 2}, 4)


def test_every_field_of_the_policy_names_its_origin() -> None:
    found = {field.name: field.origin for field in fields(sample_policy(origins={"ramp": "spec rollout.toml"}))}
    assert found["ramp"] == found["ramp.approve"] == "spec rollout.toml"
    assert found["join"] == "code"


def test_a_report_of_nothing_is_a_report() -> None:
    report = build_of([])
    assert report.window.calls_per_s is None
    assert report.latency == report.cost == report.errors == ()
    assert percent(0.25) == "25%"
