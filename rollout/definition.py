"""What a user declares: ``Rollout`` and its ``Branch``es, ``Budget``, ``Shadow``, ``Store``.

Everything is frozen and takes keywords. Nothing is checked where it is written; ``problems()`` finds every mistake, and
``rollout_aiohttp.setup`` reports all of them, of all rollouts, in one ``DeclarationError`` at start.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from rollout import gates as standard
from rollout.domain.call import Call, Parts, Reply
from rollout.domain.comparison import Compare
from rollout.domain.cost import Usage
from rollout.domain.gates import GateSpec
from rollout.domain.paths import Path, PathError
from rollout.domain.ramp import Ramp
from rollout.errors import Problem

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")

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
    * ``hard_timeout_s``: the branch is cut and has failed after this many seconds. Default: the budget's ``latency_s``.
    * ``after``: names of branches whose parts it needs (``call.parts``). Default none.
    * ``when``: ``Call -> bool``; false skips the branch for this call. Default None (always).
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
    hard_timeout_s: float | None = None
    after: str | Sequence[str] = ()
    when: Callable[[Call], bool] | None = None
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
    """The limits of one whole call. ``latency_s``: seconds until the deadline; default 10."""

    latency_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """How much shadow traffic there may be.

    * ``sample``: the share of calls that run in shadow, in [0, 1]. Default 1.
    * ``noise``: the share of those in which control runs once more, to learn how it differs from itself (safe
      methods only). Default 0.01.
    * ``reverse``: in ``join="replace"``, the share of live calls in which control runs in shadow. Default 0.01.
    * ``concurrency``: shadow trials at once in this process. Default 64.
    * ``queue``: shadow trials that may wait. Default 1 000. ``max_bytes``: bytes they may hold. Default 32 MiB.
    * ``max_lag_s``: when the event loop is later than this, shadow pauses for ``pause_s``. Defaults 0.05 and 5 seconds.
    """

    sample: float = 1.0
    noise: float = 0.01
    reverse: float = 0.01
    concurrency: int = 64
    queue: int = 1_000
    max_bytes: int = 32 * 2**20
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
    """

    clear: Sequence[str] = ()
    sample: float = 1.0
    ttl_s: float = 7 * 86400.0
    max_trials: int = 100_000
    redact: Callable[[str, object], object] | None = None


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
        return list(_problems(self))


def _problems(rollout: Rollout) -> Iterator[Problem]:
    where = f'rollout "{rollout.name}"'
    if not isinstance(rollout.name, str) or not _NAME.match(rollout.name):
        yield Problem(where, "the name is not usable", "use a letter, then letters, digits, _ . - (at most 63)")
    if not callable(rollout.control):
        yield Problem(
            where, f"control is {rollout.control!r}, not a handler", "pass the handler that the route has today"
        )
    if rollout.join not in ("overlay", "replace"):
        yield Problem(where, f'join is "{rollout.join}"', 'use "overlay" or "replace"')
    yield from _branch_problems(rollout, where)
    yield from _graph_problems(rollout, where)
    for what in rollout.ramp.problems():
        yield Problem(f"{where}, ramp", what, "mend the ramp")
    for what in rollout.compare.problems():
        yield Problem(f"{where}, compare", what, "mend the rule")
    if not rollout.gates:
        yield Problem(where, "there is no gate, so nothing could ever roll it back", "name at least gates.errors()")
    names = [gate.name for gate in rollout.gates]
    for gate in rollout.gates:
        for what in gate.problems():
            yield Problem(f"{where}, gate {gate.name}", what, "mend the gate")
        if names.count(gate.name) > 1:
            yield Problem(f"{where}, gate {gate.name}", "is declared twice", "keep one of each kind and quantile")
            break
    yield from _number_problems(rollout, where)
    if rollout.aggregate is not None and not callable(rollout.aggregate):
        yield Problem(where, "aggregate is not callable", "pass (call, control, parts) -> Reply or JSON value")
    for name in ("key", "context", "capture"):
        if (hook := getattr(rollout, name)) is not None and not callable(hook):
            yield Problem(where, f"{name} is {hook!r}, not callable", f"pass a function, or leave {name} out")
    if rollout.effects is not None and rollout.effects != "safe" and not callable(rollout.effects):
        yield Problem(where, f"effects is {rollout.effects!r}", 'use "safe", a function Call -> bool, or leave it out')


