"""What the product needs of the outside world. Adapters implement these; tests use those of ``rollout.testing``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rollout.domain.breaker import State
from rollout.domain.call import Call, CallSource, Reply
from rollout.domain.evidence import Block, Figures, Subject, UnitBlock
from rollout.domain.gates import GateState
from rollout.domain.inbox import Stored
from rollout.domain.report_values import Reporting
from rollout.domain.state import BranchState, Change, Decision, FlagOverride, Lease, Policy, Snapshot


class Clock(Protocol):
    """Time. ``monotonic`` for durations, ``wall`` (epoch seconds, UTC) for what people read."""

    def monotonic(self) -> float: ...
    def wall(self) -> float: ...


@dataclass(frozen=True, slots=True)
class FlagAnswer:
    """``value``: off, shadow, auto or on; ``reason``: of the provider, or why it is ``off`` (``error``, ``type``,
    ``timeout``, ``not_ready``).
    ``found``: False where the provider does not know the flag. ``provider``: the name of who answered, ``""`` where it
    is not known; answers are the same whoever gave them."""

    value: str
    reason: str = ""
    found: bool = True
    provider: str = field(default="", compare=False)


class FlagSource(Protocol):
    """Who says what a call may do at most."""

    def peek(self, flag: str, key: str | None) -> FlagAnswer | None:
        """The answer if it is a look-up in memory; None if the source must be asked."""
        ...

    def answers_alike(self) -> bool:
        """Whether what ``peek`` answered for a key holds until the next snapshot: no other source was bound since."""
        ...

    async def ask(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        """The answer, within 50 ms; an error, a wrong type or a late answer is ``off``. Never raises."""
        ...


@dataclass(slots=True)
class RunRecord:
    """One branch of a trial. ``outcome``: ok, answered, error, hard_timeout, rejected, skipped, cancelled, shutdown.
    ``mode``: live or shadow. ``reason``: why it did not begin. ``confidence``: how sure it was of its part, in [0, 1];
    None where nobody asked, or it could not say.
    """

    branch: str
    mode: str
    outcome: str
    latency_s: float | None
    attempts: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int | None = None
    model: str = ""
    error: str = ""
    reason: str = ""
    confidence: float | None = None


@dataclass(slots=True)
class TrialRecord:
    """One call seen from both sides, redacted, JSON-ready. ``id``: 32 hex digits, made by the process, rising with
    time.

    ``mode``: shadow, live, reverse. ``outcome``: matched, ignored, mismatched, incomparable. ``differences``: at
    most 20 dicts with ``path``, ``kind``, ``branch``, ``control``, ``candidate`` (redacted). ``labels``: what the user
    groups calls by, in clear. ``at``: epoch seconds.
    """

    id: str
    rollout: str
    at: float
    mode: str
    outcome: str
    version: int
    route: str
    method: str
    key_hash: str
    control_status: int | None
    control_s: float | None
    candidate_status: int | None
    candidate_s: float | None
    reason: str = ""
    control_error: str = ""
    candidate_error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    differences: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[RunRecord] = ()


@dataclass(slots=True)
class MismatchCount:
    """How often a path differed, in one batch. ``noise``: of control against itself. ``example``: one difference as
    in a trial.
    """

    rollout: str
    branch: str
    path: str
    kind: str
    count: int = 0
    noise: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    trials: list[str] = field(default_factory=list)
    example: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Batch:
    """What a recorder writes in one transaction. A batch whose ``id`` was written before is not written again."""

    id: str
    process: str
    trials: list[TrialRecord] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    mismatches: list[MismatchCount] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Totals:
    """Figures added up over a span of time, of one unit, arm and entry of a stage."""

    unit: str
    arm: str
    entry: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds of a stage of one unit: ``after < second <= until``."""

    rollout: str
    unit: str
    entry: int
    version: int
    after: int
    until: int


@dataclass(frozen=True, slots=True)
class GateCheckpoint:
    """What the controller knows of a unit at the last tick: the states of its gates by name, and up to which second
    they are folded. ``account``: the entry with which the account of their evidence began.
    """

    rollout: str
    unit: str
    entry: int
    version: int
    closed_second: int
    states: Mapping[str, GateState]
    account: int = 1


