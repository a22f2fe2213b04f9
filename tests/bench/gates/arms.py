"""Calls of two arms, drawn from a seed and put together to blocks, and the product's gate on them."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from itertools import accumulate
from math import exp, lgamma, log, log1p
from random import Random
from typing import NamedTuple

from rollout.domain.sequential.account import FEWEST
from rollout.domain.stats import START, TwoSample, restart_weight

#: Beyond it a table of counts ends.
NEVER = 1e-13


class Look(NamedTuple):
    """Calls between two looks, and how many of them were bad, of control and of the candidate."""

    n_a: int
    k_a: int
    n_b: int
    k_b: int


class Dice:
    """``seed``: any text; the same one gives the same counts."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed).random

    def count(self, n: int, p: float) -> int:
        """How many of ``n`` are such as a share ``p``, in (0, 1), of all is: by inversion, from a table made once."""
        return bisect_left(_at_most(n, p), self._random())

    def look(self, calls: int, share: float, control: float, candidate: float) -> Look:
        """``calls`` drawn into the arms one by one."""
        n_b = self.count(calls, share)
        n_a = calls - n_b
        return Look(n_a, self.count(n_a, control), n_b, self.count(n_b, candidate))


@cache
def _at_most(n: int, p: float) -> tuple[float, ...]:
    """P(X ≤ k) of a binomial count, for k = 0, 1, … as far as it matters."""
    found = []
    for total in accumulate(exp(_log_chance(n, k, p)) for k in range(n + 1)):
        found.append(total)
        if total >= 1 - NEVER:
            break
    found[-1] = 1.0
    return tuple(found)


def _log_chance(n: int, k: int, p: float) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p)


class Blocks:
    """Looks, put together until there are calls of both arms, and enough of them: as an account does it."""

    def __init__(self) -> None:
        self._waiting = Look(0, 0, 0, 0)

    def add(self, look: Look) -> Look | None:
        """The block that is complete with this look, if one is."""
        n_a, k_a, n_b, k_b = (known + more for known, more in zip(self._waiting, look, strict=True))
        block = Look(n_a, k_a, n_b, k_b)
        if n_a and n_b and n_a + n_b >= FEWEST:
            self._waiting = Look(0, 0, 0, 0)
            return block
        self._waiting = block
        return None


class Funded:
    """A gate on errors, funded as an account does it: 0.4 at its start, 0.4 over the entries of ``stages`` live stages,
    0.2 block by block.
    """

    def __init__(self, stages: int) -> None:
        self.gate = TwoSample("rollback")
        self.log_e = self.gate.log_e
        self._stages = stages
        self._blocks = Blocks()
        self._block = 0

    def enter(self) -> None:
        """A live stage begins."""
        self.gate.fund(START / self._stages)

    def fund(self) -> None:
        """A block is to be bet on."""
        self._block += 1
        self.gate.fund(restart_weight(self._block))

    def look(self, look: Look) -> float:
        """The logarithm of E after a look."""
        block = self._blocks.add(look)
        if block is not None:
            self.fund()
            self.log_e = self.gate.update(*block)
        return self.log_e


class AllAtOnce(Funded):
    """The same gate with all its capital at its only entry (w₀ = 1)."""

    def enter(self) -> None:
        self.gate.fund(1 - START)

    def fund(self) -> None:
        """Nothing is left."""
