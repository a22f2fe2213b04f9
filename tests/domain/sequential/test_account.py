"""The account of a unit: what rolls back, what promotes, and what must not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from math import inf

import pytest

from rollout import gates
from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.gates import Finding, Grade, Stage
from rollout.domain.histogram import Histogram, bucket_of
from rollout.domain.sequential.account import ALLOCATION, Account
from tests.domain.sequential.blocks import arms, empty, pairs, stage, with_calls

ERRORS = (gates.errors(),)
QUARTER = stage(0.25, 0.5)
LAST = stage(1.0, None)
SHADOW = stage(0.0, 0.01)


def account(at: Stage = QUARTER, specs: Iterable[gates.GateSpec] = ERRORS) -> Account:
    made = Account(tuple(specs))
    made.enter(at)
    return made


def fed(blocks: Iterable[UnitBlock], at: Stage = QUARTER, specs: Iterable[gates.GateSpec] = ERRORS) -> Account:
    made = account(at, specs)
    for block in blocks:
        made.fold(block, at)
    return made


def grades(made: Account, at: Stage = QUARTER) -> dict[str, Grade]:
    return {finding.gate: finding.grade for finding in made.findings(at, now=0.0)}


def only(made: Account, at: Stage = QUARTER) -> Finding:
    (finding,) = made.findings(at, now=0.0)
    return finding


def test_a_candidate_that_fails_more_often_than_control_is_a_breach() -> None:
    dice = random.Random(1)
    made = fed(arms(dice, second, 100, 0.25, 0.01, 0.10) for second in range(40))
    finding = only(made)
    assert finding.grade is Grade.breach
    assert finding.log_e is not None
    assert finding.log_limit is not None
    assert finding.log_e >= finding.log_limit
    assert finding.bound


def test_a_breach_that_began_late_is_told_as_one_that_the_whole_does_not_show() -> None:
    dice = random.Random(1)
    specs = (gates.mismatches(at_most=0.02),)
    rates = [0.0] * 200 + [0.5] * 4
    blocks = (pairs(dice, second, 50, 0.0, 0.0, mismatched=rate) for second, rate in enumerate(rates))
    finding = only(fed(blocks, specs=specs))
    assert finding.grade is Grade.breach
    assert finding.observed is not None
    assert finding.observed < 0.02
    assert "allowed, but more for a while; odds of" in finding.why


def test_a_breach_that_the_whole_shows_is_told_plainly() -> None:
    dice = random.Random(1)
    specs = (gates.mismatches(at_most=0.02),)
    finding = only(fed((pairs(dice, second, 50, 0.0, 0.0, mismatched=0.5) for second in range(4)), specs=specs))
    assert finding.grade is Grade.breach
    assert "for a while" not in finding.why


def test_a_candidate_that_fails_less_often_is_none() -> None:
    """The same figures with the arms swapped."""
    dice = random.Random(1)
    made = fed(arms(dice, second, 100, 0.25, 0.10, 0.01) for second in range(40))
    assert grades(made) == {"errors": Grade.passed}


def test_an_outage_of_both_arms_is_none() -> None:
    dice = random.Random(2)
    rates = [0.01] * 20 + [0.6] * 20 + [0.01] * 20
    made = fed(arms(dice, second, 100, 0.25, rate, rate) for second, rate in enumerate(rates))
    assert grades(made)["errors"] is not Grade.breach


def test_a_healthy_candidate_is_let_through_and_says_before_about_how_many_calls_it_takes() -> None:
    dice = random.Random(3)
    made = account()
    guesses = []
    for second in range(200):
        made.fold(arms(dice, second, 50, 0.25, 0.001, 0.001), QUARTER)
        finding = only(made)
        if finding.grade is Grade.passed:
            break
        guesses.append(finding.more_calls)
    assert finding.grade is Grade.passed
    taken = 50 * second
    assert guesses[0] is not None
    assert taken / 3 < guesses[0] < taken * 3
    assert guesses[-1] is not None
    assert guesses[-1] < guesses[0]


def test_a_step_is_shown_by_the_calls_of_its_own_stage_alone() -> None:
    dice = random.Random(4)
    made = fed(arms(dice, second, 100, 0.25, 0.001, 0.001) for second in range(100))
    assert only(made).grade is Grade.passed
    half = stage(0.5, 1.0, earlier=0.25)
    made.enter(half)
    assert only(made, half).log_promote == pytest.approx(0.0)
    assert only(made, half).grade is Grade.doubt


def test_evidence_against_the_branch_goes_on_through_the_stages() -> None:
    dice = random.Random(5)
    made = fed(arms(dice, second, 100, 0.25, 0.01, 0.03) for second in range(12))
    before = made.log_e
    made.enter(stage(0.5, 1.0, earlier=0.25))
    assert before > 0
    assert made.log_e >= before


def test_going_live_begins_the_account_anew() -> None:
    """In shadow nobody was harmed, and what went wrong there is told by "not ready"."""
    dice = random.Random(6)
    made = fed((pairs(dice, second, 50, 0.0, 0.5) for second in range(10)), SHADOW)
    assert made.log_e > 10
    first = stage(0.01, 0.05)
    made.enter(first)
    assert made.log_e < 0


def test_in_shadow_pairs_show_the_step() -> None:
    dice = random.Random(7)
    made = fed((pairs(dice, second, 20, 0.001, 0.001) for second in range(10)), SHADOW)
    assert grades(made, SHADOW) == {"errors": Grade.passed}
    made = fed((pairs(dice, second, 20, 0.001, 0.5) for second in range(10)), SHADOW)
    assert grades(made, SHADOW) == {"errors": Grade.breach}


def test_at_100_percent_pairs_are_the_evidence() -> None:
    """There is no arm A there."""
    dice = random.Random(8)
    made = fed((pairs(dice, second, 5, 0.001, 0.001) for second in range(100)), LAST)
    assert grades(made, LAST) == {"errors": Grade.passed}
    for second in range(100, 200):
        made.fold(pairs(dice, second, 5, 0.001, 0.2), LAST)
    assert grades(made, LAST) == {"errors": Grade.breach}


def test_at_100_percent_a_branch_that_grows_dearer_than_control_is_found() -> None:
    """Control's cost is known where it ran beside the branch."""
    specs = (gates.cost(worse_by=0.1),)

    def block(second: int, cost: float) -> UnitBlock:
        found = UnitBlock(second)
        found.pairs.merge(
            Figures({"pairs": 50, "control_costed": 50}, {"control_cost": Histogram({bucket_of(2.0): 50})})
        )
        found.b.merge(Figures({"calls": 50, "costed": 50}, {"cost": Histogram({bucket_of(cost): 50})}))
        return found

    made = fed((block(second, 2.0) for second in range(20)), LAST, specs)
    assert grades(made, LAST) == {"cost": Grade.passed}
    for second in range(20, 40):
        made.fold(block(second, 3.0), LAST)
    assert grades(made, LAST) == {"cost": Grade.breach}


