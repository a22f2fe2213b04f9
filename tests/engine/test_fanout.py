"""One fan-out: what is started, what is cut, and how each run ends."""

from __future__ import annotations

import asyncio
import gc
import json
from contextvars import ContextVar
from typing import Any

import pytest

from rollout import Branch, BranchTimeout, Budget, Call, Parts, Rejected, Usage, in_shadow, record_usage
from rollout.domain.outcomes import RunOutcome
from rollout.engine.fanout import FanOut
from tests.support.trials import Response, World, answering, giving, nothing_left, rollout_of, running

pytestmark = pytest.mark.looptime

EVERYBODY = {"a": 1.0, "b": 1.0, "c": 1.0}
CONTROL = {"a": 1, "b": 2, "c": 3}


def parts_of(call: Call, control: Any, parts: Parts) -> Any:
    """An aggregator that answers what it was given."""
    return {"parts": dict(parts), "missing": dict(parts.missing)}


async def stubborn(call: Call) -> Any:
    """A body that swallows its cancellation and goes on for five seconds."""
    ends = asyncio.get_running_loop().time() + 5.0
    while (left := ends - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
    return "too late"


def runs(world: World, branch: str, mode: str = "live") -> dict[str, int]:
    """How the runs of a branch ended."""
    return world.runtime.tally.runs_so_far()[branch, mode].starting("outcome:")


# What is started


async def test_branches_run_side_by_side() -> None:
    branches = [Branch(name, giving(n, after_s=0.5), part=f"$.{name}") for n, name in enumerate("abc")]
    async with running(rollout_of(*branches), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 0, "b": 1, "c": 2}
        assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.01)


async def test_a_branch_that_comes_after_others_gets_their_parts() -> None:
    async def total(call: Call) -> Any:
        return sum(call.parts.values())

    async with running(
        rollout_of(
            Branch("c", total, part="$.c", after=("a", "b")),
            Branch("a", giving(10, after_s=0.1), part="$.a"),
            Branch("b", giving(20, after_s=0.2), part="$.b"),
        ),
        live=EVERYBODY,
    ) as world:
        assert (await world.get()).json() == {"a": 10, "b": 20, "c": 30}


async def test_a_branch_does_not_see_the_parts_of_those_it_does_not_come_after() -> None:
    seen: list[Any] = []

    async def look(call: Call) -> Any:
        seen.append((dict(call.parts), dict(call.parts.missing)))
        return 3

    async with running(
        rollout_of(
            Branch("a", giving(1), part="$.a"),
            Branch("b", giving(2), part="$.b"),
            Branch("c", look, part="$.c", after="b"),
        ),
        live=EVERYBODY,
    ) as world:
        await world.get()
    assert seen == [({"b": 2}, {})]


async def test_a_branch_runs_without_the_part_of_an_optional_one_and_is_told() -> None:
    async def look(call: Call) -> Any:
        return dict(call.parts.missing)

    async with running(
        rollout_of(
            Branch("a", giving(ValueError()), part="$.a", required=False),
            Branch("b", look, part="$.b", after="a", required=False),
        ),
        live=EVERYBODY,
    ) as world:
        assert (await world.get()).json()["b"] == {"a": "error"}


async def test_when_false_skips_and_the_reply_keeps_control_s_part() -> None:
    async with running(
        rollout_of(Branch("a", giving(9), part="$.a", when=lambda call: False), Branch("b", giving(8), part="$.b")),
        live=EVERYBODY,
    ) as world:
        assert (await world.get()).json() == {"a": 1, "b": 8, "c": 3}
        assert runs(world, "a") == {"skipped": 1}


async def test_when_is_asked_with_the_parts_that_the_branch_comes_after() -> None:
    branch = Branch("b", giving(8), part="$.b", after="a", when=lambda call: bool(call.parts["a"] < 5))
    for value, expected in ((4, 8), (6, 2)):
        async with running(rollout_of(Branch("a", giving(value), part="$.a"), branch), live=EVERYBODY) as world:
            assert (await world.get()).json()["b"] == expected


async def test_what_comes_after_a_skipped_branch_is_skipped_with_it_and_nothing_has_failed() -> None:
    async with running(
        rollout_of(
            Branch("a", giving(1, after_s=0.1), part="$.a"),
            Branch("b", giving(8), part="$.b", after="a", when=lambda call: False),
            Branch("c", giving(9), part="$.c", after="b"),
        ),
        live=EVERYBODY,
    ) as world:
        assert (await world.get()).json() == CONTROL
        assert (runs(world, "b"), runs(world, "c")) == ({"skipped": 1}, {"skipped": 1})
        assert world.funnel["served:candidate"] == 1
        await nothing_left(world)


