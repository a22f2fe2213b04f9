"""Which keys of a stage are scored: at most 200 000, chosen by their hash.

The first half of the places goes to every key that comes; half of those that are left to every second key, half of what
is left then to every fourth, and so on. Whether a key is among them is a matter of its hash, which knows neither the
arm nor how the call went, so the choice favours no arm. Keys that came first are kept: their calls are evidence
already.

The arms A and B of a stage share their places, or the choice in one would depend on the traffic of the other; pairs
have places of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rollout.domain.evidence import Arm
from rollout.domain.state import BranchState, Policy

MOST: Final = 200_000
HASHES: Final = 2**64  # a hash is 16 hex digits


def shares_places(arm: Arm) -> tuple[Arm, ...]:
    """The arms that share their places with this one."""
    return ("P",) if arm == "P" else ("A", "B")


def has_place(key_hash: str, taken: int, most: int = MOST) -> bool:
    """Whether a new key is scored when ``taken`` of ``most`` places are taken.

    It is if its hash lies in the lowest 2^-level of all, level = ⌊log₂(most / (most - taken))⌋. ``key_hash``: hex
    digits, read as a number below 2^64.
    """
    if taken >= most:
        return False
    level = (most // (most - taken)).bit_length() - 1
    return int(key_hash, 16) < HASHES >> level


def newcomers(hashes: Iterable[str], taken: int, most: int = MOST) -> list[str]:
    """Those of several new keys that are scored, lowest hash first: not in the order in which they came, which may
    depend on how their calls went.
    """
    chosen: list[str] = []
    for key_hash in sorted(hashes, key=lambda key_hash: int(key_hash, 16)):
        if not has_place(key_hash, taken + len(chosen), most):
            break
        chosen.append(key_hash)
    return chosen


def under_way(policy: Policy, states: Mapping[str, BranchState]) -> set[tuple[str, int, int]]:
    """Unit, version and entry of each stage that is counted now; ``states``: by branch. The keys of these are kept,
    however old they are: a key that was forgotten would be scored again.
    """
    return {
        (unit, policy.version, max(entries))
        for unit, members in policy.units().items()
        if (entries := [states[one.name].entry for one in members if one.name in states])
    }
