"""HMAC: the sender and we share a secret, and it signs the time and the body with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.domain.inbox import is_short_text
from rollout.errors import Problem
from rollout.mistakes.checks import is_time
from rollout_webhook.verifying import Headers, Refusal, Verified

MOST_SIGNATURES: Final = 16  # of one request; more are not looked at
SHORTEST_SECRET: Final = 16  # bytes
_TOKEN: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9_]{0,15}=)?([A-Za-z0-9+/_-]+={0,2})")
_DIGITS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hmac:
    """HMAC-SHA256 over ``{timestamp}.{body}``; with ``id_header`` over ``{id}.{timestamp}.{body}``, as Standard
    Webhooks has it. The body is a JSON object.

    * ``secret``: at least 16 bytes (a text stands for its UTF-8); or several, for a change of secrets: any will do.
    * ``header``: where the signatures are: hex or base64, one or several, parted by commas or spaces, each with a name
      before it (``sha256=…``, ``v1,…``) or without. Default ``X-Signature``.
    * ``timestamp_header``: where the time is: epoch seconds in digits. Default ``X-Timestamp``.
    * ``tolerance_s``: how far the time may be from ours, in both directions. Default 300 seconds.
    * ``id_header``: where the event's id is. Default: there is none, and the hash of what was signed serves as its id:
      the same request is known again, the same event signed anew is not, unless ``event_id=`` names where it is.

    The secret is not shown when this is printed.
    """

    secret: str | bytes | Sequence[str | bytes] = field(repr=False)
    header: str = field(default="X-Signature", kw_only=True)
    timestamp_header: str = field(default="X-Timestamp", kw_only=True)
    tolerance_s: float = field(default=300.0, kw_only=True)
    id_header: str | None = field(default=None, kw_only=True)

    @property
    def window_s(self) -> float:
        return 2 * self.tolerance_s  # a time from the future is accepted from tolerance_s before it until after it

    def problems(self) -> Iterator[Problem]:
        secrets = _secrets(self.secret)
        if not secrets:
            yield Problem("Hmac", "there is no secret", "give the one that the sender signs with")
        elif any(len(secret) < SHORTEST_SECRET for secret in secrets):
            yield Problem("Hmac", f"a secret has less than {SHORTEST_SECRET} bytes", "take a longer one, at random")
        for name in ("header", "timestamp_header", "id_header"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and (name, value) != ("id_header", None):
                yield Problem("Hmac", f"{name} is {value!r}", "give the name of a header")
        if not is_time(self.tolerance_s):
            yield Problem("Hmac", f"tolerance_s is {self.tolerance_s!r}", "give seconds above 0, say 300")

    async def verify(self, headers: Headers, body: bytes, now: float) -> Verified:
        timestamp = _only(headers, self.timestamp_header)
        if not _DIGITS.fullmatch(timestamp):
            raise Refusal("header")
        event_id = None if self.id_header is None else _only(headers, self.id_header)
        if event_id is not None and ("." in event_id or not is_short_text(event_id)):
            raise Refusal("header")  # a dot would let the parts of what is signed be shifted against each other
        signed = b".".join([*([] if event_id is None else [event_id.encode()]), timestamp.encode(), body])
        given = signatures_of(",".join(headers.getall(self.header, [])))
        if not given:
            raise Refusal("header")
        if not _any_matches(given, [hmac.digest(secret, signed, "sha256") for secret in _secrets(self.secret)]):
            raise Refusal("signature")
        if abs(now - int(timestamp)) > self.tolerance_s:
            raise Refusal("age")
        return Verified(body, event_id or hashlib.sha256(signed).hexdigest())

    async def close(self) -> None:
        """There is nothing to close."""


def signatures_of(text: str) -> list[bytes]:
    """The SHA-256 signatures in a header, 32 bytes each; what is none is left out. At most the first 16."""
    found: list[bytes] = []
    for token in re.split(r"[,\s]+", text):
        matched = _TOKEN.fullmatch(token)
        signature = _decoded(matched[1]) if matched else None
        if signature is not None and len(found) < MOST_SIGNATURES:
            found.append(signature)
    return found


def _decoded(token: str) -> bytes | None:
    try:
        if len(token) == 64:
            return bytes.fromhex(token)
        if len(token.rstrip("=")) == 43:
            return base64.b64decode(token.rstrip("=").translate(_STANDARD) + "=", validate=True)
    except (ValueError, binascii.Error):
        return None
    return None


_STANDARD: Final = str.maketrans("-_", "+/")


def _any_matches(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Every pair is compared, each in constant time, so that the time tells nothing."""
    return sum(hmac.compare_digest(one, other) for one in given for other in expected) > 0


def _only(headers: Headers, name: str) -> str:
    values = headers.getall(name, [])
    if len(values) != 1:
        raise Refusal("header")
    return values[0].strip()


def _secrets(secret: Any) -> list[bytes]:
    """The secrets as bytes; what is neither text nor bytes (a variable that is not set) is an empty one."""
    several = list(secret) if isinstance(secret, list | tuple) else [secret]
    return [one.encode() if isinstance(one, str) else one if isinstance(one, bytes) else b"" for one in several]
