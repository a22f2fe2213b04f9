"""The enriched record: its services, its handler, its branches, a short telling, and how examples are called."""

import asyncio
import inspect
import io
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponseError, ClientSession, web
from click.testing import CliRunner
from rich.console import Console

import cli
from rollout import Branch, Call, FanOut, Parts
from rollout.testing import sample_call
from rollout_demo import examples
from rollout_demo.audit import Unmet
from rollout_demo.enrichment import fanout, services, story
from rollout_demo.enrichment.monolith import SOURCES, Sources, application
from rollout_demo.enrichment.services import BUSY_EVERY, Street
from rollout_demo.narrator import Narrator
from rollout_demo.services import serve
from rollout_demo.stage import Visitors

CUSTOMER = 17
RECORD = {
    "id": CUSTOMER,
    "place": services.geo(CUSTOMER),
    "company": services.register(CUSTOMER),
    "score": services.score(CUSTOMER),
    "missing": {},
}


@dataclass
class Town:
    """The services, a client of them, the branches as a fan-out of their own, and the monolith's address."""

    street: Street
    sources: Sources
    fan_out: FanOut
    monolith: str

    def call(self) -> Call:
        return sample_call(path_params={"id": str(CUSTOMER)}, resources={SOURCES: self.sources})

    async def until_busy(self) -> None:
        """Ask so often that the register is busy at the next request."""
        await asyncio.gather(*(self.sources.ask("register", "1") for _ in range(BUSY_EVERY - 1)))


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        street = Street()
        addresses = await street.open(stack)
        session = await stack.enter_async_context(ClientSession())
        monolith = await serve(application(addresses), stack)
        fan_out = FanOut("customer", fanout.rollout().branches)
        yield Town(street, Sources(session, addresses), fan_out, monolith)


# The handler


async def test_the_monolith_answers_the_whole_record(town: Town) -> None:
    async with ClientSession() as session, session.get(f"{town.monolith}/customers/{CUSTOMER}") as reply:
        assert await reply.json() == RECORD


async def test_the_monolith_has_no_record_when_the_register_is_busy(town: Town) -> None:
    await town.until_busy()
    async with ClientSession() as session, session.get(f"{town.monolith}/customers/{CUSTOMER}") as reply:
        assert (reply.status, await reply.text()) == (502, "ClientResponseError\n")


# The branches


async def test_the_parts_of_the_branches_make_the_record_of_the_monolith(town: Town) -> None:
    call = town.call()
    answer = await town.fan_out.run(call)
    assert fanout.record(call, None, answer.parts) == RECORD


def test_a_record_without_score_says_why() -> None:
    parts = Parts({"geo": RECORD["place"], "company": RECORD["company"]}, {"score": "short_circuited"})
    found = fanout.record(sample_call(path_params={"id": str(CUSTOMER)}), None, parts)
    assert "score" not in found
    assert found["missing"] == {"score": "short_circuited"}


async def test_a_busy_register_is_asked_again_and_not_sooner_than_it_asked(town: Town) -> None:
    await town.until_busy()
    answer = await town.fan_out.run(town.call())
    assert answer.parts["company"] == RECORD["company"]
    assert answer.runs["company"].attempts == 2
    assert (town.street.register.busy, town.street.register.impatient) == (1, 0)


async def test_the_register_notices_who_comes_back_too_soon(town: Town) -> None:
    await town.until_busy()
    with pytest.raises(ClientResponseError) as busy:
        await town.sources.ask("register", str(CUSTOMER))
    assert busy.value.status == 503
    await town.sources.ask("register", str(CUSTOMER))
    assert town.street.register.impatient == 1


async def test_a_score_that_is_down_is_cut_and_after_ten_times_not_asked_any_more(town: Town) -> None:
    async def at_once(call: Call) -> None: ...

    score_alone = FanOut("score", [Branch("geo", at_once), fanout.rollout().branches[2]])
    town.street.score.go_down()
    cut = await asyncio.gather(*(score_alone.run(town.call()) for _ in range(10)))
    assert {answer.parts.missing["score"] for answer in cut} == {"hard_timeout"}
    skipped = await score_alone.run(town.call())
    assert skipped.parts.missing == {"score": "short_circuited"}


async def test_a_score_that_comes_back_answers_those_who_wait(town: Town) -> None:
    town.street.score.go_down()
    waiting = asyncio.create_task(town.sources.ask("score", str(CUSTOMER)))
    await town.sources.ask("geo", str(CUSTOMER))
    town.street.score.come_back()
    assert await waiting == RECORD["score"]


