"""The marks that guarded clients put on requests made by a run, and how they are taken off again.

A caller can write any header. So an inbound mark is never believed: no rule of the toolkit reads one, and the
branches see the request without them, so that none can be passed on by accident. Only `guard` writes them, from the
context variable.
"""

from __future__ import annotations

from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy, istr

SHADOW: Final = istr("X-Rollout-Shadow")
DEADLINE: Final = istr("X-Request-Deadline")
BAGGAGE: Final = istr("baggage")
BAGGAGE_PREFIX: Final = "rollout."
BAGGAGE_SHADOW: Final = "rollout.shadow=1"


def unmarked(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """The same headers less our marks; the very same object where there are none (the usual case: 0.2 µs)."""
    if SHADOW not in headers and DEADLINE not in headers:
        if BAGGAGE not in headers:
            return headers
        if not any(BAGGAGE_PREFIX in value for value in headers.getall(BAGGAGE)):
            return headers  # of a tracer's
    mine = CIMultiDict(headers)
    mine.popall(SHADOW, None)
    mine.popall(DEADLINE, None)
    for value in mine.popall(BAGGAGE, []):
        if rest := baggage_without_marks(value):
            mine.add(BAGGAGE, rest)
    return CIMultiDictProxy(mine)


def baggage_without_marks(value: str) -> str:
    """A W3C baggage list less the members whose key begins with ``rollout.``; all others as they were written."""
    members = (member.strip() for member in value.split(","))
    return ",".join(member for member in members if member and not member.startswith(BAGGAGE_PREFIX))
