"""Those who follow share one look, and none of them can hold up the others. All in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rollout.errors import DatabaseError
from rollout_page.feed import Feed, Full, Viewer

pytestmark = pytest.mark.looptime


class Looks:
    """What is looked at. ``count``: how often; ``parts``: what there is; ``error``: raised instead."""

    def __init__(self) -> None:
        self.count = 0
        self.parts: dict[str, str] = {"a": "1", "b": "1"}
        self.error: Exception | None = None
        self.hangs = False

    async def __call__(self, topic: str) -> dict[str, str]:
        self.count += 1
        if self.hangs:
            await asyncio.sleep(3600)
        if self.error is not None:
            raise self.error
        return dict(self.parts)


def read(message: bytes | None) -> tuple[str, Any]:
    """The event and what it carries."""
    assert message is not None
    event, data = message.decode().rstrip("\n").split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def keeps_up(viewer: Viewer) -> None:
    while await viewer.next() is not None:
        pass


async def test_however_many_follow_there_is_one_look_a_second() -> None:
    looks = Looks()
    feed = Feed(looks, 100, 1.0)
    viewers = [feed.join("profile") for _ in range(100)]
    reading = [asyncio.create_task(keeps_up(viewer)) for viewer in viewers]
    await asyncio.sleep(10.5)
    assert looks.count == 11
    await feed.close()
    await asyncio.gather(*reading)


async def test_who_comes_gets_the_whole_picture_and_then_what_changed() -> None:
    looks = Looks()
    feed = Feed(looks, 10, 1.0)
    first = feed.join("profile")
    assert read(await first.next()) == ("parts", {"a": "1", "b": "1"})
    looks.parts["b"] = "2"
    assert read(await first.next()) == ("parts", {"b": "2"})
    assert read(await first.next()) == ("parts", {})
    assert read(await feed.join("profile").next()) == ("parts", {"a": "1", "b": "2"})
    await feed.close()


async def test_nobody_looks_where_nobody_follows() -> None:
    looks = Looks()
    feed = Feed(looks, 10, 1.0)
    viewer = feed.join("profile")
    await viewer.next()
    feed.leave(viewer)
    feed.leave(viewer)
    await asyncio.sleep(60)
    assert looks.count == 1
    again = feed.join("profile")
    assert read(await again.next())[0] == "parts"
    await feed.close()


async def test_more_than_may_follow_are_refused_until_somebody_goes() -> None:
    feed = Feed(Looks(), 2, 1.0)
    one, _ = feed.join("profile"), feed.join("")
    with pytest.raises(Full):
        feed.join("profile")
    feed.leave(one)
    assert feed.join("profile") is not None
    assert len(feed) == 2
    await feed.close()


async def test_a_viewer_who_does_not_keep_up_is_let_go_and_the_others_are_not() -> None:
    feed = Feed(Looks(), 10, 1.0)
    slow, quick = feed.join("profile"), feed.join("profile")
    reading = asyncio.create_task(keeps_up(quick))
    await asyncio.sleep(20)
    assert len(feed) == 1
    messages = 0
    while await slow.next() is not None:
        messages += 1
    assert 0 < messages < 15
    assert not reading.done()
    await feed.close()
    await reading


@pytest.mark.parametrize(
    ("error", "why"),
    [(DatabaseError("It is away."), "It is away."), (RuntimeError("of ours"), "A look failed; see the log.")],
)
async def test_trouble_is_told_and_is_over_when_it_is_over(
    error: Exception, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks()
    feed = Feed(looks, 10, 1.0)
    viewer = feed.join("profile")
    await viewer.next()
    looks.error = error
    for _ in range(3):
        assert read(await viewer.next()) == ("trouble", {"why": why})
    looks.error = None
    assert read(await viewer.next()) == ("parts", {})
    await feed.close()
    assert len(caplog.records) == 1


async def test_a_look_that_hangs_is_cut_and_told() -> None:
    looks = Looks()
    looks.hangs = True
    feed = Feed(looks, 10, 1.0)
    assert read(await feed.join("profile").next()) == ("trouble", {"why": "The database did not answer."})
    await feed.close()


async def test_when_it_closes_everybody_is_let_go_at_once_and_nobody_comes_in() -> None:
    looks = Looks()
    looks.hangs = True
    feed = Feed(looks, 10, 1.0)
    viewers = [feed.join("profile"), feed.join("")]
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    await feed.close()
    assert [await viewer.next() for viewer in viewers] == [None, None]
    assert asyncio.get_running_loop().time() == began
    with pytest.raises(Full):
        feed.join("profile")
