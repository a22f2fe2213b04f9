"""The flag source: whatever a provider does, the answer is clear, in time and counted."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.hook import Hook
from openfeature.provider import Metadata
from openfeature.provider._registry import provider_registry
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from rollout.domain.state import FlagOverride
from rollout.ports import FlagAnswer, FlagSource
from rollout_openfeature import OpenFeatureFlags, RolloutProvider

from .conftest import Answers, snapshot


def memory(**flags: Any) -> InMemoryProvider:
    return InMemoryProvider({name: InMemoryFlag("v", {"v": value}) for name, value in flags.items()})


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Set to let every hanging thread go; the end of the test does."""
    event = threading.Event()
    yield event
    event.set()


def off(reason: str, found: bool = True) -> FlagAnswer:
    return FlagAnswer("off", reason, found)


# --- nobody has bound a provider


async def test_the_toolkits_own_answer_is_a_look_up(flags: OpenFeatureFlags) -> None:
    source: FlagSource = flags
    flags.update(snapshot(FlagOverride(flag="profile", value="on", key="alice")))
    assert source.peek("profile", "alice") == FlagAnswer("on", "targeting_match")
    assert source.peek("profile", None) == await source.ask("profile", "bob", {}) == FlagAnswer("auto", "default")
    assert source.peek("tickets-flag", "bob") == FlagAnswer("auto", "default")
    assert flags.evaluations == {
        ("profile", "on", "targeting_match"): 1,
        ("profile", "auto", "default"): 2,
        ("tickets-flag", "auto", "default"): 1,
    }
    assert flags.source() == "rolloutkit"


def test_an_unknown_flag_is_off_and_not_found(flags: OpenFeatureFlags) -> None:
    assert flags.peek("orders", None) == off("not_found", found=False)
    assert flags.evaluations == {("orders", "off", "not_found"): 1}


def test_before_the_first_snapshot_everything_is_off() -> None:
    assert OpenFeatureFlags().peek("profile", "alice") == off("not_found", found=False)


def test_counts_outlive_an_update(flags: OpenFeatureFlags) -> None:
    flags.peek("profile", None)
    flags.update(snapshot(FlagOverride(flag="profile", value="off")))
    flags.update(snapshot())
    flags.peek("profile", None)
    assert flags.evaluations == {("profile", "auto", "default"): 2}


def test_the_default_provider_of_the_process_is_not_asked(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(memory(profile="on"))
    assert flags.peek("profile", None) == FlagAnswer("auto", "default")


def test_two_applications_in_one_process_each_answer_from_their_own_memory(flags: OpenFeatureFlags) -> None:
    other = OpenFeatureFlags()
    other.update(snapshot(FlagOverride(flag="profile", value="off")))
    other.bind()
    assert flags.peek("profile", None) == FlagAnswer("auto", "default")
    assert other.peek("profile", None) == off("static")


def test_a_users_provider_is_not_replaced() -> None:
    api.set_provider_and_wait(theirs := memory(profile="on"), "rollout")
    source = OpenFeatureFlags()
    source.bind()
    assert api.get_client("rollout").provider is theirs
    assert source.peek("profile", None) is None
    assert source.source() == "In-Memory Provider"


# --- a provider is bound


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        *((word, FlagAnswer(word, "static")) for word in ("off", "shadow", "auto", "on")),
        (True, FlagAnswer("auto", "static")),
        (False, FlagAnswer("off", "static")),
        ("ON", off("value")),
        ("", off("value")),
        (1, off("type")),
        ({"on": True}, off("type")),
        (None, off("type")),
    ],
)
@pytest.mark.parametrize("on_loop", [False, True])
async def test_values_are_one_of_four_words(value: Any, answer: FlagAnswer, on_loop: bool) -> None:
    api.set_provider_and_wait(memory(profile=value), "rollout")
    source = OpenFeatureFlags(on_loop=on_loop, timeout_s=10.0)
    assert await source.ask("profile", "alice", {}) == answer
    assert source.evaluations == {("profile", answer.value, answer.reason): 1}


