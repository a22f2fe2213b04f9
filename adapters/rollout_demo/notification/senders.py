"""The shop's senders of messages: what the monolith and the fan-out share. Each passes an idempotency key on."""

from __future__ import annotations

import smtplib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final

from aiohttp import ClientSession, web

from rollout import run_in_pool
from rollout_aiohttp import guard
from rollout_demo.notification.orders import Order, key_of

_MAIL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Of the mail server on this machine (a port), and of the two services (``http://…``)."""

    smtp_port: int
    sms: str
    push: str


class Senders:
    """Usable while the application runs: ``app.cleanup_ctx.append(senders.live)``."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._session: ClientSession
        self._pool: ThreadPoolExecutor

    async def live(self, _: web.Application) -> AsyncIterator[None]:
        with ThreadPoolExecutor(8, "mail") as self._pool:
            async with ClientSession(middlewares=[guard()]) as self._session:
                yield

    async def email(self, paid: Order, text: str) -> None:
        """The Message-ID is the key. Raises ``OSError``, or of ``smtplib`` what the server said."""
        mail = EmailMessage()
        mail["From"], mail["To"] = "shop@shop.example", f"{paid['customer']}@mail.example"
        mail["Message-ID"] = f"<{key_of(paid, 'email')}@shop.example>"
        mail["Subject"] = "Your order"
        mail.set_content(text)
        await run_in_pool(self._pool, _deliver, self._addresses.smtp_port, mail)

    async def sms(self, paid: Order, text: str) -> None:
        await self._post(self._addresses.sms, key_of(paid, "sms"), text)

    async def push(self, paid: Order, text: str) -> None:
        await self._post(self._addresses.push, key_of(paid, "push"), text)

    async def _post(self, address: str, key: str, text: str) -> None:
        """Raises aiohttp's errors, of the status too."""
        async with self._session.post(f"{address}/messages", data=text, headers={"Idempotency-Key": key}) as reply:
            reply.raise_for_status()


def _deliver(port: int, mail: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="shop.example", timeout=_MAIL_S) as server:
        server.send_message(mail)
