"""What the toolkit itself knows of flags: ``auto``, or what ``rollout flag set`` stored. Every answer is a look-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rollout.domain.flags import CEILINGS
from rollout.domain.state import FlagOverride, Policy, Snapshot
from rollout.ports import FlagAnswer

NAME: Final = "rolloutkit"  #: of the toolkit's own provider
Name = TypeVar("Name")


@dataclass(slots=True, eq=False)
class Cell:
    """An answer, made once, with the number of times the request path has given it: one addition counts it there."""

    flag: str
    answer: FlagAnswer
    count: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    everybody: Mapping[str, Cell] = field(default_factory=dict)
    keyed: Mapping[tuple[str, str | None], Cell] = field(default_factory=dict)


class FlagMemory:
    """The flags of the newest snapshot. Read by any thread, written by one: ``update`` swaps everything at once."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self._known = _Known()
        self._cells: dict[tuple[str, str, str], Cell] = {}  # counts outlive an update

    def look(self, flag: str, key: str | None) -> Cell | None:
        """The answer for a key: its own value, else everybody's; None for a flag that no rollout, branch or
        override names.
        """
        known = self._known
        if known.keyed:
            own = known.keyed.get((flag, key))
            if own is not None:
                return own
        return known.everybody.get(flag)

    def update(self, snapshot: Snapshot) -> list[str]:
        """Answer from this snapshot from now on. Returns the flags whose answers changed, for anybody."""
        before, self._known, self.snapshot = self._known, self._read(snapshot), snapshot
        return sorted(_changed(before.everybody, self._known.everybody) | _changed(before.keyed, self._known.keyed))

    def counted(self) -> Iterator[tuple[tuple[str, str, str], int]]:
        """(flag, value, reason) → how often it was answered; only what was."""
        return ((name, cell.count) for name, cell in list(self._cells.items()) if cell.count)

    def _read(self, snapshot: Snapshot) -> _Known:
        everybody = {flag: self._cell(flag, "auto", "default") for flag in _declared(snapshot.policies)}
        keyed: dict[tuple[str, str | None], Cell] = {}
        for override in snapshot.flags:
            if override.key is None:
                everybody[override.flag] = self._stored(override, "static")
            else:
                everybody.setdefault(override.flag, self._cell(override.flag, "auto", "default"))
                keyed[override.flag, override.key] = self._stored(override, "targeting_match")
        return _Known(everybody, keyed)

    def _stored(self, override: FlagOverride, reason: str) -> Cell:
        known = override.value in CEILINGS
        return self._cell(override.flag, override.value if known else "off", reason if known else "value")

    def _cell(self, flag: str, value: str, reason: str) -> Cell:
        return self._cells.setdefault((flag, value, reason), Cell(flag, FlagAnswer(value, reason, provider=NAME)))


def _declared(policies: Mapping[str, Policy]) -> Iterator[str]:
    for name, policy in policies.items():
        yield policy.flag or name
        yield from (branch.flag for branch in policy.branches if branch.flag)


def _changed(before: Mapping[Name, Cell], after: Mapping[Name, Cell]) -> set[str]:
    gone_or_new = [cell for name, cell in before.items() if after.get(name) is not cell]
    return {cell.flag for cell in [*gone_or_new, *(c for name, c in after.items() if before.get(name) is not c)]}
