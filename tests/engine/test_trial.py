"""One request: whatever branches, hooks and aggregators do, the user gets what control would answer, or better."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from rollout import Branch, Budget, Call, Compare, Parts, Reply, Shadow, Store, in_shadow
from rollout.domain.evidence import Figures
from rollout.engine.trial import Trial
from rollout.testing import FakeFlags, FixedDice
from tests.support.trials import (
    HttpError,
    Request,
    Response,
    World,
    answering,
    giving,
    nothing_left,
    rollout_of,
    running,
)

pytestmark = pytest.mark.looptime

CONTROL = {"a": 1, "b": 2, "c": 3}
BYTES = json.dumps(CONTROL).encode()
LIVE = {"a": 1.0}


def time() -> float:
    return asyncio.get_running_loop().time()


def raising(*_: Any) -> Any:
    raise RuntimeError("a hook of the user's")


async def raising_later(*_: Any) -> Any:
    await asyncio.sleep(0.01)
    raise RuntimeError("a hook of the user's")


async def hanging(*_: Any) -> Any:
    await asyncio.sleep(3600)


def replacing(*branches: Branch, **declared: Any) -> Any:
    branches = branches or (Branch("a", giving(9), part="$.a"),)
    return rollout_of(*branches, join="replace", **declared)


# Hooks that raise


@pytest.mark.parametrize("live", [{}, LIVE], ids=["shadow", "live"])
@pytest.mark.parametrize(
    ("hook", "declared"),
    [
        ("key", {"key": raising}),
        ("capture", {"capture": raising_later}),
        ("aggregate", {"aggregate": raising}),
        ("aggregate", {"aggregate": raising_later}),
        ("view", {"compare": Compare(view=raising), "aggregate": lambda call, control, parts: {"b": 2}}),
        ("equal", {"compare": Compare(equal=raising), "aggregate": lambda call, control, parts: {"b": 2}}),
        ("redact", {"store": Store(redact=raising)}),
    ],
)
async def test_a_hook_that_raises_is_counted_under_its_name_and_control_s_part_of_the_reply_stays(
    hook: str, declared: dict[str, Any], live: dict[str, float]
) -> None:
    rollout = rollout_of(Branch("a", giving(9), part="$.a"), **declared)
    async with running(rollout, live=live) as world:
        response = await world.get()
        assert response.status == 200
        assert response.json()["b"] == 2
        if not live or hook in ("capture", "aggregate"):
            assert response.body == BYTES
        await world.settled()
        assert world.funnel[f"hook:{hook}"] >= 1
        assert not world.funnel.starting("fault:")
        await nothing_left(world)


async def test_a_context_that_raises_leaves_the_flag_without_one() -> None:
    async with running(rollout_of(context=raising), flags=FakeFlags(instant=False)) as world:
        assert (await world.get()).body == BYTES
        await world.settled()
        assert (world.funnel["hook:context"], world.funnel["finished"]) == (1, 1)


async def test_effects_that_raise_keep_the_call_out_of_shadow() -> None:
    async with running(rollout_of(methods=["POST"], effects=raising)) as world:
        response = await world.serve(Request(method="POST", headers={"X-User-Id": "alice"}))
        assert response.body == BYTES
        assert (world.funnel["hook:effects"], world.funnel["skipped:unsafe"]) == (1, 1)


async def test_a_hook_that_keeps_raising_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with running(rollout_of(key=raising)) as world:
        for _ in range(100):
            await world.get()
        assert world.funnel["hook:key"] == 100
    assert len([record for record in caplog.records if getattr(record, "event", "") == "hook_key"]) == 7


@pytest.mark.parametrize("key", [7, b"alice", ["alice"], object()])
async def test_a_key_that_is_no_text_is_a_mistake_of_the_hook_and_the_call_is_drawn_alone(key: Any) -> None:
    async with running(rollout_of(key=lambda call: key), live={"a": 0.5}) as world:
        assert (await world.get()).status == 200
        assert (world.funnel["hook:key"], world.funnel["calls"]) == (1, 1)


async def test_an_empty_key_is_no_key() -> None:
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), live={"a": 0.5}) as world:
        answers = {(await world.get(key="")).json()["a"] for _ in range(50)}
        assert answers == {1, 9}


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("join", ["overlay", "replace"])
async def test_an_aggregator_that_exits_or_is_cancelled_ends_nobody_but_itself(
    error: BaseException, later: bool, join: str
) -> None:
    def now(call: Call, control: Any, parts: Parts) -> Any:
        raise error

    async def soon(call: Call, control: Any, parts: Parts) -> Any:
        await asyncio.sleep(0)
        raise error

    rollout = rollout_of(Branch("a", giving(9), part="$.a"), aggregate=soon if later else now, join=join)
    for live in (LIVE, {}):
        async with running(rollout, live=live) as world:
            assert (await world.get()).body == BYTES
            await nothing_left(world)
            assert world.funnel["hook:aggregate"] >= 1


# What is captured


async def test_what_is_captured_is_there_for_the_key_the_flag_and_the_branches() -> None:
    seen: list[Any] = []

    async def capture(request: Any) -> dict[str, str]:
        await asyncio.sleep(0.01)
        return {"user": "alice"}

    async def branch(call: Call) -> Any:
        seen.append((call.key, dict(call.state)))
        return 9

    flags = FakeFlags({("profile", "alice"): "on"})
    rollout = rollout_of(Branch("a", branch, part="$.a"), capture=capture, key=lambda call: call.state["user"])
    async with running(rollout, flags=flags) as world:
        assert (await world.get(key=None)).json()["a"] == 9
    assert seen == [("alice", {"user": "alice"})]


async def test_without_what_is_captured_branches_do_not_run() -> None:
    async with running(rollout_of(Branch("a", giving(9), part="$.a"), capture=raising_later), live=LIVE) as world:
        assert (await world.get()).body == BYTES
        assert (world.funnel["calls"], world.funnel["skipped:capture"]) == (1, 1)


# Flags that must be waited for


async def test_a_remote_flag_is_asked_once_for_each_call_with_its_key() -> None:
    flags = FakeFlags({("profile", "alice"): "on"}, instant=False)
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), flags=flags) as world:
        assert (await world.get(key="alice")).json()["a"] == 9
        assert (await world.get(key="bob")).json()["a"] == 1
    assert flags.asked == [("profile", "alice"), ("profile", "bob")]


@pytest.mark.parametrize("instant", [True, False])
async def test_a_flag_that_cannot_be_read_is_off(instant: bool) -> None:
    flags = FakeFlags(instant=instant)
    flags.break_with("timeout")
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), flags=flags, live=LIVE) as world:
        assert (await world.get()).body == BYTES
        await world.settled()
        assert (world.funnel["calls"], world.funnel["drawn"]) == (1, 0)


@pytest.mark.parametrize("instant", [True, False])
async def test_the_flag_of_a_branch_is_capped_by_its_rollout_s(instant: bool) -> None:
    flags = FakeFlags({"profile": "auto", "own": "shadow"}, instant=instant)
    branches = [Branch("a", giving(9), part="$.a", flag="own"), Branch("b", giving(8), part="$.b")]
    async with running(rollout_of(*branches), flags=flags, live={"a": 1.0, "b": 1.0}) as world:
        assert (await world.get()).json() == {"a": 1, "b": 8, "c": 3}


# Overlay: replies of control that are special


@pytest.mark.parametrize("status", [302, 404, 503])
@pytest.mark.parametrize("raised", [True, False])
async def test_a_reply_that_is_not_2xx_passes_through(status: int, raised: bool) -> None:
    async def control(_: Any) -> Response:
        await asyncio.sleep(0.01)
        if raised:
            raise HttpError(status, b"control's", (("Location", "/there"),))
        return Response(b"control's", status)

    async with running(rollout_of(Branch("a", giving(9), part="$.a"), control=control), live=LIVE) as world:
        if raised:
            with pytest.raises(HttpError) as caught:
                await world.get()
            answer: Any = caught.value
        else:
            answer = await world.get()
        assert (answer.status, answer.body) == (status, b"control's")
        (trial,) = await world.trials()
        assert (trial.control_status, trial.outcome) == (status, "incomparable")
        figures = world.sealed()
        assert figures["a", "B"]["bad"] == (1 if status >= 500 else 0)


@pytest.mark.parametrize("raised", [True, False])
@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
async def test_with_aggregate_all_the_aggregator_gets_replies_that_are_not_2xx_too(
    raised: bool, live: dict[str, float]
) -> None:
    seen: list[int] = []

    async def control(_: Any) -> Response:
        if raised:
            raise HttpError(404, b"control's")
        return Response(b"control's", 404)

    def aggregate(call: Call, control: Reply | None, parts: Parts) -> Any:
        assert control is not None
        seen.append(control.status)
        return Reply.json(dict(parts))

    rollout = rollout_of(Branch("a", giving(9), part="$.a"), control=control, aggregate=aggregate, aggregate_all=True)
    async with running(rollout, live=live) as world:
        try:
            answer: Any = await world.get()
        except HttpError as error:
            answer = error
        assert answer.status == (200 if live else 404)
        await world.settled()
    assert seen == [404]


@pytest.mark.parametrize("join", ["overlay", "replace"])
async def test_a_reply_that_the_aggregator_raises_is_the_candidate_and_raised_to_the_user(join: str) -> None:
    def aggregate(call: Call, control: Any, parts: Parts) -> Any:
        raise HttpError(303, b"", (("Location", "/there"),))

    rollout = rollout_of(Branch("a", giving(9), part="$.a"), aggregate=aggregate, join=join)
    async with running(rollout, live=LIVE) as world:
        with pytest.raises(HttpError) as caught:
            await world.get()
        assert (caught.value.status, dict(caught.value.headers)) == (303, {"Location": "/there"})
        assert world.funnel["served:candidate"] == 1
        assert not world.funnel.starting("hook:")


async def test_an_exception_of_control_s_own_reaches_the_user_unchanged_and_is_recorded() -> None:
    error = ValueError("control's own")
    for live in (LIVE, {}):
        async with running(rollout_of(control=giving(error)), live=live) as world:
            with pytest.raises(ValueError, match="control's own") as caught:
                await world.get()
            assert caught.value is error
            (trial,) = await world.trials()
            assert trial.control_error.startswith("ValueError")
            assert "control's own" not in trial.control_error
            assert world.sealed()["", "*"]["bad"] == 1
            await nothing_left(world)


async def test_two_errors_of_one_class_and_message_match() -> None:
    for message, outcome in (("same", "matched"), ("other", "mismatched")):
        rollout = rollout_of(Branch("a", giving(ValueError(message)), part="$.a"), control=giving(ValueError("same")))
        async with running(rollout) as world:
            with pytest.raises(ValueError, match="same"):
                await world.get()
            assert [trial.outcome for trial in await world.trials()] == [outcome]


async def test_where_control_raised_branches_that_were_cut_with_it_prove_nothing() -> None:
    rollout = rollout_of(Branch("a", giving(9, after_s=1), part="$.a"), control=giving(ValueError("x"), after_s=0.1))
    async with running(rollout, live=LIVE) as world:
        with pytest.raises(ValueError, match="x"):
            await world.get()
        (trial,) = await world.trials()
        assert trial.outcome == "incomparable"
        assert world.sealed().get(("a", "P"), Figures())["pairs"] == 0


async def test_a_reply_that_cannot_be_copied_goes_to_the_user_as_it_is() -> None:
    made = Response(streamed=True)
    for live in (LIVE, {}):
        async with running(rollout_of(control=giving(made)), live=live) as world:
            assert await world.get() is made
            await world.settled()
            assert world.funnel["skipped:streamed"] == 1
            assert not await world.trials()


async def test_control_that_is_no_json_cannot_be_laid_over_and_control_answers() -> None:
    page = Response(b"<p>", headers=(("Content-Type", "text/html"),))
    async with running(rollout_of(control=giving(page)), live=LIVE) as world:
        assert await world.get() is page
        assert world.funnel["fallback:control_not_json"] == 1
        assert [trial.outcome for trial in await world.trials()] == ["incomparable"]


async def test_a_part_that_is_no_json_falls_back_and_only_its_branch_is_blamed() -> None:
    branches = [Branch("a", giving({1, 2}), part="$.a"), Branch("b", giving(8), part="$.b")]
    async with running(rollout_of(*branches), live={"a": 1.0, "b": 1.0}) as world:
        assert (await world.get()).body == BYTES
        assert world.funnel["fallback:part_not_json"] == 1
        assert not world.funnel.starting("fault:")
        figures = world.sealed()
        assert (figures["a", "B"]["bad"], figures["b", "B"]["bad"]) == (1, 0)


async def test_a_part_that_is_a_reply_is_the_whole_reply_where_it_lives_at_the_root() -> None:
    page = Reply(200, {"Content-Type": "text/html"}, b"<p>")
    rollout = rollout_of(
        Branch("a", giving(page), part="$"), control=giving(Response(b"<p>", headers=(("Content-Type", "text/html"),)))
    )
    for live in (LIVE, {}):
        async with running(rollout, live=live) as world:
            assert (await world.get()).body == b"<p>"
            assert [trial.outcome for trial in await world.trials()] == ["matched"]


# Aggregators


async def test_an_aggregator_may_be_async_and_return_json_or_a_reply() -> None:
    def plain(call: Call, control: Any, parts: Parts) -> Any:
        return {"answer": parts["a"]}

    async def later(call: Call, control: Any, parts: Parts) -> Any:
        await asyncio.sleep(0.01)
        return Reply.json({"answer": parts["a"]}, 201)

    for aggregate, status in ((plain, 200), (later, 201)):
        async with running(rollout_of(Branch("a", giving(9), part="$.a"), aggregate=aggregate), live=LIVE) as world:
            response = await world.get()
            assert (response.status, response.json()) == (status, {"answer": 9})


async def test_a_json_value_keeps_control_s_status_and_headers_less_those_of_its_body() -> None:
    headers = (("Content-Type", "application/json"), ("ETag", "x"), ("Content-Length", "3"), ("X-Trace", "7"))
    rollout = rollout_of(
        Branch("a", giving(9), part="$.a"), control=giving(Response(BYTES, 203, headers)), aggregate=lambda *_: {"x": 1}
    )
    async with running(rollout, live=LIVE) as world:
        response = await world.get()
        assert response.status == 203
        assert dict(response.headers) == {"Content-Type": "application/json", "X-Trace": "7"}


async def test_an_aggregator_that_hangs_is_cut_at_the_deadline_and_control_answers() -> None:
    rollout = rollout_of(aggregate=hanging, budget=Budget(latency_s=1.0))
    async with running(rollout, live=LIVE) as world:
        assert (await world.get()).body == BYTES
        assert time() == pytest.approx(1.0, abs=0.01)
        assert world.funnel["fallback:aggregate_timeout"] == 1
        (trial,) = await world.trials()
        assert trial.outcome == "mismatched"


async def test_an_aggregator_that_swallows_its_cancellation_is_left_behind() -> None:
    async def stubborn(*_: Any) -> Any:
        while time() < 5:
            try:
                await asyncio.sleep(5 - time())
            except asyncio.CancelledError:
                continue
        raise ValueError("nobody waits for this")

    rollout = rollout_of(aggregate=stubborn, budget=Budget(latency_s=1.0), shadow=Shadow(sample=0.0))
    async with running(rollout, live=LIVE) as world:
        assert (await world.get()).body == BYTES
        assert time() == pytest.approx(1.0, abs=0.01)
        await asyncio.sleep(6)


async def test_in_shadow_the_aggregator_gets_control_s_reply_and_a_call_that_says_so() -> None:
    seen: list[Any] = []

    def aggregate(call: Call, control: Reply | None, parts: Parts) -> Any:
        seen.append((call.is_shadow, in_shadow(), control is not None, call.key))
        return CONTROL

    async with running(rollout_of(aggregate=aggregate)) as world:
        await world.get()
        assert [trial.outcome for trial in await world.trials()] == ["matched"]
        world.stand(a=1.0, shadow=False)
        await world.get()
        await world.settled()
    assert seen == [(True, True, True, "alice"), (False, False, True, "alice")]


async def test_a_live_reply_is_compared_as_the_user_got_it_and_made_once() -> None:
    made: list[int] = []

    def aggregate(call: Call, control: Any, parts: Parts) -> Any:
        made.append(1)
        return {**CONTROL, "a": len(made)}

    async with running(rollout_of(Branch("a", giving(9), part="$.a"), aggregate=aggregate), live=LIVE) as world:
        assert (await world.get()).body == BYTES
        assert [trial.outcome for trial in await world.trials()] == ["matched"]
    assert made == [1]


# Replace


async def test_live_branches_stand_in_for_control_which_does_not_run() -> None:
    ran: list[Any] = []

    async def control(request: Any) -> Response:
        ran.append(request)
        return Response(BYTES)

    rollout = replacing(control=control, shadow=Shadow(reverse=0.0))
    async with running(rollout, live=LIVE) as world:
        assert (await world.get()).json() == {"a": 9}
        await world.settled()
    assert ran == []


async def test_control_starts_at_the_first_failure_of_a_required_branch() -> None:
    branches = [
        Branch("a", giving(ValueError(), after_s=0.2), part="$.a"),
        Branch("b", giving(8, after_s=5), part="$.b"),
    ]
    async with running(replacing(*branches), live={"a": 1.0, "b": 1.0}) as world:
        assert (await world.get()).body == BYTES
        assert time() == pytest.approx(0.2, abs=0.01)
        figures = world.sealed()
        assert figures["", "*"]["fallback:error"] == 1
        assert (figures["a+b", "B"]["bad"], figures["a+b", "B"]["fallbacks"]) == (1, 1)
        await nothing_left(world)


async def test_an_optional_failure_starts_no_fallback() -> None:
    branches = [Branch("a", giving(9), part="$.a"), Branch("b", giving(ValueError()), part="$.b", required=False)]
    async with running(replacing(*branches), live={"a": 1.0, "b": 1.0}) as world:
        assert (await world.get()).json() == {"a": 9}
        figures = world.sealed()
        assert (figures["a", "B"]["bad"], figures["b", "B"]["bad"]) == (0, 1)


async def test_control_starts_early_enough_to_meet_the_deadline_by_its_own_p95() -> None:
    rollout = replacing(
        Branch("a", giving(9, after_s=60), part="$.a"),
        control=answering(CONTROL, after_s=0.5),
        budget=Budget(latency_s=2.0),
    )
    async with running(rollout) as world:
        for _ in range(20):
            await world.get()
        await world.settled()
        world.stand(a=1.0)
        begun = time()
        assert (await world.get()).body == BYTES
        assert time() - begun == pytest.approx(2.0, abs=0.03)
        assert world.funnel["fallback:late"] == 1


async def test_control_is_never_cut_once_it_runs() -> None:
    rollout = replacing(
        Branch("a", giving(ValueError()), part="$.a"),
        control=answering(CONTROL, after_s=9),
        budget=Budget(latency_s=1.0),
    )
    async with running(rollout, live=LIVE) as world:
        assert (await world.get()).body == BYTES
        assert time() == pytest.approx(9.0, abs=0.01)


@pytest.mark.parametrize(
    ("run", "status", "code"),
    [(giving(ValueError(), after_s=0.1), 502, "error"), (giving(9, after_s=60), 504, "late")],
    ids=["fails", "late"],
)
async def test_a_write_that_has_begun_is_not_done_again_by_control(run: Any, status: int, code: str) -> None:
    ran: list[Any] = []

    async def control(request: Any) -> Response:
        ran.append(request)
        return Response(BYTES)

    rollout = replacing(
        Branch("a", run, part="$.a", effects="write"),
        control=control,
        methods=["POST"],
        effects="safe",
        budget=Budget(latency_s=1.0),
    )
    async with running(rollout, live=LIVE) as world:
        response = await world.serve(Request(method="POST", headers={"X-User-Id": "alice"}))
        assert response.status == status
        assert [error["branch"] for error in response.json()["errors"]] == ["a"]
        assert ran == []
        assert world.funnel["fallback:impossible"] == 1
        assert world.sealed()["a", "B"]["bad"] == 1


async def test_a_write_with_an_idempotency_key_may_be_done_again() -> None:
    branch = Branch("a", giving(ValueError()), part="$.a", effects="write", idempotency=lambda call: "7")
    async with running(replacing(branch, methods=["POST"], effects="safe"), live=LIVE) as world:
        assert (await world.serve(Request(method="POST", headers={"X-User-Id": "alice"}))).body == BYTES


async def test_the_required_branches_are_live_together_or_not_at_all() -> None:
    branches = [Branch("a", giving(9), part="$.a"), Branch("b", giving(8), part="$.b")]
    async with running(replacing(*branches), live={"a": 0.5, "b": 0.5}) as world:
        answers = [(await world.get(key=f"user-{number}")).json() for number in range(60)]
        assert {tuple(answer.items()) for answer in answers} == {tuple(CONTROL.items()), (("a", 9), ("b", 8))}


async def test_reverse_shadow_runs_control_on_a_share_of_live_calls_and_compares() -> None:
    rollout = replacing(
        Branch("a", giving(CONTROL), part="$"), control=answering(CONTROL, after_s=0.5), shadow=Shadow(reverse=0.25)
    )
    async with running(rollout, live=LIVE, dice=FixedDice(seed=4)) as world:
        for _ in range(400):
            await world.get()
        trials = await world.trials()
        assert len(trials) / 400 == pytest.approx(0.25, abs=0.06)
        assert {(trial.mode, trial.outcome) for trial in trials} == {("reverse", "matched")}
        assert all(trial.control_s == pytest.approx(0.5, abs=0.01) for trial in trials)


async def test_control_in_reverse_shadow_knows_that_it_is_one() -> None:
    seen: list[bool] = []

    async def control(_: Any) -> Response:
        seen.append(in_shadow())
        return Response(BYTES)

    async with running(replacing(control=control, shadow=Shadow(reverse=1.0)), live=LIVE) as world:
        await world.get()
        await world.settled()
    assert seen == [True]


async def test_a_fallback_that_is_a_redirect_is_raised_and_blamed_on_the_branches() -> None:
    rollout = replacing(Branch("a", giving(ValueError()), part="$.a"), control=giving(HttpError(302)))
    async with running(rollout, live={"a": 0.5}) as world:
        for number in range(20):
            with pytest.raises(HttpError):
                await world.get(key=f"user-{number}")
        figures = world.sealed()
        assert figures["a", "B"]["bad"] == figures["a", "B"]["calls"]
        assert figures["a", "A"]["bad"] == 0


# Noise


async def test_control_is_sometimes_run_once_more_in_shadow_to_learn_how_it_differs_from_itself() -> None:
    answers = iter(range(1_000))
    seen: list[bool] = []

    async def control(_: Any) -> Response:
        seen.append(in_shadow())
        return Response(json.dumps({"a": 1, "at": next(answers)}).encode())

    async with running(rollout_of(control=control, shadow=Shadow(noise=1.0))) as world:
        await world.get()
        await world.settled()
        assert await world.trials()
        (found,) = await world.backend.ledger.mismatches("profile")
        assert (found.path, found.count, found.noise) == ("$.at", 0, 1)
    assert seen == [False, True]


async def test_a_call_in_which_many_items_differ_at_one_path_is_one_call() -> None:
    flips = iter(range(1_000))

    async def control(_: Any) -> Response:
        return Response(json.dumps({"a": [next(flips) for _ in range(5)]}).encode())

    branch = Branch("a", giving([-1] * 5), part="$.a")
    async with running(rollout_of(branch, control=control, shadow=Shadow(noise=1.0))) as world:
        await world.get()
        await world.settled()
        (trial,) = await world.trials()
        assert [one["path"] for one in trial.differences] == ["$.a[*]"] * 5
        (found,) = await world.backend.ledger.mismatches("profile")
        assert (found.path, found.count, found.noise, found.trials) == ("$.a[*]", 1, 1, [trial.id])


# Labels


@pytest.mark.parametrize("given_part", [1, 2], ids=["matched", "mismatched"])
async def test_what_the_user_groups_calls_by_is_stored_with_each_trial(given_part: int) -> None:
    def labels(call: Call) -> dict[str, object]:
        return {"plan": call.headers.get("X-Plan", "free"), "beta": True}

    rollout = rollout_of(Branch("a", giving(given_part), part="$.a"), store=Store(labels=labels))
    async with running(rollout) as world:
        await world.get()
        (trial,) = await world.trials()
        assert trial.labels == {"plan": "free", "beta": "True"}


@pytest.mark.parametrize("given_part", [1, 2], ids=["matched", "mismatched"])
async def test_labels_that_raise_are_left_out_and_counted(given_part: int) -> None:
    rollout = rollout_of(
        Branch("a", giving(given_part), part="$.a"), store=Store(labels=lambda call: {"plan": call.state["no such"]})
    )
    async with running(rollout) as world:
        await world.get()
        (trial,) = await world.trials()
        assert trial.labels == {}
        assert world.sealed()["", "*"]["hook:labels"] == 1


# Whoever goes away


def everything(**declared: Any) -> Any:
    """A rollout in which a call waits wherever it can."""

    async def stepwise(value: Any) -> Any:
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return value

    async def control(_: Any) -> Response:
        return await stepwise(Response(BYTES))  # type: ignore[no-any-return]

    async def capture(_: Any) -> dict[str, str]:
        return await stepwise({"user": "alice"})  # type: ignore[no-any-return]

    async def aggregate(call: Call, control: Any, parts: Parts) -> Any:
        return await stepwise(CONTROL)

    def branch(value: Any) -> Callable[[Call], Any]:
        async def run(call: Call) -> Any:
            return await stepwise(value)

        return run

    return rollout_of(
        Branch("a", branch(1), part="$.a"),
        Branch("b", branch(2), part="$.b", after="a"),
        Branch("c", branch(3), part="$.c", required=False, hard_timeout_s=1.0),
        control=control,
        capture=capture,
        aggregate=aggregate,
        **declared,
    )


class SlowFlags(FakeFlags):
    """Flags that take some turns to answer."""

    async def ask(self, *what: Any) -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return await super().ask(*what)


@pytest.mark.parametrize("join", ["overlay", "replace"])
@pytest.mark.parametrize(
    "live", [dict.fromkeys("abc", 1.0), {"a": 1.0, "b": 1.0}, {}], ids=["live", "partly", "shadow"]
)
async def test_whoever_goes_away_at_whatever_moment_leaves_nothing_behind(join: str, live: dict[str, float]) -> None:
    """The request is cancelled at its first await, at its second, and so on until it has an answer."""
    async with running(everything(join=join), live=live, flags=SlowFlags(instant=False)) as world:
        tasks = asyncio.all_tasks()
        for moment in range(1, 200):
            call = asyncio.create_task(world.get(body=b"{}", pace_s=0.002))
            for _ in range(moment):
                if call.done():
                    break
                await _one_turn()
            if call.done():
                break
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(0.2)
            await nothing_left(world)
            assert asyncio.all_tasks() - tasks == set()
        assert call.done()
        assert moment > 5
        await nothing_left(world)
        whole = world.sealed()["", "*"]
        assert whole["calls"] == moment
        assert whole["bad"] == moment - 1  # nobody answered those


async def _one_turn() -> None:
    """One turn of the loop, in which time may pass."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(0)
    if not loop._ready and loop.time() == before:  # type: ignore[attr-defined]  # nothing but timers: on to the next one
        await asyncio.sleep(0.0005)


