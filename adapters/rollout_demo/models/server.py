"""A local model server that speaks as OpenAI's does: ``POST /v1/chat/completions``, with two models.

Both really read the text. The large one is right. The small one is right where it is sure; where it is not, it is wrong
in one answer of five. The same question has the same answer, the same length and the same delay every time.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from aiohttp import web

from rollout import Price, PriceBook
from rollout_demo.models.messages import DOUBT, ENTITIES, FEELINGS, SUBJECTS
from rollout_demo.services import serve
from rollout_demo.traffic import GENERATED_TOKENS

SMALL, LARGE = "local-small", "local-large"
#: Dollars for a million tokens; invented, and as far apart as such models are.
PRICES: Final = PriceBook({SMALL: Price("0.25", "1.25"), LARGE: Price("15", "75")})
MOST_WRITTEN: Final = 30  # tokens of one answer

_SHORTER: Final = 0.1  # than those of the trace: an answer here is a word or a line
#: How often the small model ponders a text, by whether it is a hard one; and for how many seconds.
_PONDERS: Final = {True: 0.08, False: 0.005}
_PONDERS_S: Final = 0.6


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds until a model begins to write, and for each token that it writes."""

    begin_s: float
    token_s: float


SPEEDS: Final = {SMALL: Speed(0.02, 0.002), LARGE: Speed(0.08, 0.006)}


@dataclass(slots=True)
class Spent:
    """What the server counted for one call of the shop: what its provider would put on the bill."""

    tokens: int = 0
    nano: int = 0


class ModelServer:
    """Both models, on one port. ``bill``: (who asked, its call) → what that came to, as ``metadata`` of the question
    says; of shadow calls apart.
    """

    def __init__(self) -> None:
        self.address = ""
        self.bill: defaultdict[tuple[str, str], Spent] = defaultdict(Spent)

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.complete)
        self.address = await serve(app, stack)

    async def complete(self, request: web.Request) -> web.Response:
        asked = await request.json()
        model, (system, user) = asked["model"], asked["messages"]
        task, text = system["content"].split()[0], user["content"]
        dice = Random(f"{model}|{task}|{text}")
        read = len(system["content"].split()) + len(text.split())
        written = min(asked["max_tokens"], max(1, round(GENERATED_TOKENS.at(dice.random()) * _SHORTER)))
        self._charge(asked["metadata"], model, read, written, "X-Rollout-Shadow" in request.headers)
        content = json.dumps(opinion(model, task, text, dice))
        await asyncio.sleep(delay_s(model, DOUBT in text, written, dice))
        return web.json_response(completion(model, content, read, written))

    def _charge(self, metadata: dict[str, str], model: str, read: int, written: int, is_shadow: bool) -> None:
        """Before the answer: who hangs up has to pay all the same."""
        asker = f"{metadata['by']} in shadow" if is_shadow else metadata["by"]
        spent = self.bill[asker, metadata["call"]]
        spent.tokens += read + written
        spent.nano += PRICES.cost_nano(model, read, written) or 0

    def per_call(self, asker: str, since: int = 0) -> list[Spent]:
        """What each call of an asker came to (``"monolith"``, ``"fan-out"``, ``"fan-out in shadow"``), from a call's
        number on.
        """
        return [spent for (who, call), spent in self.bill.items() if who == asker and int(call) >= since]


def opinion(model: str, task: str, text: str, dice: Random) -> dict[str, Any]:
    """What a model answers to a task, and how sure it says it is."""
    right = _READERS[task](text)
    if model == LARGE:
        return {"answer": right, "confidence": round(dice.uniform(0.95, 0.99), 2)}
    if dice.random() >= (0.8 if DOUBT in text else 0.08):
        return {"answer": right, "confidence": round(dice.uniform(0.9, 0.99), 2)}
    answer = _mistaken(right) if dice.random() < 0.2 else right
    return {"answer": answer, "confidence": round(dice.uniform(0.4, 0.89), 2)}


def delay_s(model: str, is_hard: bool, written: int, dice: Random) -> float:
    """How long an answer of so many tokens takes, in seconds."""
    speed = SPEEDS[model]
    ponders_s = _PONDERS_S if model == SMALL and dice.random() < _PONDERS[is_hard] else 0.0
    return ponders_s + speed.begin_s + written * speed.token_s


def completion(model: str, content: str, read: int, written: int) -> dict[str, Any]:
    """An answer in the shape of OpenAI's chat completions."""
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-local",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _sentiment(text: str) -> str:
    return next(name for name, words in FEELINGS.items() if text.endswith(words))


def _entities(text: str) -> list[str]:
    words = {word.strip(".,") for word in text.split()}
    return [name for name in ENTITIES if name in words]


def _summary(text: str) -> str:
    return f"About a {next(subject for subject in SUBJECTS if subject in text)}."


def _mistaken(right: Any) -> Any:
    """What a small model says instead: half of the entities, another feeling, another subject."""
    if isinstance(right, list):
        return right[:1]
    if right in FEELINGS:
        return "positive" if right == "neutral" else "neutral"
    return "About something else."


_READERS: Final = {"Sentiment": _sentiment, "Entities": _entities, "Summary": _summary}
