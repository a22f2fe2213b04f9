"""The far end of a sealed request: what stands where a connection would be. Nothing here knows of a socket.

`Sink` takes what a handler writes, up to a bound. `NoConnection`, `NoTransport` and `NoSendfile` answer what aiohttp
asks of a protocol, a transport and a loop while it does so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn

from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from rollout.errors import RolloutError

MAX_REPLY: Final = 8 * 2**20


class SealedError(RolloutError):
    """A handler did something on a sealed request that needs a connection, or that is too large to be kept."""


class Sink(AbstractStreamWriter):
    """Keeps the body that a handler writes; ``limit`` in bytes, above which ``SealedError`` is raised.

    Compression and chunking are left out: a reply is compared as it was before it was encoded for the way.
    """

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self.compressed = False
        self._limit = limit

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        size = len(self.body) + (chunk.nbytes if isinstance(chunk, memoryview) else len(chunk))
        if size > self._limit:
            raise SealedError(
                f"A handler on a sealed request wrote {size} bytes, above the limit of {self._limit}: the run has "
                "failed. Leave such a handler out of the fan-out, or raise limit=."
            )
        self.body += chunk
        self.output_size = self.buffer_size = size

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)

    async def drain(self) -> None:
        return

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        self.compressed = True

    def enable_chunking(self) -> None:
        return

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        return  # they are read from the response afterwards


class NoTransport(asyncio.Transport):
    """A transport to nowhere.

    It is never closing, because aiohttp takes one that is (or None) for a lost connection.
    """

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        return

    def abort(self) -> None:
        return

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> NoReturn:
        raise SealedError("A sealed request has no connection to write to. Return a response instead.")

    def writelines(self, list_of_data: Any) -> NoReturn:
        self.write(None)

    def write_eof(self) -> NoReturn:
        self.write(None)


class NoConnection:
    """What aiohttp asks of the protocol of a request, without a connection.

    ``max_field_size`` and ``max_headers`` bound multipart.
    """

    ssl_context = None
    peername = None
    sockname = None
    connected = True  # else a reader of the body would report a lost connection
    writing_paused = False
    _reading_paused = False
    _timeout_ceil_threshold = 5

    def __init__(self, max_field_size: int, max_headers: int) -> None:
        self.max_field_size = max_field_size
        self.max_headers = max_headers
        self.transport = NoTransport()

    def pause_reading(self) -> None:
        return

    def resume_reading(self, resume_parser: bool = True) -> None:
        return

    def keep_alive(self, val: bool) -> None:
        return

    def close(self) -> None:
        return

    def force_close(self) -> None:
        return

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> NoReturn:
        raise SealedError("A sealed request cannot be upgraded: it has no connection.")


class NoSendfile:
    """The running loop, but that a file is not sent by the kernel: aiohttp then reads it and writes it to the sink."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop

    async def sendfile(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError  # the answer by which a loop says that it cannot: aiohttp then reads the file itself

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
