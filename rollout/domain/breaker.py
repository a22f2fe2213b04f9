"""The circuit breaker: one table of (state, event) → state, and a circuit that counts how calls end and moves by it.

A closed circuit lets every call through, an open one none; a half-open one lets a few through, its probes, to learn
which of the two it shall be. Every move begins a new generation and forgets what was counted before it; a call carries
the generation that admitted it, so that one which ends late says nothing about a time it does not belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, TypeGuard


class State(StrEnum):
    """What a circuit does with a call."""

    closed = "closed"  # admits it
    open = "open"  # refuses it
    half_open = "half_open"  # admits it as a probe, if there is a permit left


class Event(StrEnum):
    """What can happen to a circuit."""

    failing = "failing"  # failures reached the failure rate
    slowing = "slowing"  # slow calls reached the slow rate
    rested = "rested"  # it was open for `open_s`, and a call asks
    recovered = "recovered"  # every probe has ended, and neither rate was reached
    lost = "lost"  # a probe did not answer within `open_s` of the last permit, and a call asks


TABLE: Final[Mapping[tuple[State, Event], State]] = {
    (State.closed, Event.failing): State.open,
    (State.closed, Event.slowing): State.open,
    (State.open, Event.rested): State.half_open,
    (State.half_open, Event.failing): State.open,
    (State.half_open, Event.slowing): State.open,
    (State.half_open, Event.recovered): State.closed,
    (State.half_open, Event.lost): State.half_open,  # a new round of probes: a lost one must not hold it up for ever
}


class Ending(IntEnum):
    """How an admitted call ended, as far as a breaker cares. The numbers are places in a window's counts."""

    success = 0
    failure = 1  # an error or a hard timeout, however long it took
    slow = 2  # it succeeded, but slowly, or after its soft timeout
    neutral = 3  # the caller cancelled it: it says nothing


#: The permit of a call that only ``observe`` let through. It counts as nothing, whenever it is reported.
UNCOUNTED: Final = -1

SLICES: Final = 10  # of a window of time
MOST_CALLS: Final = 1_000_000  # of a window of calls: each takes a byte
_SHORTEST_S: Final = 0.001
_LONGEST_S: Final = 86_400.0

