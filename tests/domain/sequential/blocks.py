"""Blocks of calls for the tests of sequential gates, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.gates import Stage
from rollout.domain.histogram import Histogram, bucket_of


def stage(share: float = 0.25, target: float | None = 0.5, **fields: object) -> Stage:
    """A stage of a ramp with five live stages, of one unit."""
    return Stage(unit="orders", share=share, target=target, **{"steps": 5, **fields})  # type: ignore[arg-type]


def bad_of(dice: random.Random, n: int, rate: float) -> int:
    return sum(dice.random() < rate for _ in range(n))


def arms(
    dice: random.Random, second: int, n: int, share: float, control: float, candidate: float, slower: float = 1.0
) -> UnitBlock:
    """A second of ``n`` calls, each drawn by itself; lognormal latencies, the candidate's times ``slower``."""
    block = UnitBlock(second)
    for _ in range(n):
        drawn = dice.random() < share
        figures = block.b if drawn else block.a
        figures.add("calls")
        if dice.random() < (candidate if drawn else control):
            figures.add("bad")
        else:
            figures.observe("latency", dice.lognormvariate(-2.3, 0.6) * (slower if drawn else 1.0))
    return block


def pairs(
    dice: random.Random, second: int, n: int, control: float, candidate: float, mismatched: float = 0.0
) -> UnitBlock:
    """A second of ``n`` pairs."""
    block = UnitBlock(second)
    figures = block.pairs
    for _ in range(n):
        bad, control_bad = dice.random() < candidate, dice.random() < control
        figures.add("pairs")
        figures.add("control_bad", int(control_bad))
        figures.add("candidate_bad", int(bad))
        if bad != control_bad:
            figures.add("only_candidate_bad" if bad else "only_control_bad")
        if not bad and not control_bad:
            figures.add("compared")
            figures.add("mismatched", int(dice.random() < mismatched))
            took = dice.lognormvariate(-2.3, 0.6)
            figures.observe("control", took)
            figures.observe("candidate", took)
    return block


def empty(second: int) -> UnitBlock:
    return UnitBlock(second)


def histogram(*values: float) -> Histogram:
    found = Histogram()
    for value in values:
        found[bucket_of(value)] = found.get(bucket_of(value), 0) + 1
    return found


def with_calls(second: int, n_a: int, k_a: int, n_b: int, k_b: int) -> UnitBlock:
    """A second of exactly these calls, bad ones among them; the good ones took 100 ms."""
    block = UnitBlock(second)
    for figures, n, k in ((block.a, n_a, k_a), (block.b, n_b, k_b)):
        if n:
            figures.merge(Figures({"calls": n, "bad": k}, {"latency": Histogram({bucket_of(0.1): n - k})}))
    return block


def seconds(first: int, count: int) -> Iterator[int]:
    yield from range(first, first + count)
