"""Three layers that each retry, in virtual time: what reaches the bottom, and how much of it succeeds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from rollout.domain.retry import Retry, RetryBudget, next_attempt

CALLS = 20_000
POLICY = Retry(attempts=3, per_s=0.0)

Passing = Callable[[ConnectionError], None]  # how a layer raises the error of the one below


def as_it_is(error: ConnectionError) -> None:
    raise error


def wrapped(error: ConnectionError) -> None:
    raise ConnectionError("the layer below failed") from error


def forgotten(error: ConnectionError) -> None:
    raise ConnectionError("something failed") from None


@dataclass
class Layers:
    """A service at the bottom that fails at a rate, and three layers above it; ``now`` is virtual."""

    rate: float
    passing: Passing
    dice: random.Random = field(default_factory=lambda: random.Random(20_231_114))
    budgets: list[RetryBudget] = field(default_factory=lambda: [RetryBudget(POLICY.budget, 0.0, 0.0) for _ in range(3)])
    now: float = 0.0
    attempts: int = 0

    def call(self, layer: int = 2) -> None:
        """One call of a layer; ``ConnectionError`` if it gives up."""
        self.budgets[layer].deposit(self.now)
        attempt = 1
        while (error := self._failure(layer)) is not None:
            wait = next_attempt(
                POLICY,
                error,
                attempt=attempt,
                remaining_s=None,
                dice=self.dice.random(),
                budget=self.budgets[layer],
                now=self.now,
                wall=self.now,
            )
            if isinstance(wait, str):
                self.passing(error)
            else:
                self.now += wait
                attempt += 1

    def _failure(self, layer: int) -> ConnectionError | None:
        try:
            if layer:
                self.call(layer - 1)
            else:
                self._bottom()
        except ConnectionError as error:
            return error
        return None

    def _bottom(self) -> None:
        self.attempts += 1
        self.now += 0.01
        if self.dice.random() < self.rate:
            raise ConnectionError("the service failed")

    def run(self) -> tuple[float, float]:
        """Attempts at the bottom per call, and the share of calls that succeeded."""
        succeeded = sum(self._failure(layer=3) is None for _ in range(CALLS))
        return self.attempts / CALLS, succeeded / CALLS


@pytest.mark.parametrize("passing", [as_it_is, wrapped])
@pytest.mark.parametrize(("rate", "least"), [(0.30, 0.83), (0.05, 0.99)])
def test_three_layers_cost_a_fifth_more_and_save_what_that_can(rate: float, least: float, passing: Passing) -> None:
    attempts, succeeded = Layers(rate, passing).run()
    assert attempts <= 1.2
    assert succeeded >= least


def test_layers_that_do_not_know_of_each_other_would_multiply() -> None:
    attempts, _ = Layers(0.30, forgotten).run()
    assert attempts > 1.4