class Ledger(Protocol):
    """What was observed. Every method raises ``DatabaseError`` when the database cannot be used."""

    async def append(self, batch: Batch) -> None:
        """Write a batch whole, once. A block no newer than what the controller closed is kept but marked late; such a
        subject is left out, so that what was read of closed seconds never changes.

        Of the subjects of a stage at most 200 000 keys in arms A and B, and as many in arm P, are kept, chosen by
        their hash (see ``rollout.domain.places``). Mismatch counts add up; at most 500 paths a rollout, the rest
        count under the path ``"(other)"``.
        """
        ...

    async def blocks_of(self, spans: Sequence[Span]) -> list[list[UnitBlock]]:
        """The blocks of each span, added up over processes, by time; late ones left out. A second in which nothing
        was counted is absent.

        ``scored_*`` holds the subjects whose earliest start lies in the second, and the calls without a key: what
        the figures of an arm hold under ``single:name``, under ``name`` (and still under both in the arm's figures).
        The number of queries does not depend on that of the spans.
        """
        ...

    async def totals(
        self, rollout: str, since: float | None = None, until: float | None = None, version: int | None = None
    ) -> list[Totals]:
        """Figures of a span (epoch seconds; None: open), by unit, arm and entry. ``version``: of one version of the
        policy alone; None: of all.
        """
        ...

    async def extent(self, rollout: str, since: float | None = None) -> tuple[int, int] | None:
        """From when to when (epoch seconds, the end excluded) the rollout's calls came, as closely as the roll-up left
        it; ``since``: of the blocks that begin then or later. None where there are none.
        """
        ...

    async def series(
        self, rollout: str, unit: str, since: float, until: float, step_s: int
    ) -> list[tuple[int, Mapping[str, Figures]]]:
        """Figures by step of time and arm, for curves."""
        ...

    async def late(self, rollout: str) -> int:
        """How many blocks came too late to be judged."""
        ...

    async def mismatches(self, rollout: str, path: str | None = None, limit: int = 100) -> list[MismatchCount]:
        """Paths that differ, most frequent first."""
        ...

    async def trials(
        self,
        rollout: str,
        *,
        outcome: str | None = None,
        path: str | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> list[TrialRecord]:
        """Stored trials, newest first; of one outcome, or those that differ at a path, or with ids below ``before``."""
        ...

    async def trial(self, trial_id: str) -> TrialRecord | None: ...

    async def trials_of(self, trial_ids: Sequence[str]) -> list[TrialRecord]:
        """Those of the trials that are stored, oldest first; at most 500 are asked for."""
        ...

    async def sample(self, rollout: str, limit: int, since: float | None = None) -> list[TrialRecord]:
        """The newest stored trials (since then, in epoch seconds), newest first, without their differences. Read a few
        at a time, so that nobody waits for it.
        """
        ...

    async def processes(self, rollout: str, since: float) -> list[Reporting]:
        """The processes that counted calls since then (epoch seconds, at most an hour ago), by name."""
        ...

    async def stored(self, rollout: str) -> tuple[int, float | None, float | None]:
        """How many trials are stored, and the times of the oldest and newest."""
        ...

    async def purge(
        self, *, rollout: str | None = None, older_than: float | None = None, key_hash: str | None = None
    ) -> int:
        """Delete trials (with their runs) and subjects by age (epoch seconds) or key; how many trials went."""
        ...

    async def maintain(self, policies: Mapping[str, Policy]) -> Mapping[str, int]:
        """Roll blocks up (to a minute after an hour, to an hour after a day), drop expired trials, expired subjects
        of stages that are over, old batches. Counts by what was done.
        """
        ...


class StateStore(Protocol):
    """What was decided. Every method raises ``DatabaseError`` when the database cannot be used."""

    async def now(self) -> float:
        """Epoch seconds by the database's clock."""
        ...

    async def register(self, policy: Policy, actor: str) -> Policy:
        """Store what the code declares: a new version if it differs from the newest one of the code, else that.
        Fields set by
        ``apply`` stay on top. States of new branches begin in shadow. Returns the effective policy."""
        ...

    async def apply(
        self, rollout: str, fields: Mapping[str, Any] | None, origin: str, actor: str, reason: str = ""
    ) -> Policy:
        """Put fields of a spec (names as in ``SETTABLE``) on top of what the code declares, as a new version, with
        its decision;
        None takes all of them away. Returns the effective policy. ``UnknownName`` if the rollout is not registered."""
        ...

    async def policy_versions(self, rollout: str) -> list[Policy]:
        """Every version, newest first."""
        ...

    async def load(self) -> Snapshot:
        """Everything decided, in one read."""
        ...

    async def revision(self) -> int:
        """A number that rises with every change: cheap to ask."""
        ...

    def changes(self) -> AsyncIterator[int]:
        """Yields the revision whenever it has changed (within 0.3 s of the commit); survives a database that goes
        and returns.
        """
        ...

    async def transition(self, change: Change) -> list[BranchState]:
        """Write a change and its decision in one transaction. ``Conflict`` if a version has moved on, ``Fenced`` if
        the lease is
        not held any more: then nothing is written. ``entered_at`` of a state whose ``entry`` rose is set by the
        database's clock.
        """
        ...

    async def record(self, decision: Decision) -> Decision:
        """Append a decision that moves no branch."""
        ...

    async def decisions(self, rollout: str | None = None, limit: int = 50, before: int | None = None) -> list[Decision]:
        """The audit, newest first. ``before``: numbers below it."""
        ...

    async def lease(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take or renew a lease; None if another holds it. The epoch rises when the holder changes."""
        ...

    async def holder(self, name: str) -> Lease | None:
        """Who holds a lease now, if anybody does."""
        ...

    async def release(self, lease: Lease) -> None: ...

    async def checkpoint(self, rollout: str, unit: str) -> GateCheckpoint | None: ...

    async def checkpoints(self, rollouts: Collection[str] | None = None) -> dict[tuple[str, str], GateCheckpoint]:
        """The checkpoints of these rollouts (None: of all) by rollout and unit, in one read. Units without one are
        absent.
        """
        ...

    async def save_checkpoints(self, checkpoints: Sequence[GateCheckpoint], lease: Lease | None) -> None:
        """Store gate states; ``Fenced`` if the lease is not held any more."""
        ...

    async def set_flag(self, override: FlagOverride) -> None: ...
    async def clear_flag(self, flag: str, key: str | None, actor: str, reason: str) -> bool: ...

    async def secret(self) -> bytes:
        """The installation's key for keyed hashes (32 bytes), made at the first call and kept."""
        ...

    async def fenced(self) -> int:
        """How many writes of late controllers were refused."""
        ...

    async def told(self) -> int | None:
        """The number of the decision up to which people were told of everything; None: nobody ever told them."""
        ...

    async def save_told(self, number: int, lease: Lease) -> None:
        """Store that number; no change that others hear of. ``Fenced`` if the lease is not held any more."""
        ...


class Notifier(Protocol):
    """Tells people of transitions, and of approvals that are waited for. Waits for no receiver, and never raises."""

    async def tell(self, decision: Decision) -> None:
        """Take a decision of the audit, to be told as soon as possible. Numbers rise."""
        ...

    def unsettled(self) -> int | None:
        """The lowest number among the decisions that are neither told nor given up; None if there is none."""
        ...

    def counts(self) -> Mapping[tuple[str, str], int]:
        """(target, outcome) → messages since the start; every pair that there can be."""
        ...

    async def drain(self, within_s: float) -> None:
        """Tell what waits, for at most so many seconds, and close. What is left stays unsettled."""
        ...


#: What is told of a span: a word of the glossary, or of ``Usage`` and ``FlagAnswer``, and its value.
About = Mapping[str, str | int | float | bool]


class TraceSpan(Protocol):
    """A piece of work in a trace. Times are epoch seconds of this machine."""

    @property
    def recording(self) -> bool:
        """Whether anything is kept of it; if not, it gets no spans below it."""
        ...

    def enter(self) -> Any:
        """Make it the current span of the context in which this is called; what ``leave`` needs to undo that."""
        ...

    def leave(self, token: Any) -> None:
        """Undo ``enter``, in the same context."""
        ...

    def event(self, name: str, at: float, about: About) -> None:
        """Something that happened on the way: ``flag``, ``not_run``, ``retry``, ``hedge``."""
        ...

    def end(self, at: float, about: About, *, failed: bool = False) -> None:
        """It is over, once. ``failed``: whether it counts as an error of the service."""
        ...


class Tracing(Protocol):
    """Makes spans, in the context in which it is called. The engine counts whatever raises here, and goes on without.

    ``kind``: ``call``, ``control``, ``fan_out``, ``branch`` or ``shadow``. ``at``: when it began, in epoch seconds of
    this machine. ``about`` always names the ``rollout``.
    """

    def begin(self, kind: str, at: float, about: About) -> TraceSpan:
        """A span below the current one."""
        ...

    def around(self, kind: str, at: float, about: About) -> TraceSpan:
        """The current span, which is its owner's to end and to fail; where there is none, one of its own."""
        ...

    def apart(self, kind: str, at: float, about: About, link: TraceSpan | None) -> TraceSpan:
        """The first span of a trace of its own, linked to another; baggage goes with it."""
        ...


@dataclass(slots=True)
class Backend:
    """A database, opened: both stores over it. ``url`` without its password."""

    state: StateStore
    ledger: Ledger
    url: str
    close: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class MetricsSnapshot:
    """Everything this process counted since it started, read at scrape time.

    * ``rollouts``: rollout → figures of unit ``""`` (the funnel, who served, histograms ``latency`` and ``overhead``).
    * ``branches``: (rollout, branch, mode) → figures of its runs (``runs``, ``outcome:X``, ``skipped:X``,
      ``over_budget:X``, ``retried``, ``hedged``, ``sla_missed``, ``tokens_in``, ``tokens_out``, ``cost_nano``,
      ``unpriced``; histogram ``run``). Every declared branch and both modes are present from the start, with every
      reason for which it may not begin.
    * ``comparisons``: (rollout, branch, outcome) → count; branch ``""`` is the whole reply.
    * ``inflight``: (rollout, branch) → runs now. ``states``: rollout → branch → state.
    * ``orphans``: (rollout, branch, mode) → attempts that go on although their run has ended. ``breakers``: likewise →
      what its breaker does, of the branches that have one.
    * ``transitions``: (rollout, branch, to, trigger) → count; ``rollbacks``: (rollout, branch, cause) → count, cause
      a gate's name or ``person``.
    * ``evidence``: (rollout, branch, gate, side) → what a sequential gate holds of its unit's account (side
      ``rollback``) or shows for the next step (``promote``), as E; of the process that leads.
    * ``flags``: (flag, value, reason) → evaluations. ``gates`` and ``stages``: their names, by rollout.
    * ``notifications``: (target, outcome) → messages to people.
    """

    rollouts: dict[str, Figures] = field(default_factory=dict)
    branches: dict[tuple[str, str, str], Figures] = field(default_factory=dict)
    comparisons: dict[tuple[str, str, str], int] = field(default_factory=dict)
    inflight: dict[tuple[str, str], int] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, BranchState]] = field(default_factory=dict)
    transitions: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    rollbacks: dict[tuple[str, str, str], int] = field(default_factory=dict)
    flags: dict[tuple[str, str, str], int] = field(default_factory=dict)
    gates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    queue_length: dict[str, int] = field(default_factory=dict)
    queue_capacity: dict[str, int] = field(default_factory=dict)
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)
    written: int = 0
    write_failures: int = 0
    side_effects_blocked: dict[tuple[str, str], int] = field(default_factory=dict)
    leader: bool = False
    last_tick_at: float | None = None
    fenced_writes: int = 0
    version: str = ""
    orphans: dict[tuple[str, str, str], int] = field(default_factory=dict)
    breakers: dict[tuple[str, str, str], State] = field(default_factory=dict)
    evidence: dict[tuple[str, str, str, str], float] = field(default_factory=dict)
    notifications: dict[tuple[str, str], int] = field(default_factory=dict)


