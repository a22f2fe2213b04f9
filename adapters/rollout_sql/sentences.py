"""Text as both databases can store it."""

from __future__ import annotations


def plain(text: str) -> str:
    """Without NUL (PostgreSQL stores none) and with ``?`` for half a surrogate pair (which is no UTF-8)."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