@pytest.mark.parametrize("on_loop", [False, True])
async def test_a_flag_that_the_provider_does_not_know_is_off_and_not_found(on_loop: bool) -> None:
    api.set_provider_and_wait(memory(), "rollout")
    assert await OpenFeatureFlags(on_loop=on_loop, timeout_s=10.0).ask("profile", None, {}) == off(
        "not_found", found=False
    )


async def test_a_provider_bound_later_serves_from_then_on(flags: OpenFeatureFlags) -> None:
    assert flags.peek("profile", None) is not None
    api.set_provider_and_wait(memory(profile="shadow"), "rollout")
    assert flags.peek("profile", None) is None
    assert await flags.ask("profile", None, {}) == FlagAnswer("shadow", "static")


async def test_that_a_flag_is_a_boolean_is_remembered_until_it_is_none(flags: OpenFeatureFlags) -> None:
    provider = Answers(lambda flag: value)
    api.set_provider_and_wait(provider, "rollout")
    value: Any = True
    for _ in range(3):
        assert (await flags.ask("profile", None, {})).value == "auto"
    assert [kind for kind, _ in provider.asked] == ["string", "boolean", "boolean", "boolean"]
    value = "on"
    for _ in range(2):
        assert (await flags.ask("profile", None, {})).value == "on"
    assert [kind for kind, _ in provider.asked[4:]] == ["boolean", "string", "string"]


async def test_the_provider_sees_the_key_the_context_and_the_transaction(flags: OpenFeatureFlags) -> None:
    seen: list[EvaluationContext] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def evaluate(flag: InMemoryFlag[str], context: EvaluationContext) -> FlagResolutionDetails[str]:
        seen.append(context)
        return FlagResolutionDetails(variable.get(), reason=Reason.TARGETING_MATCH)

    flag = InMemoryFlag("v", {"v": "off"}, context_evaluator=evaluate)
    api.set_provider_and_wait(InMemoryProvider({"profile": flag}), "rollout")
    variable.set("on")
    assert await flags.ask("profile", "alice", {"country": "fr"}) == FlagAnswer("on", "targeting_match")
    assert seen == [EvaluationContext("alice", {"country": "fr"})]


@pytest.mark.parametrize(
    ("named", "reason"), [(None, "unknown"), ("targeting_match", "targeting_match"), ("x" * 99, "other")]
)
async def test_reasons_are_a_closed_list(flags: OpenFeatureFlags, named: str | None, reason: str) -> None:
    api.set_provider_and_wait(Answers(lambda flag: FlagResolutionDetails("on", reason=named)), "rollout")
    assert await flags.ask("profile", None, {}) == FlagAnswer("on", reason)


# --- a provider that fails


class Unhashable(Answers):
    __hash__ = None  # type: ignore[assignment]


class Nameless(Answers):
    def get_metadata(self) -> Metadata:
        raise RuntimeError("no name")


