"""What stands where the world would be: a mail server and two HTTP services, which keep what they are sent by its
idempotency key. What comes again under a key that they know they confirm, and drop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from email import message_from_bytes
from typing import Final

from aiohttp import web

from rollout_demo.services import serve

_LONGEST_LINE: Final = 4_096
_MOST_LINES: Final = 200  # of one mail


class Sink:
    """``kept``: idempotency key → text. ``offered``: how often each key came, whether it was kept or dropped.
    ``takes_s``: seconds for one message. ``unconfirmed``: how many are kept already, and their senders do not know.
    ``ill``: refuses everything. ``refused``: so many.
    """

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.kept: dict[str, str] = {}
        self.offered: Counter[str] = Counter()
        self.unconfirmed = 0
        self.ill = False
        self.refused = 0

    async def take(self, key: str, text: str) -> bool:
        """Whether the message is taken; it is then kept once."""
        if self.ill:
            self.refused += 1
            return False
        self.offered[key] += 1
        self.kept.setdefault(key, text)
        self.unconfirmed += 1
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.unconfirmed -= 1
        return True


class HttpSink(Sink):
    """``POST /messages`` with an ``Idempotency-Key``: 201, or 503 with Retry-After while it is ill."""

    def __init__(self, takes_s: float) -> None:
        super().__init__(takes_s)
        self.address = ""

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_post("/messages", self.answer)
        self.address = await serve(app, stack)

    async def answer(self, request: web.Request) -> web.Response:
        if await self.take(request.headers["Idempotency-Key"], await request.text()):
            return web.Response(status=201)
        return web.Response(status=503, headers={"Retry-After": "1"})


class MailSink(Sink):
    """As much of SMTP (RFC 5321) as a client needs to deliver one mail. The key is the mail's Message-ID."""

    def __init__(self, takes_s: float) -> None:
        super().__init__(takes_s)
        self.port = 0

    async def start(self, stack: AsyncExitStack) -> None:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, limit=_LONGEST_LINE)
        stack.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):  # who hangs up, or never ends
                await self._answer_all(reader, writer)
        finally:
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        verb = ""
        while verb != "QUIT":
            line = await reader.readline()
            verb = line[:4].decode("ascii", "replace").strip().upper()
            if not verb:
                return
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                writer.write(await self._received(reader))
            else:
                writer.write(_REPLIES.get(verb, b"502 not known\r\n"))
            await writer.drain()

    async def _received(self, reader: asyncio.StreamReader) -> bytes:
        """Read a mail up to the line with a single dot; the reply."""
        lines: list[bytes] = []
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
            if len(lines) > _MOST_LINES:
                raise ValueError(f"a mail of more than {_MOST_LINES} lines")
        mail = message_from_bytes(b"".join(lines))
        key = str(mail["Message-ID"]).strip("<>").partition("@")[0]
        taken = await self.take(key, str(mail.get_payload()).strip())
        return b"250 taken\r\n" if taken else b"451 try again later\r\n"


_REPLIES: Final = {
    "EHLO": b"250 sink\r\n",
    "HELO": b"250 sink\r\n",
    "MAIL": b"250 fine\r\n",
    "RCPT": b"250 fine\r\n",
    "RSET": b"250 fine\r\n",
    "NOOP": b"250 fine\r\n",
    "QUIT": b"221 bye\r\n",
}
