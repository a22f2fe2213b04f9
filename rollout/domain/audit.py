"""Is the audit whole? Each decision carries a hash of its own and that of the one before it, of the same rollout.

Numbers run through the decisions of all rollouts, so that a row that is missing shows even at the end of a chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rollout.domain.state import Decision, chain_hash

Kind = Literal["hash", "gap", "previous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where the audit breaks. ``number``: of the first decision that does not fit; what follows it cannot be trusted.

    ``kind``: ``hash`` (its content is not what was written), ``previous`` (it does not name the hash of the one before
    it) or ``gap`` (its number does not follow the one before it). ``what``: a sentence for people.
    """

    rollout: str
    number: int
    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"decision {self.number} ({self.rollout}): {self.what}"


def verify(decisions: Iterable[Decision], *, complete: bool = True) -> list[Break]:
    """The first break of each rollout's chain and the first gap in the numbers, in the order met; empty: all is whole.

    ``decisions``: oldest first, from the first one on. ``complete``: whether those of every rollout are there, so that
    each number follows the one before; those of one rollout alone (False) only rise. That the newest ones of all were
    cut off cannot be seen here: only a copy of the last hash, kept elsewhere, shows it.
    """
    found: list[Break] = []
    hashes: dict[str, str] = {}  # rollout → hash of its newest decision so far
    number, trusted = 0, True
    broken: set[str] = set()
    for decision in decisions:
        if trusted and (gap := _gap(number, decision, complete)):
            trusted = False
            found.append(gap)
        if decision.rollout not in broken and (wrong := _wrong(hashes.get(decision.rollout, ""), decision)):
            broken.add(decision.rollout)
            found.append(wrong)
        number, hashes[decision.rollout] = decision.number, decision.hash
    return found


def _gap(number: int, decision: Decision, complete: bool) -> Break | None:
    if decision.number <= number:
        return _break(decision, "gap", f"it stands after decision {number}; rows were moved or written twice")
    if complete and decision.number != number + 1:
        return _break(decision, "gap", f"decision {number + 1} should stand before it; rows were removed")
    return None


def _wrong(previous: str, decision: Decision) -> Break | None:
    if decision.previous != previous:
        what = f"it follows {_short(decision.previous)}, but the decision before it is {_short(previous)}"
        return _break(decision, "previous", what)
    if (computed := _hash(decision)) != decision.hash:
        what = f"its content has the hash {_short(computed)}, but {_short(decision.hash)} was stored; it was altered"
        return _break(decision, "hash", what)
    return None


def _hash(decision: Decision) -> str:
    try:
        return chain_hash(decision.content())
    except ValueError:  # a number that is none: nothing that was ever sealed
        return ""


def _break(decision: Decision, kind: Kind, what: str) -> Break:
    return Break(rollout=decision.rollout, number=decision.number, kind=kind, what=what)


def _short(digest: str) -> str:
    return f"{digest[:12]}…" if digest else "nothing"
