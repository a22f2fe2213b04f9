"""The search: its indexes, its handler, its fan-out, and a short telling."""

import io
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from rich.console import Console

from rollout import WAIT, Call, Parts
from rollout.testing import sample_call
from rollout_demo.audit import Unmet
from rollout_demo.narrator import Narrator
from rollout_demo.search import fanout, story
from rollout_demo.search.fanout import agrees, fan_out, ranked
from rollout_demo.search.indexes import DOCUMENTS, NAMES, WORDS, Index, Indexes, best, holders, search
from rollout_demo.search.monolith import SHARDS, Shards, application
from rollout_demo.services import serve

WORD = "kelp"
RIGHT = search(range(DOCUMENTS), WORD)


@dataclass
class Library:
    """The indexes, a client of them, and the monolith's address."""

    indexes: Indexes
    shards: Shards
    monolith: str

    def call(self) -> Call:
        return sample_call(query={"q": WORD}, resources={SHARDS: self.shards})


@pytest.fixture
async def library() -> AsyncIterator[Library]:
    async with AsyncExitStack() as stack:
        indexes = Indexes()
        addresses = await indexes.open(stack)
        session = await stack.enter_async_context(ClientSession())
        monolith = await serve(application(addresses), stack)
        yield Library(indexes, Shards(session, addresses), monolith)


# The indexes and the handler


def test_every_pair_of_indexes_holds_as_many_documents() -> None:
    pairs = Counter(frozenset(holders(document)) for document in range(DOCUMENTS))
    assert set(pairs) == {frozenset(pair) for pair in combinations(NAMES, 2)}
    assert set(pairs.values()) == {DOCUMENTS // 6}


@pytest.mark.parametrize("word", WORDS)
def test_any_three_indexes_find_what_all_documents_have(word: str) -> None:
    answers = {name: search(Index(name, 0.0).documents, word) for name in NAMES}
    for three in combinations(NAMES, 3):
        assert best(hit for name in three for hit in answers[name]) == search(range(DOCUMENTS), word)


async def test_the_monolith_answers_the_best_hits_of_all(library: Library) -> None:
    async with ClientSession() as session, session.get(f"{library.monolith}/search?q={WORD}") as reply:
        assert await reply.json() == {"query": WORD, "hits": RIGHT, "complete": True, "missing": {}}


async def test_a_word_that_nobody_knows_has_no_hits(library: Library) -> None:
    async with ClientSession() as session, session.get(f"{library.monolith}/search?q=zebra") as reply:
        assert (await reply.json())["hits"] == []


# The fan-out


def test_the_page_of_one_index_is_waited_with() -> None:
    call = sample_call(query={"q": WORD})
    assert ranked(call, Parts({"north": []})) is WAIT
    assert ranked(call, Parts({"north": [], "east": []}, {"south": "error", "west": "error"}))["complete"] is False


@pytest.fixture
def forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is slow or stuck never answers: however slow the machine is, nobody mistakes one for the other."""
    monkeypatch.setattr("rollout_demo.search.indexes.SLOW_S", 60.0)
    monkeypatch.setattr("rollout_demo.search.indexes.STUCK_S", 60.0)


@pytest.mark.usefixtures("forever")
async def test_three_indexes_are_enough_and_the_page_names_the_fourth(library: Library) -> None:
    library.indexes.west.slow = True
    answer = await fan_out(soft_s=1.0).run(library.call())
    missing = {"west": "cancelled(quorum)"}
    assert answer.value == {"query": WORD, "hits": RIGHT, "complete": True, "missing": missing}


@pytest.mark.usefixtures("forever")
async def test_two_are_a_page_when_the_others_are_late_and_it_says_so(library: Library) -> None:
    library.indexes.south.slow = library.indexes.west.slow = True
    page = (await fan_out(soft_s=0.1).run(library.call())).value
    assert page["complete"] is False
    assert page["missing"] == {"south": "soft_timeout", "west": "soft_timeout"}
    known = [document for document in range(DOCUMENTS) if {"north", "east"} & {*holders(document)}]
    assert page["hits"] == search(known, WORD)


async def test_one_is_no_page_so_the_second_is_waited_for(library: Library) -> None:
    for index in (library.indexes.east, library.indexes.south, library.indexes.west):
        index.slow = True
    page = (await fan_out(soft_s=0.05).run(library.call())).value
    assert len(page["missing"]) <= 2


@pytest.mark.usefixtures("forever")
async def test_a_stuck_index_is_asked_a_second_time_and_the_second_answer_counts(library: Library) -> None:
    library.indexes.west.slow = True
    fan = fan_out(soft_s=1.0)
    while not library.indexes.east.stuck:
        answer = await fan.run(library.call())
    assert (answer.runs["east"].outcome, answer.runs["east"].attempts) == ("ok", 2)


# What is right


def page(*ids: int, complete: bool = True) -> dict[str, Any]:
    return {"hits": [{"id": number, "score": 9 - number} for number in ids], "complete": complete}


@pytest.mark.parametrize(
    ("candidate", "same"),
    [
        (page(1, 2, 3), True),
        (page(1, 3), False),
        (page(1, 3, 2), False),
        (page(1, 3, complete=False), True),
        (page(1, 3, 4, complete=False), True),
        (page(3, 1, complete=False), False),
        (page(complete=False), True),
    ],
)
def test_a_page_agrees_if_complete_and_equal_or_partial_and_in_order(candidate: dict[str, Any], same: bool) -> None:
    assert agrees(page(1, 2, 3), candidate) is same


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"missing": {"west": "cancelled(quorum)"}}, ""),
        ({"query": "reed"}, 'not a page of "kelp"'),
        ({"complete": False}, 'not a page of "kelp"'),
        ({"hits": RIGHT[1:]}, 'not the best hits of "kelp" without []'),
        (
            {"missing": {"south": "error", "west": "error"}, "complete": False},
            "not the best hits of \"kelp\" without ['south', 'west']",
        ),
    ],
)
def test_visitors_know_a_right_page(change: dict[str, Any], fault: str) -> None:
    right = {"query": WORD, "hits": RIGHT, "complete": True, "missing": {}}
    assert story.fault_of(WORDS.index(WORD), {**right, **change}) == fault
    assert story.fault_of(WORDS.index(WORD), {}) == 'not a page of "kelp"'


# The story


async def test_a_short_telling_has_every_chapter(tmp_path: Path) -> None:
    told = io.StringIO()
    tell = Narrator(Console(file=told, width=80, highlight=False))
    played = await story.play(tell, tmp_path, stages="shadow 100%", look_s=1.0)
    text = told.getvalue()
    assert [move.after for move in played.audit.moves] == ["100%", "100%, completed"]
    for sentence in (
        "West turns slow",
        "times east was asked again",
        "south soft_timeout · west soft_timeout",
        "All of it happened",
    ):
        assert sentence in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


async def test_a_promise_that_does_not_come_true_ends_the_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "fault_of", lambda number, page: "wrong")
    with pytest.raises(Unmet, match="every page is right: 0 right"):
        await story.play(Narrator(Console(file=io.StringIO())), tmp_path, look_s=0.2)


def test_the_code_in_the_readme_is_the_code_that_runs() -> None:
    folder = Path(fanout.__file__).parent
    blocks = re.findall(r"```python\n(.*?)\n```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    code = (folder / "fanout.py").read_text(encoding="utf-8")
    assert blocks
    assert [block for block in blocks if block not in code] == []
