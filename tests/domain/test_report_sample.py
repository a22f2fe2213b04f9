"""What single trials tell: each counts as the calls that it stands for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.report_cohorts import MOST_OF_A_KIND, OTHERS, cohorts
from rollout.domain.report_cost import model_costs
from rollout.domain.report_pairs import paired_latency
from rollout.domain.report_sample import Sampled, calls, quantiles, sample, weighed
from rollout.domain.report_waterfall import waterfalls
from rollout.domain.state import BranchPolicy, Policy
from rollout.ports import RunRecord, TrialRecord
from rollout.testing import sample_policy, sample_trial

DAY_AT_ONE_A_SECOND = 86_400


def sampled(*trials: TrialRecord, kept: float = 1.0) -> list[Sampled]:
    return weighed(trials, {1: kept})


def run(branch: str, latency_s: float | None, outcome: str = "ok", mode: str = "shadow", **more: Any) -> RunRecord:
    return RunRecord(branch, mode, outcome, latency_s, **{"cost_nano": 0, **more})


# Weights


def test_a_matched_trial_counts_as_so_many_calls_as_it_stands_for() -> None:
    trials = [sample_trial(outcome=outcome) for outcome in ("matched", "ignored", "mismatched", "incomparable")]
    assert [one.weight for one in sampled(*trials, kept=0.1)] == [10.0, 1.0, 1.0, 1.0]


def test_each_policy_version_keeps_its_own_share_and_an_unknown_one_keeps_all() -> None:
    trials = [sample_trial(version=version) for version in (1, 2, 3)]
    assert [one.weight for one in weighed(trials, {1: 0.5, 2: 0.1})] == [2.0, 10.0, 1.0]


def test_a_version_that_stores_no_match_divides_by_nothing() -> None:
    assert [one.weight for one in sampled(sample_trial(), kept=0.0)] == [1.0]


def test_the_sample_says_what_it_is() -> None:
    found = sample(sampled(sample_trial(at=200.0), sample_trial(at=100.0, outcome="mismatched"), kept=0.1), 7, 0.1)
    assert found is not None
    assert (found.trials, found.stored, found.calls, found.kept) == (2, 7, 11.0, 0.1)
    assert (found.first_at, found.last_at) == (100.0, 200.0)
    assert sample([], 0, 1.0) is None


VALUES = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.01, 100.0)), min_size=1, max_size=50)


@given(VALUES, st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_a_quantile_has_its_share_of_the_weight_at_or_below_it(
    values: list[tuple[float, float]], low: float, high: float
) -> None:
    whole = sum(weight for _, weight in values)
    for q, found in zip((low, high), quantiles(values, low, high), strict=True):
        assert found in [value for value, _ in values]
        assert sum(weight for value, weight in values if value <= found) >= q * whole * (1 - 1e-9)
        assert sum(weight for value, weight in values if value < found) <= q * whole * (1 + 1e-9)


def test_a_weight_is_so_many_values() -> None:
    assert quantiles([(1.0, 9.0), (2.0, 1.0)], 0.5, 0.9, 0.91) == [1.0, 1.0, 2.0]
    assert quantiles([(1.0, 1.0), (2.0, 9.0)], 0.1, 0.5) == [1.0, 2.0]


# Both sides of the same call


def test_the_difference_is_of_the_same_call_and_not_of_the_quantiles() -> None:
    pairs = [sample_trial(control_s=control, candidate_s=control + 0.01) for control in (0.1, 0.2, 0.3)]
    found = paired_latency(sampled(*pairs))
    assert found is not None
    assert (found.pairs, found.slower, found.faster) == (3, 1.0, 0.0)
    assert (found.p05_s, found.p50_s, found.p99_s) == pytest.approx((0.01, 0.01, 0.01))
    assert sum(share for _, share in found.curve) == pytest.approx(1.0)


def test_faster_slower_and_as_long_are_told_apart_by_calls() -> None:
    faster = sample_trial(control_s=0.2, candidate_s=0.1)
    alike = sample_trial(control_s=0.2, candidate_s=0.2, outcome="mismatched")
    found = paired_latency(sampled(faster, alike, alike, kept=0.25))
    assert found is not None
    assert found.faster == pytest.approx(4 / 6)
    assert found.slower == 0.0
    assert sum(share for _, share in found.curve) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "changes",
    [{"mode": "live"}, {"outcome": "incomparable"}, {"control_s": None}, {"candidate_s": None}],
    ids=lambda changes: next(iter(changes)),
)
def test_only_pairs_in_shadow_with_both_latencies_are_compared(changes: dict[str, Any]) -> None:
    assert paired_latency(sampled(sample_trial(**changes))) is None


# A typical call


def chained() -> Policy:
    """b after a; c beside them."""
    names = (("a", ()), ("b", ("a",)), ("c", ()))
    return sample_policy(branches=[BranchPolicy(name=n, unit=n, salt=n, after=after) for n, after in names])


def test_a_branch_begins_when_what_it_comes_after_has_ended() -> None:
    trial = sample_trial(control_s=0.5, runs=[run("a", 0.1), run("b", 0.2), run("c", 0.25)])
    (found,) = waterfalls(sampled(trial), chained())
    spans = {one.branch: (one.begin_s, one.end_s) for one in found.branches}
    assert spans == {"a": (0.0, 0.1), "b": (0.1, pytest.approx(0.3)), "c": (0.0, 0.25)}
    assert (found.mode, found.trials, found.control_p50_s) == ("shadow", 1, 0.5)
    assert found.end_p50_s == pytest.approx(0.3)
    assert (list(found.path), found.path_share) == (["a", "b"], 1.0)
    assert {one.branch: one.critical for one in found.branches} == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_the_path_is_what_most_calls_wait_for() -> None:
    slow_c = sample_trial(outcome="mismatched", runs=[run("a", 0.1), run("b", 0.1), run("c", 0.9)])
    slow_b = sample_trial(runs=[run("a", 0.1), run("b", 0.5), run("c", 0.2)])
    (found,) = waterfalls(sampled(slow_c, slow_c, slow_b, kept=0.1), chained())
    assert list(found.path) == ["a", "b"]
    assert found.path_share == pytest.approx(10 / 12)
    assert {one.branch: one.critical for one in found.branches}["c"] == pytest.approx(2 / 12)


def test_a_branch_that_did_not_begin_has_no_span_and_delays_nobody() -> None:
    trial = sample_trial(runs=[run("a", 0.4, "skipped"), run("b", 0.2), run("c", None, "rejected")])
    (found,) = waterfalls(sampled(trial), chained())
    assert [(one.branch, one.begin_s, one.ran) for one in found.branches] == [("b", 0.0, 1.0)]


def test_live_runs_have_a_fan_out_of_their_own() -> None:
    trial = sample_trial(mode="live", runs=[run("a", 0.1, mode="live"), run("c", 0.3)])
    shadow, live = waterfalls(sampled(trial), chained())
    assert [one.branch for one in shadow.branches] == ["c"]
    assert [one.branch for one in live.branches] == ["a"]


def test_without_a_run_there_is_no_typical_call() -> None:
    assert waterfalls(sampled(sample_trial(runs=[])), chained()) == ()
    assert waterfalls([], chained()) == ()


# Cost by branch and model


def used(model: str, cost_nano: int | None, branch: str = "a", tokens: int = 10) -> TrialRecord:
    spent = run(branch, 0.1, input_tokens=tokens, output_tokens=2, model=model, cost_nano=cost_nano)
    return sample_trial(runs=[run("free", 0.1), spent])


def test_each_model_of_a_branch_costs_by_run_and_by_call() -> None:
    found = model_costs(sampled(used("small", 1_000_000), used("small", 3_000_000), used("large", 20_000_000)), 1.0)
    large, small = found
    assert (large.branch, large.model, large.runs) == ("a", "large", 1)
    assert (small.per_run_usd, small.per_call_usd) == (Decimal("0.002"), Decimal("0.001333333"))
    assert small.month_usd == Decimal("0.001333333") * 30 * DAY_AT_ONE_A_SECOND
    assert (small.tokens_in, small.tokens_out) == (10.0, 2.0)


def test_one_run_without_a_price_makes_what_it_costs_by_call_unknown() -> None:
    (found,) = model_costs(sampled(used("small", 1_000_000), used("small", None)), 1.0)
    assert (found.runs, found.unpriced, found.per_run_usd) == (2, 1, Decimal("0.001"))
    assert (found.per_call_usd, found.month_usd) == (None, None)


def test_without_a_rate_no_month_is_projected() -> None:
    (found,) = model_costs(sampled(used("small", 1_000_000)), None)
    assert (found.per_call_usd, found.month_usd) == (Decimal("0.001"), None)


def test_a_branch_that_used_nothing_has_no_line() -> None:
    assert model_costs(sampled(sample_trial(runs=[run("free", 0.1)])), 1.0) == ()


# Cohorts


def test_cohorts_are_by_route_and_method_with_what_each_of_them_sees() -> None:
    trials = [
        sample_trial(route="/a", method="GET", control_s=0.1, candidate_s=0.2),
        sample_trial(route="/a", method="HEAD", outcome="mismatched", control_s=0.3, candidate_s=0.4),
        sample_trial(route="/b", method="GET", outcome="incomparable", control_s=None, candidate_s=None),
    ]
    found = {(one.kind, one.name): one for one in cohorts(sampled(*trials, kept=0.5))}
    assert set(found) == {("route", "/a"), ("route", "/b"), ("method", "GET"), ("method", "HEAD")}
    a, b = found["route", "/a"], found["route", "/b"]
    assert (a.trials, a.of_calls) == (2, 0.75)
    assert a.mismatched == pytest.approx(1 / 3)
    assert (a.control_p95_s, a.candidate_p95_s) == (0.3, 0.4)
    assert (b.mismatched, b.low, b.high, b.incomparable, b.control_p95_s) == (None, None, None, 1.0, None)


def test_labels_are_cohorts_too_and_a_trial_without_one_is_in_none_of_it() -> None:
    trials = [
        sample_trial(labels={"plan": "free", "beta": "True"}),
        sample_trial(labels={"plan": "paid"}, outcome="mismatched"),
        sample_trial(),
    ]
    found = {(one.kind, one.name): one for one in cohorts(sampled(*trials))}
    assert {kind for kind, _ in found} == {"route", "method", "plan", "beta"}
    assert found["plan", "paid"].mismatched == 1.0
    assert found["beta", "True"].trials == 1
    assert sum(one.trials for (kind, _), one in found.items() if kind == "plan") == 2


def test_a_label_that_is_called_route_is_not_the_route() -> None:
    found = cohorts(sampled(sample_trial(labels={"route": "north"})))
    assert [(one.kind, one.name) for one in found if "route" in one.kind] == [
        ("route", "/profile/{id}"),
        ("label route", "north"),
    ]


def test_only_the_most_frequent_labels_are_cohorts() -> None:
    many = [sample_trial(labels={f"label-{n}": "x" for n in range(number)}) for number in range(1, 40)]
    kinds = [one.kind for one in cohorts(sampled(*many))]
    assert kinds == ["route", "method", *(f"label-{n}" for n in range(5))]


def test_a_share_of_few_trials_is_known_badly_whatever_they_stand_for() -> None:
    few = [sample_trial() for _ in range(5)] + [sample_trial(outcome="mismatched")]
    (rough, _), (fine, _) = (cohorts(sampled(*few * times, kept=0.01)) for times in (1, 100))
    assert rough.mismatched == pytest.approx(fine.mismatched)
    assert rough.low is not None
    assert rough.high is not None
    assert fine.low is not None
    assert fine.high is not None
    assert rough.low < fine.low < fine.high < rough.high


def test_what_is_beyond_the_largest_cohorts_is_one() -> None:
    trials = [sample_trial(route=f"/{n}") for n in range(40) for _ in range(41 - n)]
    routes = [one for one in cohorts(sampled(*trials)) if one.kind == "route"]
    assert [one.name for one in routes] == [f"/{n}" for n in range(MOST_OF_A_KIND)] + [OTHERS]
    assert sum(one.trials for one in routes) == len(trials)
    assert calls(sampled(*trials)) == len(trials)
