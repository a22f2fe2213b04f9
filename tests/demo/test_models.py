"""The example of the language models: what its models and branches do, and that its story comes true."""

import asyncio
import io
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rollout import Answer, Call, FanOut, meters, record_usage
from rollout.domain.call import CallData
from rollout_demo.models import asking, fanout, story
from rollout_demo.models.asking import MODELS, TASKS
from rollout_demo.models.fanout import BUDGET, CHEAP, DEAR, SURE, branches, joined
from rollout_demo.models.mails import judged
from rollout_demo.models.messages import DOUBT, LONGEST, Message, message
from rollout_demo.models.monolith import application
from rollout_demo.models.server import LARGE, MOST_WRITTEN, PRICES, SMALL, ModelServer, opinion
from rollout_demo.models.words import REASONS
from rollout_demo.narrator import Narrator
from rollout_demo.services import serve

NUMBERS = st.integers(0, 5_000)


class Dice:
    """A model's dice, of which every throw comes out the same."""

    def __init__(self, throw: float) -> None:
        self.random = lambda: throw
        self.uniform = lambda low, high: low + (high - low) * throw


def answers_of(number: int, model: str, throw: float) -> dict[str, Any]:
    """What a model says of a message."""
    text = message(number).text
    return {task: opinion(model, task.capitalize(), text, Dice(throw)) for task in TASKS}  # type: ignore[arg-type]


@given(NUMBERS, st.floats(0, 0.999))
def test_the_large_model_is_right_and_says_so(number: int, throw: float) -> None:
    assert judged(answers_of(number, LARGE, throw), message(number)) == ["right"] * 3


@given(NUMBERS, st.floats(0, 0.999))
def test_the_small_model_is_never_wrong_and_sure_of_it(number: int, throw: float) -> None:
    assert "wrong" not in judged(answers_of(number, SMALL, throw), message(number))


def test_a_small_model_in_doubt_may_be_wrong_and_is_judged_doubtful() -> None:
    hard = next(number for number in range(100) if DOUBT in message(number).text)
    assert judged(answers_of(hard, SMALL, 0.1), message(hard)) == ["doubtful"] * 3


def test_a_wrong_answer_that_looks_sure_is_judged_wrong() -> None:
    mail = Message("…", "positive", ("Lyon", "lamp"), "refund")
    reply = {
        "sentiment": {"answer": "negative", "confidence": SURE},
        "entities": {"answer": ["lamp", "Lyon"], "confidence": 0.95},
        "summary": {"answer": "About a lamp.", "confidence": 0.5},
    }
    assert judged(reply, mail) == ["wrong", "right", "doubtful"]


@given(NUMBERS)
def test_no_question_takes_more_than_its_branch_reserves(number: int) -> None:
    words = len(message(number).text.split())
    assert words <= LONGEST
    read = words + max(len(text.split()) for text in asking.INSTRUCTIONS.values())
    for model, reserve in ((SMALL, CHEAP), (LARGE, DEAR)):
        assert read + MOST_WRITTEN <= reserve.tokens
        cost = PRICES.cost_nano(model, read, MOST_WRITTEN)
        assert cost is not None
        assert cost <= reserve.nano


def test_the_cheap_branches_always_fit_into_the_budget_together() -> None:
    assert BUDGET.tokens is not None
    assert BUDGET.nano is not None
    assert 3 * CHEAP.tokens <= BUDGET.tokens
    assert 3 * CHEAP.nano <= BUDGET.nano


async def test_the_same_question_has_the_same_answer_and_a_usage_that_a_meter_reads() -> None:
    question = {
        "model": SMALL,
        "messages": [{"content": "Sentiment of this mail?"}, {"content": message(4).text}],
        "max_tokens": 5,
        "metadata": {"by": "me", "call": "1"},
    }
    async with AsyncExitStack() as stack:
        server = ModelServer()
        await server.start(stack)
        session = await stack.enter_async_context(ClientSession())
        found = []
        for _ in range(2):
            async with session.post(f"{server.address}/v1/chat/completions", json=question) as reply:
                found.append(await reply.json())
    assert found[0] == found[1]
    used = meters.usage_of(found[0])
    assert used is not None
    assert (used.model, used.input_tokens) == (SMALL, 4 + len(message(4).text.split()))
    assert 1 <= used.output_tokens <= 5
    [spent] = server.per_call("me")
    assert spent.tokens == 2 * (used.input_tokens + used.output_tokens)


