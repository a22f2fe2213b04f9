"""Which branches a call runs: chosen per call, counted with the reason, and never a failure of those not chosen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout import Branch, Call, FanOut, Retry, dispatch
from rollout.dispatch import Chosen
from tests.support.trials import World, giving, rollout_of, running

pytestmark = pytest.mark.looptime

EVERYBODY = {"a": 1.0, "b": 1.0, "c": 1.0}


def branches() -> list[Branch]:
    return [
        Branch("a", giving("x"), part="$.a"),
        Branch("b", giving("y"), part="$.b"),
        Branch("c", giving("z"), part="$.c", required=False),
    ]


def ends(world: World, branch: str, mode: str = "live") -> dict[str, int]:
    return world.runtime.tally.runs_so_far()[branch, mode].starting("outcome:")


async def test_what_is_not_chosen_is_skipped_and_no_failure_although_it_is_required() -> None:
    async with running(rollout_of(*branches(), dispatch=lambda call: ["b"]), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 1, "b": "y", "c": 3}
        assert (ends(world, "a"), ends(world, "c")) == ({"skipped": 1}, {"skipped": 1})
        assert (world.funnel["served:candidate"], world.funnel["served:fallback"]) == (1, 0)


async def test_the_reason_is_said_and_counted_live_and_in_shadow() -> None:
    def by_path(call: Call) -> Chosen:
        return Chosen(["a"], "task=orders" if call.headers.get("X-Task") == "orders" else "task=other")

    async with running(rollout_of(*branches(), dispatch=by_path), live=EVERYBODY) as world:
        await world.get(headers={"X-Task": "orders"})
        await world.get()
        await world.settled()
        assert world.funnel.starting("dispatch:") == {"task=orders": 1, "task=other": 1}
        world.stand()
        await world.get(headers={"X-Task": "orders"})
        await world.settled()
        assert world.funnel.starting("dispatch:") == {"task=orders": 2, "task=other": 1}
        assert ends(world, "b", "shadow") == {"skipped": 1}


async def test_reasons_without_end_are_counted_as_other() -> None:
    def each(call: Call) -> Chosen:
        reasons.append("")
        return Chosen(["a"], f"user {len(reasons)}")

    reasons: list[str] = []
    async with running(rollout_of(*branches(), dispatch=each), live=EVERYBODY, shadow=False) as world:
        for _ in range(60):
            await world.get()
        found = world.funnel.starting("dispatch:")
        assert (len(found), found["other"]) == (51, 10)


@pytest.mark.parametrize("failure", [KeyError("task"), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_a_dispatch_that_raises_means_the_required_ones_and_is_counted(failure: BaseException) -> None:
    def choose(call: Call) -> Any:
        raise failure

    async with running(rollout_of(*branches(), dispatch=choose), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": "x", "b": "y", "c": 3}
        assert (world.funnel["hook:dispatch"], world.funnel["dispatch:failed"]) == (1, 1)


@pytest.mark.parametrize("answer", ["a", ["ghost"], ["a", "ghost"], None, 7, [["a"]], [None]], ids=repr)
async def test_a_dispatch_that_answers_no_names_of_branches_means_the_required_ones(answer: Any) -> None:
    fan_out = FanOut("some", branches(), dispatch=lambda call: answer)
    result = await fan_out.run()
    assert (result.value, result.chosen) == ({"a": "x", "b": "y"}, "failed")
    assert result.runs["c"].reason == "dispatch"
    assert fan_out.hook_failures == {"dispatch": 1}


@pytest.mark.parametrize("answer", [[], (), set()], ids=repr)
async def test_a_dispatch_may_choose_none(answer: Any) -> None:
    result = await FanOut("some", branches(), dispatch=lambda call: answer).run()
    assert (result.value, result.is_complete) == ({}, True)


@pytest.mark.parametrize(
    "answer", [["b", "a"], ("b", "a", "a"), {"a", "b"}, {"a": 1, "b": 2}], ids=["list", "tuple", "set", "dict"]
)
async def test_a_dispatch_may_answer_any_collection_and_each_branch_runs_once(answer: Any) -> None:
    result = await FanOut("some", branches(), dispatch=lambda call: answer).run()
    assert result.value == {"a": "x", "b": "y"}


async def test_a_dispatch_may_be_a_generator() -> None:
    fan_out = FanOut("some", branches(), dispatch=lambda call: (name for name in "ab"))
    assert (await fan_out.run()).value == {"a": "x", "b": "y"}


async def test_what_comes_after_a_branch_that_was_not_chosen_is_skipped() -> None:
    some = [Branch("a", giving(1)), Branch("b", giving(2), after="a"), Branch("c", giving(3))]
    result = await FanOut("some", some, dispatch=lambda call: ["b", "c"]).run()
    assert result.value == {"c": 3}
    assert {name: run.reason for name, run in result.runs.items()} == {"a": "dispatch", "b": "after", "c": ""}


async def test_a_call_is_dispatched_by_its_value() -> None:
    choose = dispatch.by_task(lambda call: call.value["task"], {"orders": ["a"], "tickets": ["b"]}, default=["c"])
    fan_out = FanOut("some", branches(), dispatch=choose)
    found = {task: await fan_out.run({"task": task}) for task in ("orders", "tickets", "weather")}
    assert {task: (list(result.value), result.chosen) for task, result in found.items()} == {
        "orders": (["a"], "task=orders"),
        "tickets": (["b"], "task=tickets"),
        "weather": (["c"], "task=other"),
    }


@pytest.mark.parametrize("failure", [KeyError("x"), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_a_when_that_raises_runs_what_is_required_and_is_counted(failure: BaseException) -> None:
    def when(call: Call) -> bool:
        raise failure

    some = [Branch("a", giving(1), when=when), Branch("b", giving(2), when=when, required=False)]
    fan_out = FanOut("some", some)
    assert (await fan_out.run()).value == {"a": 1}
    assert fan_out.hook_failures == {"when": 2}


@pytest.mark.parametrize("failure", [KeyError("x"), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_a_transient_that_raises_means_that_nothing_is_tried_again_and_is_counted(
    failure: BaseException,
) -> None:
    def transient(error: BaseException) -> bool:
        raise failure

    some = [Branch("a", giving(ValueError()), retry=Retry(transient=transient), required=False), Branch("b", giving(2))]
    fan_out = FanOut("some", some)
    answer = await fan_out.run()
    assert (answer.value, answer.runs["a"].attempts, answer.runs["a"].outcome) == ({"b": 2}, 1, "error")
    assert fan_out.hook_failures == {"transient": 1}