def test_a_regression_after_many_clean_calls_is_found_about_as_fast() -> None:
    def calls_until_found(clean: int) -> int:
        dice = random.Random(9)
        made = account()
        for second in range(clean):
            made.fold(with_calls(second, 75, int(dice.random() < 0.7), 25, int(dice.random() < 0.25)), QUARTER)
        for second in range(clean, clean + 400):
            made.fold(arms(dice, second, 100, 0.25, 0.01, 0.05), QUARTER)
            if only(made).grade is Grade.breach:
                return (second - clean) * 100
        raise AssertionError("never found")

    assert calls_until_found(500) <= 2.5 * calls_until_found(0)


def test_one_of_several_units_needs_more_evidence() -> None:
    one, ten = stage(units=1), stage(units=10)
    made = account(one)
    low, high = only(made, one).log_limit, only(made, ten).log_limit
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2.302585, abs=1e-6)


def test_the_cause_is_the_gate_that_holds_most_of_the_account() -> None:
    dice = random.Random(10)
    specs = (gates.errors(), gates.latency(worse_by=0.1))
    made = fed((arms(dice, second, 100, 0.25, 0.0, 0.0, slower=3.0) for second in range(30)), QUARTER, specs)
    assert grades(made) == {"errors": Grade.passed, "latency p95": Grade.breach}


