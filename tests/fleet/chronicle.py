"""What truly happened, written down at the database's own door: against it everything is checked.

It keeps its own books (versions, leases, counts of every stage) from what was written alone, and asks the product
nothing. Each event is held against the invariants at once; what is broken is kept, because an exception raised in here
would be taken for one of the database's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from rollout.domain.approvals import ASK
from rollout.domain.evidence import Arm, Block, UnitBlock
from rollout.domain.state import BranchState, Change, Decision, FlagOverride, Lease, Policy
from rollout.ports import Batch, Clock, GateCheckpoint, Span
from tests.fleet.books import Books, Folding, Stage, empty
from tests.fleet.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A change of states that was written. ``at``: in virtual time, ``now``: by the database's clock. ``newest``: the
    lease as it stood; ``known``: the states before it; ``policy``: in force, ``policies``: by version; ``closed_at``:
    since when (database's clock) the flag keeps everybody away, None where it does not."""

    who: str
    at: float
    now: float
    change: Change
    written: list[BranchState]
    newest: Lease | None
    known: dict[str, BranchState]
    policy: Policy
    policies: Mapping[int, Policy]
    closed_at: float | None


Law = Callable[..., Iterable[str]]  # of the chronicle and an event: what broke
Laws = Mapping[str, Sequence[Law]]  # by the kind of event


