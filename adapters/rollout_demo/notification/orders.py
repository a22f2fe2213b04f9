"""The event ``order.paid``, as the payment platform signs and sends it, and what customers are told about it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

SECRET: Final = "a secret of the example, and of nothing else"
CUSTOMERS: Final = 20
CHANNELS: Final = ("email", "sms", "push")

Order = Mapping[str, Any]  # id, customer, item


def order(number: int) -> Order:
    """The payload of an event; the same every time."""
    customer = number * 7 % CUSTOMERS
    return {"type": "order.paid", "id": f"evt-{number:05d}", "customer": f"customer-{customer:02d}", "item": "lamp"}


def text_of(paid: Order) -> str:
    return f"Thank you, {paid['customer']}: your {paid['item']} is paid ({paid['id']})."


def key_of(paid: Order, channel: str) -> str:
    """The idempotency key of one message. The monolith and the fan-out have the same, so that an event that the one
    began and the other ended is no second message. Of letters, digits, ``-`` and ``.``, to fit into a Message-ID.
    """
    return f"{paid['id']}.{channel}"


def signed(paid: Order, body: bytes, now: float) -> dict[str, str]:
    """The headers of a webhook's request. ``now``: epoch seconds."""
    timestamp = str(int(now))
    return {
        "Content-Type": "application/json",
        "X-Customer": paid["customer"],
        "X-Timestamp": timestamp,
        "X-Signature": f"sha256={_signature(timestamp, body)}",
    }


def is_signed(headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """What the monolith checks by hand: the signature, and that it is at most five minutes old."""
    timestamp = headers.get("X-Timestamp", "")
    given = headers.get("X-Signature", "").removeprefix("sha256=")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > 300:
        return False
    return hmac.compare_digest(given.encode(), _signature(timestamp, body).encode())


def body_of(paid: Order) -> bytes:
    return json.dumps(paid).encode()


def _signature(timestamp: str, body: bytes) -> str:
    return hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
