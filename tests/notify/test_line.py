"""One target: tried with patience, bounded, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rollout.domain.inbox import Redelivery
from rollout_notify import Notifications, Slack, Target
from rollout_notify.line import Bounds
from rollout_notify.patience import Patience
from tests.notify.told import HOOK, Script, forbidden, sealed, unavailable

pytestmark = pytest.mark.looptime

OTHER = replace(HOOK, name="other")
MIDDLE = 0.5


def notifications(posts: Script, targets: Sequence[Target] = (HOOK,), **options: Any) -> Notifications:
    return Notifications(targets, posts=posts, dice=lambda: MIDDLE, **options)


def counted(made: Notifications, target: str = "webhook") -> dict[str, int]:
    return {outcome: count for (name, outcome), count in made.counts().items() if name == target and count}


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_every_pair_of_target_and_outcome_is_there_from_the_start() -> None:
    made = notifications(Script(), [HOOK, Slack("https://hooks.example/x")])
    outcomes = ("delivered", "refused", "given_up", "dropped", "shutdown")
    assert made.counts() == {(target, outcome): 0 for target in ("webhook", "slack") for outcome in outcomes}


async def test_messages_are_told_one_after_the_other_in_their_order() -> None:
    posts = Script([3.0, 1.0, 2.0])
    made = notifications(posts)
    for number in (1, 2, 3):
        await made.tell(sealed(number))
    await made.drain(60)
    assert posts.posted == [(0, "webhook", 1), (3, "webhook", 2), (4, "webhook", 3)]
    assert counted(made) == {"delivered": 3}


async def test_telling_takes_no_time_while_a_target_hangs_and_holds_up_no_other() -> None:
    posts = Script([1e6])
    made = notifications(posts, [HOOK, OTHER])
    await made.tell(sealed(1))
    await made.tell(sealed(2))
    assert now() == 0
    await asyncio.sleep(1)
    assert [(target, number) for _, target, number in posts.posted] == [("webhook", 1), ("other", 1), ("other", 2)]
    assert made.unsettled() == 1
    await made.drain(0)


async def test_what_may_go_better_is_tried_again_with_jitter_and_backoff() -> None:
    posts = Script([unavailable()] * 5)
    made = notifications(posts)
    await made.tell(sealed())
    await made.drain(600)
    assert [at for at, _, _ in posts.posted] == [0, 1, 3, 7, 15, 31]
    assert counted(made) == {"delivered": 1}


async def test_retry_after_is_waited_for_and_the_jitter_comes_on_top() -> None:
    posts = Script([unavailable(**{"Retry-After": "30"})])
    made = notifications(posts)
    await made.tell(sealed())
    await made.drain(600)
    assert [at for at, _, _ in posts.posted] == [0, 31]


async def test_a_retry_after_beyond_the_time_is_not_waited_for() -> None:
    posts = Script([unavailable(**{"Retry-After": "3600"})])
    made = notifications(posts)
    await made.tell(sealed())
    await made.drain(600)
    assert now() < 1
    assert counted(made) == {"given_up": 1}


@pytest.mark.parametrize("asked", ["-5", "nan", "inf", "1e999", "soon", "", "Thu, 99 Foo 2026"])
async def test_a_retry_after_that_is_none_is_as_good_as_nothing(asked: str) -> None:
    posts = Script([unavailable(**{"Retry-After": asked})])
    made = notifications(posts)
    await made.tell(sealed())
    await made.drain(600)
    assert [at for at, _, _ in posts.posted] == [0, 1]


async def test_attempts_are_bounded() -> None:
    posts = Script([unavailable()] * 100)
    made = notifications(posts, patience=Patience(tries=Redelivery(attempts=4, base_s=2.0, cap_s=10.0)))
    await made.tell(sealed())
    await made.drain(1e6)
    assert len(posts.posted) == 4
    assert counted(made) == {"given_up": 1}
    assert made.unsettled() is None


async def test_time_is_bounded_whatever_each_attempt_takes() -> None:
    class Slow(Script):
        async def post(self, *args: Any) -> None:
            await super().post(*args)
            await asyncio.sleep(100)
            raise unavailable()

    posts = Slow()
    made = notifications(posts)
    await made.tell(sealed())
    await made.drain(1e6)
    assert posts.posted[-1][0] <= 900
    assert counted(made) == {"given_up": 1}


async def test_what_waited_for_an_outage_to_end_is_tried_once_at_least() -> None:
    posts = Script([unavailable()] * 100)
    made = notifications(posts, patience=Patience(tries=Redelivery(attempts=9, base_s=60, cap_s=60), within_s=100))
    await made.tell(sealed(1))
    await made.tell(sealed(2))
    await made.drain(1e6)
    assert posts.numbers == [1, 1, 1, 1, 2]
    assert counted(made) == {"given_up": 2}


async def test_a_refusal_is_final() -> None:
    posts = Script([forbidden()])
    made = notifications(posts)
    await made.tell(sealed())
    await made.drain(600)
    assert len(posts.posted) == 1
    assert counted(made) == {"refused": 1}
    assert made.unsettled() is None


async def test_an_error_of_ours_ends_one_message_and_not_the_line(caplog: pytest.LogCaptureFixture) -> None:
    posts = Script([RuntimeError(HOOK.url)])
    made = notifications(posts)
    await made.tell(sealed(1))
    await made.tell(sealed(2))
    await made.drain(600)
    assert counted(made) == {"given_up": 1, "delivered": 1}
    assert "RuntimeError" in caplog.text
    assert HOOK.url not in caplog.text


# Bounds


async def test_of_too_many_the_oldest_that_waits_is_dropped_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    posts = Script([100.0])
    made = notifications(posts, bounds=Bounds(most=2))
    await made.tell(sealed(1))
    await asyncio.sleep(1)  # it is under way
    for number in (2, 3, 4, 5):
        await made.tell(sealed(number))
    assert counted(made) == {"dropped": 2}
    assert [record.__dict__["event"] for record in caplog.records] == ["notification_dropped"] * 2
    await made.drain(600)
    assert posts.numbers == [1, 4, 5]


async def test_bytes_are_bounded_too() -> None:
    size = len(HOOK.body(sealed(2)))
    posts = Script([100.0])
    made = notifications(posts, bounds=Bounds(most_bytes=int(2.5 * size)))
    await made.tell(sealed(1))
    await asyncio.sleep(1)
    for number in (2, 3, 4):
        await made.tell(sealed(number))
    await made.drain(600)
    assert posts.numbers == [1, 3, 4]


async def test_a_message_that_is_larger_than_everything_may_be_is_dropped_alone() -> None:
    posts = Script()
    made = notifications(posts, bounds=Bounds(most_bytes=10))
    await made.tell(sealed(1))
    await made.drain(600)
    assert counted(made) == {"dropped": 1}
    assert not posts.posted


# What is not settled yet


async def test_the_lowest_number_of_all_targets_is_what_is_not_settled() -> None:
    posts = Script([5.0, 1.0, 1.0, 1.0])
    made = notifications(posts, [HOOK, OTHER])
    assert made.unsettled() is None
    await made.tell(sealed(7))
    await made.tell(sealed(9))
    seen = []
    for _ in range(8):
        seen.append(made.unsettled())
        await asyncio.sleep(1)
    assert seen == [7, 7, 7, 7, 7, 9, None, None]
    await made.drain(0)


# The end


async def test_a_drain_ends_as_soon_as_everything_is_told() -> None:
    posts = Script([1.0, 2.0])
    made = notifications(posts)
    await made.tell(sealed(1))
    await made.tell(sealed(2))
    await made.drain(600)
    assert now() == 3
    assert posts.closed


async def test_a_drain_waits_for_what_is_told_meanwhile() -> None:
    posts = Script([2.0, 2.0])
    made = notifications(posts)
    await made.tell(sealed(1))
    draining = asyncio.ensure_future(made.drain(600))
    await asyncio.sleep(1)
    await made.tell(sealed(2))
    await draining
    assert (now(), counted(made)) == (4, {"delivered": 2})


async def test_a_drain_is_bounded_and_what_is_left_is_counted_and_stays_unsettled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = notifications(Script([1e6]))
    for number in (4, 5, 6):
        await made.tell(sealed(number))
    await made.drain(5)
    assert now() == 5
    assert counted(made) == {"shutdown": 3}
    assert made.unsettled() == 4
    assert "3 messages were not told, from decision 4 on" in caplog.text
    assert len(asyncio.all_tasks()) == 1


async def test_what_is_told_after_the_end_is_left_to_the_next_leader() -> None:
    posts = Script()
    made = notifications(posts)
    await made.drain(5)
    await made.tell(sealed(8))
    await made.tell(sealed(9))
    await made.drain(5)
    assert not posts.posted
    assert (made.unsettled(), counted(made)) == (8, {"shutdown": 2})


async def test_no_task_is_left_when_nothing_waits() -> None:
    made = notifications(Script())
    for number in (1, 2):
        await made.tell(sealed(number))
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == 1
    await made.drain(0)


# The log


async def test_an_outage_is_logged_at_its_beginning_and_its_end_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    made = notifications(Script([unavailable()] * 100), [Slack("https://hooks.example/services/T0/B0/token")])
    await made.tell(sealed())
    await made.drain(1e6)
    assert [record.getMessage() for record in caplog.records if record.name == "rollout.notify"] == [
        "slack (https://hooks.example), decision 42 of profile: it answered 503; it is tried again",
        "slack (https://hooks.example), decision 42 of profile: it answered 503 (attempt 10)",
    ]
    assert "token" not in caplog.text