class Chronicle:
    """See the module. ``broken``: what broke, in words. ``changes``: how many decisions of any kind were written."""

    def __init__(self, timeline: Timeline, clock: Clock, laws: Laws) -> None:
        self.broken: list[str] = []
        self.lines: list[str] = []
        self.changes = 0
        self.listeners: list[Callable[[], None]] = []
        self.changed_at: list[float] = []
        self.policies: list[Policy] = []
        self.entered: dict[tuple[str, int], float] = {}  # (unit, entry) → when
        self.units: dict[str, str] = {}  # branch → unit
        self.states: dict[str, BranchState] = {}
        self.closed_at: float | None = None
        self.moved: list[Moved] = []
        self.lease: Lease | None = None
        self.epoch = 0
        self.checkpoints: dict[str, GateCheckpoint] = {}
        self.books: dict[Stage, Books] = defaultdict(empty)
        self.keys: dict[tuple[Stage, Arm], set[str]] = defaultdict(set)
        self.batches: set[str] = set()
        self.repeated = 0
        self.late = 0
        self.fenced = 0
        self.told: dict[str, list[int]] = defaultdict(list)  # by the controller that told: numbers of decisions
        self.told_from: int | None = None  # the newest decision when somebody led for the first time
        self.asked: set[tuple[str, int]] = set()  # units and entries of which an approval was asked for
        self._timeline = timeline
        self._clock = clock
        self._laws = laws
        self._witnesses: dict[str, Callable[[str, Any, Any], None]] = {
            "append": self._append,
            "apply": self._apply,
            "blocks_of": self._blocks_of,
            "clear_flag": self._clear_flag,
            "lease": self._lease,
            "register": self._register,
            "release": self._release,
            "save_checkpoints": self._save_checkpoints,
            "save_told": self._save_told,
            "set_flag": self._set_flag,
            "transition": self._transition,
        }
        self.stored: dict[str, Folding] = {}  # unit → what the stored gates have folded
        self._foldings: dict[tuple[str, str], Folding] = {}  # (who, unit)

    @property
    def now(self) -> float:
        """By the database's clock."""
        return self._clock.wall()

    def say(self, line: str) -> None:
        self.lines.append(f"{self._timeline.now:8.3f}  {line}")

    def hold(self, kind: str, event: Any) -> None:
        """Hold an event against the laws of its kind."""
        for law in self._laws.get(kind, ()):
            for what in law(self, event):
                self.breaks(law.__name__, what)

    def breaks(self, law: str, what: str) -> None:
        self.broken.append(f"{law}: {what}")
        self.say(f"BROKEN {law}: {what}")

    def happened(self, who: str, name: str, args: tuple[Any, ...], answer: Any) -> None:
        """A call of a store was carried out."""
        witness = self._witnesses.get(name)
        if witness is not None:
            witness(who, args, answer)

    # What was decided

    def _transition(self, who: str, args: tuple[Any, ...], written: list[BranchState]) -> None:
        change: Change = args[0]
        moved = Moved(
            who=who,
            at=self._timeline.now,
            now=self.now,
            change=change,
            written=written,
            newest=self.lease,
            known=dict(self.states),
            policy=self.policies[-1],
            policies={policy.version: policy for policy in self.policies},
            closed_at=self.closed_at,
        )
        self.moved.append(moved)
        decision = change.decision
        for state in written:
            self._stands(state)
        moves = ", ".join(f"{move['branch']} {move['from']} → {move['to']}" for move in decision.moves)
        self.say(f"{who}: {decision.action} {moves} ({decision.reason[:120]})")
        self._changed()
        self.hold("moved", moved)
        if decision.action == ASK:
            self.asked |= {(self.units[state.branch], state.entry) for state in written}

    def _register(self, who: str, _: tuple[Any, ...], policy: Policy) -> None:
        for branch in policy.branches:
            if branch.name not in self.states:
                self.units[branch.name] = branch.unit
                self._stands(BranchState(rollout=policy.rollout, branch=branch.name, entered_at=self.now))
        if not self.policies or policy.version > self.policies[-1].version:
            self.policies.append(policy)
            self.say(f"{who}: registers version {policy.version}")
            self._changed()

    def _apply(self, who: str, _: tuple[Any, ...], policy: Policy) -> None:
        self.policies.append(policy)
        self.say(f"{who}: applies version {policy.version}")
        self._changed()

    def _stands(self, state: BranchState) -> None:
        self.states[state.branch] = state
        self.entered[self.units[state.branch], state.entry] = state.entered_at

    def begun(self, stage: Stage) -> int:
        """The last second before a stage: its evidence is of later ones."""
        unit, version, entry = stage
        return floor(max(self.policies[version - 1].registered_at, self.entered[unit, entry])) - 1

    def _set_flag(self, who: str, args: tuple[Any, ...], _: None) -> None:
        override: FlagOverride = args[0]
        self.closed_at = self.now if self.closed_at is None else self.closed_at
        self.say(f"{who}: flag {override.flag} {override.value}")
        self._changed()

    def _clear_flag(self, who: str, args: tuple[Any, ...], cleared: bool) -> None:
        if cleared:
            self.closed_at = None
            self.say(f"{who}: flag {args[0]} cleared")
            self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self.changed_at.append(self._timeline.now)
        for notify in self.listeners:
            notify()

    # Who leads

    def _lease(self, who: str, args: tuple[Any, ...], lease: Lease | None) -> None:
        if lease is None:
            return
        before, self.lease = self.lease, lease
        if before is None or before.epoch != lease.epoch:
            self.say(f"{who}: leads in epoch {lease.epoch}")
        self.hold("leased", (before, lease, self.epoch))
        self.epoch = max(self.epoch, lease.epoch)

    def _release(self, who: str, args: tuple[Any, ...], _: None) -> None:
        if self.lease is not None and (self.lease.holder, self.lease.epoch) == (args[0].holder, args[0].epoch):
            self.lease = None
            self.say(f"{who}: hands the lease back")

    # What was counted

    def _append(self, who: str, args: tuple[Any, ...], _: None) -> None:
        batch: Batch = args[0]
        if batch.id in self.batches:
            self.repeated += 1
            return
        self.batches.add(batch.id)
        for block in batch.blocks:
            self._count(block)
        for one in batch.subjects:
            self.keys[(one.unit, one.version, one.entry), one.arm].add(one.key_hash)

    def _count(self, block: Block) -> None:
        key, figures = block.key, block.figures
        books = self.books[key.unit, key.version, key.entry]
        counts = [0, 0, 0]
        if key.arm == "P":
            counts[2] = figures["pairs"]
        else:
            counts["AB".index(key.arm)] = figures["calls"]
        closed = self.checkpoints.get(key.unit)
        if closed is not None and key.entry <= closed.entry and key.second <= closed.closed_second:
            self.late += 1
            return
        _add(books[key.second], counts)
        for folding in self._foldings.values():
            if folding.stage == (key.unit, key.version, key.entry) and key.second <= folding.until:
                _add(folding.slipped[key.second], counts)

    def _blocks_of(self, who: str, args: tuple[Sequence[Span]], answer: Sequence[Sequence[UnitBlock]]) -> None:
        for span, blocks in zip(args[0], answer, strict=True):
            folding = self._folding(who, span)
            folding.read(blocks, span.until)
            self._foldings[who, span.unit] = folding
            self.hold("read", folding)

    def _folding(self, who: str, span: Span) -> Folding:
        """What the reader has folded so far: it goes on with what it knows itself, or with what is stored."""
        stage = (span.unit, span.version, span.entry)
        for known in (self._foldings.get((who, span.unit)), self.stored.get(span.unit)):
            if known is not None and (known.stage, known.until) == (stage, span.after):
                return known.copy()
        return Folding(stage, span.after)

    def _save_checkpoints(self, who: str, args: tuple[Any, ...], _: None) -> None:
        checkpoints, lease = args
        self.hold("saved", (checkpoints, lease, self.lease, self.now))
        for one in checkpoints:
            self.checkpoints[one.unit] = one
            stage = (one.unit, one.version, one.entry)
            folding = self._foldings.get((who, one.unit))
            known = folding is not None and folding.stage == stage and folding.until == one.closed_second
            self.stored[one.unit] = folding.copy() if folding and known else Folding(stage, one.closed_second)
            self.hold("folded", one)

    # People

    def _save_told(self, who: str, args: tuple[Any, ...], _: None) -> None:
        if self.told_from is None:
            self.told_from = args[0]

    def tell(self, who: str, decision: Decision) -> None:
        self.hold("told", (who, decision))
        self.told[who].append(decision.number)


def _add(to: list[int], counts: list[int]) -> None:
    for index, count in enumerate(counts):
        to[index] += count
