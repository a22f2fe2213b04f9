"""The state store in memory: policies, states, the audit, leases, gate checkpoints, flags."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from rollout.domain.layers import layered, plain_fields
from rollout.domain.state import (
    BranchState,
    Change,
    Decision,
    FlagOverride,
    Lease,
    Policy,
    Snapshot,
    Trigger,
)
from rollout.errors import Conflict, Fenced, UnknownName
from rollout.ports import Clock, GateCheckpoint
from rollout.testing.faults import Faults, suffers


@dataclass(frozen=True, slots=True)
class Layers:
    """How the policy in force came about: what the code declares, and on top the fields of specs with their origins."""

    declared: Policy
    fields: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


class MemoryState:
    """A ``StateStore``; the docstrings of the port hold. Nothing awaits inside a change, so each is atomic."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.faults = faults
        self._clock = clock
        self._layers: dict[str, Layers] = {}
        self._policies: dict[str, list[Policy]] = {}  # oldest first
        self._states: dict[str, dict[str, BranchState]] = {}
        self._decisions: list[Decision] = []  # oldest first
        self._hashes: dict[str, str] = {}  # rollout → hash of its newest decision
        self._leases: dict[str, Lease] = {}
        self._checkpoints: dict[tuple[str, str], str] = {}  # as JSON
        self._closed: dict[tuple[str, str], tuple[int, int]] = {}
        self._flags: dict[tuple[str, str | None], FlagOverride] = {}
        self._secret = b""
        self._fenced = 0
        self._told: int | None = None
        self._revision = 1
        self._listeners: set[asyncio.Event] = set()

    # What the code and the spec declare

    @suffers
    async def register(self, policy: Policy, actor: str) -> Policy:
        rollout = policy.rollout
        self._begin_new_branches(policy)
        layers = self._layers.get(rollout)
        if layers and layers.declared.to_dict() == policy.to_dict():
            return self._policies[rollout][-1]
        effective = self._next_version(replace(layers, declared=policy) if layers else Layers(policy))
        self._append(_decision(rollout, "register", actor, Trigger.start, policy_version=effective.version))
        return effective

    @suffers
    async def apply(
        self, rollout: str, fields: Mapping[str, Any] | None, origin: str, actor: str, reason: str = ""
    ) -> Policy:
        layers = self._layers.get(rollout)
        if layers is None:
            raise UnknownName("rollout", rollout, list(self._layers))
        if fields is None:
            layers = Layers(layers.declared)
        else:
            plain = plain_fields(fields)
            origins = {**layers.origins, **dict.fromkeys(plain, origin)}
            layers = Layers(layers.declared, {**layers.fields, **plain}, origins)
        effective = self._next_version(layers)
        self._append(_decision(rollout, "apply", actor, Trigger.person, reason, policy_version=effective.version))
        return effective

    @suffers
    async def policy_versions(self, rollout: str) -> list[Policy]:
        return self._policies.get(rollout, [])[::-1]

    def _next_version(self, layers: Layers) -> Policy:
        rollout = layers.declared.rollout
        versions = self._policies.setdefault(rollout, [])
        at = self.clock_now()
        effective = layered(layers.declared, layers.fields, layers.origins, version=len(versions) + 1, at=at)
        versions.append(effective)
        self._layers[rollout] = layers
        return effective

    def _begin_new_branches(self, policy: Policy) -> None:
        states = self._states.setdefault(policy.rollout, {})
        for branch in policy.branches:
            if branch.name not in states:
                states[branch.name] = BranchState(
                    rollout=policy.rollout, branch=branch.name, entered_at=self.clock_now()
                )
                self._changed()

    # What is in force

    def clock_now(self) -> float:
        return self._clock.wall()

    @suffers
    async def now(self) -> float:
        return self.clock_now()

    @suffers
    async def load(self) -> Snapshot:
        return Snapshot(
            revision=self._revision,
            policies={name: versions[-1] for name, versions in self._policies.items()},
            states={name: dict(states) for name, states in self._states.items()},
            flags=tuple(self._flags.values()),
            now=self.clock_now(),
        )

    @suffers
    async def revision(self) -> int:
        return self._revision

    def changes(self) -> AsyncIterator[int]:
        return self._follow(self._revision)

    async def _follow(self, seen: int) -> AsyncIterator[int]:
        while True:
            while self.faults.hits("changes"):
                await self.faults.healed()
            if self._revision != seen:
                seen = self._revision
                yield seen
            else:
                await self._next_change()

    async def _next_change(self) -> None:
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            await event.wait()
        finally:
            self._listeners.discard(event)

    def _changed(self) -> None:
        self._revision += 1
        for event in self._listeners:
            event.set()

    # Decisions

    @suffers
    async def transition(self, change: Change) -> list[BranchState]:
        self._fence(change.lease)
        for before in change.before:
            stored = self._states.get(before.rollout, {}).get(before.branch)
            if stored is None or stored.version != before.version:
                raise Conflict(_conflict(before, stored))
        pairs = zip(change.before, change.after, strict=True)
        written = [self._entered(before, after) for before, after in pairs]
        for state in written:
            self._states[state.rollout][state.branch] = state
        self._append(change.decision)
        return written

    def _entered(self, before: BranchState, after: BranchState) -> BranchState:
        return replace(after, entered_at=self.clock_now()) if after.entry > before.entry else after

    @suffers
    async def record(self, decision: Decision) -> Decision:
        return self._append(decision)

    @suffers
    async def decisions(self, rollout: str | None = None, limit: int = 50, before: int | None = None) -> list[Decision]:
        found = [
            decision
            for decision in reversed(self._decisions)
            if (rollout is None or decision.rollout == rollout) and (before is None or decision.number < before)
        ]
        return found[:limit]

    def _append(self, decision: Decision) -> Decision:
        previous = self._hashes.get(decision.rollout, "")
        sealed = decision.sealed(number=len(self._decisions) + 1, at=self.clock_now(), previous=previous)
        self._decisions.append(sealed)
        self._hashes[decision.rollout] = sealed.hash
        self._changed()
        return sealed

    # Leases and checkpoints

    @suffers
    async def lease(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        now, row = self.clock_now(), self._leases.get(name)
        if row and row.holder not in ("", holder) and row.expires_at > now:
            return None
        epoch = row.epoch if row else 0
        if row is None or row.holder != holder:
            epoch += 1
        self._leases[name] = Lease(name, holder, epoch, now + ttl_s)
        return self._leases[name]

    @suffers
    async def holder(self, name: str) -> Lease | None:
        row = self._leases.get(name)
        return row if row and row.holder and row.expires_at > self.clock_now() else None

    @suffers
    async def release(self, lease: Lease) -> None:
        if self._holds(lease):
            self._leases[lease.name] = replace(lease, holder="", expires_at=0.0)

    def _holds(self, lease: Lease) -> bool:
        row = self._leases.get(lease.name)
        return (
            row is not None
            and (row.holder, row.epoch) == (lease.holder, lease.epoch)
            and row.expires_at > self.clock_now()
        )

    def _fence(self, lease: Lease | None) -> None:
        if lease is not None and not self._holds(lease):
            self._fenced += 1
            raise Fenced(
                f'{lease.holder} does not hold the lease "{lease.name}" of epoch {lease.epoch} any more: '
                "nothing was written. Another controller leads; take the lease again before the next decision."
            )

    @suffers
    async def fenced(self) -> int:
        return self._fenced

    @suffers
    async def told(self) -> int | None:
        return self._told

    @suffers
    async def save_told(self, number: int, lease: Lease) -> None:
        self._fence(lease)
        self._told = number

    @suffers
    async def checkpoint(self, rollout: str, unit: str) -> GateCheckpoint | None:
        found = self._checkpoints.get((rollout, unit))
        return GateCheckpoint(**json.loads(found)) if found else None

    @suffers
    async def checkpoints(self, rollouts: Collection[str] | None = None) -> dict[tuple[str, str], GateCheckpoint]:
        return {
            key: GateCheckpoint(**json.loads(found))
            for key, found in self._checkpoints.items()
            if rollouts is None or key[0] in rollouts
        }

    @suffers
    async def save_checkpoints(self, checkpoints: Sequence[GateCheckpoint], lease: Lease | None) -> None:
        self._fence(lease)
        written = [(one, _checkpoint_json(one)) for one in checkpoints]  # raises before anything is written
        for one, text in written:
            self._checkpoints[one.rollout, one.unit] = text
            self._closed[one.rollout, one.unit] = one.entry, one.closed_second

    def closed(self, rollout: str, unit: str) -> tuple[int, int]:
        """Up to which second of which entry the unit's blocks are folded; before any, until the controller's first
        tick.
        """
        return self._closed.get((rollout, unit), (-1, -1))

    def states_of(self, rollout: str) -> Mapping[str, BranchState]:
        """The states of a rollout by branch."""
        return self._states.get(rollout, {})

    # Flags and the secret

    @suffers
    async def set_flag(self, override: FlagOverride) -> None:
        self._flags[override.flag, override.key] = replace(override, at=self.clock_now())
        self._record_flag(override.flag, override.value, override.key, override.actor, override.reason)

    @suffers
    async def clear_flag(self, flag: str, key: str | None, actor: str, reason: str) -> bool:
        if self._flags.pop((flag, key), None) is None:
            return False
        self._record_flag(flag, "cleared", key, actor, reason)
        return True

    def _record_flag(self, flag: str, value: str, key: str | None, actor: str, reason: str) -> None:
        what = f"{flag} {value} for {'everybody' if key is None else key}"
        text = f"{what}: {reason}" if reason else what
        self._append(_decision(self._rollout_of(flag), "flag", actor, Trigger.person, text))

    def _rollout_of(self, flag: str) -> str:
        """The rollout that a flag steers; a flag that steers none has a chain of its own name."""
        for name, versions in self._policies.items():
            policy = versions[-1]
            if flag in (policy.flag or name, *(branch.flag for branch in policy.branches)):
                return name
        return flag

    @suffers
    async def secret(self) -> bytes:
        self._secret = self._secret or secrets.token_bytes(32)
        return self._secret


def _decision(
    rollout: str, action: str, actor: str, trigger: Trigger, reason: str = "", policy_version: int = 0
) -> Decision:
    return Decision(
        rollout=rollout, action=action, actor=actor, trigger=trigger, reason=reason, policy_version=policy_version
    )


_CHECKPOINT: Final = tuple(field.name for field in fields(GateCheckpoint))
_encoded: Final = json.JSONEncoder(allow_nan=False).encode  # no database of ours stores NaN


def _checkpoint_json(one: GateCheckpoint) -> str:
    return _encoded({name: getattr(one, name) for name in _CHECKPOINT})


def _conflict(before: BranchState, stored: BranchState | None) -> str:
    now = f"is at version {stored.version} now" if stored else "does not exist"
    return (
        f"{before.rollout}/{before.branch} {now}, the change was made for version {before.version}: "
        "nothing was written. Read it again and decide again."
    )
