"""Staged: a cheap branch first, a dear one only where the cheap one is not sure and everything covers it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rollout import Branch, Budget, Call, FanOut, Parts, Reserve, record_usage
from tests.engine.test_schedules import accounts_opened, is_settled
from tests.support.trials import giving, rollout_of, running

pytestmark = pytest.mark.looptime

UNSURE = {"answer": "cheap", "sure": 0.5}


def sure(part: Any) -> Any:
    return part["sure"]


def staged(
    cheap: Any, dear: Any = "dear", *, confidence: Any = sure, reserve: Reserve | None = None, **declared: Any
) -> FanOut:
    first = cheap if callable(cheap) else giving(cheap, after_s=0.1)
    return FanOut(
        "models",
        [
            Branch("cheap", first, confidence=confidence),
            Branch("dear", giving(dear, after_s=0.1), after="cheap", escalate_below=0.9, reserve=reserve),
        ],
        **declared,
    )


@pytest.mark.parametrize("confidence", [0.9, 0.95, 1.0, 1])
async def test_who_is_sure_enough_is_believed(confidence: float) -> None:
    answer = await staged({"sure": confidence}).run()
    assert answer.value == {"cheap": {"sure": confidence}}
    assert (answer.runs["dear"].outcome, answer.runs["dear"].reason) == ("skipped", "confident")
    assert answer.parts.missing == {"dear": "skipped(confident)"}
    assert answer.is_complete


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.899, math.nan, None])
async def test_who_is_not_sure_or_cannot_say_is_asked_for_a_second_opinion(confidence: float | None) -> None:
    fan_out = staged({"sure": confidence})
    assert (await fan_out.run()).parts["dear"] == "dear"
    assert fan_out.hook_failures == {}


@pytest.mark.parametrize("confidence", [1.01, -0.1, math.inf, 95, "0.95", "high"])
async def test_what_is_no_confidence_is_not_believed_and_counted(confidence: Any) -> None:
    fan_out = staged({"sure": confidence})
    assert (await fan_out.run()).parts["dear"] == "dear"
    assert fan_out.hook_failures == {"confidence": 1}


@pytest.mark.parametrize("failure", [KeyError("sure"), SystemExit(2)], ids=repr)
async def test_a_confidence_that_raises_is_not_believed_and_counted(failure: BaseException) -> None:
    def confidence(part: Any) -> float:
        raise failure

    fan_out = staged(UNSURE, confidence=confidence)
    assert (await fan_out.run()).parts["dear"] == "dear"
    assert fan_out.hook_failures == {"confidence": 1}


async def test_the_second_opinion_sees_the_first() -> None:
    seen: list[Any] = []

    async def look(call: Call) -> Any:
        seen.append(dict(call.parts))

    branches = [
        Branch("cheap", giving(UNSURE), confidence=sure),
        Branch("dear", look, after="cheap", escalate_below=0.9),
    ]
    await FanOut("models", branches).run()
    assert seen == [{"cheap": UNSURE}]


async def test_every_branch_that_it_comes_after_must_be_sure() -> None:
    def branches(*confidences: float) -> list[Branch]:
        cheap = [Branch(name, giving({"sure": c}), confidence=sure) for name, c in zip("ab", confidences, strict=True)]
        return [*cheap, Branch("dear", giving("dear"), after=("a", "b"), escalate_below=0.9)]

    assert (await FanOut("models", branches(0.95, 0.95)).run()).runs["dear"].outcome == "skipped"
    assert (await FanOut("models", branches(0.95, 0.5)).run()).runs["dear"].outcome == "ok"


async def spends(call: Call) -> Any:
    record_usage(input_tokens=60, usd="0.03")
    return UNSURE


@pytest.mark.parametrize(
    ("reserve", "reason"),
    [
        (Reserve(latency_s=1.0), "ok"),
        (Reserve(tokens=40, usd="0.02"), "ok"),
        (Reserve(tokens=41), "tokens"),
        (Reserve(usd="0.020000001"), "usd"),
    ],
    ids=str,
)
async def test_it_starts_only_where_tokens_and_dollars_cover_what_it_has_reserved(
    reserve: Reserve, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = accounts_opened(monkeypatch)
    fan_out = staged(spends, reserve=reserve, budget=Budget(latency_s=2.0, tokens=100, usd="0.05"))
    run = (await fan_out.run()).runs["dear"]
    assert (run.outcome, run.reason) == (("ok", "") if reason == "ok" else ("over_budget", reason))
    assert is_settled(accounts[0])


@pytest.mark.parametrize(("latency_s", "outcome"), [(0.9, "ok"), (0.91, "over_budget")])
async def test_it_starts_only_where_the_time_that_is_left_covers_it(latency_s: float, outcome: str) -> None:
    fan_out = staged(UNSURE, reserve=Reserve(latency_s=latency_s), budget=Budget(latency_s=1.0))
    answer = await fan_out.run()
    run = answer.runs["dear"]
    assert (run.outcome, run.reason) == (outcome, "" if outcome == "ok" else "time")
    assert answer.value["cheap"] == UNSURE


@pytest.mark.parametrize(
    ("dear", "limit", "why"),
    [(ValueError("no"), {}, "error"), ("late", {"budget": Budget(latency_s=0.15)}, "hard_timeout")],
)
async def test_where_the_second_opinion_fails_the_first_is_used_and_the_parts_say_so(
    dear: Any, limit: dict[str, Any], why: str
) -> None:
    answer = await staged(UNSURE, dear, **limit).run()
    assert (answer.value, dict(answer.parts.missing)) == ({"cheap": UNSURE}, {"dear": why})
    assert not answer.is_complete


async def test_live_it_is_laid_over_the_first_and_its_failure_is_no_fallback() -> None:
    for dear, expected in (("dear", "dear"), (ValueError(), UNSURE)):
        branches = [
            Branch("cheap", giving(UNSURE), part="$.a", confidence=sure),
            Branch("dear", giving(dear), part="$.a", after="cheap", escalate_below=0.9),
        ]
        async with running(rollout_of(*branches), live={"cheap": 1.0, "dear": 1.0}) as world:
            assert (await world.get()).json()["a"] == expected
            assert (world.funnel["served:candidate"], world.funnel["served:fallback"]) == (1, 0)


async def test_an_aggregator_of_a_rollout_is_told_that_the_first_was_sure() -> None:
    def aggregate(call: Call, control: Any, parts: Parts) -> Any:
        return dict(parts.missing)

    branches = [
        Branch("cheap", giving({"sure": 1.0}), confidence=sure),
        Branch("dear", giving("dear"), after="cheap", escalate_below=0.9),
    ]
    declared = rollout_of(*branches, aggregate=aggregate)
    async with running(declared, live={"cheap": 1.0, "dear": 1.0}) as world:
        assert (await world.get()).json() == {"dear": "skipped(confident)"}
        runs = world.runtime.tally.runs_so_far()
        assert runs["dear", "live"].starting("outcome:") == {"skipped": 1}
