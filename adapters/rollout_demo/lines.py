"""Processes that talk in lines of JSON: ``Lines`` of the one that was started, ``Child`` for the one that starts it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

Message = dict[str, Any]


class Lines:
    """Standard input and output of this process, a JSON object on each line."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def standard(cls) -> AsyncIterator[Self]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            yield cls(reader)
        finally:
            transport.close()

    async def read(self) -> Message | None:
        """The next message; None when there will be no more."""
        line = await self._reader.readline()
        return json.loads(line) if line.strip() else None

    def write(self, message: Message) -> None:
        print(json.dumps(message), flush=True)


class ChildFailed(Exception):
    """A process of the demo ended, or did not answer in time; the text holds the end of what it wrote to its log."""


class Child:
    """A Python module run as a process of its own. Ctrl-C does not reach it: whoever started it ends it."""

    def __init__(self, module: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.module = module
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, module: str, *arguments: str, log: Path) -> Self:
        """``log``: the file that its standard error goes to."""
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        return cls(module, process, log)

    async def ask(self, message: Message, timeout_s: float = 15.0) -> Message:
        """Send a message and wait for its answer. ``ChildFailed`` if there is none within ``timeout_s`` seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except (TimeoutError, ConnectionError):
            line = b""
        if not line:
            raise ChildFailed(self._letter())
        answer: Message = json.loads(line)
        return answer

    async def stop(self, grace_s: float = 10.0) -> int:
        """Close its standard input, kill it if it has not ended ``grace_s`` seconds later. Returns its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(grace_s):
                return await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            return await self._process.wait()

    def _letter(self) -> str:
        state = "did not answer" if self._process.returncode is None else f"ended with {self._process.returncode}"
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return f"{self.module} {state}. The end of its log, {self.log}:\n{tail}"
