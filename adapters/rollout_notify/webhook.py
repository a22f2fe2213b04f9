"""A webhook of one's own: JSON, signed as ``rollout_webhook.Hmac`` verifies it."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.domain.state import Decision
from rollout.errors import Problem
from rollout_notify.document import document, key_of
from rollout_notify.targets import common_problems

SHORTEST_SECRET: Final = 16  # bytes


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of the JSON that ``rollout_notify.document`` tells, by ``POST``.

    * ``url``: an ``https://`` (or, inside of one's own network, ``http://``) address. Redirects are not followed.
    * ``secret``: at least 16 bytes (a text stands for its UTF-8), which the receiver knows too.
    * ``name``: a label of the metrics. Default ``"webhook"``.

    The header ``X-Signature`` is ``sha256=`` and the hex of HMAC-SHA256 over ``{timestamp}.{body}``, ``X-Timestamp``
    the epoch seconds, ``Idempotency-Key`` the ``key`` in the JSON: ``rollout_webhook`` receives it with
    ``verify=Hmac(secret), event_id="$.key"``. Each attempt is signed anew.

    Neither address nor secret are shown when this is printed.
    """

    url: str = field(repr=False)
    secret: str | bytes = field(repr=False, kw_only=True)
    name: str = field(default="webhook", kw_only=True)

    def problems(self) -> Iterator[Problem]:
        yield from common_problems(self.name, self.url)
        if len(_bytes_of(self.secret)) < SHORTEST_SECRET:
            what = f"its secret has less than {SHORTEST_SECRET} bytes" if self.secret else "there is no secret"
            yield Problem(f'notify "{self.name}"', what, "take one at random: openssl rand -hex 32")

    def body(self, decision: Decision) -> bytes:
        return json.dumps(document(decision), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def headers(self, decision: Decision, body: bytes, at: float) -> Mapping[str, str]:
        timestamp = str(int(at))
        digest = hmac.digest(_bytes_of(self.secret), timestamp.encode() + b"." + body, "sha256")
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": key_of(decision),
            "X-Timestamp": timestamp,
            "X-Signature": f"sha256={digest.hex()}",
        }


def _bytes_of(secret: Any) -> bytes:
    """What is neither text nor bytes (a variable that is not set) is an empty one."""
    return secret.encode() if isinstance(secret, str) else secret if isinstance(secret, bytes) else b""