async def test_the_monolith_asks_the_dear_model_for_everything() -> None:
    async with AsyncExitStack() as stack:
        server = ModelServer()
        await server.start(stack)
        shop = await serve(application(server.address), stack)
        session = await stack.enter_async_context(ClientSession())
        mail = message(7)
        async with session.post(f"{shop}/analyse", json={"text": mail.text}, headers={"X-Call-Id": "7"}) as reply:
            found = await reply.json()
    assert judged(found, mail) == ["right"] * 3
    assert {found[task]["model"] for task in TASKS} == {LARGE}
    assert [len(server.per_call(asker)) for asker in ("monolith", "fan-out")] == [1, 0]


# The branches, with models that do as they are told, in virtual time


class Models:
    """``sure``: how sure the small model is of each task; ``takes_s``: how long it takes; ``tokens``: of a question."""

    def __init__(self, sure: dict[str, float], *, takes_s: float = 0.05, tokens: int = 100) -> None:
        self.sure = sure
        self.takes_s = takes_s
        self.tokens = tokens

    async def ask(self, model: str, task: str, text: str, *, by: str, call: str) -> dict[str, Any]:
        await asyncio.sleep(self.takes_s if model == SMALL else 0.3)
        record_usage(input_tokens=self.tokens, model=model)
        return {"answer": model, "confidence": self.sure[task] if model == SMALL else 0.97, "model": model}


async def run(models: Models) -> Answer:
    fan_out = FanOut(
        "analysis",
        branches(),
        aggregate=lambda call, parts: joined(call, None, parts),
        budget=BUDGET,
        prices=PRICES,
    )
    source = CallData(method="POST", headers={"X-Call-Id": "1"}, resources={MODELS: models})
    return await fan_out.run(Call.of(source, body=b'{"text": "?"}'))


SURE_OF_ALL = dict.fromkeys(TASKS, 0.95)
SURE_OF_NONE = dict.fromkeys(TASKS, 0.5)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("models", "opinions"),
    [
        (Models(SURE_OF_ALL), ["skipped(confident)"] * 3),
        (Models({**SURE_OF_ALL, "entities": 0.89}), ["skipped(confident)", "second", "skipped(confident)"]),
        (Models({**SURE_OF_ALL, "entities": float("nan")}), ["skipped(confident)", "second", "skipped(confident)"]),
        (Models(SURE_OF_NONE, takes_s=0.7), ["over_budget(time)"] * 3),
        (Models(SURE_OF_NONE, tokens=100), ["second", "second", "over_budget(usd)"]),
        (Models(SURE_OF_NONE, tokens=500), ["second", "second", "over_budget(tokens)"]),
        (Models(SURE_OF_NONE, tokens=900), ["second", "over_budget(tokens)", "over_budget(tokens)"]),
    ],
)
async def test_the_dear_model_is_asked_where_it_is_needed_and_the_budget_covers_it(
    models: Models, opinions: list[str]
) -> None:
    reply = (await run(models)).value
    assert list(reply["opinions"].values()) == opinions
    assert set(opinions) <= set(REASONS)
    assert [reply[task]["model"] for task in TASKS] == [LARGE if opinion == "second" else SMALL for opinion in opinions]


@pytest.mark.looptime
async def test_a_dear_model_that_fails_leaves_the_first_opinion_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models({**SURE_OF_ALL, "summary": 0.2})
    ask = models.ask

    async def failing(model: str, task: str, text: str, *, by: str, call: str) -> dict[str, Any]:
        if model == LARGE:
            raise ConnectionError
        return await ask(model, task, text, by=by, call=call)

    monkeypatch.setattr(models, "ask", failing)
    reply = (await run(models)).value
    assert (reply["summary"]["confidence"], reply["opinions"]["summary"]) == (0.2, "error")


def test_the_rollout_is_declared_without_a_mistake() -> None:
    assert fanout.rollout().problems() == []


# The story


async def test_a_short_telling_comes_true(tmp_path: Path) -> None:
    told = io.StringIO()
    tell = Narrator(Console(file=told, width=80, highlight=False))
    played = await story.play(tell, tmp_path, stages="shadow 100%", enough=20)
    assert {branch.name: played.audit.stand(branch.name).share for branch in branches()} == {
        branch.name: 1 for branch in branches()
    }
    assert played.after.answers["wrong"] == 0
    text = told.getvalue()
    assert "no error bound" in text
    assert re.search(r"\d\.\d times cheaper", text)
    assert "All of it happened" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []
