"""How long a healthy candidate takes to show that a step is safe, and how often one that is as bad as tolerated does.

A step to share x may leave H/x of the candidate's calls worse off, H = 0.0025. Calls are counted at the share before
it, with fifty looks until the least number of calls, which is ln(1/α_p) over ``information`` against that tolerance.
Control is known from 10 000 earlier calls, as a stage comes after others.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf, log

from rollout.domain.ramp import DEFAULT_HARM, DEFAULT_STAGES
from rollout.domain.stats import ALPHA_PROMOTE, TwoSample, information
from tests.bench.gates.arms import Blocks, Dice

LIMIT = log(1 / ALPHA_PROMOTE)
LEARNED = 10_000
LOOKS = 50  # until the least number of calls
MOST_MEDIAN, MOST_P90 = 1.5, 3.5
#: As bad as tolerated: at so many times the least number of calls a candidate is given up.
GIVEN_UP = 4

Step = tuple[float, float, float]  # control's share of bad calls, the share of calls, that of the next stage
STEPS: list[Step] = [
    (rate, share, target) for rate in (0.001, 0.01, 0.05) for share, target in pairwise(DEFAULT_STAGES[1:])
]


def tolerance(step: Step) -> float:
    _, _, target = step
    return DEFAULT_HARM / target


def least(step: Step) -> float:
    """The calls that it takes at best."""
    rate, share, _ = step
    return LIMIT / information(rate, rate, share, d=tolerance(step))


def calls_until_shown(job: tuple[Step, int]) -> float:
    """Over the least number, of a healthy candidate, in the run of that number."""
    step, number = job
    return _calls(step, 0.0, inf, f"step {step} {number}")


def is_shown_at_the_tolerance(job: tuple[Step, int]) -> bool:
    """Whether a candidate that is as bad as tolerated is ever promoted, in the run of that number."""
    step, number = job
    return _calls(step, tolerance(step), GIVEN_UP, f"tolerated {step} {number}") < inf


def _calls(step: Step, worse: float, most: float, seed: str) -> float:
    """Of a candidate that is worse by so much; infinite where ``most`` times the least number is not enough."""
    rate, share, _ = step
    best = least(step)
    gate, blocks = TwoSample("promote", d=tolerance(step)), Blocks()
    gate.learn(LEARNED, rate * LEARNED)
    dice, calls, look = Dice(seed), 0, max(1, round(best / LOOKS))
    while gate.log_e < LIMIT:
        if calls > most * best:
            return inf
        calls += look
        block = blocks.add(dice.look(look, share, rate, rate + worse))
        if block is not None:
            gate.update(*block)
    return calls / best
