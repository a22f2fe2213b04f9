"""What ``rollout doctor`` looks for: facts about a set-up, and the faults that they tell of.

Each check is a plain function from facts to faults; a new one is a few lines here or in ``symptoms`` and a row in its
table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.domain.audit import Break
from rollout.domain.durations import duration_text
from rollout.domain.evidence import Figures
from rollout.domain.layers import layered
from rollout.domain.sequential.curve import Point
from rollout.domain.state import BranchState, FlagOverride, Lease, Mode, Policy, Snapshot

MOST_SKEW_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong. ``name``: a stable word for programs; ``rollout``: whose, ``""`` where it is
    everybody's."""

    name: str
    rollout: str
    what: str
    evidence: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything that was found; ``checked``: the names of what was looked at."""

    database: str
    checked: Sequence[str]
    faults: Sequence[Fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFacts:
    """What the checks know of one rollout. ``recent``: figures of the rollout itself over the last hour, ``pairs``:
    of all its pairs in that hour; ``newest``: the second of the newest block; ``closed``: unit → up to which second the
    controller folded, None: it never did; ``evidence``: unit → the newest point of the curve of its account, if it has
    one."""

    policy: Policy
    states: Mapping[str, BranchState]
    recent: Figures
    pairs: Figures
    newest: int | None
    closed: Mapping[str, int | None]
    evidence: Mapping[str, Point]
    late: int
    breaks: Sequence[Break]
    flags: Sequence[FlagOverride]
    spec: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the checks know. ``wall``: this machine's clock; ``spec``: rollout → fields of the file beside us, None
    without one."""

    snapshot: Snapshot
    wall: float
    leader: Lease | None
    fenced: int
    unwritable: str
    spec: Mapping[str, Mapping[str, Any]] | None
    rollouts: Sequence[RolloutFacts]

    @property
    def now(self) -> float:
        return self.snapshot.now


def unwritable(facts: Facts) -> Iterator[Fault]:
    if facts.unwritable:
        yield Fault(
            name="unwritable",
            rollout="",
            what="The database can be read but not written: nothing can be counted, decided or rolled back.",
            evidence=facts.unwritable,
            remedy="Give this user the right to write (the file and its folder, or the tables), or free the disk.",
        )


def no_rollout(facts: Facts) -> Iterator[Fault]:
    if not facts.rollouts:
        yield Fault(
            name="no_rollout",
            rollout="",
            what="No rollout is registered in this database.",
            evidence="the table of policies is empty",
            remedy="Start the application that calls setup(app, [...], database=…) once, or check --database-url.",
        )


def clock_skew(facts: Facts) -> Iterator[Fault]:
    skew = facts.wall - facts.now
    if abs(skew) > MOST_SKEW_S:
        yield Fault(
            name="clock_skew",
            rollout="",
            what="The clocks of this machine and of the database differ: calls are counted in the wrong second.",
            evidence=f"this machine is {duration_text(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the database",
            remedy="Synchronise both with NTP (timedatectl set-ntp true).",
        )


def no_controller(facts: Facts) -> Iterator[Fault]:
    active = [one for one in facts.rollouts if any(state.mode is Mode.active for state in one.states.values())]
    lease = facts.leader
    if active and (lease is None or lease.expires_at <= facts.now):
        yield Fault(
            name="no_controller",
            rollout="",
            what="No controller decides: nothing is promoted, and nothing would be rolled back by itself.",
            evidence="nobody holds the lease" if lease is None else f"the lease of {lease.holder} is over",
            remedy="Start a process with setup(...) (it carries one), or run: rollout controller",
        )


def fenced(facts: Facts) -> Iterator[Fault]:
    if facts.fenced:
        yield Fault(
            name="fenced",
            rollout="",
            what="A controller that no longer led tried to write; it was refused, nothing was harmed.",
            evidence=f"{facts.fenced} writes refused",
            remedy="Look for a process that stalls for seconds (a blocked event loop, a paused machine).",
        )


def spec_drift(facts: Facts) -> Iterator[Fault]:
    if facts.spec is None:
        return
    for name in sorted(set(facts.spec) - set(facts.snapshot.policies)):
        yield Fault(
            name="spec_vanished",
            rollout=name,
            what="The spec file names a rollout that is not registered: its fields have no effect.",
            evidence=f"registered: {', '.join(sorted(facts.snapshot.policies)) or 'none'}",
            remedy="Correct the name in the file, or start the application that declares it.",
        )
    for one in facts.rollouts:
        applied = {field for field, origin in one.policy.origins.items() if origin.startswith("spec ")}
        wanted = one.spec or {}
        changed = sorted({*_differ(one.policy, wanted), *(applied - set(wanted))})
        if changed:
            yield fault_of(
                one,
                "spec_not_applied",
                "The spec file differs from what is in force.",
                f"{', '.join(changed)}: the file and the database disagree",
                "rollout apply puts the file in force; rollout config show tells what is.",
            )


Check = Callable[[Facts], Iterator[Fault]]

#: Checks of the set-up as a whole.
CHECKS: Final[Mapping[str, Check]] = {
    "unwritable": unwritable,
    "no_rollout": no_rollout,
    "clock_skew": clock_skew,
    "no_controller": no_controller,
    "fenced": fenced,
    "spec": spec_drift,
}


def _differ(policy: Policy, wanted: Mapping[str, Any]) -> list[str]:
    """The fields that would change if they were applied."""
    now = policy.to_dict()
    found = []
    for name, value in wanted.items():
        then = layered(policy, {name: value}, {name: ""}, version=policy.version, at=policy.registered_at).to_dict()
        if any(then[key] != now[key] for key in now if key != "origins"):
            found.append(name)
    return found


def fault_of(one: RolloutFacts, name: str, what: str, evidence: str, remedy: str) -> Fault:
    return Fault(name=name, rollout=one.policy.rollout, what=what, evidence=evidence, remedy=remedy)
