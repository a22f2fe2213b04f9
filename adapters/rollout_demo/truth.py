"""What the shop must answer: pure functions of a customer's number.

The services are seeded from here and the client judges replies by it, so a wrong reply cannot hide: nothing between the
two knows what is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

CUSTOMERS: Final = 10_000

_ITEMS: Final = ("kettle", "lamp", "rug", "chair", "teapot", "clock", "shelf", "mirror", "basket", "blanket")
_SUBJECTS: Final = ("late parcel", "wrong colour", "missing screw", "refund", "new address", "invoice")
_TOPICS: Final = ("delivery", "a refund", "assembly", "an invoice", "a gift", "returns")


def key_of(customer: int) -> str:
    """The targeting key of a customer: ``customer-00017``."""
    return f"customer-{customer:05d}"


def orders(customer: int) -> list[dict[str, Any]]:
    """One to four orders, oldest first."""
    dice = Random(f"orders of {customer}")
    return [
        {"id": customer * 10 + n, "item": dice.choice(_ITEMS), "cents": dice.randrange(500, 20_000)}
        for n in range(dice.randrange(1, 5))
    ]


def tickets(customer: int) -> list[dict[str, Any]]:
    """Two to five tickets, oldest first; each names its owner."""
    dice = Random(f"tickets of {customer}")
    return [
        {"id": customer * 10 + n, "customer": customer, "subject": dice.choice(_SUBJECTS), "open": dice.randrange(2)}
        for n in range(dice.randrange(2, 6))
    ]


def picks(customer: int) -> list[dict[str, Any]]:
    """Three recommended items, best first."""
    chosen = Random(f"picks of {customer}").sample(_ITEMS, 3)
    return [{"id": customer * 10 + n, "item": item} for n, item in enumerate(chosen)]


def topic(customer: int) -> str:
    """What the customer last chatted about; a right summary says so, in words of its own."""
    return Random(f"topic of {customer}").choice(_TOPICS)


def fault_of(profile: object, customer: int) -> str:
    """What is wrong with a customer's profile page; ``""`` if nothing is.

    Tickets may come in any order, for the page sorts them, and a summary may use any words that name the topic.
    """
    if not isinstance(profile, Mapping):
        return "the reply is no object"
    if profile.get("id") != customer:
        return f"id is {profile.get('id')!r}, not {customer}"
    if profile.get("orders") != orders(customer):
        return "orders are not the customer's"
    if _by_id(profile.get("tickets")) != tickets(customer):
        return "tickets are not the customer's"
    if profile.get("picks") != picks(customer):
        return "picks are not the customer's"
    if topic(customer) not in str(profile.get("summary")):
        return "the summary misses the topic"
    return ""


def _by_id(rows: object) -> object:
    """Rows sorted by id; as they are where they cannot be."""
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) and "id" in row for row in rows):
        return rows
    return sorted(rows, key=lambda row: int(row["id"]))
