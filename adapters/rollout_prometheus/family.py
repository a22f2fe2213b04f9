"""A metric with its series, before it is written down in any format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from .buckets import Bounds

Row = tuple[tuple[str, ...], float]
HistogramRow = tuple[tuple[str, ...], Mapping[int, int]]

PREFIX: Final = "rolloutkit_"
_LONGEST: Final = 128


@dataclass(frozen=True, slots=True)
class Family:
    """A counter (its name ends in ``_total``) or a gauge. ``rows``: label values and the value now."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    labels: tuple[str, ...]
    rows: Iterable[Row]


@dataclass(frozen=True, slots=True)
class HistogramFamily:
    """A histogram. ``rows``: label values and log buckets."""

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: Bounds
    rows: Iterable[HistogramRow]


def tidy(value: str) -> str:
    """A label value that every format can carry: at most 128 characters, no lone surrogates.

    What had to be cut or replaced ends in a hash, so that two values never become one series.
    """
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogatepass")
        value = value.encode("utf-8", "replace").decode()
    else:
        if len(value) <= _LONGEST:
            return value
    return f"{value[: _LONGEST - 10]}…{blake2b(raw, digest_size=4).hexdigest()}"