async def test_several_branches_that_end_at_once_while_others_wait_for_them() -> None:
    """What waited may be started while the list of what waits is walked: each is started once all the same."""
    branches = [
        Branch("a", giving(1, after_s=0.1), part="$.a"),
        Branch("b", giving(2), part="$.b", after="a", when=lambda call: False, required=False),
        Branch("c", giving(3), part="$.c", after="a", required=False),
        Branch("d", giving(4), part="$.d", after="b", required=False),
        Branch("e", giving(5), part="$.e", after="c", required=False),
        Branch("f", giving(6), part="$.f", after=("b", "e"), required=False),
    ]
    async with running(rollout_of(*branches, aggregate=parts_of), live=dict.fromkeys("abcdef", 1.0)) as world:
        answer = (await world.get()).json()
        assert answer["parts"] == {"a": 1, "c": 3, "d": 4, "e": 5, "f": 6}
        assert answer["missing"] == {"b": "skipped(when)"}
        await nothing_left(world)


@pytest.mark.parametrize("required", [True, False])
async def test_a_when_that_raises_runs_what_is_required_and_skips_what_is_not(required: bool) -> None:
    branch = Branch("a", giving(9), part="$.a", required=required, when=lambda call: 1 / 0 > 0)
    async with running(rollout_of(branch), live=EVERYBODY) as world:
        assert (await world.get()).json()["a"] == (9 if required else 1)
        assert world.funnel["hook:when"] == 1


# What is cut


async def test_a_hard_timeout_cuts_a_body_that_swallows_cancellation_at_once() -> None:
    branch = Branch("a", stubborn, part="$.a", hard_timeout_s=0.02)
    async with running(rollout_of(branch), live=EVERYBODY) as world:
        assert (await world.get()).json() == CONTROL
        assert asyncio.get_running_loop().time() < 0.1
        assert runs(world, "a") == {"hard_timeout": 1}
        await asyncio.sleep(6)


async def test_an_orphan_holds_its_slot_until_it_really_ends() -> None:
    branch = Branch("a", stubborn, part="$.a", hard_timeout_s=0.02, max_concurrency=1)
    async with running(rollout_of(branch), live=EVERYBODY) as world:
        await world.get()
        station = world.runtime.live_stations["a"]
        assert (station.inflight, station.orphans) == (1, 1)
        await world.get()
        assert runs(world, "a") == {"hard_timeout": 1, "rejected": 1}
        await asyncio.sleep(6)
        assert (station.inflight, station.orphans) == (0, 0)
        await nothing_left(world)


async def test_the_late_part_of_an_orphan_is_not_used() -> None:
    async with running(rollout_of(Branch("a", stubborn, part="$.a", hard_timeout_s=0.02)), live=EVERYBODY) as world:
        await world.get()
        await asyncio.sleep(6)
        assert runs(world, "a") == {"hard_timeout": 1}
        assert world.funnel["served:fallback"] == 1


async def test_the_deadline_of_the_call_cuts_every_branch_that_has_no_timeout_of_its_own() -> None:
    branches = [
        Branch("a", giving(9, after_s=60), part="$.a", required=False),
        Branch("b", giving(8), part="$.b", required=False),
    ]
    async with running(rollout_of(*branches, budget=Budget(latency_s=2.0)), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 1, "b": 8, "c": 3}
        assert asyncio.get_running_loop().time() == pytest.approx(2.0, abs=0.01)


async def test_a_lower_budget_of_the_policy_holds_from_the_next_call_on() -> None:
    from dataclasses import replace

    branch = Branch("a", giving(9, after_s=60), part="$.a", required=False)
    async with running(rollout_of(branch, budget=Budget(latency_s=2.0)), live=EVERYBODY) as world:
        view = world.runtime.view
        assert view is not None
        world.runtime.decide(replace(view.policy, latency_s=0.5), view.states)
        await world.get()
        assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.01)


async def test_what_waits_when_the_deadline_comes_is_never_started() -> None:
    started: list[str] = []

    async def late(call: Call) -> Any:
        started.append("b")

    async with running(
        rollout_of(
            Branch("a", giving(9, after_s=60), part="$.a", required=False),
            Branch("b", late, part="$.b", after="a", required=False),
            budget=Budget(latency_s=1.0),
        ),
        live=EVERYBODY,
    ) as world:
        assert (await world.get()).json() == CONTROL
        await asyncio.sleep(120)
    assert started == []


