"""Figures of the database and of the customers, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def compared_of(pairs: Mapping[str, int]) -> int:
    """How many pairs could be told apart."""
    return sum(pairs.get(name, 0) for name in ("matched", "ignored", "mismatched"))


def shown(found: Any, side: str) -> str:
    """One side of the stored example, as short text."""
    value = (found.example or {}).get(side)
    return " ".join(f"{name} {value[name]}" for name in value) if isinstance(value, dict) else str(value)


def said(counts: Mapping[str, Any]) -> str:
    """What the customers counted."""
    return f"{counts['ok']:,} right, {counts['wrong']} wrong, {counts['errors']} errors"


def usage(pairs: Mapping[str, int]) -> str:
    """What the model cost in shadow, by what it recorded itself."""
    runs = max(1, pairs.get("costed", 0))
    tokens = (pairs.get("tokens_in", 0) + pairs.get("tokens_out", 0)) / runs
    return f"{tokens:,.0f} tokens and ${pairs.get('cost_nano', 0) / runs / 1e9:.5f} a call, seen in shadow alone"
