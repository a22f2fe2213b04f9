"""A viewer whose connection takes nothing, or whose time is over. In virtual time."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request

from rollout_page.feed import Feed
from rollout_page.stream import follow

pytestmark = pytest.mark.looptime


async def nothing_new(_: str) -> dict[str, str]:
    return {"a": "1"}


async def never(_: str) -> dict[str, str]:
    await asyncio.sleep(1e6)
    return {}


class Wire:
    """The way to a browser. ``said``: what went out; ``stuck``: it takes nothing more."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.said = b""
        self.transport = Mock()
        writer = Mock(spec=AbstractStreamWriter)
        writer.write.side_effect = self._write
        self._stuck = stuck
        self.request: web.Request = make_mocked_request(
            "GET", "/rollout/stream", transport=self.transport, writer=writer
        )

    async def _write(self, data: bytes) -> None:
        if self._stuck:
            await asyncio.sleep(1e6)
        self.said += data


async def test_a_connection_that_takes_nothing_is_cut() -> None:
    feed, wire = Feed(nothing_new, 10, 1.0), Wire(stuck=True)
    began = asyncio.get_running_loop().time()
    await follow(wire.request, feed, "")
    assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=1)
    wire.transport.abort.assert_called_once()
    assert len(feed) == 0
    await feed.close()


async def test_who_followed_for_a_quarter_of_an_hour_must_ask_anew() -> None:
    feed, wire = Feed(nothing_new, 10, 1.0), Wire()
    began = asyncio.get_running_loop().time()
    await follow(wire.request, feed, "")
    assert asyncio.get_running_loop().time() - began == 900
    wire.transport.abort.assert_not_called()
    assert len(feed) == 0
    await feed.close()


async def test_silence_is_broken_by_a_beat() -> None:
    feed, wire = Feed(never, 10, 1.0), Wire()
    following = asyncio.create_task(follow(wire.request, feed, ""))
    await asyncio.sleep(10.5)
    assert wire.said.startswith((b"event: beat", b"event: trouble"))
    await asyncio.sleep(15)
    assert wire.said.count(b"event: ") > 1
    await feed.close()
    await following
