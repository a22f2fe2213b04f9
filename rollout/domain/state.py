"""Where each branch stands, what was decided, and what a policy holds: plain values, stored as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from rollout.domain.durations import percent
from rollout.domain.gates import Finding, GateSpec
from rollout.domain.ramp import Ramp
from rollout.domain.stored import known_to


class Mode(StrEnum):
    """Whether a branch's ramp moves. The words are shown to people as they are, ``rolled_back`` with a space."""

    active = "active"
    paused = "paused"
    rolled_back = "rolled_back"
    completed = "completed"

    @property
    def text(self) -> str:
        return self.value.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchState:
    """Where one branch stands.

    ``stage``: index in the ramp, 0 is shadow. ``share``: calls that are live, in [0, 1]; 0 when rolled back.
    ``shadow``: whether it may run in shadow. ``entered_at``: epoch seconds by the database's clock. ``entry``:
    counts the entries of a stage (evidence belongs to one). ``version``: counts every change; a write that names an
    older one is refused. ``approved``: the share that a person approved entering, or None. ``cause``: of the last
    rollback or pause. ``account``: the entry with which the evidence for a rollback began; ``earlier``: the highest
    share that was live in it before this stage.
    """

    rollout: str
    branch: str
    stage: int = 0
    share: float = 0.0
    mode: Mode = Mode.active
    shadow: bool = True
    entered_at: float = 0.0
    entry: int = 1
    version: int = 1
    approved: float | None = None
    cause: str = ""
    account: int = 1
    earlier: float = 0.0

    @property
    def live(self) -> bool:
        return self.share > 0

    @property
    def runs(self) -> bool:
        """Whether it may run at all, live or in shadow."""
        return self.share > 0 or self.shadow

    def at_text(self) -> str:
        """``"25%"`` or ``"shadow"``."""
        return percent(self.share) if self.share > 0 else ("shadow" if self.shadow else "off")

    def moved(self, **changes: Any) -> BranchState:
        """The state after a change: the next version."""
        return replace(self, version=self.version + 1, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPolicy:
    """What a policy says of one branch. ``unit``: the name of what moves and is judged together. ``reserve_tokens``,
    ``reserve_nano`` (nano-dollars) and ``reserve_s``: what a run needs of the call's budget to begin.
    ``escalate_below``: of a second opinion, the confidence in [0, 1] below which it is asked for.
    """

    name: str
    unit: str
    salt: str
    required: bool = True
    after: Sequence[str] = ()
    flag: str | None = None
    part: str | None = None
    sla_s: float | None = None
    soft_timeout_s: float | None = None
    hard_timeout_s: float = 10.0
    escalate_below: float | None = None
    effects: str = "safe"
    reserve_tokens: int = 0
    reserve_nano: int = 0
    reserve_s: float = 0.0


#: Fields of a policy that a spec file may set, with the dotted name it gives them.
SETTABLE: Final = (
    "ramp",
    "gates",
    "budget.latency_s",
    "budget.tokens",
    "budget.usd",
    "prices",
    "shadow.sample",
    "shadow.noise",
    "shadow.reverse",
    "shadow.usd_per_day",
    "store.sample",
    "store.ttl_s",
)

#: Dollars for a million tokens of input, of output, and of input from a cache (None: as other input), as exact text.
PriceText = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is in force for a rollout: one version of it.

    ``tokens``, ``nano``: the budget of one call, in tokens and nano-dollars; ``nano_per_day``: that of each branch in
    shadow for a day (UTC). None: no limit. ``prices``: by model, those that a spec file lays over the price book of the
    code, which stays in the code. ``origins``: the dotted name of a field → where it came from (``"code"``,
    ``"default"``, ``"spec rollout.toml"``).
    """

    rollout: str
    version: int = 0
    join: str = "overlay"
    branches: Sequence[BranchPolicy] = ()
    ramp: Ramp = Ramp()
    gates: Sequence[GateSpec] = ()
    latency_s: float = 10.0
    tokens: int | None = None
    nano: int | None = None
    prices: Mapping[str, PriceText] = field(default_factory=dict)
    settle_s: float = 10.1
    sample: float = 1.0
    noise: float = 0.01
    reverse: float = 0.01
    nano_per_day: int | None = None
    store_sample: float = 1.0
    ttl_s: float = 7 * 86400.0
    max_trials: int = 100_000
    flag: str = ""
    sticky: bool = True
    keyed: bool = False
    revision: str = ""
    routes: Sequence[str] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    registered_at: float = 0.0
    _units: Mapping[str, tuple[BranchPolicy, ...]] = field(init=False, repr=False, compare=False)

    @property
    def scores_keys(self) -> bool:
        """Whether callers keep their bucket, so that evidence counts each of them once; else it counts calls."""
        return self.sticky and self.keyed

    def __post_init__(self) -> None:
        found: dict[str, list[BranchPolicy]] = {}
        for branch in self.branches:
            found.setdefault(branch.unit, []).append(branch)
        object.__setattr__(self, "_units", {name: tuple(members) for name, members in found.items()})

    def units(self) -> Mapping[str, tuple[BranchPolicy, ...]]:
        """Unit name → its branches, in the order declared."""
        return self._units

    def branch(self, name: str) -> BranchPolicy | None:
        return next((branch for branch in self.branches if branch.name == name), None)

    def dependants(self, names: set[str]) -> set[str]:
        """Every branch that comes after one of ``names``, over any number of steps; without ``names`` themselves."""
        reached = set(names)
        while more := {b.name for b in self.branches if b.name not in reached and reached & set(b.after)}:
            reached |= more
        return reached - names

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` reads it. ``version`` and ``registered_at`` are columns of their own and not in
        it.
        """
        return {
            "join": self.join,
            "branches": [
                {
                    "name": b.name,
                    "unit": b.unit,
                    "salt": b.salt,
                    "required": b.required,
                    "after": list(b.after),
                    "flag": b.flag,
                    "part": b.part,
                    "sla_s": b.sla_s,
                    "soft_timeout_s": b.soft_timeout_s,
                    "hard_timeout_s": b.hard_timeout_s,
                    "escalate_below": b.escalate_below,
                    "effects": b.effects,
                    "reserve_tokens": b.reserve_tokens,
                    "reserve_nano": b.reserve_nano,
                    "reserve_s": b.reserve_s,
                }
                for b in self.branches
            ],
            "ramp": self.ramp.to_dict(),
            "gates": [gate.to_dict() for gate in self.gates],
            "latency_s": self.latency_s,
            "tokens": self.tokens,
            "nano": self.nano,
            "prices": {model: list(price) for model, price in self.prices.items()},
            "settle_s": self.settle_s,
            "sample": self.sample,
            "noise": self.noise,
            "reverse": self.reverse,
            "nano_per_day": self.nano_per_day,
            "store_sample": self.store_sample,
            "ttl_s": self.ttl_s,
            "max_trials": self.max_trials,
            "flag": self.flag,
            "sticky": self.sticky,
            "keyed": self.keyed,
            "revision": self.revision,
            "routes": list(self.routes),
            "origins": dict(self.origins),
        }

    @classmethod
    def from_dict(cls, rollout: str, version: int, data: Mapping[str, Any], registered_at: float = 0.0) -> Policy:
        """A policy that was stored. One of a time before budgets and prices limits nothing and has no prices; of one of
        a later version counts what is known here.
        """
        made = ("branches", "ramp", "gates", "prices", "routes")
        plain = {name: value for name, value in known_to(cls, data).items() if name not in made}
        return cls(
            rollout=rollout,
            version=version,
            registered_at=registered_at,
            branches=tuple(
                BranchPolicy(**{**known_to(BranchPolicy, b), "after": tuple(b["after"])}) for b in data["branches"]
            ),
            ramp=Ramp.from_dict(data["ramp"]),
            gates=tuple(GateSpec.from_dict(gate) for gate in data["gates"]),
            prices={model: (price[0], price[1], price[2]) for model, price in data.get("prices", {}).items()},
            routes=tuple(data["routes"]),
            **plain,
        )


class Trigger(StrEnum):
    """Who moved it."""

    controller = "controller"
    person = "person"
    start = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One row of the audit: who or what, when, from, to, why, every finding with its numbers, the version of the
    policy.

    ``action``: promote, rollback, pause, resume, reset, approve, complete, ask, register, apply, flag. ``moves``: one
    dict per branch with ``branch``, ``from`` and ``to`` (texts of stage and mode). ``hash`` chains it to the
    decision before it, of the same rollout.
    """

    rollout: str
    action: str
    actor: str
    trigger: Trigger
    reason: str = ""
    moves: Sequence[Mapping[str, str]] = ()
    findings: Sequence[Finding] = ()
    policy_version: int = 0
    at: float = 0.0
    number: int = 0
    previous: str = ""
    hash: str = ""

    def content(self) -> dict[str, Any]:
        """What the hash covers, JSON-ready."""
        return {
            "rollout": self.rollout,
            "number": self.number,
            "at": round(self.at, 6),
            "action": self.action,
            "actor": self.actor,
            "trigger": self.trigger.value,
            "reason": self.reason,
            "moves": [dict(move) for move in self.moves],
            "findings": [finding.to_dict() for finding in self.findings],
            "policy_version": self.policy_version,
            "previous": self.previous,
        }

    def sealed(self, *, number: int, at: float, previous: str) -> Decision:
        """The decision as it goes into the audit: numbered, dated, and with the SHA-256 of its content and of the
        row before.
        """
        draft = replace(self, number=number, at=round(at, 6), previous=previous)
        return replace(draft, hash=chain_hash(draft.content()))


def chain_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of canonical JSON: sorted keys, no spaces, no NaN."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()  # a lone surrogate stops no decision


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to decide, until ``expires_at`` (epoch seconds, database's clock). Every write of a controller names
    its ``epoch``.
    """

    name: str
    holder: str
    epoch: int
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagOverride:
    """What ``rollout flag set`` stored: the value of a flag for one key, or for everybody (``key`` None)."""

    flag: str
    value: str
    key: str | None = None
    reason: str = ""
    actor: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of branch states with its decision: written whole or not at all.

    ``before`` → ``after``, pairwise; each write compares ``before.version``. ``lease``: checked in the same write
    when given.
    """

    before: Sequence[BranchState]
    after: Sequence[BranchState]
    decision: Decision
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything decided, as read in one transaction: what the request path works from. ``revision`` counts every
    change.
    """

    revision: int
    policies: Mapping[str, Policy]
    states: Mapping[str, Mapping[str, BranchState]]  # rollout → branch → state
    flags: Sequence[FlagOverride]
    now: float