async def test_a_live_branch_gives_its_connection_back_when_the_user_goes_away() -> None:
    held: list[str] = []

    async def branch(call: Call) -> Any:
        held.append("connection")
        try:
            await asyncio.sleep(60)
        finally:
            held.remove("connection")

    async with running(
        rollout_of(Branch("a", branch, part="$.a"), control=answering(CONTROL, after_s=60)), live=LIVE
    ) as w:
        call = asyncio.create_task(w.get())
        await asyncio.sleep(0.1)
        assert held == ["connection"]
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0)
        assert held == []


async def test_a_shadow_goes_on_after_the_user_has_left() -> None:
    async with running(rollout_of(Branch("a", giving(1, after_s=1), part="$.a"))) as world:
        call = asyncio.create_task(world.get())
        await call
        call.cancel()
        assert [trial.outcome for trial in await world.trials()] == ["matched"]


async def test_a_user_who_goes_away_is_bad_in_both_arms_alike() -> None:
    async with running(rollout_of(control=answering(CONTROL, after_s=60)), live={"a": 0.5}) as world:
        calls = [asyncio.create_task(world.get(key=f"user-{number}")) for number in range(20)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        figures = world.sealed()
        for arm in "AB":
            assert figures["a", arm]["bad"] == figures["a", arm]["calls"] > 0


# What the user waits for


async def test_shadow_branches_that_hang_do_not_keep_the_user_waiting() -> None:
    rollout = rollout_of(
        Branch("a", hanging, part="$.a"), control=answering(CONTROL, after_s=0.1), budget=Budget(latency_s=2.0)
    )
    async with running(rollout) as world:
        assert (await world.get()).body == BYTES
        assert time() == pytest.approx(0.1, abs=0.01)
        (trial,) = await world.trials()
        assert (trial.outcome, trial.runs[0].outcome) == ("mismatched", "hard_timeout")


async def test_an_overlay_waits_for_the_slower_side_only() -> None:
    rollout = rollout_of(Branch("a", giving(9, after_s=0.3), part="$.a"), control=answering(CONTROL, after_s=0.2))
    async with running(rollout, live=LIVE) as world:
        await world.get()
        assert time() == pytest.approx(0.3, abs=0.01)
        (trial,) = await world.trials()
        assert trial.candidate_s == pytest.approx(0.3, abs=0.01)


async def test_the_time_that_an_upload_takes_is_not_the_branches() -> None:
    seen: list[float | None] = []

    async def branch(call: Call) -> Any:
        seen.append(call.remaining_s)
        return 9

    rollout = rollout_of(Branch("a", branch, part="$.a"), budget=Budget(latency_s=2.0))
    async with running(rollout, live=LIVE) as world:
        assert (await world.get(body=b"{}", pace_s=30.0)).json()["a"] == 9
    assert seen == [pytest.approx(2.0, abs=0.01)]


# Ours


@pytest.mark.parametrize("broken", ["skip_reason", "read_body", "keep", "reply_of", "response_of", "source"])
@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
async def test_a_fault_of_ours_is_counted_and_control_answers(
    broken: str, live: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), live=live) as world:
        await _warm(world)
        target = "_source" if broken == "source" else broken
        monkeypatch.setattr(world.runtime if broken == "source" else world.runtime.host, target, raising)
        try:
            response = await world.get(body=b"{}")
        except RuntimeError:
            assert broken in ("source", "skip_reason")  # raised by admit(), which the middleware catches
            return
        await world.settled()
        assert response.json()["b"] == 2
        if broken != "response_of" or live:
            assert world.funnel.starting("fault:")


async def _warm(world: World) -> None:
    await world.get()
    await world.settled()


async def test_a_fan_out_that_cannot_start_leaves_the_call_to_control(monkeypatch: pytest.MonkeyPatch) -> None:
    for join in ("overlay", "replace"):
        async with running(rollout_of(Branch("a", giving(9), part="$.a"), join=join), live=LIVE) as world:
            with monkeypatch.context() as patch:
                patch.setattr(Trial, "_fan_out", raising)
                assert (await world.get()).body == BYTES
            assert (world.funnel["fault:start"], world.funnel["calls"]) == (1, 1)
            await nothing_left(world)
