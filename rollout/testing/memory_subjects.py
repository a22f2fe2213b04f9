"""The subjects of the ledger in memory: one for each key of a stage and arm, found by the second of its start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from rollout.domain.evidence import Subject
from rollout.domain.places import MOST, has_place, shares_places

#: Rollout, unit, version, entry.
Stage: TypeAlias = tuple[str, str, int, int]
_Key: TypeAlias = tuple[str, str]  # arm, hash


class MemorySubjects:
    """Keeps at most ``most`` keys a stage, and as many pairs."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._stages: dict[Stage, dict[_Key, Subject]] = {}
        self._seconds: dict[Stage, dict[int, dict[_Key, Subject]]] = {}
        self._taken: dict[tuple[Stage, tuple[str, ...]], int] = {}

    def add(self, subjects: Sequence[Subject]) -> None:
        """Keep the earliest of each key. The lowest hashes get their places first, not who comes first."""
        for subject in sorted(subjects, key=lambda one: int(one.key_hash, 16)):
            stage, key = stage_of(subject), (subject.arm, subject.key_hash)
            known = self._stages.setdefault(stage, {}).get(key)
            if known is None:
                places = (stage, shares_places(subject.arm))
                taken = self._taken.get(places, 0)
                if has_place(subject.key_hash, taken, self.most):
                    self._taken[places] = taken + 1
                    self._put(stage, key, subject)
            elif subject.started_at < known.started_at:
                del self._seconds[stage][int(known.started_at)][key]
                self._put(stage, key, subject)

    def _put(self, stage: Stage, key: _Key, subject: Subject) -> None:
        self._stages[stage][key] = subject
        self._seconds.setdefault(stage, {}).setdefault(int(subject.started_at), {})[key] = subject

    def seconds(self, stage: Stage) -> dict[int, dict[_Key, Subject]]:
        """The subjects of a stage by the second of their start."""
        return self._seconds.get(stage, {})

    def drop(self, which: Callable[[Subject], bool]) -> int:
        """Forget subjects; how many went. Their places are free again."""
        every = [subject for stage in self._stages.values() for subject in stage.values()]
        kept = [subject for subject in every if not which(subject)]
        if len(kept) < len(every):
            self._rebuild(kept)
        return len(every) - len(kept)

    def _rebuild(self, subjects: Iterable[Subject]) -> None:
        self._stages, self._seconds, self._taken = {}, {}, {}
        for subject in subjects:
            stage, key = stage_of(subject), (subject.arm, subject.key_hash)
            places = (stage, shares_places(subject.arm))
            self._stages.setdefault(stage, {})
            self._taken[places] = self._taken.get(places, 0) + 1
            self._put(stage, key, subject)


def stage_of(subject: Subject) -> Stage:
    return subject.rollout, subject.unit, subject.version, subject.entry
