"""The public keys at one address (a JWKS, RFC 7517), fetched when one is needed and kept.

Anybody can send a token with an invented key id, so what that costs is bounded: one fetch a minute, whatever is asked
for and however it ended, by a task that no request owns; of bounded size and time; from this address and no other.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from math import inf
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout
from jwt import PyJWK

from rollout.engine.timers import clock_of
from rollout_webhook.streams import read_at_most
from rollout_webhook.verifying import KeysMissing

FETCH_EVERY_S: Final = 60.0  # at most
FRESH_S: Final = 3600.0  # then they are fetched again, meanwhile used
STALE_S: Final = 86400.0  # then they are used no more: one may have been withdrawn for a reason
FETCH_S: Final = 5.0  # what a fetch may take
MOST_BYTES: Final = 256 * 1024
MOST_KEYS: Final = 100

log = logging.getLogger("rollout.webhook")


class KeySet:
    """The keys at ``url``. ``clock``: monotonic seconds; the running loop's by default."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._url = url
        self._own_clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._asked_at = -inf
        self._fetched_at = -inf
        self._failed = True  # the last fetch; none has been made
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> PyJWK | None:
        """The key with that id; None if the address has none. ``KeysMissing`` if it cannot be asked."""
        now = self._clock()
        age = now - self._fetched_at
        known = self._keys.get(kid) if age < STALE_S else None
        if (known is None or age >= FRESH_S) and now - self._asked_at >= FETCH_EVERY_S:
            self._asked_at = now
            self._fetching = asyncio.create_task(self._fetch(), name="rollout-jwks")
        if known is not None:
            return known
        if self._fetching is not None:
            await asyncio.shield(self._fetching)  # a sender that hangs up must not take it from the others
        if self._failed:
            raise KeysMissing
        return self._keys.get(kid)

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    async def _fetch(self) -> None:
        try:
            self._keys = _keys_of(await self._read())
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            self._failed = True
            words = "the keys at %s cannot be fetched (%s: %s); those fetched before are used for a day"
            log.error(words, self._url, type(error).__name__, error, extra={"event": "jwks_failed"})
        else:
            self._failed = False
            self._fetched_at = self._clock()

    async def _read(self) -> bytes:
        timeout = ClientTimeout(total=FETCH_S)
        async with (
            ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(self._url, allow_redirects=False) as reply,
        ):
            if reply.status != 200:
                raise ValueError(f"the answer has status {reply.status}, not 200; redirects are not followed")
            body = await read_at_most(reply.content, MOST_BYTES)
        if body is None:
            raise ValueError(f"the answer has more than {MOST_BYTES} bytes")
        return body

    def _clock(self) -> float:
        return (self._own_clock or clock_of(asyncio.get_running_loop()))()


def _keys_of(body: bytes) -> dict[str, PyJWK]:
    """Key id → key, of those that can verify a signature. ``ValueError`` where there is none."""
    try:
        listed = json.loads(body)["keys"]
        usable = [entry for entry in listed[:MOST_KEYS] if _for_signatures(entry)]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("the answer is not a JSON Web Key Set") from error
    keys: dict[str, PyJWK] = {}
    for entry in usable:
        try:
            keys.setdefault(entry["kid"], PyJWK(entry))
        except Exception as error:  # whatever a foreign key makes a parser raise: the others may be good
            log.debug("a key cannot be used: %s", type(error).__name__)
    if not keys:
        raise ValueError("the answer has no key with an id that could verify a signature")
    return keys


def _for_signatures(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("kid"), str) and entry.get("use", "sig") == "sig"
