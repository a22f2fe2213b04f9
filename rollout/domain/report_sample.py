"""What single trials tell and sums cannot: which call was slower, in which order branches ran, what a model cost, who
was hit.

All of it is made of one sample, the newest trials that are stored. A trial that matched may have been stored with a
share of its likes only (``store.sample``); it counts as so many calls as it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final, Protocol

from rollout.domain.report_values import Sample

#: The most trials that are looked at, the newest ones.
MOST: Final = 2_000
_MATCHED: Final = "matched"


class Run(Protocol):
    """One branch of a stored trial."""

    @property
    def branch(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def latency_s(self) -> float | None: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cost_nano(self) -> int | None: ...
    @property
    def model(self) -> str: ...


class Trial(Protocol):
    """A stored trial."""

    @property
    def at(self) -> float: ...
    @property
    def mode(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def route(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def control_s(self) -> float | None: ...
    @property
    def candidate_s(self) -> float | None: ...
    @property
    def runs(self) -> Sequence[Run]: ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """A trial, and how many calls it stands for."""

    trial: Trial
    weight: float


def weighed(trials: Iterable[Trial], kept: Mapping[int, float]) -> list[Sampled]:
    """Each trial with its weight. ``kept``: policy version → the share of matched trials that it stores."""
    return [Sampled(trial, 1 / (_kept(trial, kept) or 1.0)) for trial in trials]


def _kept(trial: Trial, kept: Mapping[int, float]) -> float:
    """Trials that differ are stored in any case; of a version that nobody knows any more, all are taken to be."""
    return kept.get(trial.version, 1.0) if trial.outcome == _MATCHED else 1.0


def sample(sampled: Sequence[Sampled], stored: int, kept: float) -> Sample | None:
    """What the sample is; None where no trial is stored. ``kept``: of matched trials, now."""
    if not sampled:
        return None
    times = [one.trial.at for one in sampled]
    return Sample(
        trials=len(sampled),
        stored=stored,
        calls=calls(sampled),
        kept=kept,
        first_at=min(times),
        last_at=max(times),
    )


def calls(sampled: Iterable[Sampled]) -> float:
    """How many calls the trials stand for."""
    return fsum(one.weight for one in sampled)


def quantiles(values: Sequence[tuple[float, float]], *wanted: float) -> list[float]:
    """Quantiles of (value, weight), of at least one, in rising order of ``wanted``: of each q the least value that has
    q of all weight at or below it."""
    ordered = sorted(values)
    whole, seen, found = fsum(weight for _, weight in ordered), 0.0, []
    left = iter(ordered)
    value = ordered[0][0]
    for q in wanted:
        while seen < q * whole * (1 - 1e-12):
            value, weight = next(left)
            seen += weight
        found.append(value)
    return found
