"""Threshold gates: each kind finds a worse candidate, spares a better one, and says what is missing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.gates import Finding, GateSpec, Grade, Moment
from rollout.domain.limits.chance import at_least
from rollout.domain.threshold import gate_for
from tests.support import thresholds as gates

Times = Sequence[float]


def figures(counts: Mapping[str, Any], **histograms: Times) -> Figures:
    found = Figures(counts)
    for name, values in histograms.items():
        for value in values:
            found.observe(name, value)
    return found


def live(
    second: int, a: Mapping[str, Any], b: Mapping[str, Any], a_times: Times = (), b_times: Times = ()
) -> UnitBlock:
    return UnitBlock(second, figures(a, latency=a_times), figures(b, latency=b_times))


def shadow(second: int, pairs: Mapping[str, Any], control: Times = (), candidate: Times = ()) -> UnitBlock:
    return UnitBlock(second, pairs=figures(pairs, control=control, candidate=candidate))


def judged(spec: GateSpec, *blocks: UnitBlock, share: float = 0.25) -> Finding:
    gate, state = gate_for(spec), gate_for(spec).start()
    for block in blocks:
        state = json.loads(json.dumps(gate.fold(state, block), allow_nan=False))
    return gate.judge(state, Moment(unit="orders", share=share, live=share > 0, now=1_000.0))


# The sign: a worse candidate is found by each gate, live and in shadow; a better one and swapped arms are not.

Planted = tuple[GateSpec, Callable[[float], UnitBlock], float]


def _times(scale: float, seed: int) -> Times:
    dice = random.Random(seed)
    return [scale * dice.lognormvariate(-2.0, 0.3) for _ in range(300)]


PLANTED: dict[str, Planted] = {
    "errors live": (
        gates.errors(),
        lambda x: live(1, {"calls": 1000, "bad": 20}, {"calls": 1000, "bad": round(20 * x)}),
        0.25,
    ),
    "errors in shadow": (
        gates.errors(),
        lambda x: shadow(
            1,
            {
                "pairs": 1000,
                "control_bad": 20,
                "candidate_bad": round(20 * x),
                "only_control_bad": 20,
                "only_candidate_bad": round(20 * x),
            },
        ),
        0.0,
    ),
    "latency live": (
        gates.latency(),
        lambda x: live(1, {"calls": 300}, {"calls": 300}, _times(1.0, 1), _times(x, 2)),
        0.25,
    ),
    "latency in shadow": (
        gates.latency(),
        lambda x: shadow(1, {"pairs": 300}, _times(1.0, 1), _times(x, 2)),
        0.0,
    ),
    "mismatches live": (
        gates.mismatches(at_most=0.01),
        lambda x: shadow(1, {"matched": 1000 - round(7 * x), "mismatched": round(7 * x)}),
        0.25,
    ),
    "mismatches in shadow": (
        gates.mismatches(at_most=0.01),
        lambda x: shadow(1, {"matched": 1000 - round(7 * x), "mismatched": round(7 * x)}),
        0.0,
    ),
    "cost live": (
        gates.cost(usd_per_call="0.01"),
        lambda x: live(1, {}, {"costed": 100, "cost_nano": round(100 * 7e6 * x)}),
        0.25,
    ),
    "cost against control": (
        gates.cost(worse_by=0.5),
        lambda x: live(
            1,
            {"control_costed": 100, "control_cost_nano": 10**9},
            {"costed": 100, "cost_nano": round(10**9 * x)},
        ),
        0.25,
    ),
    "cost in shadow": (
        gates.cost(usd_per_call="0.01"),
        lambda x: shadow(1, {"costed": 100, "cost_nano": round(100 * 7e6 * x)}),
        0.0,
    ),
    "sla live": (
        gates.sla(),
        lambda x: live(1, {}, {"runs": 1000, "sla_missed": round(30 * x)}),
        0.25,
    ),
    "sla in shadow": (gates.sla(), lambda x: shadow(1, {"runs": 1000, "sla_missed": round(30 * x)}), 0.0),
    "fallbacks live": (gates.fallbacks(), lambda x: live(1, {}, {"calls": 1000, "fallbacks": round(7 * x)}), 0.25),
    "fallbacks in shadow": (
        gates.fallbacks(),
        lambda x: shadow(1, {"pairs": 1000, "would_fall_back": round(7 * x)}),
        0.0,
    ),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_candidate_three_times_worse_breaches(planted: Planted) -> None:
    spec, block, share = planted
    finding = judged(spec, block(3.0), share=share)
    assert finding.grade is Grade.breach, finding.why
    assert finding.observed is not None
    assert finding.limit is not None
    assert finding.observed > finding.limit


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("factor", [0.3, 1.0])
def test_a_better_candidate_and_an_equal_one_pass(planted: Planted, factor: float) -> None:
    spec, block, share = planted
    finding = judged(spec, block(factor), share=share)
    assert finding.grade is Grade.passed, finding.why


@pytest.mark.parametrize("name", ["errors live", "latency live"])
def test_swapped_arms_turn_the_finding_around(name: str) -> None:
    spec, block, share = PLANTED[name]
    worse, better = block(3.0), block(0.02)
    worse.a, worse.b = worse.b, worse.a
    better.a, better.b = better.b, better.a
    assert judged(spec, worse, share=share).grade is Grade.passed
    assert judged(spec, better, share=share).grade is Grade.breach


def test_findings_carry_both_numbers_the_limit_and_no_error_bound() -> None:
    spec, block, share = PLANTED["errors live"]
    finding = judged(spec, block(3.0), share=share)
    assert (finding.observed, finding.limit, finding.baseline, finding.n) == (0.06, 0.03, 0.02, 1000)
    assert finding.why == "6% of 1,000 calls failed, of control's 2%, above the limit of 3% (no error bound)"
    assert (finding.unit_name, finding.at, finding.bound) == ("%", 1_000.0, False)


# Little traffic


def test_five_calls_an_hour_with_one_error_are_no_breach() -> None:
    blocks = [live(i * 720, {"calls": 1}, {"calls": 1, "bad": int(i == 3)}) for i in range(5)]
    finding = judged(gates.errors(), *blocks)
    assert finding.grade is Grade.doubt
    assert finding.why.startswith("5 of 50 calls")


def test_twenty_of_twenty_errors_over_hours_are_a_breach() -> None:
    blocks = [live(i * 720, {"calls": 1}, {"calls": 1, "bad": 1}) for i in range(20)]
    assert judged(gates.errors(), *blocks).grade is Grade.breach
    assert judged(gates.errors(), *blocks[:19]).grade is Grade.doubt


def test_twenty_of_twenty_errors_are_a_breach_without_any_control() -> None:
    assert judged(gates.errors(), live(1, {}, {"calls": 20, "bad": 20}), share=1.0).grade is Grade.breach


def test_failures_that_hit_both_arms_alike_are_no_breach_with_few_calls() -> None:
    assert judged(gates.errors(), live(1, {"calls": 20, "bad": 20}, {"calls": 20, "bad": 20})).grade is Grade.doubt


def test_a_quiet_rollout_looks_back_until_the_minimum_and_no_further() -> None:
    old = [live(i * 60, {"calls": 1}, {"calls": 1, "bad": 1}) for i in range(200)]
    good = [live(20_000 + i * 60, {"calls": 1}, {"calls": 1}) for i in range(50)]
    finding = judged(gates.errors(), *old, *good)
    assert (finding.grade, finding.n) == (Grade.passed, 50)


def test_a_busy_rollout_forgets_what_is_older_than_the_window() -> None:
    old = live(0, {"calls": 500}, {"calls": 500, "bad": 500})
    new = [live(i, {"calls": 100}, {"calls": 100}) for i in range(1, 61)]
    assert judged(gates.errors(), old, *new[:-1]).grade is Grade.breach
    assert judged(gates.errors(), old, *new).grade is Grade.passed


def test_fewer_bad_calls_than_the_fewest_hold_but_do_not_breach() -> None:
    finding = judged(gates.errors(), live(1, {"calls": 60}, {"calls": 60, "bad": 2}))
    assert finding.grade is Grade.doubt
    assert "but only 2 of 3" in finding.why


def test_a_rate_above_the_limit_by_chance_holds_but_does_not_breach() -> None:
    finding = judged(gates.sla(at_most=0.05), live(1, {}, {"runs": 50, "sla_missed": 3}))
    assert finding.grade is Grade.doubt
    assert "may be chance" in finding.why
    assert judged(gates.sla(at_most=0.05), live(1, {}, {"runs": 50, "sla_missed": 9})).grade is Grade.breach


def test_no_data_is_doubt_for_every_gate() -> None:
    for spec in (gates.errors(), gates.latency(), gates.mismatches(), gates.cost(usd_per_call="1"), gates.sla()):
        for share in (0.0, 0.25, 1.0):
            finding = judged(spec, share=share)
            assert finding.grade is Grade.doubt
            assert "0 of 50" in finding.why


def test_a_mean_of_few_dear_runs_breaches_once_the_minimum_could_not_save_it() -> None:
    spec = gates.cost(usd_per_call="0.01")
    assert judged(spec, live(1, {}, {"costed": 10, "cost_nano": 490_000_000})).grade is Grade.doubt
    assert judged(spec, live(1, {}, {"costed": 10, "cost_nano": 510_000_000})).grade is Grade.breach


# What cannot be judged


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -5, "many", None])
def test_a_count_that_is_no_number_is_an_error_or_absent_never_a_pass(nonsense: Any) -> None:
    block = live(1, {"calls": 100}, {"calls": nonsense, "bad": 0})
    finding = judged(gates.errors(), block)
    assert finding.grade in (Grade.error, Grade.doubt)
    assert finding.grade is Grade.error or nonsense is None


def test_more_bad_calls_than_calls_are_an_error() -> None:
    assert judged(gates.errors(), live(1, {"calls": 100}, {"calls": 100, "bad": 101})).grade is Grade.error


def test_an_unknown_cost_is_unknown_and_holds() -> None:
    finding = judged(gates.cost(usd_per_call="0.01"), live(1, {}, {"costed": 100, "cost_nano": 1, "unpriced": 12}))
    assert finding.grade is Grade.error
    assert "cost unknown for 12 calls" in finding.why


def test_a_cost_beyond_the_limit_breaches_whatever_the_unknown_ones_were() -> None:
    block = live(1, {}, {"costed": 100, "cost_nano": 10**10, "unpriced": 12})
    assert judged(gates.cost(usd_per_call="0.01"), block).grade is Grade.breach


def test_a_relative_limit_says_nothing_where_control_is_free() -> None:
    block = live(1, {"control_costed": 100}, {"costed": 100, "cost_nano": 1})
    assert judged(gates.cost(worse_by=0.1), block).grade is Grade.error
    assert judged(gates.cost(worse_by=0.1, usd_per_call="0.01"), block).grade is Grade.passed


def test_a_gate_of_an_unknown_kind_or_mode_is_an_error() -> None:
    assert judged(GateSpec(kind="vibes", mode="threshold", at_most=1)).grade is Grade.error
    assert judged(GateSpec(kind="errors", mode="vibes", at_most=1)).grade is Grade.error


def test_a_broken_state_is_an_error() -> None:
    gate = gate_for(gates.errors())
    moment = Moment(unit="orders", share=0.25, live=True, now=0.0)
    for broken in ({}, {"rows": [["x"]]}, {"rows": None}):
        assert gate.judge(broken, moment).grade is Grade.error


# Latency


def test_failed_calls_exceed_every_latency() -> None:
    block = live(1, {"calls": 200}, {"calls": 200, "bad": 40}, [0.1] * 200, [0.05] * 160)
    finding = judged(gates.latency(), block)
    assert finding.grade is Grade.breach
    assert finding.observed == float("inf")
    assert Finding.from_dict(finding.to_dict()) == finding


def test_three_slow_calls_of_fifty_are_within_chance() -> None:
    block = live(1, {"calls": 1000}, {"calls": 50}, [0.1] * 1000, [0.1] * 47 + [0.3] * 3)
    finding = judged(gates.latency(), block)
    assert finding.grade is Grade.doubt
    assert "may be chance" in finding.why


def test_latency_needs_both_arms_unless_it_has_an_absolute_limit() -> None:
    block = live(1, {"calls": 10}, {"calls": 100}, [0.1] * 10, [0.1] * 100)
    finding = judged(gates.latency(), block)
    assert finding.grade is Grade.doubt
    assert finding.why.startswith("10 of 50 calls of control")
    assert judged(gates.latency(at_most_s=0.2), block).grade is Grade.passed
    assert judged(gates.latency(at_most_s=0.05), block).grade is Grade.breach


@pytest.mark.parametrize("seed", range(10))
def test_equal_latencies_rarely_breach_at_any_size(seed: int) -> None:
    dice = random.Random(seed)

    def some(n: int) -> Times:
        return [dice.lognormvariate(-2, 0.6) for _ in range(n)]

    for n in (50, 100, 300):
        block = live(1, {"calls": 1000}, {"calls": n}, some(1000), some(n))
        assert judged(gates.latency(), block).grade is not Grade.breach


# At 100 % and without an arm A


def test_pairs_stand_in_where_arm_a_is_empty() -> None:
    pairs = {"pairs": 200, "control_bad": 2, "candidate_bad": 20, "only_control_bad": 2, "only_candidate_bad": 20}
    block = UnitBlock(1, b=figures({"calls": 2000, "bad": 20}), pairs=figures(pairs))
    finding = judged(gates.errors(), block, share=1.0)
    assert (finding.grade, finding.n) == (Grade.breach, 200)
    calm = UnitBlock(1, b=figures({"calls": 2000}), pairs=figures({"pairs": 200}))
    assert judged(gates.errors(), calm, share=1.0).grade is Grade.passed


def test_rare_pairs_are_gathered_beyond_the_window() -> None:
    blocks = [UnitBlock(i, b=figures({"calls": 100}), pairs=figures({"pairs": int(i % 10 == 0)})) for i in range(900)]
    finding = judged(gates.errors(), *blocks, share=1.0)
    assert finding.grade is Grade.passed
    assert finding.n >= 50


def test_an_absolute_limit_watches_the_window_alone_while_pairs_are_gathered() -> None:
    blocks = [UnitBlock(i, b=figures({"calls": 100})) for i in range(900)]
    blocks += [UnitBlock(900 + i, b=figures({"calls": 100, "bad": 30})) for i in range(30)]
    finding = judged(gates.errors(worse_by=None, at_most=0.1), *blocks, share=1.0)
    assert finding.grade is Grade.breach
    assert finding.n == 6000


# Looks in a row


def test_a_breach_must_last_for_the_looks_declared() -> None:
    calm = [live(i, {"calls": 100}, {"calls": 100}) for i in range(60)]
    bad = [live(60 + i, {"calls": 100}, {"calls": 1000, "bad": 900}) for i in range(3)]
    spec = gates.errors(consecutive=3)
    finding = judged(spec, *calm, *bad[:2])
    assert finding.grade is Grade.doubt
    assert "2 of 3 looks in a row" in finding.why
    assert judged(spec, *calm, *bad).grade is Grade.breach
    assert judged(gates.errors(), *calm, *bad[:1]).grade is Grade.breach


# The state


@pytest.mark.parametrize("spec", [gates.errors(), gates.latency(), gates.latency(window="1h", minimum=10_000)])
def test_the_state_is_bounded_however_much_is_folded(spec: GateSpec) -> None:
    gate, dice = gate_for(spec), random.Random(5)
    state, rows = gate.start(), []
    for second in range(0, 40_000, 13):
        times = [dice.lognormvariate(-2, 0.5) for _ in range(2)]
        state = gate.fold(state, live(second, {"calls": 2}, {"calls": 2}, times, times))
        rows.append(len(state["rows"]))
    assert max(rows) <= 121
    assert len(json.dumps(state)) < 200_000


def test_folding_does_not_change_the_state_it_was_given() -> None:
    gate = gate_for(gates.errors())
    first = gate.fold(gate.start(), live(1, {"calls": 10}, {"calls": 10}))
    before = json.dumps(first)
    gate.fold(first, live(1, {"calls": 10}, {"calls": 10, "bad": 1}))
    assert json.dumps(first) == before


def test_rolled_up_blocks_fold_to_the_same_finding() -> None:
    seconds = [live(i, {"calls": 10}, {"calls": 10, "bad": int(i % 4 == 0)}) for i in range(60)]
    minute = live(0, {"calls": 600}, {"calls": 600, "bad": 15})
    assert judged(gates.errors(), *seconds) == judged(gates.errors(), minute)


@pytest.mark.parametrize(("k", "n", "p"), [(3, 10, 0.1), (20, 20, 0.51), (9, 50, 0.05), (30, 1000, 0.02)])
def test_the_binomial_tail_is_exact(k: int, n: int, p: float) -> None:
    from math import comb

    exact = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    assert at_least(k, n, p) == pytest.approx(exact, rel=1e-9)
