"""One limit checked in one window, and the words that every check shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rollout.domain.durations import percent
from rollout.domain.gates import GateSpec, Grade
from rollout.domain.limits.window import Size, Sums

#: The fewest calls that are ever judged before the declared minimum.
EARLY: Final = 20
#: How rarely chance may bring such a sight before the minimum is reached.
RARE: Final = 1e-5

Window = Callable[[Size], Sums]  # the trailing window that holds the minimum of such calls, if any does


class Unusable(ValueError):
    """The figures cannot be: an error of the gate, never a failure of the branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found; the fields as in ``Finding``."""

    grade: Grade
    why: str
    observed: float | None = None
    limit: float | None = None
    baseline: float | None = None
    n: int = 0


def breach_or(first: Check, second: Callable[[], Check]) -> Check:
    """``first``, unless it has too little to say and ``second`` is a breach."""
    return other if first.grade is Grade.doubt and (other := second()).grade is Grade.breach else first


def part_of(part: int, whole: int) -> None:
    """``Unusable`` if a part is more than its whole."""
    if part > whole:
        raise Unusable(f"{part:,} of {whole:,} calls cannot be: the counts do not agree")


def too_few(spec: GateSpec, n: int, noun: str, control: int | None = None) -> str:
    """What is missing: ``"12 of 50 calls"``."""
    if control is not None and control < min(n, spec.minimum):
        return f"{control:,} of {spec.minimum:,} calls of control to compare with"
    return f"{n:,} of {spec.minimum:,} {noun}"


def percent_text(share: float) -> str:
    """A share with three significant digits: ``"3.21%"``."""
    return percent(float(f"{share:.3g}"))


def time_text(value: float | None) -> str:
    """Seconds with three significant digits; infinite where the quantile is a failed call."""
    if value is None:
        return "unknown"
    if value == float("inf"):
        return "beyond every answer (too many calls failed)"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
