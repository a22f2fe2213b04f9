"""The flags that ``rollout flag`` stores: the most that a call may do, for everybody or for one key."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.domain.flags import CEILINGS
from rollout.domain.state import FlagOverride, Snapshot
from rollout.errors import Refused, UnknownName
from rollout.ports import Backend


async def set_flag(
    backend: Backend, flag: str, value: str, *, key: str | None = None, reason: str = "", actor: str
) -> FlagOverride:
    """Store what a flag answers, to one key or (``key`` None) to everybody who has none of their own.

    ``value``: off, shadow, auto or on; ``on`` only for a key: everybody goes live by promotion. ``UnknownName`` if no
    rollout or branch has this flag, ``Refused`` for a wrong value.
    """
    _known(await backend.state.load(), flag)
    if value not in CEILINGS:
        raise Refused(f'"{value}" is no value of a flag. Use one of {", ".join(CEILINGS)}.')
    if value == "on" and key is None:
        raise Refused(f'The flag "{flag}" cannot be on for everybody. Name a key, or promote the branch.')
    if key is not None and not key:
        raise Refused("The key is empty. Name the targeting key of a caller, or leave it out for everybody.")
    override = FlagOverride(flag=flag, value=value, key=key, reason=reason, actor=actor)
    await backend.state.set_flag(override)
    return override


async def clear_flag(backend: Backend, flag: str, *, key: str | None = None, reason: str = "", actor: str) -> bool:
    """Forget what was stored for a key or for everybody. False if nothing was; ``UnknownName`` for an unknown flag."""
    snapshot = await backend.state.load()
    if not any(override.flag == flag for override in snapshot.flags):
        _known(snapshot, flag)  # one that was stored may be cleared, though nothing declares it any more
    return await backend.state.clear_flag(flag, key, actor, reason)


async def list_flags(backend: Backend, flag: str | None = None) -> Sequence[FlagOverride]:
    """What is stored, by flag, everybody before the keys."""
    found = [one for one in (await backend.state.load()).flags if flag in (None, one.flag)]
    return tuple(sorted(found, key=lambda one: (one.flag, one.key is not None, one.key or "")))


def flags_of(snapshot: Snapshot) -> list[str]:
    """Every flag that a rollout or a branch declares."""
    found: set[str] = set()
    for name, policy in snapshot.policies.items():
        found |= {policy.flag or name, *(branch.flag for branch in policy.branches if branch.flag)}
    return sorted(found)


def _known(snapshot: Snapshot, flag: str) -> None:
    if flag not in (known := flags_of(snapshot)):
        raise UnknownName("flag", flag, known)