class ByMistake(Answers):
    async def resolve_string_details(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        return FlagResolutionDetails("on")


def raising(error: BaseException) -> Any:
    def answer(flag: str) -> Any:
        raise error

    return answer


@pytest.mark.parametrize("on_loop", [False, True])
async def test_a_provider_that_raises_means_off(on_loop: bool) -> None:
    api.set_provider_and_wait(Answers(raising(RuntimeError("down"))), "rollout")
    assert await OpenFeatureFlags(on_loop=on_loop, timeout_s=10.0).ask("profile", None, {}) == off("error")


async def test_a_provider_that_wants_to_end_the_process_only_means_off(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(Answers(raising(SystemExit(1))), "rollout")
    for _ in range(5):
        assert await flags.ask("profile", None, {}) == off("error")
    api.set_provider_and_wait(memory(profile="on"), "rollout")
    assert (await flags.ask("profile", None, {})).value == "on"


async def test_a_context_that_cannot_be_read_means_off(flags: OpenFeatureFlags) -> None:
    class Broken(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise KeyError(name)

        def __iter__(self) -> Iterator[str]:
            raise RuntimeError

        def __len__(self) -> int:
            return 1

    api.set_provider_and_wait(memory(profile="on"), "rollout")
    assert await flags.ask("profile", None, Broken()) == off("error")


async def test_a_provider_without_a_hash_means_off(flags: OpenFeatureFlags) -> None:
    with pytest.raises(TypeError):
        api.set_provider(Unhashable(lambda flag: "on"), "rollout")
    assert await flags.ask("profile", None, {}) == off("error")
    assert flags.source() == "Unhashable"


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_async_hooks_and_async_methods_by_mistake_mean_off(flags: OpenFeatureFlags) -> None:
    class Later(Hook):
        async def before(self, *_: Any) -> Any:  # type: ignore[override]
            return EvaluationContext()

    api.set_provider_and_wait(ByMistake(lambda flag: "on"), "rollout")
    assert await flags.ask("profile", None, {}) == off("error")
    api.set_provider_and_wait(memory(profile="on"), "rollout")
    api.add_hooks([Later()])
    assert await flags.ask("profile", None, {}) == off("error")


async def test_a_provider_that_fails_outside_of_what_the_client_guards_means_off(flags: OpenFeatureFlags) -> None:
    provider = Nameless(lambda flag: "on")
    api.set_provider_and_wait(memory(profile="on"), "rollout")
    provider_registry._providers["rollout"] = provider  # the registry itself asks for the name, and fails
    assert await flags.ask("profile", None, {}) == off("error")
    assert flags.source() == "Nameless"


async def test_until_a_provider_is_ready_everything_is_off(flags: OpenFeatureFlags, hang: threading.Event) -> None:
    class Slow(Answers):
        def initialize(self, evaluation_context: EvaluationContext) -> None:
            hang.wait()

    api.set_provider(Slow(lambda flag: "on"), "rollout")
    assert await flags.ask("profile", None, {}) == off("not_ready")
    assert flags.source() == "answers (NOT_READY)"
    hang.set()
    for _ in range(200):
        if (answer := await flags.ask("profile", None, {})).value == "on":
            break
        await asyncio.sleep(0.01)
    assert answer == FlagAnswer("on", "unknown")


async def test_a_provider_that_cannot_start_means_off_or_what_it_still_answers(flags: OpenFeatureFlags) -> None:
    class Dead(Answers):
        def initialize(self, evaluation_context: EvaluationContext) -> None:
            raise RuntimeError("no network")

    api.set_provider(Dead(raising(RuntimeError("no network"))), "rollout")
    assert (await flags.ask("profile", None, {})).value == "off"


# --- a provider that blocks


async def test_a_late_answer_is_off(hasty: OpenFeatureFlags) -> None:
    def slow(flag: str) -> str:
        time.sleep(0.3)
        return "on"

    api.set_provider_and_wait(Answers(slow), "rollout")
    start = time.monotonic()
    assert await hasty.ask("profile", None, {}) == off("timeout")
    assert time.monotonic() - start < 0.2


async def test_hanging_threads_do_not_pile_up_and_come_back(hasty: OpenFeatureFlags, hang: threading.Event) -> None:
    def stuck(flag: str) -> str:
        hang.wait()
        return "on"

    api.set_provider_and_wait(Answers(stuck), "rollout")
    before = threading.active_count()
    first = await asyncio.gather(*(hasty.ask("profile", None, {}) for _ in range(20)))
    assert {answer.reason for answer in first} == {"timeout", "busy"}
    start = time.monotonic()
    assert await hasty.ask("profile", None, {}) == off("busy")
    assert time.monotonic() - start < 0.04
    assert threading.active_count() <= before + 2
    hang.set()
    for _ in range(200):
        if (answer := await hasty.ask("profile", None, {})).value == "on":
            break
        await asyncio.sleep(0.01)
    assert answer.value == "on"


async def test_a_cancelled_caller_is_cancelled_at_once(hasty: OpenFeatureFlags, hang: threading.Event) -> None:
    def stuck(flag: str) -> str:
        hang.wait()
        return "on"

    api.set_provider_and_wait(Answers(stuck), "rollout")
    task = asyncio.create_task(hasty.ask("profile", None, {}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_waits_for_no_hanging_thread(hasty: OpenFeatureFlags, hang: threading.Event) -> None:
    api.set_provider_and_wait(Answers(lambda flag: str(hang.wait())), "rollout")
    await hasty.ask("profile", None, {})
    start = time.monotonic()
    hasty.close()
    assert time.monotonic() - start < 0.05
    assert await hasty.ask("profile", None, {}) == off("busy")
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "rollout-flags")


async def test_an_async_provider_that_swallows_its_cancellation_is_not_waited_for() -> None:
    class Stubborn(Answers):
        async def resolve_string_details_async(self, *_: Any, **__: Any) -> Any:
            for _attempt in range(3):
                try:
                    await asyncio.sleep(0.2)
                except asyncio.CancelledError:
                    continue
            return FlagResolutionDetails("on")

    api.set_provider_and_wait(Stubborn(lambda flag: "off"), "rollout")
    source = OpenFeatureFlags(on_loop=True, threads=1, waiting=1)
    start = time.monotonic()
    answers = await asyncio.gather(*(source.ask("profile", None, {}) for _ in range(3)))
    assert time.monotonic() - start < 0.15
    assert [answer.reason for answer in answers] == ["timeout", "timeout", "busy"]
    await asyncio.sleep(0.7)
    assert not source._asking


# --- flagd's file mode


async def test_flagd_in_file_mode_targets_named_testers(flags: OpenFeatureFlags, tmp_path: Path) -> None:
    testers = {
        "if": [{"in": [{"var": "targetingKey"}, ["alice"]]}, "on", {"if": [{"==": [{"var": "country"}, "fr"]}, "off"]}]
    }
    variants = {word: word for word in ("off", "shadow", "auto", "on")}
    file = tmp_path / "flags.json"
    file.write_text(
        json.dumps(
            {
                "flags": {
                    "profile": {
                        "state": "ENABLED",
                        "variants": variants,
                        "defaultVariant": "auto",
                        "targeting": testers,
                    },
                    "switch": {"state": "ENABLED", "variants": {"yes": True, "no": False}, "defaultVariant": "yes"},
                    "asleep": {"state": "DISABLED", "variants": variants, "defaultVariant": "on"},
                }
            }
        )
    )
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(file))
    api.set_provider_and_wait(provider, "rollout")
    assert await flags.ask("profile", "alice", {}) == FlagAnswer("on", "targeting_match")
    assert await flags.ask("profile", "bob", {}) == FlagAnswer("auto", "default")
    assert await flags.ask("profile", "bob", {"country": "fr"}) == FlagAnswer("off", "targeting_match")
    assert (await flags.ask("switch", "bob", {})).value == "auto"
    assert await flags.ask("asleep", "bob", {}) == FlagAnswer("off", "disabled")
    assert await flags.ask("nowhere", "bob", {}) == off("not_found", found=False)


async def test_a_flagd_file_that_is_missing_at_the_start_means_off(flags: OpenFeatureFlags, tmp_path: Path) -> None:
    gone = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(tmp_path / "gone.json"))
    api.set_provider(gone, "rollout")
    assert (await flags.ask("profile", "alice", {})).value == "off"


def test_the_provider_of_the_toolkit_can_be_handed_in() -> None:
    mine = RolloutProvider()
    assert OpenFeatureFlags(mine).provider is mine
