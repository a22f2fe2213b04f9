"""One attempt to get a message to its target, over HTTP.

The address is what was configured and nothing else: no redirect is followed, so that no answer sends a signed message
somewhere else. Nothing of an answer but its status and ``Retry-After`` is read, and nothing of an error but its class
and its code is told: texts may hold the address, and the address may hold a token.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from errno import errorcode
from typing import Final, Protocol

import aiohttp

from rollout.domain.state import Decision
from rollout_notify.targets import Target

ATTEMPT_S: Final = 10.0  # from the look-up of the name to the headers of the answer

_NEVER: Final = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class NotTaken(Exception):
    """The target did not take a message. ``transient``: whether another attempt may go better. ``headers``: of the
    answer, where there was one.
    """

    def __init__(self, why: str, *, transient: bool, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.transient = transient
        self.headers = headers or {}


class Posts(Protocol):
    """What makes an attempt."""

    async def post(self, target: Target, decision: Decision, body: bytes) -> None:
        """Returns when the target has taken it; raises ``NotTaken``."""
        ...

    async def close(self) -> None: ...


class Client:
    """``Posts`` over aiohttp. ``wall``: epoch seconds, for signatures. The session is made by the first attempt, in the
    loop that makes it, and after any fork.
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, attempt_s: float = ATTEMPT_S) -> None:
        self._wall = wall
        self._timeout = aiohttp.ClientTimeout(total=attempt_s)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, target: Target, decision: Decision, body: bytes) -> None:
        session = self._session = self._session or self._open()
        headers = target.headers(decision, body, self._wall())
        try:
            async with session.post(target.url, data=body, headers=headers, allow_redirects=False) as response:
                response.close()  # whatever its body is, it is not read
        except _NEVER as error:
            raise NotTaken(_words(error), transient=False) from None
        except TimeoutError:
            raise NotTaken(f"no answer within {self._timeout.total:g} s", transient=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotTaken(_words(error), transient=True) from None
        if not 200 <= response.status < 300:
            raise _refused(response)

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=20),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "rollout-kit"},
            timeout=self._timeout,
            auto_decompress=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _refused(response: aiohttp.ClientResponse) -> NotTaken:
    status = response.status
    why = f"it answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
    return NotTaken(why, transient=status == 429 or status >= 500, headers=response.headers)


def _words(error: Exception) -> str:
    """``"ClientConnectorError, Connection refused"``: of its texts, one holds the whole address."""
    name = type(error).__name__
    code = error.errno if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientSSLError) else None
    return name if code is None or code not in errorcode else f"{name}, {os.strerror(code)}"
