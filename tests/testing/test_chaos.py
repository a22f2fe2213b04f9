"""Faults on purpose: each does what its name says, as often as told, and a mistake is refused where it is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout import Branch, Budget, Call, FanOut, FanOutFailed, Retry
from rollout.testing import FixedDice, chaos, run_virtual, sample_call


async def fetch(call: Call) -> str:
    return "its own"


TICKETS = Branch("tickets", fetch, part="$.tickets", hard_timeout_s=2.0, required=False)


def attempt(branch: Branch) -> tuple[Any, float]:
    """The part of one attempt, and how long it took."""

    async def main() -> tuple[Any, float]:
        part = await branch.run(sample_call())
        return part, asyncio.get_running_loop().time()

    return run_virtual(main())


def test_only_the_run_of_the_branch_changes() -> None:
    harmed = chaos(TICKETS, delay=1)
    for name in ("name", "part", "hard_timeout_s", "required"):
        assert getattr(harmed, name) == getattr(TICKETS, name)
    assert (harmed.run is TICKETS.run, TICKETS.run is fetch) == (False, True)


def test_what_the_engine_reads_of_the_function_is_still_there() -> None:
    async def handler(call: Call) -> None: ...

    handler.needs_request = True  # type: ignore[attr-defined]
    run: Any = chaos(Branch("page", handler), delay=1).run
    assert (run.needs_request, run.__name__) == (True, "handler")


def test_a_delay_comes_before_the_branch() -> None:
    assert attempt(chaos(TICKETS, delay=2.5)) == ("its own", 2.5)


@pytest.mark.parametrize(("thrown", "seconds"), [(0.0, 1.0), (0.5, 2.0), (0.75, 2.5)])
def test_a_delay_between_two_ends_is_uniform(thrown: float, seconds: float) -> None:
    assert attempt(chaos(TICKETS, delay=(1.0, 3.0), dice=FixedDice(0.0, thrown))) == ("its own", seconds)


def test_another_part_is_returned_none_too() -> None:
    assert attempt(chaos(TICKETS, part={"nonsense": 1})) == ({"nonsense": 1}, 0.0)
    assert attempt(chaos(TICKETS, part=None, delay=1)) == (None, 1.0)


@pytest.mark.parametrize("error", [ConnectionError, lambda: ConnectionError("made")])
def test_a_class_or_a_function_makes_a_fresh_error_each_time(error: Any) -> None:
    harmed, raised = chaos(TICKETS, error=error), []
    for _ in range(2):
        with pytest.raises(ConnectionError) as caught:
            attempt(harmed)
        raised.append(caught.value)
    assert raised[0] is not raised[1]


def test_an_instance_is_raised_as_it_is_after_the_delay() -> None:
    error = ConnectionError("this one")

    async def main() -> float:
        with pytest.raises(ConnectionError) as caught:
            await chaos(TICKETS, error=error, delay=1.5).run(sample_call())
        assert caught.value is error
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 1.5


def test_a_function_that_makes_no_error_is_told_so() -> None:
    with pytest.raises(TypeError, match="made 7, which cannot be raised"):
        attempt(chaos(TICKETS, error=lambda: 7))  # type: ignore[arg-type]


def test_the_rate_is_the_share_of_attempts_that_suffer() -> None:
    harmed = chaos(TICKETS, part="harmed", rate=0.5, dice=FixedDice(seed=7))
    parts = [attempt(harmed)[0] for _ in range(400)]
    same = chaos(TICKETS, part="harmed", rate=0.5, dice=FixedDice(seed=7))
    assert 160 <= parts.count("harmed") <= 240
    assert parts == [attempt(same)[0] for _ in range(400)]


@pytest.mark.parametrize(("rate", "part"), [(0.0, "its own"), (1.0, "harmed")])
def test_a_rate_of_nothing_is_never_and_of_one_is_always(rate: float, part: str) -> None:
    for thrown in (0.0, 0.5, 1 - 2**-53):
        assert attempt(chaos(TICKETS, part="harmed", rate=rate, dice=FixedDice(thrown)))[0] == part


def test_faults_add_up_where_chaos_is_put_on_chaos() -> None:
    assert attempt(chaos(chaos(TICKETS, part="harmed"), delay=2)) == ("harmed", 2.0)


# In a fan-out


def answered_after(branch: Branch, **declared: Any) -> tuple[str, float]:
    answer = run_virtual(FanOut("search", [Branch("orders", fetch), branch], **declared).run())
    return answer.runs[branch.name].outcome, answer.latency_s


def test_a_branch_that_hangs_is_cut() -> None:
    outcome, latency_s = answered_after(chaos(TICKETS, hang=True))
    assert outcome == "hard_timeout"
    assert latency_s == pytest.approx(2.0, abs=1e-3)


def test_a_budget_of_1500_ms_is_kept_though_a_branch_ignores_its_cancellation() -> None:
    branch = chaos(Branch("tickets", fetch, required=False), hang=True, swallow=30.0)
    outcome, latency_s = answered_after(branch, budget=Budget(latency_s=1.5))
    assert outcome == "hard_timeout"
    assert latency_s == pytest.approx(1.5, abs=1e-3)


def test_a_cancellation_is_ignored_for_so_long_however_often_it_comes() -> None:
    async def main() -> tuple[float, bool]:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(chaos(TICKETS, hang=True, swallow=5.0).run(sample_call()))
        for at in (1, 2, 3.5):
            loop.call_at(at, task.cancel)
        await asyncio.wait([task])
        return loop.time(), task.cancelled()

    assert run_virtual(main()) == (6.0, True)


def test_without_swallow_a_cancellation_ends_it_at_once() -> None:
    async def main() -> float:
        task = asyncio.ensure_future(chaos(TICKETS, hang=True).run(sample_call()))
        asyncio.get_running_loop().call_at(1, task.cancel)
        await asyncio.wait([task])
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 1.0


def test_a_retry_throws_the_dice_again() -> None:
    branch = Branch("tickets", fetch, retry=Retry(attempts=2))
    harmed = chaos(branch, error=ConnectionError, rate=0.5, dice=FixedDice(0.1, 0.9))
    answer = run_virtual(FanOut("search", [harmed], dice=FixedDice(0.5)).run())
    assert (answer.value, answer.runs["tickets"].attempts) == ({"tickets": "its own"}, 2)


def test_an_error_fails_the_call_of_a_required_branch() -> None:
    with pytest.raises(FanOutFailed) as caught:
        run_virtual(FanOut("search", [chaos(Branch("tickets", fetch), error=ConnectionError)]).run())
    assert isinstance(caught.value.__cause__, ConnectionError)


# Mistakes


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({}, "there is no fault; give delay"),
        ({"delay": 0}, "there is no fault"),
        ({"delay": (0, 0)}, "there is no fault"),
        ({"delay": -1}, "delay is -1; give seconds"),
        ({"delay": float("nan")}, "delay is nan"),
        ({"delay": float("inf")}, "delay is inf"),
        ({"delay": 10**400}, "delay is 1000"),
        ({"delay": True}, "delay is True"),
        ({"delay": "2s"}, "delay is '2s'"),
        ({"delay": (2.0, 1.0)}, r"delay is \(2.0, 1.0\)"),
        ({"delay": (1.0,)}, r"delay is \(1.0,\)"),
        ({"error": int}, "error is <class 'int'>; give an exception"),
        ({"error": "ConnectionError"}, "error is 'ConnectionError'"),
        ({"delay": 1, "rate": 1.01}, r"rate is 1.01; give a share in \[0, 1\]"),
        ({"delay": 1, "rate": -0.1}, "rate is -0.1"),
        ({"delay": 1, "rate": float("nan")}, "rate is nan"),
        ({"hang": 1}, "hang is 1; give True or False"),
        ({"swallow": -1}, "swallow is -1"),
        ({"hang": True, "error": ValueError}, "error and hang exclude each other"),
        ({"part": None, "error": ValueError}, "error and part exclude each other"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(faults: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"chaos\('tickets'\): .*{told}"):
        chaos(TICKETS, **faults)


def test_every_mistake_is_in_one_error() -> None:
    with pytest.raises(ValueError, match=r"delay is -1.*; rate is 2"):
        chaos(TICKETS, delay=-1, rate=2)


def test_what_is_no_branch_is_refused() -> None:
    with pytest.raises(ValueError, match="is no branch; give a Branch"):
        chaos(fetch, delay=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="7 cannot be called"):
        chaos(Branch("tickets", 7), delay=1)  # type: ignore[arg-type]