# Read on every call; a global is found faster than the member of an enum.
_CLOSED: Final = State.closed
_SUCCESS: Final = Ending.success
_FAILURE: Final = Ending.failure
_SLOW: Final = Ending.slow
_NEUTRAL: Final = Ending.neutral


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a branch that keeps failing is skipped for a while, and how it is probed.

    * ``failure_rate``: the share of failures, in (0, 1], that opens it; reached is enough. Default 0.5.
    * ``slow_s``: a success that took longer is slow, in seconds; so is one that took NaN. Default None: only what is
      reported as slow is.
    * ``slow_rate``: the share of slow calls, in (0, 1], that opens it; reached is enough. A slow failure is a failure
      only. Default 1.0: it opens only where all are slow.
    * ``minimum``: the calls that the window must hold before it may open. Default 20.
    * ``window``: the rates are those of the last so many calls. Default 100, at most 1 000 000.
    * ``window_s``: if set, the rates are those of the last so many seconds, and ``window`` is not used. It moves by a
      tenth: what counts is between 90 % and 100 % of it. Default None.
    * ``open_s``: seconds it stays open before it is probed, and seconds that the probes have to answer. Default 30.
      Above the hard timeout of the branch: a probe that takes longer is lost, its result is not counted, and as many
      new ones are permitted.
    * ``probes``: the calls that half-open permits, exactly. It closes if all of them have ended and reached neither
      rate, and opens as soon as they have reached one. Default 5.
    * ``observe``: it counts, changes its state and reports, but never refuses. Default False.
    """

    failure_rate: float = 0.5
    slow_s: float | None = None
    slow_rate: float = 1.0
    minimum: int = 20
    window: int = 100
    window_s: float | None = None
    open_s: float = 30.0
    probes: int = 5
    observe: bool = False

    def problems(self) -> list[str]:
        """Every mistake, each with its remedy; empty when there is none."""
        return [*self._share_problems(), *self._time_problems(), *self._count_problems(), *self._observe_problems()]

    def _share_problems(self) -> Iterator[str]:
        for name in ("failure_rate", "slow_rate"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 < value <= 1):
                yield f"{name} is {value!r}; it is a share of calls, above 0 and at most 1, such as 0.5"

    def _time_problems(self) -> Iterator[str]:
        for name, optional in (("slow_s", True), ("window_s", True), ("open_s", False)):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if not (_is_number(value) and _SHORTEST_S <= value <= _LONGEST_S):
                yield f"{name} is {value!r}; it must be 0.001 to 86 400 seconds{', or None' if optional else ''}"

    def _count_problems(self) -> Iterator[str]:
        for name in ("minimum", "probes"):
            value = getattr(self, name)
            if not _is_count(value):
                yield f"{name} is {value!r}; it must be a whole number of at least 1"
        if not (_is_count(self.window) and self.window <= MOST_CALLS):
            yield f"window is {self.window!r}; it must be a whole number of calls, 1 to 1 000 000"
        elif self.window_s is None and _is_count(self.minimum) and self.minimum > self.window:
            yield (
                f"minimum is {self.minimum}, but the window holds {self.window} calls, so it could never open; "
                f"lower minimum to {self.window}, or widen window"
            )

    def _observe_problems(self) -> Iterator[str]:
        if not isinstance(self.observe, bool):
            yield f"observe is {self.observe!r}; use True or False"


class Circuit:
    """The breaker of one branch in one mode (live or shadow), at work. For one thread, or one event loop.

    ``policy`` has no problems. ``now`` is always in seconds of one monotonic clock.

    To be read: ``state``; ``generation``, from 1; ``opened_at``, when it last opened, by the same clock (None: never);
    ``transitions``, the moves so far by event, each event from 0; and three counts of calls: ``refused``,
    ``would_refuse`` (let through by ``observe``) and ``stale`` (reported by a later generation than admitted them).
    """

    __slots__ = (
        "_permitted",
        "_probed",
        "_slow_s",
        "_until",
        "_window",
        "generation",
        "opened_at",
        "policy",
        "refused",
        "stale",
        "state",
        "transitions",
        "would_refuse",
    )

    def __init__(self, policy: Breaker) -> None:
        self.policy = policy
        self.state = State.closed
        self.generation = 1  # not 0: every permit is true
        self.opened_at: float | None = None
        self.transitions: dict[Event, int] = dict.fromkeys(Event, 0)
        self.refused = self.would_refuse = self.stale = 0
        self._slow_s = policy.slow_s
        self._window = _window_of(policy)
        self._permitted = 0  # probes of this generation that have ended or may still
        self._probed = _no_counts()  # how they ended
        self._until = 0.0  # when an open circuit has rested, or the last probe is lost

    def admit(self, now: float) -> int | None:
        """A permit for one call, or None: refused. A permit is true, and reported once, however the call ends."""
        return self.generation if self.state is _CLOSED else self._probe(now)

    def report(self, permit: int, ending: Ending, took_s: float, now: float) -> None:
        """Count how a call ended that was admitted with ``permit``, and move if that reaches a rate.

        ``took_s``: how long it took, in seconds. A permit of an earlier generation changes nothing. A probe that ended
        neutral gives its permit back.
        """
        if permit != self.generation:
            self.stale += permit != UNCOUNTED
            return
        slow_s = self._slow_s
        if slow_s is not None and ending is _SUCCESS and not took_s <= slow_s:  # NaN is not known to be in time
            ending = _SLOW
        if self.state is not _CLOSED:
            self._probe_ended(ending, now)
        elif ending is not _NEUTRAL:
            counts = self._window.add(ending, now)
            if counts[_FAILURE] or counts[_SLOW]:  # each rate is above 0: successes alone reach neither
                self._look(counts, now)

    def _probe(self, now: float) -> int | None:
        """A permit of a circuit that is not closed: for a probe, for no one, or, to observe, for a call not counted."""
        if self.state is State.open or self._permitted == self.policy.probes:
            if now < self._until:
                return self._refuse()
            self._move(Event.rested if self.state is State.open else Event.lost, now)
        self._permitted += 1
        self._until = now + self.policy.open_s
        return self.generation

    def _refuse(self) -> int | None:
        if self.policy.observe:
            self.would_refuse += 1
            return UNCOUNTED
        self.refused += 1
        return None

    def _look(self, counts: list[int], now: float) -> None:
        """Whether a rate of the window was reached."""
        calls = counts[_SUCCESS] + counts[_FAILURE] + counts[_SLOW]
        if calls >= self.policy.minimum and (event := self._reached(counts, calls)):
            self._move(event, now)

    def _probe_ended(self, ending: Ending, now: float) -> None:
        if ending is _NEUTRAL:
            self._permitted -= 1
            return
        self._probed[ending] += 1
        # Of all its probes, not of those that have ended: then what is reached is reached, whatever the others do.
        event = self._reached(self._probed, self.policy.probes)
        if event is None and sum(self._probed) == self.policy.probes:
            event = Event.recovered
        if event is not None:
            self._move(event, now)

    def _reached(self, counts: list[int], calls: int) -> Event | None:
        """The event of the rate that was reached; divided, since 7 of 100 are 0.07, but 0.07 * 100 is above 7."""
        if counts[_FAILURE] / calls >= self.policy.failure_rate:
            return Event.failing
        if counts[_SLOW] / calls >= self.policy.slow_rate:
            return Event.slowing
        return None

    def _move(self, event: Event, now: float) -> None:
        self.state = TABLE[self.state, event]
        self.generation += 1
        self.transitions[event] += 1
        match self.state:
            case State.closed:
                self._window = _window_of(self.policy)
            case State.open:
                self.opened_at, self._until = now, now + self.policy.open_s
            case State.half_open:
                self._permitted, self._probed = 0, _no_counts()


class _CallWindow:
    """How the last so many calls ended: a ring of endings, and how often each is in it."""

    __slots__ = ("_at", "_counts", "_ring", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0
        self._ring = bytearray([Ending.neutral]) * size  # a place not used yet says nothing
        self._counts = _no_counts()
        self._counts[Ending.neutral] = size

    def add(self, ending: Ending, now: float) -> list[int]:
        """The counts by ending, with one more call in place of the oldest."""
        at, ring, counts = self._at, self._ring, self._counts
        counts[ring[at]] -= 1
        counts[ending] += 1
        ring[at] = ending
        at += 1
        self._at = at if at < self._size else 0
        return counts


class _TimeWindow:
    """How the calls of the last so many seconds ended: counts for each of its slices, and their sums."""

    __slots__ = ("_counts", "_newest", "_slice_s", "_slices")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self._newest = float("-inf")  # the number of the newest slice, a whole one, counted from the clock's 0
        self._slices = [_no_counts() for _ in range(SLICES)]
        self._counts = _no_counts()

    def add(self, ending: Ending, now: float) -> list[int]:
        """The counts by ending, with one more call and without those that are too old by now."""
        number = now // self._slice_s
        if number > self._newest:
            self._drop(int(min(number - self._newest, SLICES)), int(number))
            self._newest = number
        self._slices[int(self._newest) % SLICES][ending] += 1
        self._counts[ending] += 1
        return self._counts

    def _drop(self, many: int, newest: int) -> None:
        """Empty the slices whose places the ``many`` up to the newest take."""
        for number in range(newest - many + 1, newest + 1):
            gone = self._slices[number % SLICES]
            for ending in Ending:
                self._counts[ending] -= gone[ending]
                gone[ending] = 0


def _window_of(policy: Breaker) -> _CallWindow | _TimeWindow:
    return _CallWindow(policy.window) if policy.window_s is None else _TimeWindow(policy.window_s)


def _no_counts() -> list[int]:
    return [0] * len(Ending)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
