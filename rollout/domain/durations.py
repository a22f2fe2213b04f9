"""Durations and shares as people write them: ``"10m"``, ``"1h30m"``, ``"25%"``."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")


def seconds(text: str | float) -> float:
    """Seconds of ``"250ms"``, ``"10s"``, ``"1h30m"``, ``"7d"`` or of a plain number. ``ValueError`` otherwise, or if
    negative.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        value = _float(text)
    else:
        squeezed = str(text).strip().lower()
        pieces = _PIECE.findall(squeezed)
        if not pieces or "".join(f"{n}{u}" for n, u in pieces) != re.sub(r"\s+", "", squeezed):
            try:
                value = _float(squeezed)
            except ValueError:
                raise ValueError(f'"{text}" is not a duration; write for example "90s", "10m" or "1h30m"') from None
        else:
            value = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text} is not a duration; it must be 0 or more and finite")
    return value


def _float(number: str | float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of hundreds of digits
        return float("inf")


def duration_text(value: float) -> str:
    """``5400`` → ``"1h30m"``, ``0.25`` → ``"250ms"``, ``0`` → ``"0s"``, infinity → ``"∞"``; at most the two largest
    units."""
    if value == float("inf"):
        return "∞"
    if value < 0.9995:
        ms = value * 1000
        return "0s" if not ms else f"{round(ms)}ms" if ms >= 9.5 else f"{ms:.2g}ms"
    if value < 10 and value != int(value):
        return f"{value:.1f}s"
    rest, parts = int(value + 0.5), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def share_of(text: str | float) -> float:
    """A share in [0, 1] of ``"25%"``, ``"0.5%"`` or ``0.25``. ``ValueError`` outside of it, or for a bare number
    above 1.
    """
    try:
        value = float(text[:-1]) / 100 if isinstance(text, str) and text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a share; write for example "25%"') from None
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is out of range; a share lies between 0% and 100%")
    return round(value, 6)


def percent(share: float) -> str:
    """``0.25`` → ``"25%"``, ``0.001`` → ``"0.1%"``."""
    return f"{share * 100:.6g}%"