async def test_a_branch_knows_how_long_it_has() -> None:
    seen: list[float | None] = []

    async def look(call: Call) -> Any:
        await asyncio.sleep(0.5)
        seen.append(call.remaining_s)

    async with running(
        rollout_of(Branch("a", look, part="$.a"), budget=Budget(latency_s=2.0)), live=EVERYBODY
    ) as world:
        await world.get()
    assert seen == [pytest.approx(1.5, abs=0.01)]


@pytest.mark.parametrize("status", [404, 500])
async def test_branches_that_had_no_turn_yet_are_cut_where_control_passes_through_at_once(status: int) -> None:
    ran: list[str] = []

    async def run(call: Call) -> Any:
        ran.append("a")

    async with running(
        rollout_of(Branch("a", run, part="$.a"), control=answering({}, status=status)), live=EVERYBODY
    ) as w:
        assert (await w.get()).status == status
        assert ran == []
        await nothing_left(w)


# How it ends


async def test_a_required_failure_falls_back_to_control_s_reply() -> None:
    async with running(
        rollout_of(Branch("a", giving(ValueError()), part="$.a"), Branch("b", giving(8), part="$.b")), live=EVERYBODY
    ) as world:
        response = await world.get()
        assert response.body == json.dumps(CONTROL).encode()
        assert world.funnel["served:fallback"] == 1
        assert world.funnel["fallback:error"] == 1


async def test_an_optional_failure_leaves_the_rest_of_the_overlay_and_is_named() -> None:
    branches = [
        Branch("a", giving(ValueError()), part="$.a", required=False),
        Branch("b", giving(8), part="$.b"),
        Branch("c", giving(7, after_s=9), part="$.c", required=False, hard_timeout_s=0.1),
    ]
    async with running(rollout_of(*branches), live=EVERYBODY) as world:
        assert (await world.get()).json() == {"a": 1, "b": 8, "c": 3}
    async with running(rollout_of(*branches, aggregate=parts_of), live={"a": 1.0, "b": 1.0}) as world:
        answer = (await world.get()).json()
        assert answer == {"parts": {"b": 8}, "missing": {"a": "error", "c": "not_live"}}


async def test_a_full_bulkhead_rejects_and_is_blamed() -> None:
    branch = Branch("a", giving(9, after_s=1), part="$.a", max_concurrency=2)
    async with running(rollout_of(branch), live=EVERYBODY) as world:
        answers = await asyncio.gather(*(world.get() for _ in range(5)))
        assert sorted(answer.json()["a"] for answer in answers) == [1, 1, 1, 9, 9]
        assert runs(world, "a") == {"ok": 2, "rejected": 3}
        figures = world.sealed()
        assert (figures["a", "B"]["bad"], figures["a", "B"]["fallbacks"]) == (3, 3)
        await nothing_left(world)


async def test_live_and_shadow_have_bulkheads_of_their_own() -> None:
    branch = Branch("a", giving(1, after_s=1), part="$.a", max_concurrency=1)
    async with running(rollout_of(branch)) as world:
        await world.get()
        await asyncio.sleep(0.1)
        world.stand(a=1.0)
        await world.get()
        assert runs(world, "a", "live") == {"ok": 1}


async def test_a_declared_answer_is_the_candidate_s_reply() -> None:
    branch = Branch("a", giving(LookupError("no such user")), part="$.a", answers={LookupError: 404})
    async with running(rollout_of(branch, aggregate=parts_of), live=EVERYBODY) as world:
        assert (await world.get()).status == 404
        assert runs(world, "a") == {"answered": 1}
        assert world.funnel["served:candidate"] == 1


async def test_a_branch_that_exits_ends_nobody_s_server() -> None:
    async with running(rollout_of(Branch("a", giving(SystemExit(3)), part="$.a")), live=EVERYBODY) as world:
        assert (await world.get()).json() == CONTROL
        assert runs(world, "a") == {"error": 1}


async def test_a_branch_whose_own_work_was_cancelled_has_failed() -> None:
    async def run(call: Call) -> Any:
        inner = asyncio.ensure_future(asyncio.sleep(9))
        inner.cancel()
        await inner

    async with running(rollout_of(Branch("a", run, part="$.a")), live=EVERYBODY) as world:
        assert (await world.get()).json() == CONTROL
        assert runs(world, "a") == {"error": 1}
        assert world.sealed()["a", "B"]["bad"] == 1