def test_seconds_are_put_together_until_both_arms_have_calls() -> None:
    made = account()
    for second in range(30):
        made.fold(with_calls(second, 1, 0, 0, 0), QUARTER)
    assert only(made).n == 0
    made.fold(with_calls(30, 0, 0, 1, 1), QUARTER)
    assert only(made).n == 1


def test_what_is_left_of_control_at_the_end_of_a_stage_tells_what_control_is_like() -> None:
    made, other = account(), account()
    for second in range(30):
        made.fold(with_calls(second, 10, 5, 0, 0), QUARTER)
        other.fold(empty(second), QUARTER)
    half = stage(0.5, 1.0)
    block = with_calls(31, 50, 25, 50, 45)
    for one in (made, other):
        one.enter(half)
        one.fold(block, half)
    assert made.log_e > other.log_e + 1


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_calls_that_are_not_drawn_as_they_should_be_are_a_fault_of_the_plumbing(share: float) -> None:
    at = stage(share, 1.0)
    right = fed((with_calls(second, round(1000 * (1 - share)), 0, round(1000 * share), 0) for second in range(9)), at)
    assert ALLOCATION not in grades(right, at)
    n = round(1000 * share * 0.7)
    wrong = fed((with_calls(second, 1000 - n, 0, n, 0) for second in range(9)), at)
    assert grades(wrong, at)[ALLOCATION] is Grade.breach


def test_of_keys_those_that_were_live_before_are_in_no_arm() -> None:
    at = stage(0.25, 0.5, earlier=0.05)
    made = fed((with_calls(second, 750, 0, 200, 0) for second in range(9)), at)
    assert ALLOCATION not in grades(made, at)
    of_all = stage(0.25, 0.5)
    assert grades(fed((with_calls(second, 750, 0, 200, 0) for second in range(9)), of_all), of_all)[ALLOCATION]


@pytest.mark.parametrize("at", [SHADOW, QUARTER, LAST])
def test_a_stored_account_goes_on_where_it_stopped(at: Stage) -> None:
    dice = random.Random(11)
    specs = (
        gates.errors(at_most=0.2, worse_by=0.01),
        gates.latency(worse_by=0.1, at_most_s=0.5),
        gates.mismatches(at_most=0.01),
        gates.cost(usd_per_call="0.01", worse_by=0.2),
        gates.sla(),
        gates.fallbacks(),
    )
    made = account(at, specs)
    for second in range(60):
        block = arms(dice, second, 30, 0.25, 0.01, 0.02) if at is QUARTER else pairs(dice, second, 30, 0.01, 0.02, 0.01)
        made.fold(block, at)
        stored = json.loads(json.dumps(made.to_state(), allow_nan=False))
        restored = Account.load(specs, stored)
        assert restored.findings(at, 1.0) == made.findings(at, 1.0)
        made = restored


def test_the_state_does_not_grow_with_the_calls() -> None:
    dice = random.Random(12)
    specs = (gates.errors(), gates.latency(worse_by=0.1))
    made = account(QUARTER, specs)
    sizes = []
    for second in range(3_000):
        made.fold(arms(dice, second, 20, 0.25, 0.01, 0.01), QUARTER)
        if second % 1_000 == 999:
            sizes.append(len(json.dumps(made.to_state())))
    assert sizes[-1] < sizes[0] * 1.3


def test_an_empty_stage_has_no_opinion() -> None:
    assert only(account()).grade is Grade.doubt
    assert "no call" in only(account()).why


BOTH = (gates.errors(), gates.latency(q=0.5, worse_by=0.5))


