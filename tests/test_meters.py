"""Meters: what answers and streams of models used, without their libraries, recorded once and never too well."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from contextvars import copy_context
from math import nan
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from rollout.context import RunContext, current_run
from rollout.domain.cost import Usage
from rollout.domain.prices import Price, PriceBook, priced
from rollout.meters import MOST_TOKENS, metered, usage_of

BOOK = PriceBook({"gpt": Price(2, 8, cached_input_usd=1), "claude": Price(3, 15)})


def thing(value: Any) -> Any:
    """The same answer with attributes in place of keys."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: thing(inner) for name, inner in value.items()})
    return [thing(inner) for inner in value] if isinstance(value, list) else value


CHAT = {
    "model": "gpt-2024-08-06",
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}},
}
RESPONSE = {
    "model": "gpt",
    "usage": {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 60}},
}
MESSAGE = {
    "model": "claude",
    "usage": {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 30,
    },
}
PROXIED = {
    "model": "claude",
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "cache_read_input_tokens": 60},
}


# ---- answers


@pytest.mark.parametrize("form", [dict, thing])
@pytest.mark.parametrize("answer", [CHAT, RESPONSE, MESSAGE])
def test_an_answer_tells_input_output_and_model(answer: dict[str, Any], form: Any) -> None:
    usage = usage_of(form(answer))
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (100, 20, 60)
    assert usage.model == answer["model"]


def test_what_a_proxy_tells_twice_is_counted_once() -> None:
    usage = usage_of(PROXIED)
    assert usage is not None
    assert usage.input_tokens == 100


def test_the_cost_of_an_answer_is_unknown_until_it_is_priced() -> None:
    usage = usage_of(CHAT)
    assert usage is not None
    assert usage.cost is None
    assert priced(usage, BOOK).cost == 40 * 2_000 + 60 * 1_000 + 20 * 8_000


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"usage": None}, {"usage": {}}, {"usage": {"total_tokens": 5}}, {"model": "gpt"}, "text", b"", 3],
)
def test_an_answer_that_tells_no_usage_has_none(answer: Any) -> None:
    assert usage_of(answer) is None


def test_counts_that_are_left_empty_are_not_told() -> None:
    usage = usage_of({"usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": None}})
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens) == (7, 0)


def test_an_embedding_has_no_output() -> None:
    assert usage_of({"usage": {"prompt_tokens": 7, "total_tokens": 7}}) == Usage(7, 0, priced=False)


@pytest.mark.parametrize(
    "lie", [-1, 1.5, nan, True, "12", MOST_TOKENS + 1, pytest.param(10**5_000, id="huge"), [1], object()]
)
@pytest.mark.parametrize(
    "name",
    [
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ],
)
def test_a_count_that_cannot_be_is_named(name: str, lie: Any) -> None:
    with pytest.raises(ValueError, match=rf"usage\.{name} is "):
        usage_of({"usage": {name: lie}})


@pytest.mark.parametrize("lie", [-1, nan, True])
def test_a_count_of_cached_tokens_that_cannot_be_is_named(lie: Any) -> None:
    with pytest.raises(ValueError, match=r"usage\.cached_tokens is "):
        usage_of({"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": lie}}})