class Host(Protocol):
    """The web framework, as the engine sees it. ``native`` is a request of the framework's, ``response`` a response
    of its.
    """

    def source(self, native: Any) -> CallSource:
        """The view of a request that calls read from; nothing is copied yet."""
        ...

    def skip_reason(self, native: Any, max_body: int) -> str | None:
        """Why this request cannot be shadowed (``too_large``, ``streamed``, ``upgrade`` …), or None. No I/O."""
        ...

    def has_body(self, native: Any) -> bool: ...

    async def read_body(self, native: Any, max_body: int) -> bytes | None:
        """A copy of the request's body, which is fed to control again; None where it turns out larger than allowed,
        or broken.
        """
        ...

    def keep(self, source: CallSource, *, whole: bool) -> None:
        """Copy what control could change, before it runs. ``whole``: enough to make a sealed request of it."""
        ...

    def reply_of(self, response: Any) -> Reply | None:
        """A copy of a response; None where it cannot be copied (a stream, a file, a socket)."""
        ...

    def reply_of_error(self, error: BaseException) -> Reply | None:
        """The reply that an exception of the framework stands for; None for any other exception."""
        ...

    def response_of(self, reply: Reply, control: Any | None) -> Any:
        """A fresh response. ``control``: the native response whose cookies and the like it goes on from, if there is
        one.
        """
        ...

    async def run_again(self, handler: Any, call: Call) -> Reply:
        """Run a handler on a sealed copy of the request, so that nothing it does reaches the user. Raises what it
        raises.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEvent:
    """A verified event to be stored. ``id``: its own among those of the webhook. ``body``: a JSON object, as signed."""

    webhook: str
    id: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedEvent:
    """An event that ``holder`` may deliver for as long as its lease lasts.

    ``received_at``: epoch seconds by the database's clock. ``attempt``: counts from 1. ``done``: the steps that were
    finished in earlier attempts. ``epoch``: rises whenever the event is taken; it refuses a late holder.
    """

    webhook: str
    id: str
    body: bytes
    received_at: float
    attempt: int
    done: frozenset[str]
    holder: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEvent:
    """An event that is not tried any more. Times in epoch seconds; ``error``: the class of what the last attempt
    raised, or ``timeout``, or ``crash`` where no attempt lived to say.
    """

    id: str
    received_at: float
    died_at: float
    attempts: int
    done: frozenset[str]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxCounts:
    """How many events wait, are under way, and are dead. ``oldest_at``: when the oldest of the first two came (epoch
    seconds); None where there is none.
    """

    waiting: int = 0
    under_way: int = 0
    dead: int = 0
    oldest_at: float | None = None


class Inbox(Protocol):
    """The events of webhooks between their receipt and their end.

    Every method raises ``DatabaseError`` when the database cannot be used. Those that take a ``LeasedEvent`` raise
    ``Fenced``, having changed nothing, if it was taken by another since, or has ended. The body is kept while the
    event waits, is under way or is dead, and emptied once it is done; its id stays, to refuse replays.
    """

    async def put(self, event: InboxEvent, most: int) -> Stored:
        """Store an event durably, once for its id. ``full``: about ``most`` bodies are kept, and nothing was stored."""
        ...

    async def take(self, webhook: str, holder: str, most: int, lease_s: float) -> list[LeasedEvent]:
        """Take at most ``most`` events that are due, for ``lease_s`` seconds: those whose wait, or lease, is over. No
        two callers get the same.
        """
        ...

    async def renew(self, event: LeasedEvent, lease_s: float) -> None:
        """Let the lease last ``lease_s`` seconds from now."""
        ...

    async def finish(self, event: LeasedEvent, step: str) -> None:
        """Remember that a step is done. ``ValueError`` above 1 000 steps."""
        ...

    async def complete(self, event: LeasedEvent) -> None:
        """The event is done: its body goes."""
        ...

    async def postpone(self, event: LeasedEvent, wait_s: float, error: str) -> None:
        """The attempt failed: the next may begin in ``wait_s`` seconds."""
        ...

    async def bury(self, event: LeasedEvent, error: str) -> None:
        """The event is dead: kept with its body, and not taken again unless ``revive`` is called."""
        ...

    async def give_back(self, event: LeasedEvent) -> None:
        """The attempt was broken off by a shutdown: it does not count, and the next may begin at once."""
        ...

    async def revive(self, webhook: str, event_id: str) -> bool:
        """Let a dead event be tried again, from its first attempt, without the steps that are done; whether there is
        such a one.
        """
        ...

    async def counts(self, webhook: str) -> InboxCounts: ...

    async def dead(self, webhook: str, limit: int = 50) -> list[DeadEvent]:
        """The dead, the latest first."""
        ...

    async def expire(self, webhook: str, ttl_s: float) -> int:
        """Delete what is done or dead and was received more than ``ttl_s`` seconds ago; how many went."""
        ...

    async def close(self) -> None: ...
