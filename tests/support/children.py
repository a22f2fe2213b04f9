"""Processes of a test's own: started with a configuration, known by what they print, ended by their process id.

    with child("tests.support.shop", Shop(database=url)) as shop:
        shop.url, shop.said          # http://127.0.0.1:PORT, and everything that it printed when it was ready
        shop.pause(); shop.resume(); shop.kill()

A child prints one line of JSON when it is ready. Whatever it writes to stderr is shown if it does not get that far.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

CHECKOUT = Path(__file__).resolve().parents[2]


@contextmanager
def child(module: str, config: Any, *, within_s: float = 60.0, lines: int = 1, **popen: Any) -> Iterator[Child]:
    """``python -m module '{…}'``, ready when it has printed ``lines`` lines (0: not waited for); at the end it is asked
    to stop, and killed if it does not."""
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", module, json.dumps(asdict(config))]
        # A group of its own, so that a Ctrl-C ends the tests first, and they end their children.
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, **popen
        )
        started = Child(process, errors)
        try:
            started.await_lines(lines, within_s)
            yield started
        finally:
            started.stop()


class Child:
    """One process. ``said``: what it printed when it was ready."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.said: dict[str, Any] = {}
        self.each: list[dict[str, Any]] = []
        self._process = process
        self._errors = errors

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.said['port']}"

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to end anything."""
        self._process.kill()
        self._process.wait(30)

    def stop(self, within_s: float = 30.0) -> int:
        """SIGTERM, and SIGKILL if that is not enough; its exit code."""
        if self._process.poll() is None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait()

    def await_lines(self, count: int, within_s: float) -> None:
        """Wait for that many lines of JSON; the first one is ``said``, all of them are ``each``."""
        end, text = time.monotonic() + within_s, b""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as ready:
            ready.register(descriptor, selectors.EVENT_READ)
            while text.count(b"\n") < count and (left := end - time.monotonic()) > 0:
                if ready.select(left):
                    more = os.read(descriptor, 65_536)
                    if not more:
                        break
                    text += more
        if text.count(b"\n") < count:
            raise AssertionError(f"the child did not come up, and wrote:\n{self.log[-4000:]}")
        self.each = [json.loads(line) for line in text.splitlines()]
        self.said = self.each[0] if self.each else {}