def test_more_cached_tokens_than_input_are_refused() -> None:
    with pytest.raises(ValueError, match="6 cached tokens of 5 of input"):
        usage_of({"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}})


@pytest.mark.parametrize(("model", "kept"), [(None, ""), (7, ""), ("m" * 1_000, "m" * 200)])
def test_a_model_is_a_text_of_bounded_length(model: Any, kept: str) -> None:
    usage = usage_of({"model": model, "usage": {"prompt_tokens": 1}})
    assert usage is not None
    assert usage.model == kept


# ---- streams

CHAT_CHUNKS = [
    {"model": "gpt", "choices": [{"delta": {"content": "a"}}], "usage": None},
    {"model": "gpt", "choices": [{"delta": {"content": "b"}}], "usage": None},
    {"model": "gpt", "choices": [], "usage": CHAT["usage"]},
]
RESPONSE_EVENTS = [
    {"type": "response.created", "response": {"model": "gpt", "usage": None}},
    {"type": "response.output_text.delta", "delta": "a"},
    {"type": "response.completed", "response": RESPONSE},
]
MESSAGE_EVENTS = [
    {
        "type": "message_start",
        "message": {
            "model": "claude",
            "usage": {"input_tokens": 90, "cache_read_input_tokens": 10, "output_tokens": 1},
        },
    },
    {"type": "content_block_delta", "delta": {"text": "a"}},
    {"type": "message_delta", "usage": {"output_tokens": 15, "input_tokens": None}},
    {"type": "message_delta", "usage": {"output_tokens": 20}},
    {"type": "message_stop"},
]


@pytest.fixture
def run() -> Iterator[RunContext]:
    """The run that records."""
    context = RunContext("profile", "summary")
    token = current_run.set(context)
    yield context
    current_run.reset(token)


class Stream:
    """A stream as the libraries have it: an iterable with ``close``. It may hang or raise after its last chunk."""

    def __init__(self, chunks: list[Any], *, hangs: bool = False, raises: Exception | None = None) -> None:
        self._chunks, self._hangs, self._raises = chunks, hangs, raises
        self.closed = 0
        self.hanging = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for chunk in self._chunks:
            yield chunk
        if self._raises is not None:
            raise self._raises
        if self._hangs:
            self.hanging.set()
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


def used(run: RunContext) -> tuple[int, int, int | None, str]:
    assert run.usage is not None
    return run.usage.input_tokens, run.usage.output_tokens, run.usage.cost, run.usage.model


@pytest.mark.parametrize("form", [dict, thing])
@pytest.mark.parametrize("chunks", [CHAT_CHUNKS, RESPONSE_EVENTS, MESSAGE_EVENTS])
async def test_the_chunks_come_through_unchanged_and_the_usage_is_recorded(
    run: RunContext, chunks: list[Any], form: Any
) -> None:
    sent = [form(chunk) for chunk in chunks]
    seen = [chunk async for chunk in metered(Stream(sent))]
    assert [id(chunk) for chunk in seen] == [id(chunk) for chunk in sent]
    assert used(run)[:3] == (100, 20, None)


async def test_a_stream_is_recorded_only_at_its_end(run: RunContext) -> None:
    chunks = metered(Stream(CHAT_CHUNKS))
    for _ in CHAT_CHUNKS:
        await anext(chunks)
        assert run.usage is None
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    assert used(run) == (100, 20, None, "gpt")


async def test_a_stream_is_recorded_once_however_often_it_ends(run: RunContext) -> None:
    chunks = metered(Stream(CHAT_CHUNKS), BOOK)
    assert len([chunk async for chunk in chunks]) == 3
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    await chunks.aclose()
    del chunks
    gc.collect()
    assert used(run)[:2] == (100, 20)


@pytest.mark.parametrize(
    ("chunks", "nano"),
    [
        (CHAT_CHUNKS, 40 * 2_000 + 60 * 1_000 + 20 * 8_000),
        (RESPONSE_EVENTS, 40 * 2_000 + 60 * 1_000 + 20 * 8_000),
        (MESSAGE_EVENTS, 100 * 3_000 + 20 * 15_000),
    ],
)
async def test_with_prices_the_cost_is_recorded_too(run: RunContext, chunks: list[Any], nano: int) -> None:
    assert [chunk async for chunk in metered(Stream(chunks), BOOK)] == chunks
    assert used(run)[2] == nano


async def test_calls_of_several_models_have_a_cost_where_each_was_priced(run: RunContext) -> None:
    for chunks in (CHAT_CHUNKS, MESSAGE_EVENTS):
        assert [chunk async for chunk in metered(Stream(chunks), BOOK)] == chunks
    assert used(run)[:3] == (200, 40, 300_000 + 600_000)


async def test_a_model_without_a_price_has_no_cost(run: RunContext) -> None:
    assert [chunk async for chunk in metered(Stream(CHAT_CHUNKS), PriceBook({}))] == CHAT_CHUNKS
    assert used(run) == (100, 20, None, "gpt")


@pytest.mark.parametrize(
    ("chunks", "known"),
    [(CHAT_CHUNKS[:1], (0, 0, None, "gpt")), (MESSAGE_EVENTS[:2], (100, 1, 315_000, "claude"))],
    ids=["openai", "anthropic"],
)
class TestCutShort:
    """What is known by then is recorded: of Anthropic the input, of OpenAI nothing, and that is not a cost of 0."""

    async def test_by_closing(self, run: RunContext, chunks: list[Any], known: Any) -> None:
        stream = Stream(chunks, hangs=True)
        async with metered(stream, BOOK) as seen:
            for _ in chunks:
                await anext(seen)
        assert used(run) == known
        assert stream.closed == 1

    async def test_by_cancellation(self, run: RunContext, chunks: list[Any], known: Any) -> None:
        async def read() -> None:
            assert [_ async for _ in metered(stream, BOOK)]

        stream = Stream(chunks, hangs=True)
        task = asyncio.create_task(read())
        await stream.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert used(run) == known

    async def test_by_an_error_of_the_stream(self, run: RunContext, chunks: list[Any], known: Any) -> None:
        with pytest.raises(ConnectionResetError):
            assert [_ async for _ in metered(Stream(chunks, raises=ConnectionResetError()), BOOK)]
        assert used(run) == known

    async def test_by_break(self, run: RunContext, chunks: list[Any], known: Any) -> None:
        left = len(chunks)
        async for _ in metered(Stream(chunks, hangs=True), BOOK):
            left -= 1
            if not left:
                break
        gc.collect()  # where objects do not go at once
        assert used(run) == known


async def test_an_unknown_usage_is_not_priced_later(run: RunContext) -> None:
    assert [chunk async for chunk in metered(Stream(CHAT_CHUNKS[:2]))] == CHAT_CHUNKS[:2]
    assert run.usage is not None
    assert priced(run.usage, BOOK).cost is None


async def test_a_stream_that_was_never_read_has_an_unknown_cost(run: RunContext) -> None:
    await metered(Stream(CHAT_CHUNKS), BOOK).aclose()
    assert used(run) == (0, 0, None, "")


async def test_it_is_recorded_for_the_run_that_opened_the_stream(run: RunContext) -> None:
    chunks = metered(Stream(CHAT_CHUNKS))
    other = RunContext("profile", "other")
    elsewhere = copy_context()
    elsewhere.run(current_run.set, other)
    await asyncio.create_task(chunks.aclose(), context=elsewhere)
    assert other.usage is None
    assert run.usage is not None


async def test_outside_a_run_a_stream_is_only_read() -> None:
    assert [chunk async for chunk in metered(Stream(CHAT_CHUNKS), BOOK)] == CHAT_CHUNKS


async def test_an_async_generator_is_closed_as_one(run: RunContext) -> None:
    async def chunks() -> AsyncIterator[Any]:
        try:
            for chunk in MESSAGE_EVENTS:
                yield chunk
        finally:
            ended.append(True)

    ended: list[bool] = []
    async with aclosing(metered(chunks())) as seen:
        await anext(seen)
    assert ended == [True]
    assert used(run)[:2] == (100, 1)


async def test_a_stream_may_have_no_way_to_be_closed_or_one_that_does_not_wait(run: RunContext) -> None:
    class Bare:
        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> Any:
            return MESSAGE_EVENTS[0]

    class Closing(Bare):
        def close(self) -> None:
            closed.append(self)

    closed: list[Closing] = []
    for stream in (Bare(), Closing()):
        async with metered(stream) as seen:
            await anext(seen)
    assert len(closed) == 1
    assert used(run)[:2] == (200, 2)


async def test_what_is_no_stream_is_refused_at_once() -> None:
    answer: Any = {"usage": None}
    with pytest.raises(TypeError):
        metered(answer)


@pytest.mark.parametrize("where", [0, 1, 2])
async def test_a_stream_that_lies_comes_through_and_its_usage_is_unknown(
    run: RunContext, where: int, caplog: pytest.LogCaptureFixture
) -> None:
    chunks: list[Any] = [*CHAT_CHUNKS]
    chunks.insert(where, {"model": "gpt", "usage": {"prompt_tokens": -5}})
    assert [chunk async for chunk in metered(Stream(chunks), BOOK)] == chunks
    assert used(run) == (0, 0, None, "gpt")
    (record,) = caplog.records
    assert record.getMessage() == (
        "what a stream of gpt used is unknown: usage.prompt_tokens is negative;"
        " it must be a number of tokens that one answer can use"
    )


async def test_what_a_stream_told_before_it_lied_is_not_believed_either(run: RunContext) -> None:
    chunks = [MESSAGE_EVENTS[0], {"type": "message_delta", "usage": {"output_tokens": True}}]
    assert [chunk async for chunk in metered(Stream(chunks), BOOK)] == chunks
    assert used(run) == (0, 0, None, "claude")


async def test_chunks_and_prices_that_raise_do_not_disturb_the_stream(
    run: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    class Hostile:
        @property
        def usage(self) -> NoReturn:
            raise RuntimeError("no")

    def wrong(*_: object) -> NoReturn:
        raise RuntimeError("no")

    chunk = Hostile()
    assert [seen async for seen in metered(Stream([chunk, chunk]))] == [chunk, chunk]
    assert [seen async for seen in metered(Stream(CHAT_CHUNKS), PriceBook({}, wrong))] == CHAT_CHUNKS
    assert used(run) == (0, 0, None, "gpt")
    assert [getattr(record, "event", "") for record in caplog.records] == ["metered_stream"] * 2
