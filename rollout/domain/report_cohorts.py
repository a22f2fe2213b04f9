"""Whom it hits: the same comparison for each route, method and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from rollout.domain.intervals import interval
from rollout.domain.labels import MOST as MOST_LABELS
from rollout.domain.report_sample import Sampled, Trial, calls, quantiles
from rollout.domain.report_values import Cohort

#: The most cohorts of one kind; the rest are one, ``OTHERS``.
MOST_OF_A_KIND: Final = 12
OTHERS: Final = "(others)"
_COMPARED: Final = ("matched", "ignored", "mismatched")
Kind = tuple[str, Callable[[Trial], str | None]]  # its name, and which cohort a trial is in
_OWN: Final[tuple[Kind, ...]] = (
    ("route", lambda trial: trial.route),
    ("method", lambda trial: trial.method),
)


def cohorts(sampled: Sequence[Sampled]) -> tuple[Cohort, ...]:
    """By kind, the largest cohort first. A trial without a label is in no cohort of it."""
    whole = calls(sampled)
    found: list[Cohort] = []
    for kind, of in [*_OWN, *_labels(sampled)]:
        members: dict[str, list[Sampled]] = {}
        for one in sampled:
            if (member := of(one.trial)) is not None:
                members.setdefault(member, []).append(one)
        largest = sorted(members, key=lambda name: (-calls(members[name]), name))
        named = largest[:MOST_OF_A_KIND]
        found += [_cohort(kind, name, members[name], whole) for name in named]
        if others := [one for name in largest[MOST_OF_A_KIND:] for one in members[name]]:
            found.append(_cohort(kind, OTHERS, others, whole))
    return tuple(found)


def _labels(sampled: Sequence[Sampled]) -> list[Kind]:
    """The most frequent labels, by their names."""
    names = Counter(name for one in sampled for name in one.trial.labels)
    return [_label(name) for name in sorted(name for name, _ in names.most_common(MOST_LABELS))]


def _label(name: str) -> Kind:
    """A label that is called as a kind of ours stays apart from it."""
    kind = f"label {name}" if name in dict(_OWN) else name
    return kind, lambda trial: trial.labels.get(name)


def _cohort(kind: str, name: str, sampled: Sequence[Sampled], whole: float) -> Cohort:
    compared = [one for one in sampled if one.trial.outcome in _COMPARED]
    mismatched = calls(one for one in compared if one.trial.outcome == "mismatched")
    of = calls(compared)
    low, high = _within(mismatched, compared)
    return Cohort(
        kind=kind,
        name=name,
        trials=len(sampled),
        of_calls=calls(sampled) / whole,
        mismatched=mismatched / of if compared else None,
        low=low,
        high=high,
        incomparable=calls(one for one in sampled if one.trial.outcome == "incomparable") / calls(sampled),
        control_p95_s=_p95([(one.trial.control_s, one.weight) for one in sampled]),
        candidate_p95_s=_p95([(one.trial.candidate_s, one.weight) for one in sampled]),
    )


def _within(mismatched: float, compared: Sequence[Sampled]) -> tuple[float | None, float | None]:
    """The interval of the share, of as many trials as would tell as much if all had the same weight (Kish's effective
    sample size)."""
    if not compared:
        return None, None
    of = calls(compared)
    effective = of * of / sum(one.weight * one.weight for one in compared)
    return interval(mismatched / of * effective, effective)


def _p95(values: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None]
    return quantiles(known, 0.95)[0] if known else None
