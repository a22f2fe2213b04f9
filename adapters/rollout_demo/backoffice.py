"""The shop's client of its services and of the model: what the monolith and the branches share."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import ClientSession, web

from rollout import record_usage
from rollout_demo.model import price_usd

Rows = list[dict[str, Any]]


class WrongOwner(Exception):
    """A service answered with what belongs to another customer."""


class BackOffice:
    """``addresses``: of orders, tickets, picks and model. ``session`` is the application's, guarded in shadow."""

    def __init__(self, session: ClientSession, addresses: dict[str, str]) -> None:
        self._session = session
        self._addresses = addresses

    async def orders(self, customer: int) -> Rows:
        return await self._rows(f"{self._addresses['orders']}/orders/{customer}")

    async def tickets(self, customer: int) -> Rows:
        return await self._rows(f"{self._addresses['tickets']}/tickets/{customer}")

    async def newer_tickets(self, customer: int) -> Rows:
        """From the newer endpoint, newest first. Raises ``WrongOwner`` where one of them is not the customer's."""
        found = await self._rows(f"{self._addresses['tickets']}/v2/tickets/{customer}")
        if any(ticket["customer"] != customer for ticket in found):
            raise WrongOwner(f"tickets of another customer than {customer}")
        return found

    async def picks(self, customer: int) -> Rows:
        return await self._rows(f"{self._addresses['picks']}/picks/{customer}")

    async def summary(self, customer: int, context_tokens: int, max_tokens: int) -> str:
        """Of the customer's chat, by the model; its usage is recorded wherever this runs."""
        asked = {"customer": customer, "context_tokens": context_tokens, "max_tokens": max_tokens}
        async with self._session.post(f"{self._addresses['model']}/v1/summary", json=asked) as reply:
            reply.raise_for_status()
            answer = await reply.json()
        read, written = answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]
        record_usage(input_tokens=read, output_tokens=written, model=answer["model"], usd=price_usd(read, written))
        return str(answer["text"])

    async def _rows(self, address: str) -> Rows:
        async with self._session.get(address) as reply:
            reply.raise_for_status()
            found: Rows = await reply.json()
            return found


BACK_OFFICE: Final = web.AppKey("back_office", BackOffice)
