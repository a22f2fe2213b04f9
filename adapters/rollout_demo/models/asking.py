"""The shop's client of its models: what the monolith and the branches share."""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import ClientSession, web

import rollout
from rollout_demo.models.server import MOST_WRITTEN

INSTRUCTIONS: Final = {
    "sentiment": "Sentiment of this mail? Answer JSON: answer, confidence.",
    "entities": "Entities in this mail? Answer JSON: answer, confidence.",
    "summary": "Summary of this mail, please. Answer JSON: answer, confidence.",
}
TASKS: Final = tuple(INSTRUCTIONS)

Opinion = dict[str, Any]  # answer, confidence in [0, 1], model


class Models:
    """``address``: of an OpenAI-compatible server. ``session`` is the application's, guarded in shadow."""

    def __init__(self, session: ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def ask(self, model: str, task: str, text: str, *, by: str, call: str) -> Opinion:
        """One model's opinion; what it used is recorded wherever this runs. ``by``, ``call``: who pays, for the bill.

        Raises aiohttp's errors, and ``ValueError`` where the answer is no JSON or its usage cannot be true.
        """
        question = {
            "model": model,
            "messages": [{"role": "system", "content": INSTRUCTIONS[task]}, {"role": "user", "content": text}],
            "max_tokens": MOST_WRITTEN,
            "temperature": 0,
            "metadata": {"by": by, "call": call},
        }
        async with self._session.post(f"{self._address}/v1/chat/completions", json=question) as reply:
            reply.raise_for_status()
            answer = await reply.json()
        _record(answer)
        opinion: Opinion = json.loads(answer["choices"][0]["message"]["content"])
        return {**opinion, "model": answer["model"]}


def _record(answer: Any) -> None:
    """Without dollars: the rollout has a price book."""
    used = rollout.meters.usage_of(answer)
    if used is not None:
        rollout.record_usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens, model=used.model)


MODELS: Final = web.AppKey("models", Models)
