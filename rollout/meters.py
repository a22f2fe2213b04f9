"""Meters for the answers and streams of language models, in the style of OpenAI and of Anthropic.

    Branch("summary", summarise, meter=usage_of)              # where the part is the answer itself
    async for chunk in metered(await client.create(stream=True, …)): …  # anywhere below a branch or control

Neither library is imported: an answer is whatever has the right attributes, or is a mapping with the right keys.

What is counted:

* OpenAI, chat completions: ``prompt_tokens`` (cached ones are among them) and ``completion_tokens`` (reasoning is).
* OpenAI, responses: ``input_tokens`` and ``output_tokens``, likewise.
* Anthropic: ``input_tokens``, ``cache_read_input_tokens`` and ``cache_creation_input_tokens`` together are the input,
  ``output_tokens`` the output. What is written to a cache is counted as plain input.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextvars import copy_context
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from rollout.context import record_usage
from rollout.domain.cost import Usage, usd_of
from rollout.domain.prices import PriceBook, priced

log = logging.getLogger("rollout")

Chunk = TypeVar("Chunk")

#: More tokens than this in one answer is a lie: the largest models read some ten million.
MOST_TOKENS: Final = 1_000_000_000

_COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_LONGEST_MODEL: Final = 200


def usage_of(answer: Any) -> Usage | None:
    """What an answer says it used, its cost unknown (see ``rollout.domain.prices.priced``); None where it says nothing.

    ``ValueError`` names a count that is no whole number (a bool, a float, NaN, text), is negative or above
    1,000,000,000, and more cached tokens than there is input.
    """
    return _usage(_counts_of(answer), _model_of(answer))


def metered(stream: AsyncIterable[Chunk], prices: PriceBook | None = None) -> Metered[Chunk]:
    """The chunks of the stream, unchanged; what they say was used is recorded once, for the run this is called in.

    It is recorded when the stream ends, raises, is cancelled, closed, or left by ``break``. Cut short, what is known by
    then is recorded: of Anthropic the input and the output counted so far, at the least; of OpenAI nothing, so that the
    cost is unknown. (OpenAI counts a stream of chat completions only on ``stream_options={"include_usage": True}``.)

    ``prices``: the cost is recorded too, if the book knows the model. Default None: the cost is unknown. A usage that
    cannot be true, or a book that raises, never disturbs the stream: it is logged, and what was used is unknown.
    """
    return Metered(stream, aiter(stream), prices)


class Metered(AsyncIterator[Chunk], Generic[Chunk]):
    """A stream under a meter: see ``metered``. ``async with`` closes it, and the stream below it, at the end.

    An object rather than an async generator: one that is left by ``break`` is closed by the event loop at some later
    time, in another context, when the run that used it may be over.
    """

    def __init__(self, stream: AsyncIterable[Chunk], chunks: AsyncIterator[Chunk], prices: PriceBook | None) -> None:
        self._stream, self._chunks, self._prices = stream, chunks, prices
        self._context = copy_context()  # __del__ may run in any other
        self._counts: dict[str, int] = {}
        self._model = ""
        self._is_trusted = True
        self._is_recorded = False

    async def __anext__(self) -> Chunk:
        try:
            chunk = await anext(self._chunks)
        except BaseException:  # the end, an error of the stream, or a cancellation
            self._record()
            raise
        self._read(chunk)
        return chunk

    async def aclose(self) -> None:
        """Record what is known, and close the stream by its ``aclose`` or ``close``, if it has one."""
        self._record()
        close = getattr(self._stream, "aclose", None) or getattr(self._stream, "close", None)
        closing = close() if close is not None else None
        if isawaitable(closing):
            await closing

    async def __aenter__(self) -> Metered[Chunk]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._record()

    def _read(self, chunk: Chunk) -> None:
        if not self._is_trusted:
            return
        try:
            # Anthropic begins with a message; OpenAI's events carry a response. Later counts are totals, not additions.
            for source in (chunk, _get(chunk, "message"), _get(chunk, "response")):
                self._model = _model_of(source) or self._model
                self._counts.update(_counts_of(source))
        except Exception as error:
            self._distrust(error)

    def _record(self) -> None:
        if not self._is_recorded:
            self._is_recorded = True
            self._context.run(self._tell)

    def _tell(self) -> None:
        used = self._used()
        usd = None if used.nano is None else usd_of(used.nano)
        record_usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens, model=used.model, usd=usd)

    def _used(self) -> Usage:
        unknown = Usage(model=self._model)
        if not self._is_trusted:
            return unknown
        try:
            used = _usage(self._counts, self._model) or unknown
            return used if self._prices is None else priced(used, self._prices)
        except Exception as error:
            self._distrust(error)
            return unknown

    def _distrust(self, error: Exception) -> None:
        self._is_trusted = False
        log.warning(
            "what a stream of %s used is unknown: %s",
            self._model or "a model",
            error,
            extra={"event": "metered_stream"},
        )


def _usage(counts: Mapping[str, int], model: str) -> Usage | None:
    if not counts:
        return None
    cached = counts.get("cached_tokens", 0)
    if "prompt_tokens" in counts:  # some proxies tell Anthropic's counts beside it: prompt_tokens contains them
        used, output = counts["prompt_tokens"], counts.get("completion_tokens", 0)
    else:
        read, written = counts.get("cache_read_input_tokens", 0), counts.get("cache_creation_input_tokens", 0)
        cached += read
        used, output = counts.get("input_tokens", 0) + read + written, counts.get("output_tokens", 0)
    if cached > used:
        raise ValueError(f"usage tells {cached} cached tokens of {used} of input; what is cached is part of the input")
    return Usage(used, output, model=model, priced=False, cached_tokens=cached)


def _counts_of(answer: Any) -> dict[str, int]:
    """The counts that the usage of an answer names, each checked; none where it names none."""
    usage = _get(answer, "usage")
    if usage is None:
        return {}
    told = {name: _get(usage, name) for name in _COUNTS}
    details = _get(usage, "prompt_tokens_details") or _get(usage, "input_tokens_details")
    told["cached_tokens"] = _get(details, "cached_tokens")
    return {name: _count(name, value) for name, value in told.items() if value is not None}


def _count(name: str, value: Any) -> int:
    if type(value) is not int:  # bool is an int to isinstance
        raise ValueError(f"usage.{name} is {value!r:.60}; it must be a whole number of tokens")
    if not 0 <= value <= MOST_TOKENS:
        side = "negative" if value < 0 else f"above {MOST_TOKENS:,}"
        raise ValueError(f"usage.{name} is {side}; it must be a number of tokens that one answer can use")
    return value


def _model_of(answer: Any) -> str:
    model = _get(answer, "model")
    return model[:_LONGEST_MODEL] if isinstance(model, str) else ""


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
