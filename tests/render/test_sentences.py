"""What a report says in sentences."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.domain.report_values import (
    Bill,
    ErrorLine,
    Losses,
    Mismatch,
    PairedLatency,
    Reporting,
    Sample,
    Step,
    Waterfall,
)
from rollout_render import sentences

AT = 1_767_614_400.0
SAMPLE = Sample(trials=2_000, stored=9_000, calls=2_000.0, kept=1.0, first_at=AT, last_at=AT + 60)
MISMATCH = Mismatch(
    path="$.a", kind="value", branch="a", current=True, count=5, share=0.05, noise=1, noise_share=0.01, excess=0.04,
    excess_low=0.01, excess_high=0.06, first_at=AT, last_at=AT, trials=(), example=None,
)  # fmt: skip


def test_how_far_a_path_is_beyond_its_noise() -> None:
    assert sentences.excess(MISMATCH) == "+4% (+1% to +6%)"
    assert sentences.beyond(MISMATCH) == "≥ 1%"
    doubtful = replace(MISMATCH, excess_low=-0.01)
    assert sentences.excess(doubtful) == "+4% (−1% to +6%)"
    assert sentences.beyond(doubtful) == "no"
    unknown = replace(MISMATCH, excess=None, excess_low=None, excess_high=None)
    assert (sentences.excess(unknown), sentences.beyond(unknown)) == ("no noise run", "–")


@pytest.mark.parametrize(
    ("kept", "end"),
    [
        (1.0, "2026-01-05 12:01:00Z."),
        (0.05, "those that matched are stored at 5%, and count more."),
        (0.0, "Only trials that differ are stored (store.sample is 0): this speaks for them alone."),
    ],
)
def test_a_sample_says_what_it_speaks_for(kept: float, end: str) -> None:
    told = sentences.sample(replace(SAMPLE, kept=kept))
    assert told.startswith("Of the newest 2,000 of 9,000 stored trials, 2026-01-05 12:00:00Z to ")
    assert told.endswith(end)


def test_both_sides_of_the_same_call() -> None:
    found = PairedLatency(
        pairs=9, faster=0.8, slower=0.2, p05_s=-0.05, p50_s=-0.02, p95_s=0.0, p99_s=0.013, curve=((0.0, 1.0),)
    )
    assert sentences.paired(found) == (
        "The candidate took longer than control in 20% of the calls, less in 80%. "
        "Its latency less control's: p50 −20 ms, p95 0, p99 +13 ms."
    )


def test_what_a_typical_call_waits_for() -> None:
    found = Waterfall(
        mode="shadow", trials=9, control_p50_s=0.12, end_p50_s=0.09, end_p95_s=0.14, path=("a", "b"), path_share=0.63,
        branches=(),
    )  # fmt: skip
    half = "Half of the calls have every part after 90 ms, 95% after 140 ms"
    assert sentences.typical(found) == f"{half}; control takes 120 ms. What most wait for (63%): a → b."
    assert sentences.typical(replace(found, control_p50_s=None)).startswith(f"{half}. What")


def test_a_process_that_fell_silent_is_told() -> None:
    a, b = (
        Reporting(process=name, seconds=seconds, first=int(AT), last=int(last))
        for name, seconds, last in (("a", 600, AT + 600), ("b", 1, AT))
    )
    assert sentences.who_counted([]) == "No process counted a call in the last ten minutes."
    assert sentences.who_counted([a]) == "1 process counted calls in the last ten minutes: a in 600 seconds."
    assert sentences.who_counted([a, b]).endswith("a in 600 seconds, b in 1 second (silent since 12:00:00Z).")
    assert sentences.who_counted([a] * 40).endswith("and 28 more.")


NOTHING = Losses(calls={}, shadows={}, trials={}, late_blocks=0, not_compared=0, not_drawn=0, fallbacks=0)


def test_that_nothing_was_dropped_is_said_and_what_was_not_meant_to_be_compared_is_not_dropped() -> None:
    assert sentences.losses(NOTHING) == "Dropped: no shadow, no trial, no evidence."
    assert sentences.losses(replace(NOTHING, not_compared=1_158)) == (
        "Dropped: no shadow, no trial, no evidence. Not compared, for they are outside the sample: 1,158 live calls."
    )
    assert sentences.losses(replace(NOTHING, not_compared=1_158, not_drawn=1_316, fallbacks=49)).endswith(
        "outside the sample: 1,158 live and 1,316 not drawn calls. 49 live calls fell back to control."
    )


def test_whatever_was_dropped_is_said_with_its_reasons() -> None:
    found = Losses(
        calls={"too_large": 30},
        shadows={"lag": 10, "queue": 2},
        trials={"queue_full": 1},
        late_blocks=2,
        not_compared=0,
        not_drawn=0,
        fallbacks=0,
    )
    assert sentences.losses(found) == (
        "Dropped: 12 shadows (10 lag, 2 queue), 1 trial (1 queue_full), 2 blocks (2 too late to be judged). "
        "No shadow can be made of 30 calls (30 too_large)."
    )


def test_what_is_lost_before_a_step_is_told_apart_from_what_was_not_meant_to_go_on() -> None:
    step = Step(name="run", count=5, of_seen=0.5, ended={"live and outside the sample": 4}, drops={"lag": 1})
    assert sentences.gone_no_further(step) == "4 live and outside the sample; lost: 1 lag"
    assert sentences.gone_no_further(replace(step, ended={}, drops={})) == ""


BILL = Bill(
    control_share=1.0, per_call_usd=Decimal("0.000582"), month_usd=Decimal(139_828),
    today_per_call_usd=Decimal("0.000291"), today_month_usd=Decimal(69_914), more_usd=Decimal(69_914), unknown=(),
    supposed=(),
)  # fmt: skip


def test_the_bill_of_an_overlay_says_that_control_is_still_paid() -> None:
    assert sentences.bill(BILL) == (
        "At 100 %: $139,828 a month, $0.000582 a call, $69,914 more than control alone ($69,914). "
        "Control runs beside the branches on every call (join is overlay)."
    )


def test_the_bill_of_what_replaces_control_says_how_often_control_runs() -> None:
    cheaper = replace(BILL, control_share=0.01, month_usd=Decimal(30_000), more_usd=Decimal(-39_914))
    assert sentences.bill(cheaper) == (
        "At 100 %: $30,000 a month, $0.000582 a call, $39,914 less than control alone ($69,914). "
        "Branches stand in for control, which runs in 1% of the calls, and for fallbacks on top."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"supposed": ("a", "b")}, "(join is overlay). The total supposes at 100 % what takes no live call now: a, b."),
        ({"more_usd": Decimal(0)}, "a call, as control alone ($69,914)."),
        ({"more_usd": None, "today_month_usd": None}, "a month, $0.000582 a call. Control"),
        ({"month_usd": None, "more_usd": None}, "At 100 %: $0.000582 a call. Control"),
        ({"per_call_usd": None, "unknown": ("b", "c")}, "At 100 % unknown: b, c: calls without a price, or none yet."),
    ],
)
def test_a_bill_says_what_it_knows_and_what_it_does_not(changes: dict[str, Any], said: str) -> None:
    assert said in sentences.bill(replace(BILL, **changes))


def test_what_runs_failed_with_is_told_by_the_class_of_the_error() -> None:
    def line(unit: str, what: str, count: int) -> ErrorLine:
        return ErrorLine(unit=unit, side="branch", what=what, count=count, share=None)

    errors = [
        line("tickets", "error", 1_276),
        line("tickets", "exception WrongOwner", 1_276),
        line("tickets", "exception BranchTimeout", 244),
        line("orders", "exception KeyError", 3),
    ]
    told = "Runs of tickets failed with WrongOwner 1,276 times, BranchTimeout 244 times, since the first block."
    assert sentences.failed("tickets", errors) == told
    assert sentences.failed("summary", errors) == ""
