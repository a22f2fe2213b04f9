"""Healthy candidates, and how sure each way to decide ever gets that they are not, on the very same calls.

100 000 calls, a look per 100: at one share and one error rate; and through a ramp of 1, 5, 25 and 50 %, a quarter of
the calls each, in worlds where both arms get worse and better together. Beside them one candidate that is worse, which
must be found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, pi, sin
from typing import Protocol

from tests.bench.gates.arms import Dice, Funded, Look
from tests.bench.gates.others import Msprt, NaiveThreshold, RepeatedZ

CALLS, LOOK = 100_000, 100
LOOKS = CALLS // LOOK
ALPHAS = (0.05, 0.01)
RAMP = (0.01, 0.05, 0.25, 0.5)
#: Rates have so many digits, so that few tables are needed to draw from.
DIGITS = 4
#: The one world in which the candidate is worse.
SICK = "ramp, 1% against 2%"


class Method(Protocol):
    """A way to decide."""

    def enter(self) -> None:
        """A live stage begins."""
        ...

    def look(self, look: Look) -> float:
        """The evidence after more calls: a branch is rolled back at α where it reaches log(1/α)."""
        ...


OURS = "E"
#: Made for the number of live stages.
METHODS: dict[str, Callable[[int], Method]] = {
    OURS: Funded,
    "threshold": lambda stages: NaiveThreshold(),
    "repeated z": lambda stages: RepeatedZ(),
    "mSPRT": lambda stages: Msprt(),
}


@dataclass(frozen=True, slots=True)
class World:
    """``rates``: both arms' share of bad calls by the number of the look; the candidate's is ``times`` as high.
    ``shares``: of its stages, which last equally long.
    """

    rates: Sequence[float]
    shares: Sequence[float] = RAMP
    times: float = 1.0


def over_time(rate: Callable[[float], float]) -> tuple[float, ...]:
    """``rate`` of the part of all looks that is over, in [0, 1)."""
    return tuple(round(rate(look / LOOKS), DIGITS) for look in range(LOOKS))


def with_outage(at: float, otherwise: float) -> float:
    """A twentieth of the time, while half of the calls are live, 30 % of all calls fail."""
    return 0.3 if 0.85 <= at < 0.9 else otherwise


def rising(at: float, times: float) -> float:
    """From 0.5 to 3 %."""
    return (0.005 + 0.025 * at) * times


def wave(at: float) -> float:
    """Two days and a half, of which the worst hour has nine times the errors of the best."""
    return 1 + 0.8 * sin(2 * pi * 2.5 * at)


STEADY = {
    f"{rate:.1%} at share {share:.0%}": World((rate,) * LOOKS, (share,))
    for rate in (0.001, 0.01, 0.05)
    for share in RAMP
}
WORLDS = STEADY | {
    "ramp, outage of 30%": World(over_time(lambda at: with_outage(at, 0.01))),
    "ramp, 0.5% rising to 3%": World(over_time(lambda at: rising(at, 1.0))),
    "ramp, daily wave": World(over_time(lambda at: 0.01 * wave(at))),
    "ramp, all three": World(over_time(lambda at: with_outage(at, rising(at, wave(at))))),
    SICK: World((0.01,) * LOOKS, times=2.0),
}


def highest(job: tuple[str, int]) -> dict[str, float]:
    """The most evidence that each of ``METHODS`` ever saw, in one of ``WORLDS`` and in the run of that number."""
    name, number = job
    world, dice = WORLDS[name], Dice(f"{name} {number}")
    stages = len(world.shares)
    methods = {method: make(stages) for method, make in METHODS.items()}
    most = dict.fromkeys(METHODS, -inf)
    for look, rate in enumerate(world.rates):
        stage, begun = divmod(look * stages, LOOKS)
        calls = dice.look(LOOK, world.shares[stage], rate, rate * world.times)
        for which, method in methods.items():
            if begun == 0:
                method.enter()
            most[which] = max(most[which], method.look(calls))
    return most
