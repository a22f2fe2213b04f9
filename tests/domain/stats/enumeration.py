"""Every outcome of a small block with its probability: the exact expectation of what a bet returns."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import comb, exp
from typing import Any, TypeVar

#: How far above 1 an expectation may lie for rounding alone.
ROUNDING = 1e-12

RATES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.8, 1.0)

Law = tuple[float, ...]  # how likely each kind of call is, in the order of its kinds
Outcome = TypeVar("Outcome")
Counts = tuple[int, ...]  # how many calls of each kind


@lru_cache
def binomial(n: int, k: int, p: float) -> float:
    return float(comb(n, k) * p**k * (1 - p) ** (n - k))


def of_two_arms(gain: Callable[[int, int], float], n_a: int, n_b: int, p_a: float, p_b: float) -> float:
    """The expectation of ``gain(k_a, k_b)`` (not its logarithm)."""
    return sum(
        binomial(n_a, k_a, p_a) * binomial(n_b, k_b, p_b) * gain(k_a, k_b)
        for k_a in range(n_a + 1)
        for k_b in range(n_b + 1)
    )


def of_one_arm(gain: Callable[[int], float], n: int, p: float) -> float:
    return sum(binomial(n, k, p) * gain(k) for k in range(n + 1))


@lru_cache
def outcomes(n: int, kinds: int) -> tuple[tuple[Counts, int], ...]:
    """How many of ``n`` calls are of each kind, and in how many orders."""
    found: dict[Counts, int] = {}
    for calls in product(range(kinds), repeat=n):
        counts = tuple(calls.count(kind) for kind in range(kinds))
        found[counts] = found.get(counts, 0) + 1
    return tuple(found.items())


def chance(counts: Counts, orders: int, law: Law) -> float:
    total = float(orders)
    for count, p in zip(counts, law, strict=True):
        total *= p**count
    return total


def laws(kinds: int, steps: int) -> Iterator[Law]:
    """Every law over so many kinds whose probabilities are multiples of 1/``steps``."""
    for parts in product(range(steps + 1), repeat=kinds):
        if sum(parts) == steps:
            yield tuple(part / steps for part in parts)


def mean(values: Iterable[float], law: Law) -> float:
    return sum(value * p for value, p in zip(values, law, strict=True))


def returns(gate: Any, *block: Any, by: str = "update") -> list[float]:
    """What each bet of a gate returns for a block, and last the mixture; ``gate`` itself stays as it is.

    ``block``: the arguments of its method ``by``.
    """
    before, other = gate.to_state(), type(gate).from_state(gate.to_state())
    getattr(other, by)(*block)
    after = other.to_state()
    alone = [0.0 if now is None else exp(now - was) for was, now in zip(before["logs"], after["logs"], strict=True)]
    return [*alone, exp(other.log_e - gate.log_e)]


def expectations(table: Mapping[Outcome, Sequence[float]], weights: Mapping[Outcome, float]) -> list[float]:
    """The expectation of each column of ``table``, its rows weighted by their probability."""
    rows = [[weight * value for value in table[outcome]] for outcome, weight in weights.items() if weight]
    return [sum(column) for column in zip(*rows, strict=True)]
