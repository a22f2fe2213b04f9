"""How long a gate takes to find a worse candidate, over the least that any test of the same α takes on average.

That least is ln(1/α) over ``information``, the nats that one call of either arm tells. α is 0.05; E starts as an
account starts it on the default ramp (0.4 and the entry of one of five live stages, then block by block), knows nothing
of control, and is looked at every 20 calls, the smallest block that there is. With all capital at once (w₀ = 1) it is a
little faster.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from random import Random

from rollout.domain.simulation.draws import Chance, Spread
from rollout.domain.stats import START, LatencyRollback, OneSample, PairSign, information
from tests.bench.gates.arms import AllAtOnce, Dice, Funded

ALPHA = 0.05
LIMIT = log(1 / ALPHA)
LIVE_STAGES = 5
LOOK = 20
MOST_MEAN, MOST_MEDIAN, MOST_P90 = 2.1, 1.9, 4.1
MOST_MEDIAN_AFTER = 1.3

Change = tuple[float, float, float]  # control's share of bad calls, the candidate's, the share of calls
CHANGES: list[Change] = [
    (control, candidate, share)
    for control, candidate in ((0.01, 0.02), (0.01, 0.05), (0.001, 0.01))
    for share in (0.05, 0.5)
]


def least(change: Change, alpha: float = ALPHA) -> float:
    """The calls that it takes at best."""
    return log(1 / alpha) / information(*change)


def calls_until_found(job: tuple[tuple[Change, bool], int]) -> int:
    """Calls from the start on, of a change, in the run of that number; ``True``: all capital is there at once."""
    (change, at_once), number = job
    control, candidate, share = change
    gate = (AllAtOnce if at_once else Funded)(LIVE_STAGES)
    gate.enter()
    dice, calls = Dice(f"delay {change} {number}"), 0
    while gate.log_e < LIMIT:
        gate.look(dice.look(LOOK, share, control, candidate))
        calls += LOOK
    return calls


def calls_after_clean(job: tuple[tuple[Change, int, int], int]) -> int | None:
    """Calls from the change on, at so many calls a look and after so many clean blocks; None if the candidate was
    rolled back while it was well.
    """
    (change, look, clean), _ = job
    control, candidate, share = change
    gate, dice = Funded(LIVE_STAGES), Dice(f"after {job}")
    gate.enter()
    for _ in range(clean):
        if gate.look(dice.look(look, share, control, control)) >= LIMIT:
            return None
    calls = 0
    while gate.log_e < LIMIT:
        gate.look(dice.look(look, share, control, candidate))
        calls += look
    return calls


SIGMA, PAIR_SIGMA, SLOWER = 0.6, 0.2, 1.2
LEARNED = 1_000  # latencies of control that came before


def calls_of_one_gate(job: tuple[str, int]) -> int:
    """Calls until one of ``SEARCHES`` ends, in the run of that number; all capital is there at once."""
    what, number = job
    search, _ = SEARCHES[what]
    return search(Random(f"{what} {number}"))


def _latency(dice: Random) -> int:
    """Lognormal latencies, in two arms of equal share."""
    control, candidate = Spread.lognormal(0.1, SIGMA), Spread.lognormal(0.1 * SLOWER, SIGMA)
    draws, gate, calls = Chance(dice), LatencyRollback(0.0), 0
    gate.fund(1 - START)
    gate.learn(draws.histogram("before", LEARNED, control), 0)
    while gate.log_e < LIMIT:
        n_b = draws.count("live", LOOK, 0.5)
        gate.update(draws.histogram("a", LOOK - n_b, control), 0, draws.histogram("b", n_b, candidate), 0)
        calls += LOOK
    return calls


def _pairs(dice: Random) -> int:
    """Pairs of which the two latencies differ by a fifth and by noise."""
    gate, calls = PairSign(), 0
    gate.fund(1 - START)
    while gate.log_e < LIMIT:
        gate.update(dice.gauss(log(SLOWER), PAIR_SIGMA) > 0, 1)
        calls += 1
    return calls


def _mismatches(dice: Random) -> int:
    gate, calls = OneSample("rollback"), 0
    gate.fund(1 - START)
    while gate.log_e < LIMIT:
        gate.update(1, dice.random() < 0.01, 0.001)
        calls += 1
    return calls


#: What is to be found, and about how many calls that takes.
SEARCHES: dict[str, tuple[Callable[[Random], int], int]] = {
    "latency 20% up, share 50%": (_latency, 400),
    "latency 20% up, pairs": (_pairs, 14),
    "mismatches 0.1% to 1%": (_mismatches, 260),
}
