"""What everybody who follows the page is told: one look for all of them, however many there are.

A viewer who does not keep up is let go, and begins anew with the whole picture. Nobody who follows costs a query.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from rollout.errors import RolloutError

_LOOK_MOST_S: Final = 10.0  # what a look may take
_ROOM: Final = 8  # messages that a viewer may be behind

Parts = Mapping[str, str]  # id of an element → what stands in it
log = logging.getLogger("rollout.page")


class Full(Exception):
    """As many follow as may."""


class Viewer:
    """Somebody who follows a topic. ``next`` gives one message after the other; None is the end."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def next(self) -> bytes | None:
        return await self._messages.get()

    def offer(self, message: bytes) -> bool:
        """Whether there was room for it."""
        if self._messages.qsize() >= _ROOM:
            return False
        self._messages.put_nowait(message)
        return True

    def end(self) -> None:
        """The last message: what was offered before is still given."""
        self._messages.put_nowait(None)


class _Topic:
    """One thing that is followed. ``parts``: as they were at the last look; ``trouble``: why there was none."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.parts: Parts = {}
        self.trouble = ""


class Feed:
    """``look``: the parts of a topic now. ``most``: viewers at a time, of all topics. ``every_s``: seconds between two
    looks.
    """

    def __init__(self, look: Callable[[str], Awaitable[Parts]], most: int, every_s: float) -> None:
        self._look = look
        self._most = most
        self._every_s = every_s
        self._topics: dict[str, _Topic] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many follow."""
        return sum(len(topic.viewers) for topic in self._topics.values())

    def is_followed(self, name: str) -> bool:
        return name in self._topics

    def join(self, name: str) -> Viewer:
        """Follow a topic, from the whole picture on. ``Full`` if as many do as may, or the page is closing."""
        if self._closed or len(self) >= self._most:
            raise Full
        viewer = Viewer(name)
        topic = self._topics.setdefault(name, _Topic())
        topic.viewers.add(viewer)
        if topic.parts:
            viewer.offer(_message("parts", topic.parts))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._follow(), name="rollout-page")
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Follow no more. What nobody follows is forgotten; leaving twice is leaving once."""
        topic = self._topics.get(viewer.topic)
        if topic is not None:
            topic.viewers.discard(viewer)
            if not topic.viewers:
                del self._topics[viewer.topic]

    async def close(self) -> None:
        """Let everybody go, and nobody in."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        for topic in list(self._topics.values()):
            for viewer in list(topic.viewers):
                self._let_go(viewer)

    async def _follow(self) -> None:
        """Look at everything that is followed, again and again, as long as anything is."""
        try:
            while self._topics:
                for name, topic in list(self._topics.items()):
                    await self._tell(name, topic)
                await asyncio.sleep(self._every_s)
        finally:
            self._looking = None

    async def _tell(self, name: str, topic: _Topic) -> None:
        """One look at a topic: everybody is told what changed since the last."""
        try:
            async with asyncio.timeout(_LOOK_MOST_S):
                parts = await self._look(name)
        except Exception as error:
            self._trouble(name, topic, error)
            return
        changed = {part: html for part, html in parts.items() if topic.parts.get(part) != html}
        topic.parts, topic.trouble = parts, ""
        self._send(topic, "parts", changed)

    def _trouble(self, name: str, topic: _Topic, error: Exception) -> None:
        """A look failed: everybody is told why, and the log once."""
        if isinstance(error, RolloutError):
            why = str(error)[:500]
        else:
            why = "The database did not answer." if isinstance(error, TimeoutError) else "A look failed; see the log."
        if why != topic.trouble:
            unexpected = None if isinstance(error, RolloutError | TimeoutError) else error
            what = name or "the rollouts"
            log.warning("the page cannot look at %s: %s", what, why, exc_info=unexpected, extra={"event": "page_blind"})
        topic.trouble = why
        self._send(topic, "trouble", {"why": why})

    def _send(self, topic: _Topic, event: str, content: Mapping[str, str]) -> None:
        message = _message(event, content)
        for viewer in list(topic.viewers):
            if not viewer.offer(message):
                self._let_go(viewer)

    def _let_go(self, viewer: Viewer) -> None:
        self.leave(viewer)
        viewer.end()


def _message(event: str, content: Mapping[str, str]) -> bytes:
    """A server-sent event. JSON has no line breaks of its own, so one line holds it."""
    return f"event: {event}\ndata: {json.dumps(content)}\n\n".encode()
