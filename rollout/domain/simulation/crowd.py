"""Who calls: users who keep their bucket and differ from each other, or somebody else each time.

Users differ in two ways, independently: a fifth of them makes three fifths of the calls, and one in twenty meets ten
times as many errors as all do on average. Only how many there are of each kind is kept, by the step of the ramp that
their bucket lies in; that does not change from stage to stage, nor does the kind of a user.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import expm1
from typing import Final, Protocol

from rollout.domain.simulation.draws import Draws

#: (share of all users, their calls over those of the average user).
_ACTIVITY: Final = ((0.8, 0.5), (0.2, 3.0))
#: (share of all users, their errors over the average).
_TROUBLE: Final = ((0.95, 0.5 / 0.95), (0.05, 10.0))


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls of arm A and of arm B, of users who meet ``times`` as many errors as all do."""

    times: float
    a: int
    b: int


class Callers(Protocol):
    def enter(self, share: float, earlier: float) -> None:
        """A stage begins. ``earlier``: the highest share that was live before it."""
        ...

    def calls(self, n: int) -> Sequence[Batch]:
        """Who makes the next ``n`` calls."""
        ...

    def first_calls(self, n: int) -> Sequence[Batch]:
        """Of these the first calls of the stage of users who count: in arm B, of those who were not live before it."""
        ...

    def first_pairs(self, n: int, of_a: float, of_b: float) -> Sequence[Batch]:
        """Of these the first pairs of the stage of each user, where so many of the calls of each arm are pairs."""
        ...


class Strangers:
    """Every call is of a user of its own, or drawn by itself."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._share = self._earlier = 0.0
        self._a = self._b = 0  # calls of the last draw

    def enter(self, share: float, earlier: float) -> None:
        self._share, self._earlier = share, earlier

    def calls(self, n: int) -> Sequence[Batch]:
        self._b = self._draws.count("live", n, self._share)
        self._a = n - self._b
        return (Batch(1.0, self._a, self._b),)

    def first_calls(self, n: int) -> Sequence[Batch]:
        new = 1 - self._earlier / self._share if self._share else 0.0
        return (Batch(1.0, self._a, self._draws.count("newly live", self._b, new)),)

    def first_pairs(self, n: int, of_a: float, of_b: float) -> Sequence[Batch]:
        count = self._draws.count
        return (Batch(1.0, count("paired a", self._a, of_a), count("paired b", self._b, of_b)),)


@dataclass(slots=True)
class _Kind:
    """Users who are alike. ``steps``: how many have their bucket in each step of the ramp; of this stage, ``live`` of
    them are, and so many have not called (not been paired) yet."""

    name: str
    times: float
    activity: float
    steps: Sequence[int]
    live: int = 0
    new_a: int = 0
    new_b: int = 0
    unpaired_a: int = 0
    unpaired_b: int = 0

    @property
    def users(self) -> int:
        return sum(self.steps)

    @property
    def weight(self) -> float:
        return self.users * self.activity


class Crowd:
    """So many users. ``stages``: the shares of the ramp."""

    def __init__(self, users: int, stages: Sequence[float], draws: Draws) -> None:
        self._draws = draws
        self._starts = [share for share in stages if share < 1]
        self._kinds = list(self._drawn(users))
        self._weight = sum(kind.weight for kind in self._kinds)

    def _drawn(self, users: int) -> Iterator[_Kind]:
        """The users, spread over kinds and steps."""
        left, share_left = users, 1.0
        for number, ((active, activity), (troubled, times)) in enumerate(product(_ACTIVITY, _TROUBLE)):
            share, name = active * troubled, f"kind {number}"
            some = self._draws.count(name, left, share / share_left)
            yield _Kind(name, times, activity, self._spread(name, some))
            left, share_left = left - some, share_left - share

    def _spread(self, name: str, users: int) -> list[int]:
        """How many of the users have their bucket in each step of the ramp."""
        found: list[int] = []
        for low, high in zip(self._starts, (*self._starts[1:], 1.0), strict=True):
            some = self._draws.count(f"{name} from {low}", users, (high - low) / (1.0 - low))
            found.append(some)
            users -= some
        return found

    def enter(self, share: float, earlier: float) -> None:
        for kind in self._kinds:
            steps = list(zip(self._starts, kind.steps, strict=True))
            kind.live = sum(users for low, users in steps if low < share)
            kind.new_a = kind.unpaired_a = kind.users - kind.live
            kind.new_b = sum(users for low, users in steps if earlier <= low < share)
            kind.unpaired_b = kind.live

    def calls(self, n: int) -> Sequence[Batch]:
        found, weight = [], self._weight
        for kind in self._kinds:
            some = self._draws.count(f"{kind.name} calls", n, kind.weight / weight) if weight > 0 else 0
            live = self._draws.count(f"{kind.name} live", some, kind.live / kind.users) if kind.users else 0
            found.append(Batch(kind.times, some - live, live))
            n, weight = n - some, weight - kind.weight
        return found

    def first_calls(self, n: int) -> Sequence[Batch]:
        found = []
        for kind in self._kinds:
            a, b = (self._heard(kind, arm, n, new) for arm, new in (("a", kind.new_a), ("b", kind.new_b)))
            kind.new_a, kind.new_b = kind.new_a - a, kind.new_b - b
            found.append(Batch(kind.times, a, b))
        return found

    def first_pairs(self, n: int, of_a: float, of_b: float) -> Sequence[Batch]:
        found = []
        for kind in self._kinds:
            a = self._heard(kind, "paired a", n * of_a, kind.unpaired_a)
            b = self._heard(kind, "paired b", n * of_b, kind.unpaired_b)
            kind.unpaired_a, kind.unpaired_b = kind.unpaired_a - a, kind.unpaired_b - b
            found.append(Batch(kind.times, a, b))
        return found

    def _heard(self, kind: _Kind, what: str, calls: float, users: int) -> int:
        """How many of the users make at least one of so many calls of all."""
        chance = -expm1(-calls * kind.activity / self._weight) if self._weight else 0.0
        return self._draws.count(f"{kind.name} {what}", users, chance)
