"""What a user declares: ``Rollout`` and its ``Branch``es, ``Budget``, ``Shadow``, ``Store``.

Everything is frozen and takes keywords. Nothing is checked where it is written; ``problems()`` finds every mistake, and
``rollout_aiohttp.setup`` reports all of them, of all rollouts, in one ``DeclarationError`` at start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from decimal import Decimal
from typing import Any, Literal

from rollout import gates as standard
from rollout.domain.breaker import Breaker
from rollout.domain.budget import Reserve
from rollout.domain.call import Call, Parts, Reply
from rollout.domain.comparison import Compare
from rollout.domain.cost import Usage, nano_usd
from rollout.domain.dispatching import Dispatch
from rollout.domain.gates import GateSpec
from rollout.domain.hedge import Hedge
from rollout.domain.prices import PriceBook
from rollout.domain.ramp import Ramp
from rollout.domain.retry import Retry
from rollout.errors import Problem
from rollout.mistakes import mistakes

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

BranchFn = Callable[[Call], Awaitable[Any]]
Aggregate = Callable[[Call, "Reply | None", Parts], Any]


@dataclass(frozen=True, slots=True)
class Branch:
    """One worker of the fan-out: ``Branch("orders", fetch_orders, part="$.orders", hard_timeout_s=1.0)``.

    * ``name``: letters, digits, ``_ . -``; at most 63; begins with a letter.
    * ``run``: ``async (Call) -> part``.
    * ``part``: the path in control's JSON where the part lives (``$``: all of it). Needed by the overlay. Default None.
    * ``required``: whether the candidate is impossible without it. Default True.
    * ``sla_s``: the expected time in seconds; a miss is counted. Default None.
    * ``soft_timeout_s``: after this many seconds the candidate may be made without it: at once if it is optional, else
      if the aggregator makes one of what is there. Default None.
    * ``hard_timeout_s``: the branch is cut and has failed after this many seconds. Default: the budget's ``latency_s``.
    * ``after``: names of branches whose parts it needs (``call.parts``). Default none.
    * ``when``: ``Call -> bool``; false skips the branch for this call. Default None (always).
    * ``retry``: ``Retry(attempts=2)``: transient errors are tried again. Default None: never.
    * ``hedge``: ``Hedge()``: a second attempt beside one that is slow; the first success wins. Default None.
    * ``breaker``: ``Breaker()``: skipped for a while when it keeps failing. Default None.
    * ``confidence``: ``part -> float`` in [0, 1], how sure the branch is of its part. Default None.
    * ``escalate_below``: run only if a branch that it comes after is less sure than this, in [0, 1], or cannot say.
      Default None. It is a second opinion: laid over the first, and never missed.
    * ``reserve``: ``Reserve(tokens=…, usd=…, latency_s=…)``, what a run takes at most; it starts only while the budgets
      of the call still cover that. Default None: nothing is reserved.
    * ``answers``: exception class → status: such an error is an answer of that status, not a failure. Default none.
    * ``max_concurrency``: runs at once in this process, live and shadow counted apart. Default 64.
    * ``effects``: ``"safe"`` or ``"write"``; a write branch only in ``join="replace"``, and never in shadow. Default
      ``"safe"``.
    * ``idempotency``: ``Call -> str``, the idempotency key of a write branch; without one there is no fallback after
      its start.
    * ``flag``: its own OpenFeature key, capped by the rollout's. Default None (inherits).
    * ``salt``: the constant that its buckets hash with. Default ``"<rollout>/<branch>"``; share one to move together.
    * ``meter``: ``part -> Usage | None``, what the run used, where ``record_usage`` is not called. Default None.
    """

    name: str
    run: BranchFn
    _: KW_ONLY
    part: str | None = None
    required: bool = True
    sla_s: float | None = None
    soft_timeout_s: float | None = None
    hard_timeout_s: float | None = None
    after: str | Sequence[str] = ()
    when: Callable[[Call], bool] | None = None
    retry: Retry | None = None
    hedge: Hedge | None = None
    breaker: Breaker | None = None
    confidence: Callable[[Any], float] | None = None
    escalate_below: float | None = None
    reserve: Reserve | None = None
    answers: Mapping[type[BaseException], int] = field(default_factory=dict)
    max_concurrency: int = 64
    effects: Literal["safe", "write"] = "safe"
    idempotency: Callable[[Call], str] | None = None
    flag: str | None = None
    salt: str | None = None
    meter: Callable[[Any], Usage | None] | None = None

    @property
    def depends_on(self) -> tuple[str, ...]:
        """``after`` as a tuple of names."""
        return (self.after,) if isinstance(self.after, str) else tuple(self.after)

    @property
    def writes(self) -> bool:
        return self.effects == "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of one whole call, shared by its parallel branches, their retries and hedges.

    * ``latency_s``: seconds until the deadline. Default 10.
    * ``tokens``: of all models together, in and out. Default None: no limit.
    * ``usd``: dollars, as text or Decimal where they must be exact. Default None: no limit.

    A shadow has the same limits, and spends from an account of its own.
    """

    latency_s: float = 10.0
    tokens: int | None = None
    usd: str | float | Decimal | None = None

    @property
    def nano(self) -> int | None:
        """``usd`` in nano-dollars. Raises ``ValueError`` where it is no amount."""
        return None if self.usd is None else nano_usd(self.usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """How much shadow traffic there may be.

    * ``sample``: the share of calls that run in shadow, in [0, 1]. Default 1.
    * ``noise``: the share of those in which control runs once more, to learn how it differs from itself (safe
      methods only). Default 0.01.
    * ``reverse``: in ``join="replace"``, the share of live calls in which control runs in shadow. Default 0.01.
    * ``concurrency``: shadow trials at once in this process. Default 64.
    * ``queue``: shadow trials that may wait. Default 1 000. ``max_bytes``: bytes they may hold. Default 32 MiB.
    * ``usd_per_day``: dollars that each branch may spend in shadow in a day (UTC), over all processes. Default None: no
      limit.
    * ``max_lag_s``: when the event loop is later than this, shadow pauses for ``pause_s``. Defaults 0.05 and 5 seconds.
    """

    sample: float = 1.0
    noise: float = 0.01
    reverse: float = 0.01
    concurrency: int = 64
    queue: int = 1_000
    max_bytes: int = 32 * 2**20
    usd_per_day: str | float | Decimal | None = None
    max_lag_s: float = 0.05
    pause_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What is kept of a trial, and for how long.

    * ``clear``: the paths whose values may be stored as they are, such as ``"$.status"``; all others become keyed
      hashes.
    * ``sample``: the share of matched trials that are stored (every other outcome always is, up to the bound).
      Default 1.
    * ``ttl_s``: seconds that a trial is kept. Default 7 days. ``max_trials``: of each rollout, oldest dropped.
      Default 100 000.
    * ``redact``: ``(path, value) -> value``, run before everything else; one that raises drops the value. Default None.
    * ``labels``: ``Call -> {name: value}``, by which reports group trials, such as ``{"plan": "free"}``; at most 5, of
      40 characters each, stored as they are: nothing personal. One that raises leaves them out. Default None.
    """

    clear: Sequence[str] = ()
    sample: float = 1.0
    ttl_s: float = 7 * 86400.0
    max_trials: int = 100_000
    redact: Callable[[str, object], object] | None = None
    labels: Callable[[Call], Mapping[str, object]] | None = None


def default_gates() -> tuple[GateSpec, ...]:
    """Errors, p95 latency and mismatches against control, and fallbacks."""
    return (standard.errors(), standard.latency(), standard.mismatches(), standard.fallbacks())


@dataclass(frozen=True, slots=True)
class Rollout:
    """One wrapped handler with its branches, aggregator, ramp and gates.

    * ``name``: as of a branch. ``control``: the handler you have, unchanged.
    * ``branches``: at least one.
    * ``aggregate``: ``(call, control, parts) -> Reply | JSON value``, sync or async. Default: the overlay of each
      part at its ``part=``.
    * ``aggregate_all``: whether the aggregator also gets control replies that are not 2xx. Default False: they pass
      through.
    * ``dispatch``: ``Call -> names`` of the branches to run for a call, such as ``rollout.dispatch.by_task``; the
      others are skipped. Default None: all. If it raises: the required ones.
    * ``quorum``: so many parts are enough, whoever they are of; then the rest is cut. ``required`` says nothing then.
      Default None.
    * ``prices``: ``PriceBook``, what models cost where ``record_usage`` is told no dollars. Default None: unknown.
    * ``join``: ``"overlay"`` (control always runs) or ``"replace"`` (the required branches stand in for it). Default
      overlay.
    * ``key``: ``Call -> str | None``, the targeting key. Default None: every call is drawn alone.
    * ``sticky``: whether a key keeps its bucket. Default True.
    * ``context``: ``Call -> dict``, attributes for the flag. ``capture``: ``async request -> dict``, becomes
      ``call.state``.
    * ``flag``: the OpenFeature key. Default: the name.
    * ``methods``: the methods that are wrapped; others pass untouched. Default GET, HEAD, OPTIONS.
    * ``effects``: ``"safe"`` if the other methods of ``methods`` may run in shadow too, or ``Call -> bool`` to
      decide per call. Default None: only GET, HEAD and OPTIONS run in shadow.
    * ``max_body``: the largest request body in bytes that is copied. Default 1 MiB.
    * ``revision``: of your code; a new one starts new evidence. Default ``""``.
    * ``compare``, ``ramp``, ``gates``, ``budget``, ``shadow``, ``store``: see there.
    """

    name: str
    _: KW_ONLY
    control: Any
    branches: Sequence[Branch]
    aggregate: Aggregate | None = None
    aggregate_all: bool = False
    dispatch: Dispatch | None = None
    quorum: int | None = None
    prices: PriceBook | None = None
    join: Literal["overlay", "replace"] = "overlay"
    key: Callable[[Call], str | None] | None = None
    sticky: bool = True
    context: Callable[[Call], Mapping[str, Any]] | None = None
    capture: Callable[[Any], Awaitable[Mapping[str, Any]]] | None = None
    flag: str | None = None
    methods: Sequence[str] = SAFE_METHODS
    effects: Literal["safe"] | Callable[[Call], bool] | None = None
    max_body: int = 2**20
    revision: str = ""
    budget: Budget = Budget()
    compare: Compare = Compare()
    ramp: Ramp = Ramp()
    gates: Sequence[GateSpec] = field(default_factory=default_gates)
    shadow: Shadow = Shadow()
    store: Store = Store()

    @property
    def flag_key(self) -> str:
        return self.flag or self.name

    def salt(self, branch: Branch) -> str:
        """The constant that a branch's buckets hash with; the required branches of ``replace`` share the rollout's
        name.
        """
        if branch.salt is not None:
            return branch.salt
        if self.join == "replace" and branch.required:
            return self.name
        return f"{self.name}/{branch.name}"

    def hard_timeout(self, branch: Branch) -> float:
        """Seconds after which a run of the branch is cut: its own, never above the budget's."""
        own = branch.hard_timeout_s
        return self.budget.latency_s if own is None else min(own, self.budget.latency_s)

    @property
    def settle_s(self) -> float:
        """Seconds after its start until everything of a call is known: above every hard timeout, the same for both
        arms.
        """
        return max([self.budget.latency_s, *(self.hard_timeout(branch) for branch in self.branches)]) + 0.1

    def units(self) -> dict[str, tuple[Branch, ...]]:
        """What moves and is judged together: name → branches. A branch alone, or a group of those that share a salt.

        A group's name is that of its branches, joined by ``+``, in the order declared.
        """
        by_salt: dict[str, list[Branch]] = {}
        for branch in self.branches:
            by_salt.setdefault(self.salt(branch), []).append(branch)
        return {"+".join(branch.name for branch in group): tuple(group) for group in by_salt.values()}

    def problems(self) -> list[Problem]:
        """Every mistake of this declaration; empty when there is none."""
        return list(mistakes(self))
