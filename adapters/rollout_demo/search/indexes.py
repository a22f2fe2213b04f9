"""Four indexes, an HTTP server each, with documents and a speed of its own. Each document is in two of them.

``east`` is stuck for a while at every 8th request. ``slow`` makes any of them slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import cache
from random import Random
from typing import Any, Final

from aiohttp import web

from rollout_demo.services import serve

NAMES: Final = ("north", "east", "south", "west")
WORDS: Final = (
    *("anchor", "barley", "candle", "dune", "ember", "fjord", "gravel", "harbour", "island", "juniper"),
    *("kelp", "lantern", "meadow", "nettle", "orchard", "pebble", "quarry", "reed", "sail", "thistle"),
)
DOCUMENTS: Final = 240
TOP: Final = 10  # hits in an answer
STUCK_EVERY: Final = 8
STUCK_S: Final = 0.2
SLOW_S: Final = 0.25
Hit = dict[str, Any]


@cache
def text_of(document: int) -> tuple[str, ...]:
    """The words of a document, 0 .. 239."""
    return tuple(Random(f"document {document}").choices(WORDS, k=30))


def holders(document: int) -> tuple[str, str]:
    """The two indexes that hold a document: every pair of them holds as many."""
    first = document % 4
    return NAMES[first], NAMES[(first + 1 + document // 4 % 3) % 4]


def search(documents: Iterable[int], word: str) -> list[Hit]:
    """The best ``TOP`` of some documents for a word: those in which it is most frequent."""
    found = ({"id": document, "score": text_of(document).count(word)} for document in documents)
    return best(hit for hit in found if hit["score"])


def best(hits: Iterable[Hit]) -> list[Hit]:
    """The best ``TOP``, each document once; the lower number first where scores are equal."""
    unique = {hit["id"]: hit for hit in hits}
    return sorted(unique.values(), key=lambda hit: (-hit["score"], hit["id"]))[:TOP]


class Index:
    """One index: ``GET /search?q=word``. ``takes_s``: about how long an answer takes, in seconds."""

    slow = False

    def __init__(self, name: str, takes_s: float) -> None:
        self.name = name
        self.takes_s = takes_s
        self.documents: Sequence[int] = [number for number in range(DOCUMENTS) if name in holders(number)]
        self.address = ""
        self._dice = Random(name)
        self._answers = {word: search(self.documents, word) for word in WORDS}

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_get("/search", self.answer)
        self.address = await serve(app, stack)

    async def answer(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self._time_s())
        return web.json_response(self._answers.get(request.query["q"], []))

    def _time_s(self) -> float:
        """Half of its time always, the rest by chance."""
        return self.takes_s * (0.5 + min(1.5, self._dice.expovariate(2))) + (SLOW_S if self.slow else 0.0)


class East(Index):
    """``stuck``: how often it was."""

    stuck = 0
    _requests = 0

    def _time_s(self) -> float:
        self._requests += 1
        if self._requests % STUCK_EVERY:
            return super()._time_s()
        self.stuck += 1
        return super()._time_s() + STUCK_S


class Indexes:
    """The four, running until the stack closes."""

    def __init__(self) -> None:
        self.north, self.east = Index("north", 0.016), East("east", 0.020)
        self.south, self.west = Index("south", 0.024), Index("west", 0.030)

    async def open(self, stack: AsyncExitStack) -> dict[str, str]:
        """Their addresses by name."""
        indexes = (self.north, self.east, self.south, self.west)
        for index in indexes:
            await index.start(stack)
        return {index.name: index.address for index in indexes}