async def test_a_run_is_counted_with_what_it_used() -> None:
    async def model(call: Call) -> Any:
        await asyncio.ensure_future(asyncio.to_thread(record_usage, input_tokens=10, output_tokens=5, usd="0.01"))
        return 9

    metered = Branch("b", giving({"tokens": 7}), part="$.b", meter=lambda part: Usage(part["tokens"], 0, 5))
    async with running(rollout_of(Branch("a", model, part="$.a"), metered), live=EVERYBODY) as world:
        await world.get()
        figures = world.runtime.tally.runs_so_far()
        assert figures["a", "live"].counts["cost_nano"] == 10_000_000
        assert (figures["a", "live"]["tokens_in"], figures["a", "live"]["tokens_out"]) == (10, 5)
        assert (figures["b", "live"]["tokens_in"], figures["b", "live"]["cost_nano"]) == (7, 5)


async def test_a_meter_that_raises_ends_no_run() -> None:
    branch = Branch("a", giving(9), part="$.a", meter=lambda part: part["tokens"])
    async with running(rollout_of(branch), live=EVERYBODY) as world:
        assert (await world.get()).json()["a"] == 9
        assert world.funnel["hook:meter"] == 1


async def test_the_error_of_a_cut_run_says_so() -> None:
    seen: list[FanOut] = []
    slow = Branch("a", giving(9, after_s=9), part="$.a", hard_timeout_s=0.1, required=False)
    full = Branch("b", giving(9, after_s=0.2), part="$.b", max_concurrency=1, required=False)
    async with running(rollout_of(slow, full, aggregate=parts_of), live=EVERYBODY) as world:
        begun = FanOut.start

        def start(fan: FanOut, *arguments: Any) -> Any:
            seen.append(fan)
            return begun(fan, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FanOut, "start", start)
            await asyncio.gather(world.get(), world.get())
    first, second = seen[:2]
    assert isinstance(first.runs["a"].error, BranchTimeout)
    assert isinstance(second.runs["b"].error, Rejected)
    assert first.runs["a"].outcome is RunOutcome.hard_timeout


# Where it runs


async def test_a_branch_runs_in_a_copy_of_the_request_s_context() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[tuple[str, bool]] = []

    async def run(call: Call) -> Any:
        seen.append((tenant.get(), in_shadow()))
        tenant.set("changed by a branch")
        return 1

    async with running(rollout_of(Branch("a", run, part="$.a"), Branch("b", run, part="$.b"))) as world:
        tenant.set("acme")
        await world.get()
        await world.settled()
        world.stand(a=1.0, shadow=False)
        await world.get()
        assert tenant.get() == "acme"
    assert seen == [("acme", True), ("acme", True), ("acme", False)]


async def test_a_settled_run_leaves_no_circle_for_the_garbage_collector() -> None:
    async with running(rollout_of(Branch("a", giving(1), part="$.a"), Branch("b", giving(2), part="$.b"))) as world:
        await world.get()
        await world.settled()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await world.get()
            await world.settled()
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_three_branches_do_not_see_what_the_others_did_to_the_call_s_json() -> None:
    seen: list[Any] = []

    async def spoil(call: Call) -> Any:
        value = call.json()
        seen.append(json.dumps(value))
        value["items"].append("mine")
        value.clear()
        for spoiled in (call.headers, call.query, call.path_params, call.state, call.parts):
            with pytest.raises((TypeError, AttributeError)):
                spoiled["x"] = "y"  # type: ignore[index]
        return 1

    body = json.dumps({"items": [1]}).encode()
    branches = [Branch(name, spoil, part=f"$.{name}", required=False) for name in "abc"]
    async with running(rollout_of(*branches, methods=["GET"]), live={"a": 1.0}) as world:
        response = await world.get(body=body)
        await world.settled()
        assert isinstance(response, Response)
    assert seen == [body.decode()] * 3


async def test_parts_that_the_aggregator_spoils_change_nobody_s_bytes() -> None:
    mine = {"deep": [1, 2]}

    def spoil(call: Call, control: Any, parts: Parts) -> Any:
        control.json_value()["a"] = "spoiled"
        parts["a"]["deep"].append(3)
        return {"answer": parts["a"]}

    rollout = rollout_of(Branch("a", giving(mine), part="$.a"), aggregate=spoil)
    async with running(rollout) as world:
        assert (await world.get()).body == json.dumps(CONTROL).encode()
        await world.settled()
        assert (await world.get()).body == json.dumps(CONTROL).encode()
