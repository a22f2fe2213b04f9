"""The ramp: ordered stages from shadow to everybody, the time to soak at each, and when promotion is frozen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from rollout.domain.durations import duration_text, percent, seconds, share_of

DEFAULT_HARM: Final = 0.0025
DEFAULT_STAGES: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 1.0)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """The stages of every branch of a rollout.

    * ``stages``: shares in [0, 1], strictly rising; the first is 0 (shadow), the last at most 1.
    * ``soak_s``: the least time at each stage, in seconds. Default 600.
    * ``bake_s``: the time at the last stage before a branch is completed, in seconds. Default: ``soak_s``.
    * ``approve``: shares that only a person may let a branch enter. Default none.
    * ``freeze``: windows (UTC) without promotion, ``"Fri 16:00 - Mon 08:00"`` or ``"2026-12-20 - 2027-01-02"``; a
      rollback is never frozen. Default none.
    * ``harm``: the harm budget, the share of all calls that a step may leave worse off, in (0, 1]: a step to share x
      must show that the branch is worse by less than harm / x. Default 0.0025.
    * ``deadline_s``: the most seconds at one stage before the step counts as undecided and waits for a person; None,
      the default: no such limit.
    * ``auto``: whether the controller promotes by itself. Default True; a rollback is always by itself.
    """

    stages: Sequence[float] = DEFAULT_STAGES
    soak_s: float = 600.0
    bake_s: float | None = None
    approve: Sequence[float] = ()
    freeze: Sequence[str] = ()
    harm: float = DEFAULT_HARM
    deadline_s: float | None = None
    auto: bool = True
    faults: Sequence[str] = field(default=(), repr=False)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        soak: str | float = 600.0,
        bake: str | float | None = None,
        approve: str = "",
        freeze: Sequence[str] = (),
        harm: str | float = DEFAULT_HARM,
        deadline: str | float | None = None,
        auto: bool = True,
    ) -> Ramp:
        """A ramp of text: ``Ramp.parse("shadow 1% 5% 25% 50% 100%", soak="10m", approve="25%", harm="0.25%")``.

        Nothing is raised here: what is wrong is kept in ``faults`` and reported with everything else at start.
        """
        faults: list[str] = []

        def shares(words: str) -> tuple[float, ...]:
            found = []
            for word in words.replace(",", " ").replace("→", " ").split():
                try:
                    found.append(0.0 if word.lower() == "shadow" else share_of(word))
                except ValueError as error:
                    faults.append(str(error))
            return tuple(found)

        def span(value: str | float, default: float) -> float:
            try:
                return seconds(value)
            except ValueError as error:
                faults.append(str(error))
                return default

        def budget(value: str | float) -> float:
            try:
                return share_of(value) if isinstance(value, str) else value
            except ValueError as error:
                faults.append(str(error))
                return DEFAULT_HARM

        soak_s = span(soak, 600.0)
        return cls(
            stages=shares(text),
            soak_s=soak_s,
            bake_s=None if bake is None else span(bake, soak_s),
            approve=shares(approve),
            freeze=(freeze,) if isinstance(freeze, str) else tuple(freeze),
            harm=budget(harm),
            deadline_s=None if deadline is None else span(deadline, 0.0),
            auto=auto,
            faults=tuple(faults),
        )

    def problems(self) -> list[str]:
        """Every mistake, each with its remedy; empty when there is none."""
        return [*self.faults, *self._share_problems(), *self._harm_problems(), *self._time_problems()]

    def _harm_problems(self) -> Iterator[str]:
        if not (_is_number(self.harm) and 0 < self.harm <= 1):
            yield f"harm is {self.harm!r}; it is a share of all calls above 0 and at most 1, as in 0.0025"

    def _share_problems(self) -> Iterator[str]:
        for name in ("stages", "approve"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(_is_number(share) for share in value):
                yield f"{name} is {value!r}; give shares such as (0, 0.05, 1), or write the ramp with Ramp.parse(...)"
                return
        stages = tuple(self.stages)
        if any(not 0 <= share <= 1 for share in stages):
            yield f"a share is out of range in {self.text()}; each lies between 0% and 100%"
        elif any(later <= earlier for earlier, later in pairwise(stages)):
            yield f"the shares of {self.text()} do not rise; each stage must be above the one before it"
        if not self.faults and (len(stages) < 2 or stages[0] != 0):
            yield f'the ramp "{self.text()}" must begin with shadow and name at least one share, as in "shadow 5% 100%"'
        if strangers := [percent(share) for share in self.approve if share not in stages or share == 0]:
            yield f"approve names {', '.join(strangers)}, which is no live stage of {self.text()}; name one that is"

    def _time_problems(self) -> Iterator[str]:
        if self.deadline_s is not None and not (_is_number(self.deadline_s) and 0 < self.deadline_s < float("inf")):
            yield f'deadline_s is {self.deadline_s!r}; it must be above 0 seconds, or write "7d" in Ramp.parse(...)'
        for name in ("soak_s", "bake_s"):
            value = getattr(self, name)
            if (value is not None or name == "soak_s") and not (_is_number(value) and 0 <= value < float("inf")):
                yield f'{name} is {value!r}; it must be 0 or more seconds, or write "10m" in Ramp.parse(...)'
        if isinstance(self.freeze, str):
            yield f'freeze is one text; write freeze=["{self.freeze}"]'
            return
        for window in self.freeze:
            try:
                parse_window(window)
            except ValueError as error:
                yield str(error)

    def text(self) -> str:
        """``"shadow 1% 5% …"``, which ``parse`` reads again."""
        return " ".join("shadow" if share == 0 else percent(share) for share in self.stages)

    @property
    def last(self) -> int:
        """The index of the last stage."""
        return len(self.stages) - 1

    def tolerance(self, share: float) -> float:
        """By how much (a share of calls) the branch may be worse than control at a step to ``share``: harm / share."""
        return self.harm / share

    def share(self, stage: int) -> float:
        return self.stages[stage]

    def soak_at(self, stage: int) -> float:
        """Seconds to stay at a stage: the bake time at the last one, the soak time at every other."""
        return self.soak_s if stage < self.last or self.bake_s is None else self.bake_s

    def frozen_until(self, at: float) -> float | None:
        """The end (epoch seconds) of the freeze window that covers ``at``, or None. ``at``: epoch seconds, UTC."""
        ends = [end for window in self.freeze if (end := parse_window(window).end_if_inside(at)) is not None]
        return max(ends) if ends else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "stages": list(self.stages),
            "soak_s": self.soak_s,
            "bake_s": self.bake_s,
            "approve": list(self.approve),
            "freeze": list(self.freeze),
            "harm": self.harm,
            "deadline_s": self.deadline_s,
            "auto": self.auto,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Ramp:
        """A ramp that was stored. One of a time before harm budgets has the default one."""
        return cls(
            stages=tuple(data["stages"]),
            soak_s=data["soak_s"],
            bake_s=data["bake_s"],
            approve=tuple(data["approve"]),
            freeze=tuple(data["freeze"]),
            harm=data.get("harm", DEFAULT_HARM),
            deadline_s=data.get("deadline_s"),
            auto=data["auto"],
        )

    def __str__(self) -> str:
        return f"{self.text()}, soak {duration_text(self.soak_s)}"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time without promotion: weekly (offsets in minutes from Monday 00:00 UTC) or once (epoch seconds)."""

    start: float
    end: float
    weekly: bool

    def end_if_inside(self, at: float) -> float | None:
        """When the window that covers ``at`` ends, in epoch seconds; None outside. The start is inside, the end is
        not.
        """
        if not self.weekly:
            return self.end if self.start <= at < self.end else None
        moment = datetime.fromtimestamp(at, UTC)
        monday = moment.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=moment.weekday())
        minutes = (moment - monday).total_seconds() / 60
        week = 7 * 24 * 60
        length = (self.end - self.start) % week or week
        since = (minutes - self.start) % week
        return at + (length - since) * 60 if since < length else None