# The visitors


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"score": None}, False),
        ({"place": {"city": "Ys"}}, False),
        ({"missing": {"score": "hard_timeout"}}, False),
        ({"extra": 1}, False),
    ],
)
def test_visitors_know_a_right_record(change: dict[str, Any], right: bool) -> None:
    fault = story.fault_of(CUSTOMER - 1, {**RECORD, **change})
    assert fault == ("" if right else f"not the record of customer {CUSTOMER}")


def test_a_record_may_lack_its_score_if_it_says_so() -> None:
    without = {name: value for name, value in RECORD.items() if name != "score"}
    assert story.fault_of(CUSTOMER - 1, {**without, "missing": {"score": "hard_timeout"}}) == ""
    assert story.fault_of(CUSTOMER - 1, without) != ""
    assert story.fault_of(CUSTOMER - 1, {}) != ""


async def test_visitors_count_what_is_right_wrong_and_failed_and_tell_what_is_right() -> None:
    async def answer(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        return web.json_response(number, status=500 if number % 3 == 0 else 200)

    app = web.Application()
    app.router.add_get("/{number}", answer)
    heard: list[int] = []
    enough = asyncio.Event()

    def hear(took_s: float, body: int) -> None:
        heard.append(body)
        if len(heard) == 8:
            enough.set()

    def fault_of(number: int, body: int) -> str:
        return "odd" if body % 2 else ""

    visitors = Visitors(lambda number: f"/{number}", fault_of, rate=1000, heard=hear)
    async with AsyncExitStack() as stack, visitors.coming_to(await serve(app, stack)):
        await enough.wait()
    counts = visitors.count()
    sent = range(1, counts["ok"] + counts["wrong"] + counts["errors"] + 1)
    assert sorted(heard) == [number for number in sent if number % 2 == 0 and number % 3]
    assert (counts["ok"], counts["errors"]) == (len(heard), sum(1 for number in sent if number % 3 == 0))
    assert set(counts["faults"]) == {"odd", "HTTP 500"}


# The story


def narrator() -> tuple[Narrator, io.StringIO]:
    told = io.StringIO()
    return Narrator(Console(file=told, width=80, highlight=False)), told


async def test_a_short_telling_has_every_chapter(tmp_path: Path) -> None:
    tell, told = narrator()
    played = await story.play(tell, tmp_path, stages="shadow 100%", look_s=1.0)
    text = told.getvalue()
    assert [move.after for move in played.audit.moves if move.branch == "score"] == ["100%", "100%, completed"]
    for sentence in ("the breaker opens", "half-open after 1 s: 3 probes", "short-circuited", "All of it happened"):
        assert sentence in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


async def test_a_promise_that_does_not_come_true_ends_the_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BUSY_EVERY", 10**9)
    monkeypatch.setattr(story, "PATIENCE_S", 0.3)
    tell, _ = narrator()
    with pytest.raises(Unmet, match="the register is busy now and then"):
        await story.play(tell, tmp_path, look_s=0.2)


# How examples are called


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_every_example_can_be_asked_for_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Path] = []

    async def play(tell: Narrator, folder: Path) -> None:
        played.append(folder)

    module = __import__(f"rollout_demo.{name}.story", fromlist=["play"])
    assert inspect.iscoroutinefunction(module.play)
    monkeypatch.setattr(module, "play", play)
    assert CliRunner().invoke(cli.main, ["demo", name]).exit_code == 0
    assert [folder.is_dir() for folder in played] == [True]


@pytest.mark.parametrize(
    ("end", "code", "told"), [(Unmet("no"), 1, "failed  no"), (KeyboardInterrupt(), 130, "Stopped")]
)
def test_an_example_that_does_not_come_to_its_end_says_so(
    end: BaseException, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(tell: Narrator, folder: Path) -> None:
        raise end

    monkeypatch.setattr(story, "play", play)
    assert examples.run("enrichment") == code
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--serve"], ["--report", "x.html"], ["--database-url", "sqlite:///x.db"]])
def test_the_options_of_the_shop_are_refused_by_the_examples(option: list[str]) -> None:
    result = CliRunner().invoke(cli.main, ["demo", "enrichment", *option])
    assert result.exit_code == 2
    assert "are for the shop" in result.stderr


def test_the_code_in_the_readme_is_the_code_that_runs() -> None:
    folder = Path(fanout.__file__).parent
    blocks = re.findall(r"```python\n(.*?)\n```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    code = (folder / "fanout.py").read_text(encoding="utf-8")
    assert blocks
    assert [block for block in blocks if block not in code] == []
