"""A local model server: ``POST /v1/summary`` sums up a customer's chat, and says how many tokens it used.

It takes time for what it reads and writes, and like a real one it never says a thing twice in the same words.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import Final

from aiohttp import web

from rollout_demo import truth
from rollout_demo.services import serve

NAME: Final = "shop-mini"
USD_PER_MILLION_IN: Final = 0.15
USD_PER_MILLION_OUT: Final = 0.60
_READ_S, _WRITE_S = 2e-6, 1e-4  # seconds per token read and written

_OPENINGS: Final = (
    "They asked about",
    "The chat was about",
    "This was about",
    "The question concerned",
    "Topic:",
    "On",
)
_ENDINGS: Final = ("; all is settled.", "; nothing is open.", ", and went away happy.", ", kindly.", ", in short.", ".")


class Model:
    """One model, one port."""

    def __init__(self, seed: int = 1) -> None:
        self.address = ""
        self._dice = Random(seed)

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_post("/v1/summary", self.answer)
        self.address = await serve(app, stack)

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        read, written = int(asked["context_tokens"]), int(asked["max_tokens"])
        await asyncio.sleep(read * _READ_S + written * _WRITE_S)
        words = f"{self._dice.choice(_OPENINGS)} {truth.topic(int(asked['customer']))}{self._dice.choice(_ENDINGS)}"
        return web.json_response(
            {"text": words, "model": NAME, "usage": {"input_tokens": read, "output_tokens": written}}
        )


def price_usd(input_tokens: int, output_tokens: int) -> str:
    """What such a call costs, in dollars."""
    return f"{(input_tokens * USD_PER_MILLION_IN + output_tokens * USD_PER_MILLION_OUT) / 1e6:.9f}"
