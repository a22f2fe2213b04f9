"""The real traces, which are no part of the project; where they are absent, what needs them is skipped."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).resolve().parents[3] / "shared" / "data"

needs_traces = pytest.mark.skipif(not FOLDER.exists(), reason=f"the traces are not at {FOLDER}")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a web site. ``at_s``: seconds since the first one."""

    at_s: float
    client: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request to a language model. ``at_s``: seconds since the first one."""

    at_s: float
    context_tokens: int
    generated_tokens: int


@cache
def web_requests() -> tuple[Request, ...]:
    """10 000 requests of 1 753 clients in 83 hours, in order. The busiest client sent 482."""
    return tuple(Request(float(row["offset_s"]), row["client"]) for row in _rows("web_requests"))


@cache
def conversations() -> tuple[Conversation, ...]:
    """19 366 conversations of one hour, in order."""
    return tuple(
        Conversation(float(row["offset_s"]), int(row["context_tokens"]), int(row["generated_tokens"]))
        for row in _rows("llm_conversations")
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)