def _branch_problems(rollout: Rollout, where: str) -> Iterator[Problem]:
    if not rollout.branches:
        yield Problem(where, "there is no branch", "declare at least one Branch")
    names = [branch.name for branch in rollout.branches]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(where, f'two branches are called "{name}"', "give each a name of its own")
    budget = rollout.budget.latency_s
    for branch in rollout.branches:
        at = f'{where}, branch "{branch.name}"'
        if not isinstance(branch.name, str) or not _NAME.match(branch.name):
            yield Problem(at, "the name is not usable", "use a letter, then letters, digits, _ . - (at most 63)")
        if not callable(branch.run):
            yield Problem(at, f"{branch.run!r} cannot be called", "pass an async function Call -> part")
        for name in ("sla_s", "hard_timeout_s"):
            value = getattr(branch, name)
            if value is not None and not 0 < value < float("inf"):
                yield Problem(at, f"{name} is {value}", "it must be above 0 seconds and finite")
        if branch.hard_timeout_s is not None and branch.hard_timeout_s > budget:
            yield Problem(
                at,
                f"hard_timeout_s={branch.hard_timeout_s:g} is above the budget of the call, latency_s={budget:g}",
                "lower the timeout or raise Budget(latency_s=…)",
            )
        if branch.sla_s is not None and branch.sla_s > rollout.hard_timeout(branch):
            yield Problem(at, f"sla_s={branch.sla_s:g} is above its hard timeout", "lower the SLA or raise the timeout")
        if branch.max_concurrency < 1:
            yield Problem(at, f"max_concurrency is {branch.max_concurrency}", "it must be at least 1")
        if branch.effects not in ("safe", "write"):
            yield Problem(at, f'effects is "{branch.effects}"', 'use "safe" or "write"')
        if branch.writes and rollout.join != "replace":
            yield Problem(
                at, 'a write branch stands outside join="replace"', 'use join="replace", or make the branch safe'
            )
        if branch.part is not None:
            try:
                if not Path.parse(branch.part).is_plain:
                    yield Problem(
                        at, f'part="{branch.part}" names more than one place', "name one place, without [*] and .."
                    )
            except PathError as error:
                yield Problem(at, str(error), 'write for example "$.orders"')
        elif rollout.aggregate is None:
            yield Problem(at, "the overlay does not know where its part belongs", 'give part="$.…", or an aggregate')
        for error_type, status in branch.answers.items():
            known = isinstance(error_type, type) and issubclass(error_type, BaseException)
            if not known or not isinstance(status, int) or not 100 <= status <= 599:
                yield Problem(
                    at, f"answers maps {error_type!r} to {status!r}", "map exception classes to HTTP statuses"
                )


def _graph_problems(rollout: Rollout, where: str) -> Iterator[Problem]:
    after = {branch.name: branch.depends_on for branch in rollout.branches}
    optional = {branch.name for branch in rollout.branches if not branch.required}
    for name, needed in after.items():
        for other in needed:
            if other not in after:
                yield Problem(
                    f'{where}, branch "{name}"',
                    f'comes after "{other}", which does not exist',
                    f"name one of {', '.join(after)}",
                )
            elif name not in optional and other in optional:
                yield Problem(
                    f'{where}, branch "{name}"',
                    f'is required but comes after "{other}", which is optional',
                    "make both required or both optional",
                )
    done: set[str] = set()
    while ready := [
        name for name in after if name not in done and all(n in done or n not in after for n in after[name])
    ]:
        done.update(ready)
    if rest := [name for name in after if name not in done]:
        yield Problem(where, f"after= goes in a circle: {' → '.join([*rest, rest[0]])}", "break the circle")


def _number_problems(rollout: Rollout, where: str) -> Iterator[Problem]:
    def outside(value: float, low: float, high: float) -> bool:
        return not (isinstance(value, (int, float)) and low <= value <= high)

    checks: list[tuple[str, float, float, float, str]] = [
        ("budget.latency_s", rollout.budget.latency_s, 1e-3, 3600.0, "0.001 to 3600 seconds"),
        ("max_body", rollout.max_body, 0, 2**31, "0 bytes to 2 GiB"),
        *(
            (f"shadow.{n}", getattr(rollout.shadow, n), 0.0, 1.0, "a share between 0 and 1")
            for n in ("sample", "noise", "reverse")
        ),
        ("shadow.concurrency", rollout.shadow.concurrency, 1, 10_000, "1 to 10 000"),
        ("shadow.queue", rollout.shadow.queue, 0, 1_000_000, "0 to 1 000 000"),
        ("shadow.max_bytes", rollout.shadow.max_bytes, 0, 2**40, "0 or more bytes"),
        ("shadow.max_lag_s", rollout.shadow.max_lag_s, 1e-3, 3600.0, "0.001 to 3600 seconds"),
        ("shadow.pause_s", rollout.shadow.pause_s, 0.0, 86400.0, "0 to 86 400 seconds"),
        ("store.sample", rollout.store.sample, 0.0, 1.0, "a share between 0 and 1"),
        ("store.ttl_s", rollout.store.ttl_s, 1.0, 10 * 366 * 86400.0, "1 second to 10 years"),
        ("store.max_trials", rollout.store.max_trials, 0, 10**9, "0 to 10⁹"),
    ]
    for name, value, low, high, wanted in checks:
        if outside(value, low, high):
            yield Problem(where, f"{name} is {value!r}", f"it must be {wanted}")
    for path in rollout.store.clear:
        try:
            Path.parse(path) if path.startswith("$") else None
        except PathError as error:
            yield Problem(f"{where}, store", str(error), 'write for example "$.status"')