_WEEKLY = re.compile(
    r"^(\w{3})\w*\s+(\d{1,2}):(\d{2})\s*(?:-|–|to|\.\.)\s*(\w{3})\w*\s+(\d{1,2}):(\d{2})$", re.IGNORECASE
)


def parse_window(text: str) -> Window:
    """A window of ``"Fri 16:00 - Mon 08:00"`` or ``"2026-12-20[T10:00] - 2027-01-02"``, UTC. ``ValueError`` with the
    remedy.
    """
    wrong = ValueError(
        f'"{text}" is no freeze window; write "Fri 16:00 - Mon 08:00" or "2026-12-20 - 2027-01-02" (UTC)'
    )
    if not isinstance(text, str):
        raise wrong
    if weekly := _WEEKLY.match(text.strip()):
        day, hour, minute, to_day, to_hour, to_minute = weekly.groups()
        times = ((hour, minute), (to_hour, to_minute))
        if not {day.lower(), to_day.lower()} <= set(_DAYS) or not all(_is_time(h, m) for h, m in times):
            raise wrong
        start = (_DAYS.index(day.lower()) * 24 + int(hour)) * 60 + int(minute)
        end = (_DAYS.index(to_day.lower()) * 24 + int(to_hour)) * 60 + int(to_minute)
        return Window(start, end, weekly=True)
    sides = re.split(r"\s+(?:-|–|to)\s+|\s*\.\.\s*", text.strip())
    if len(sides) != 2:
        raise wrong
    try:
        begin, finish = (_moment(side) for side in sides)
    except ValueError:
        raise wrong from None
    if finish <= begin:
        raise ValueError(f'the freeze window "{text}" ends before it begins; swap its ends')
    return Window(begin, finish, weekly=False)


def _moment(text: str) -> float:
    """Epoch seconds of an ISO date or time, UTC where it names no zone."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_time(hour: str, minute: str) -> bool:
    return int(hour) * 60 + int(minute) <= 24 * 60 and int(minute) < 60


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