def test_at_the_last_stage_the_pairs_are_shown_for_there_are_no_arms() -> None:
    dice = random.Random(2)
    made = fed((pairs(dice, second, 10, 0.0, 0.0) for second in range(20)), LAST, BOTH)
    errors, latency = made.findings(LAST, now=0.0)
    assert (errors.n, errors.observed, errors.baseline) == (200, 0.0, 0.0)
    assert latency.n == 200
    assert latency.observed == latency.baseline
    made.fold(arms(dice, 20, 100, 0.5, 0.0, 1.0), LAST)  # of callers whom a flag kept from it
    assert [finding.n for finding in made.findings(LAST, now=0.0)] == [200, 200]


def test_a_breach_at_the_last_stage_has_its_numbers() -> None:
    dice = random.Random(3)
    finding = only(fed((pairs(dice, second, 10, 0.0, 0.5) for second in range(20)), LAST), LAST)
    assert finding.grade is Grade.breach
    assert finding.n == 200
    assert "of 200 calls failed, of control's 0%; odds of" in finding.why


def test_a_last_stage_without_pairs_says_that_there_is_nothing_to_compare_with() -> None:
    made = fed((arms(random.Random(4), second, 10, 1.0, 0.0, 0.0) for second in range(20)), LAST, BOTH)
    for finding in made.findings(LAST, now=0.0):
        assert (finding.grade, finding.n) == (Grade.passed, 0)
        assert finding.why.startswith("nothing to compare with: at 100% control has no calls of its own")
    for finding in account(QUARTER, BOTH).findings(QUARTER, now=0.0):
        assert finding.why.startswith("no call yet; ")


def test_a_breach_by_what_was_seen_before_this_stage_says_so() -> None:
    dice = random.Random(5)
    made = fed(arms(dice, second, 100, 0.25, 0.01, 0.10) for second in range(40))
    half = stage(0.5, 1.0)
    made.enter(half)
    finding = only(made, half)
    assert (finding.grade, finding.n) == (Grade.breach, 0)
    assert finding.why.startswith("nothing is counted at this stage yet, but before it; odds of ")


def test_latency_of_pairs_shows_those_that_only_the_candidate_failed() -> None:
    made = fed((pairs(random.Random(6), second, 5, 0.0, 1.0) for second in range(4)), SHADOW, BOTH)
    _, latency = made.findings(SHADOW, now=0.0)
    assert (latency.n, latency.observed) == (20, inf)


def noisy(dice: random.Random, second: int, noise: float) -> UnitBlock:
    """A second in which the candidate always differs from control, and control so often from itself."""
    block = pairs(dice, second, 10, 0.0, 0.0, mismatched=1.0)
    block.pairs.add("noise", 10)
    block.pairs.add("noise_mismatched", round(10 * noise))
    return block


MISMATCHES = (gates.mismatches(at_most=0.02),)
SOON = stage(0.0, 0.25)


@pytest.mark.parametrize(("noise", "told"), [(1.0, "100%"), (0.5, "50%"), (0.0, "")])
def test_mismatches_say_where_control_differs_from_itself_too_and_what_to_do(noise: float, told: str) -> None:
    dice = random.Random(7)
    made = fed((noisy(dice, second, noise) for second in range(9)), SOON, MISMATCHES)
    for seen in (made, Account.load(MISMATCHES, json.loads(json.dumps(made.to_state())))):
        why = only(seen, SOON).why
        remedy = f"control differs from itself in {told} of 90 runs too: ignore in Compare what varies, or declare"
        assert (remedy in why) is bool(told)
        assert ("beyond_noise=True" in why) is bool(told)


def test_what_an_older_version_stored_of_mismatches_is_read_without_noise() -> None:
    made = fed((noisy(random.Random(7), second, 1.0) for second in range(9)), SOON, MISMATCHES)
    state = json.loads(json.dumps(made.to_state()))
    (part,) = state["gates"]["mismatches"]["parts"]
    del part["noise"]
    assert "itself" not in only(Account.load(MISMATCHES, state), SOON).why


def test_the_limit_in_a_sentence_is_that_of_the_finding() -> None:
    finding = only(fed((noisy(random.Random(7), second, 0.0) for second in range(9)), SOON, MISMATCHES), SOON)
    assert (finding.grade, finding.limit) == (Grade.breach, 0.05)
    assert "at most 5% allowed" in finding.why
