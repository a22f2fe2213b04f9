"""The evidence of each gate over time, for people: few points, the older ones thinned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from rollout.domain.gates import Stage

MOST: Final = 60  # points; half of them go when there are more
_FINE: Final = 100  # steps of a nat


class Traced(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def log_e(self) -> float: ...

    def log_promote(self, stage: Stage) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence of the gates, in their order, at a second (epoch seconds) and share: natural logarithms.
    ``promote``: None where there is no next step.
    """

    second: int
    share: float
    rollback: tuple[float, ...]
    promote: tuple[float | None, ...]


class Curve:
    """At most ``MOST`` points, at least ``step`` seconds apart; ``step`` at least doubles when there are too many."""

    def __init__(self) -> None:
        self.step = 1
        self.rows: list[list[Any]] = []

    def note(self, second: int, gates: Sequence[Traced], stage: Stage) -> None:
        """Add a point, if the last one is old enough."""
        if self.rows and second < self.rows[-1][0] + self.step:
            return
        self.rows.append(_row(second, gates, stage))
        if len(self.rows) > MOST:
            self.rows = self.rows[::2]
            # Where blocks come seldom the step follows them, or the older points would be thinned again and again.
            self.step = max(2 * self.step, 2 * (second - self.rows[0][0]) // MOST)

    def until(self, second: int, gates: Sequence[Traced], stage: Stage) -> Curve:
        """The same with a point for now, however young the last one is."""
        found = Curve()
        found.step = self.step
        earlier = self.rows[:-1] if self.rows and self.rows[-1][0] == second else self.rows
        found.rows = [*earlier, _row(second, gates, stage)]
        return found

    @property
    def points(self) -> list[Point]:
        return [_point(row) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        return {"step": self.step, "rows": self.rows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Curve:
        curve = cls()
        curve.step, curve.rows = data["step"], [list(row) for row in data["rows"]]
        return curve


def _row(second: int, gates: Sequence[Traced], stage: Stage) -> list[Any]:
    row: list[Any] = [second, stage.share]
    for gate in gates:
        promote = gate.log_promote(stage)
        row += [round(gate.log_e * _FINE), None if promote is None else round(promote * _FINE)]
    return row


def _point(row: Sequence[Any]) -> Point:
    second, share, *evidence = row
    rollback = tuple(value / _FINE for value in evidence[::2])
    return Point(second, share, rollback, tuple(None if value is None else value / _FINE for value in evidence[1::2]))
