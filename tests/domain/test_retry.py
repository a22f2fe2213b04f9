"""Retries: what is transient, how long the wait is, what a branch may afford, and who may try again."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from rollout.domain.retry import (
    GaveUp,
    Retry,
    RetryBudget,
    is_transient,
    mark_retried,
    next_attempt,
    retry_after_s,
    was_retried,
)
from rollout.errors import BranchTimeout, Rejected

WALL = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
AMOUNTS = st.floats(0, 1e6)
DICE = st.floats(0, 1, exclude_max=True)


class Answered(Exception):
    """An error that a server answered with."""

    def __init__(self, status: Any = 503, headers: Any = None) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


def asked(policy: Retry, error: BaseException | None = None, **changes: Any) -> float | GaveUp:
    given_: dict[str, Any] = {
        "attempt": 1,
        "remaining_s": None,
        "dice": 0.5,
        "budget": RetryBudget(1.0, 100.0, 0.0),
        "now": 0.0,
        "wall": WALL,
    }
    return next_attempt(policy, error or ConnectionResetError("gone"), **(given_ | changes))


# What is transient


def aiohttp_error(kind: type[aiohttp.ClientError], *bases: Any) -> aiohttp.ClientError:
    return kind.__new__(kind, *bases)  # their constructors want a connection key; their class is all that is asked


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        BrokenPipeError(32, "broken"),
        TimeoutError(),
        BranchTimeout("cut"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ServerTimeoutError(),
        aiohttp.ClientPayloadError("half a body"),
        aiohttp_error(aiohttp.ClientConnectorDNSError),
        aiohttp_error(aiohttp.ClientConnectorError),
        *(Answered(status) for status in (408, 429, 502, 503, 504)),
    ],
    ids=repr,
)
def test_connection_errors_timeouts_and_busy_answers_are_transient(error: Exception) -> None:
    assert is_transient(error, Retry())


OTHER_STATUSES: list[Any] = [200, 400, 401, 404, 500, 501, "503", None, nan, {}, []]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        OSError(28, "no space"),
        Rejected("full"),
        aiohttp.InvalidURL("x"),
        aiohttp_error(aiohttp.ClientConnectorCertificateError),
        ssl.SSLCertVerificationError("self-signed"),
        aiohttp.ServerFingerprintMismatch(b"a", b"b", "host", 443),
        *(Answered(status) for status in OTHER_STATUSES),
    ],
    ids=repr,
)
def test_every_other_error_is_permanent(error: Exception) -> None:
    assert not is_transient(error, Retry())
    assert asked(Retry(), error) == "permanent"


def test_a_branch_declares_further_transient_errors_by_class_or_by_function() -> None:
    by_class = Retry(transient=[KeyError])
    assert is_transient(KeyError("x"), by_class)
    assert not is_transient(IndexError(), by_class)
    by_function = Retry(transient=lambda error: "later" in str(error))
    assert is_transient(ValueError("try later"), by_function)
    assert not is_transient(ValueError("never"), by_function)
    assert is_transient(ConnectionError(), by_function)  # beside the standard ones, not instead of them


def test_what_the_declared_function_raises_is_raised() -> None:
    def broken(_: BaseException) -> bool:
        raise LookupError("a mistake of the declaration")

    with pytest.raises(LookupError):
        asked(Retry(transient=broken), ValueError())


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_what_is_no_exception_is_never_transient(error: BaseException) -> None:
    assert not is_transient(error, Retry(transient=[BaseException]))
    assert not is_transient(error, Retry(transient=lambda _: True))


def test_an_error_may_say_itself_that_a_retry_is_in_vain() -> None:
    error = ConnectionError()
    error.retriable = False  # type: ignore[attr-defined]
    assert not is_transient(error, Retry(transient=[ConnectionError]))


# One layer retries


class Slotted(ConnectionError):
    __slots__ = ("why",)


@dataclass(frozen=True)
class Frozen(ConnectionError):
    why: str = "frozen"


class Stubborn(ConnectionError):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("no attributes, please")


@pytest.mark.parametrize("kind", [ConnectionError, Slotted, Frozen, Stubborn])
def test_a_marked_error_is_not_transient_for_another_layer(kind: type[ConnectionError]) -> None:
    error = kind()
    assert is_transient(error, Retry())
    mark_retried(error)
    assert not is_transient(error, Retry(transient=[ConnectionError]))
    assert not is_transient(error, Retry(transient=lambda _: True))


def test_the_mark_is_seen_through_the_errors_that_were_raised_from_it() -> None:
    root = ConnectionError()
    mark_retried(root)
    wrapped = TimeoutError()
    wrapped.__cause__ = ValueError()
    wrapped.__cause__.__cause__ = root
    assert was_retried(wrapped)
    assert not is_transient(wrapped, Retry())


def test_an_error_raised_while_another_was_handled_is_no_consequence_of_it() -> None:
    fallback_failed = ConnectionError()
    fallback_failed.__context__ = ConnectionError()
    mark_retried(fallback_failed.__context__)
    assert is_transient(fallback_failed, Retry())


def test_a_ring_of_causes_ends() -> None:
    one, other = ConnectionError(), ConnectionError()
    one.__cause__, other.__cause__ = other, one
    assert not was_retried(one)
    mark_retried(other)
    assert was_retried(one)


def test_the_mark_survives_a_copy_and_the_way_out_of_another_process() -> None:
    error = ConnectionError("x")
    mark_retried(error)
    assert was_retried(copy.copy(error))
    assert was_retried(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"attempt": 2}, "attempts"), ({"remaining_s": 0.0}, "deadline"), ({"budget": RetryBudget(0, 0, 0)}, "budget")],
)
def test_an_error_that_is_given_up_is_marked(changes: Mapping[str, Any], why: str) -> None:
    error = ConnectionError()
    assert asked(Retry(attempts=2), error, **changes) == why
    assert was_retried(error)


def test_an_error_that_will_be_retried_or_is_permanent_is_not_marked() -> None:
    coming, permanent = ConnectionError(), ValueError()
    assert asked(Retry(), coming) == 0.025
    assert asked(Retry(), permanent) == "permanent"
    assert not was_retried(coming)
    assert not was_retried(permanent)  # the layer above may know better what is transient


def test_a_layer_that_never_tries_again_leaves_it_to_the_one_above() -> None:
    error = ConnectionError()
    assert asked(Retry(attempts=1), error) == "attempts"
    assert asked(Retry(attempts=2), error) == 0.025


# Retry-After


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2", 2.0),
        (" 2 ", 2.0),
        (2, 2.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
        ("Tue Nov 14 22:13:50 2023", 30.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue, 14 Nov 2023 23:13:50 +0100", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: object, wanted: float) -> None:
    assert retry_after_s(Answered(headers={"Retry-After": value}), WALL) == wanted


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's local time is nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_date_without_a_zone_is_utc_wherever_the_process_runs() -> None:
    assert retry_after_s(Answered(headers={"Retry-After": "Tue Nov 14 22:13:50 2023"}), WALL) == 30.0


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "-1", "nan", "inf", "1e3", "1_0", "٢", "9" * 400, None, b"2"),
        "Tue, 99 Nov 2023 22:13:50 GMT",
        "Tue, 14 Nov 99999 22:13:50 GMT",
        "Tue, 14 Nov 2023 22:13:50 +99999999999999999999",
    ],
)
def test_a_retry_after_that_cannot_be_read_is_none(value: object) -> None:
    assert retry_after_s(Answered(headers={"Retry-After": value}), WALL) is None


@given(st.text() | st.from_regex(r"(Mon, )?\d{1,3} (Jan|Foo) \d{1,6} \d{1,3}:\d\d:\d\d ([+-]\d{1,9}|GMT|X)"))
def test_no_retry_after_breaks_or_is_negative_or_endless(text: str) -> None:
    found = retry_after_s(Answered(headers={"Retry-After": text}), WALL)
    assert found is None or 0 <= found < inf


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("kind", [dict, CIMultiDict])
def test_the_header_is_found_in_any_case(kind: Any, name: str) -> None:
    assert retry_after_s(Answered(headers=kind({"x": "1", name: "2"})), WALL) == 2.0


@pytest.mark.parametrize("headers", [None, {}, {"x": "1"}, {3: 4}, "Retry-After: 2", [("Retry-After", "2")], 7])
def test_without_the_header_nothing_is_asked(headers: object) -> None:
    assert retry_after_s(Answered(headers=headers), WALL) is None
    assert retry_after_s(ConnectionError(), WALL) is None


# The next attempt


@given(base=AMOUNTS, cap=AMOUNTS, dice=DICE, attempt=st.integers(1, 9))
def test_the_wait_is_full_jitter_for_any_dice(base: float, cap: float, dice: float, attempt: int) -> None:
    wait = asked(Retry(attempts=10, base_s=base, cap_s=cap), attempt=attempt, dice=dice)
    most = min(cap, base * 2 ** (attempt - 1))
    assert isinstance(wait, float)
    assert wait == pytest.approx(dice * most)
    assert 0 <= wait <= most


@given(dice=DICE, attempt=st.integers(1, 9), remaining=st.floats(-1, 3), after=st.none() | st.floats(0, 3))
def test_no_attempt_begins_at_or_past_the_deadline(
    dice: float, attempt: int, remaining: float, after: float | None
) -> None:
    error = Answered(headers={} if after is None else {"Retry-After": f"{after:.3f}"})
    answer = asked(Retry(attempts=10), error, attempt=attempt, dice=dice, remaining_s=remaining)
    assert answer == "deadline" or answer < remaining  # type: ignore[operator]


@given(dice=DICE, after=st.integers(0, 100))
def test_no_attempt_begins_before_the_server_asked_for_it(dice: float, after: int) -> None:
    wait = asked(Retry(cap_s=0.5), Answered(headers={"Retry-After": str(after)}), dice=dice)
    assert isinstance(wait, float)
    assert after <= wait < after + 0.5


def test_two_seconds_asked_for_with_1_2_left_fail_now() -> None:
    assert asked(Retry(), Answered(headers={"Retry-After": "2"}), remaining_s=1.2) == "deadline"


def test_the_last_attempt_is_not_repeated() -> None:
    answers = [asked(Retry(attempts=3), attempt=attempt) for attempt in (1, 2, 3, 4)]
    assert answers == [0.025, 0.05, "attempts", "attempts"]


@pytest.mark.parametrize(
    ("error", "changes"), [(ValueError(), {}), (None, {"attempt": 2}), (None, {"remaining_s": 0.01})]
)
def test_a_retry_that_does_not_happen_is_not_paid_for(error: Exception | None, changes: Mapping[str, Any]) -> None:
    budget = RetryBudget(0.0, 1.0, 0.0)
    assert isinstance(asked(Retry(attempts=2), error, budget=budget, **changes), str)
    assert asked(Retry(), budget=budget) == 0.025
    assert asked(Retry(), budget=budget) == "budget"


# The retry budget

EVENTS = st.lists(st.tuples(st.floats(-1, 30) | st.just(0.0), st.booleans()), max_size=200)


@given(share=st.floats(0, 1), per_s=st.floats(0, 20), events=EVENTS)
def test_any_schedule_is_granted_at_most_its_share_its_floor_and_one_second_more(
    share: float, per_s: float, events: list[tuple[float, bool]]
) -> None:
    now = latest = calls = granted = 0.0
    budget = RetryBudget(share, per_s, now)
    for step, is_call in events:
        now += step
        latest = max(latest, now)
        if is_call:
            calls += 1
            budget.deposit(now)
        else:
            granted += budget.withdraw(now)
        assert granted <= share * calls + per_s * (latest + 1) + 1e-6


def granted_at_once(budget: RetryBudget, now: float) -> int:
    return sum(budget.withdraw(now) for _ in range(1_000))


def test_without_a_floor_five_calls_pay_for_one_retry() -> None:
    budget = RetryBudget(0.2, 0.0, 0.0)
    assert granted_at_once(budget, 0.0) == 0
    for _ in range(5):
        budget.deposit(0.0)
    assert granted_at_once(budget, 0.0) == 1


@pytest.mark.parametrize(("per_s", "kept"), [(0.0, 1), (0.05, 1), (3.0, 30)])
def test_hours_of_quiet_save_up_ten_seconds_of_the_floor_or_one_retry(per_s: float, kept: int) -> None:
    budget = RetryBudget(0.2, per_s, 0.0)
    for _ in range(1_000):
        budget.deposit(0.0)
    assert granted_at_once(budget, 7_200.0) == kept


def test_a_steady_load_without_failures_saves_up_ten_seconds_of_its_share() -> None:
    budget = RetryBudget(0.2, 0.0, 0.0)
    for call in range(6_000):
        budget.deposit(call / 100)  # a minute at 100 calls a second
    assert granted_at_once(budget, 60.0) == pytest.approx(200, rel=0.06)


def test_a_branch_with_a_call_a_minute_gets_its_retry() -> None:
    budget = RetryBudget(0.2, 0.0, 0.0)
    for minute in range(5):
        budget.deposit(minute * 60.0)
    assert granted_at_once(budget, 300.0) == 1


def test_a_low_floor_gets_there() -> None:
    budget = RetryBudget(0.0, 0.05, 0.0)
    assert [budget.withdraw(second) for second in (0.0, 18.0, 20.0, 30.0, 41.0)] == [False, False, True, False, True]


def test_a_clock_that_goes_back_gives_nothing_twice() -> None:
    budget = RetryBudget(0.0, 1.0, 100.0)
    assert [budget.withdraw(now) for now in (100.0, 101.0, 50.0, 101.0, 102.0)] == [True, True, False, False, True]


# The declaration


def test_the_defaults_have_no_problem() -> None:
    assert Retry().problems() == []
    assert Retry(attempts=1, budget=0.0, per_s=0.0, base_s=0.0, cap_s=0.0).problems() == []
    assert Retry(attempts=10, transient=(KeyError, OSError), attempt_timeout_s=0.2, budget=1.0).problems() == []
    assert Retry(transient=lambda _: True).problems() == []


async def later(_: BaseException) -> bool:
    return True


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        *(({"attempts": value}, "attempts is") for value in (0, 11, -1, 2.0, True, nan, "2", None)),
        *(({"base_s": value}, "base_s is") for value in (-0.1, nan, inf, "1", None, True)),
        *(({"cap_s": value}, "cap_s is") for value in (-0.1, nan, inf, "1", None)),
        ({"base_s": 2.0}, "base_s=2 is above cap_s=1"),
        *(({"attempt_timeout_s": value}, "attempt_timeout_s is") for value in (0, -1, nan, inf, "1", True)),
        *(({"budget": value}, "budget is") for value in (-0.1, 1.1, 20, nan, inf, "20%", None)),
        *(({"per_s": value}, "per_s is") for value in (-1, nan, inf, "10", None)),
        ({"budget": 0.0, "per_s": 0.0}, "attempts=1"),
        *(({"transient": value}, "transient is") for value in (KeyError, "KeyError", 503, None, later)),
        *(({"transient": [value]}, "transient holds") for value in (503, "x", BaseException, asyncio.CancelledError)),
    ],
)
def test_a_mistake_is_named_with_its_remedy(fields: dict[str, Any], named: str) -> None:
    (problem,) = Retry(**fields).problems()
    assert named in problem
    assert ";" in problem
    assert repr(next(iter(fields.values()))) in problem or "=" in named or "holds" in named


def test_all_mistakes_are_named_at_once() -> None:
    assert len(Retry(attempts=0, base_s=-1, cap_s=nan, budget=2, per_s=-1, transient=KeyError).problems()) == 6  # type: ignore[arg-type]
