"""What a verifier makes of a request: a verified event, or a refusal whose reason is for the log only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from multidict import CIMultiDictProxy

from rollout.errors import Problem

Headers = CIMultiDictProxy[str]


@dataclass(frozen=True, slots=True)
class Verified:
    """``body``: what was signed. ``id``: the event's, as the signature vouches for it; None where it names none."""

    body: bytes
    id: str | None


class Refusal(Exception):
    """A request that is not answered further. ``reason``: one of ``REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeysMissing(Exception):
    """Nobody can say now whether the signature is right: the keys cannot be fetched. The sender shall try again."""


#: Why a request is refused, and with which status.
REASONS: Final[Mapping[str, int]] = {
    "header": 401,  # a header with the signature or the time is missing, or not what it should be
    "malformed": 401,  # no token
    "algorithm": 401,
    "key": 401,  # the key id is missing or unknown
    "signature": 401,
    "issuer": 401,
    "audience": 401,
    "type": 401,  # a token of the right issuer, made for something else
    "age": 401,  # expired, not valid yet, too old, or from the future
    "broken": 400,  # the body did not come whole, or is compressed
    "size": 413,
    "payload": 400,  # signed, but no JSON object
    "id": 400,  # signed, but without an id that could tell a replay
}


class Verifier(Protocol):
    """Says whether a request comes from whom it should. ``window_s``: for how long after its receipt the same request
    could be accepted once more, at most; the inbox must remember its id for longer.
    """

    @property
    def window_s(self) -> float: ...

    def problems(self) -> Iterator[Problem]:
        """Every mistake of its declaration."""
        ...

    async def verify(self, headers: Headers, body: bytes, now: float) -> Verified:
        """``now``: epoch seconds. Raises ``Refusal`` or ``KeysMissing``, nothing else."""
        ...

    async def close(self) -> None: ...
