"""The report: what people read before they send real users to a branch, or after it was rolled back.

``build`` makes the whole value from figures that are already added up; nothing here costs more when more calls were
recorded. The names of the fields are the keys of ``rollout report --format json`` and stay (``schema`` counts the
changes). Times are epoch seconds, shares lie in [0, 1], dollars are ``Decimal``; None is "not known", never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from rollout.domain import report_parts as parts
from rollout.domain.bound import Bound, bound_of
from rollout.domain.cost import usd_of
from rollout.domain.durations import duration_text, percent
from rollout.domain.evidence import Figures
from rollout.domain.gates import Finding, Grade
from rollout.domain.report_cohorts import cohorts
from rollout.domain.report_cost import bill, costs, model_costs
from rollout.domain.report_evidence import UnitEvidence, evidence
from rollout.domain.report_outcomes import Newest, fan_out_time, outcomes
from rollout.domain.report_pairs import paired_latency
from rollout.domain.report_sample import Trial, sample, weighed
from rollout.domain.report_values import (
    Bill,
    Cohort,
    Comparison,
    Cost,
    ErrorLine,
    FanOutTime,
    Funnel,
    Latency,
    Losses,
    Mismatch,
    ModelCost,
    Outcomes,
    PairedLatency,
    Point,
    Reporting,
    Sample,
    Waterfall,
)
from rollout.domain.report_waterfall import waterfalls
from rollout.domain.standing import Standing, Word, worst
from rollout.domain.state import Decision, Policy

SCHEMA = 5


class Seen(Protocol):
    """Figures added up over a span, of one unit, arm and entry."""

    @property
    def unit(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def entry(self) -> int: ...
    @property
    def figures(self) -> Figures: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The span that the figures cover. ``first`` and ``last``: when the first calls were seen and the last had been, to
    the second (to the minute after an hour, to the hour after a day), None when there were none; ``calls_per_s`` over
    that span."""

    since: float
    until: float
    first: float | None
    last: float | None
    calls_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``word``: of the branch that stands worst. ``sentence``: what to know; ``reasons``: one line per branch."""

    word: Word
    sentence: str
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the policy in force, and where it comes from."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """What is missing. ``late_blocks`` came after their second was judged; ``dropped``: trials lost on the way to the
    database, by reason; ``arrived``: the share of those sent that were not; ``hooks``: functions of the user's that
    raised; ``stored``: trials that can be looked at, with the times of the ends; ``processes``: that counted calls in
    the last ten minutes."""

    late_blocks: int
    dropped: Mapping[str, int]
    arrived: float | None
    processes: Sequence[Reporting]
    hooks: Mapping[str, int]
    stored: int
    oldest: float | None
    newest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One stored pair, redacted. ``differences``: dicts with path, kind, branch, control, candidate."""

    trial: str
    at: float
    method: str
    route: str
    outcome: str
    control_status: int | None
    candidate_status: int | None
    control_s: float | None
    candidate_s: float | None
    reason: str
    differences: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything about one rollout, at one moment. ``policy_at``: when the policy in force began. ``dispatch``: why the
    dispatch chose its branches → how often.

    ``examples``: of each of the most frequent paths the first trials that were stored, the same ones whenever it is
    asked. ``sample``: what ``paired``, ``waterfalls``, ``models`` and ``cohorts`` are made of, None where no trial is
    stored; all else is counted of every call.
    """

    schema: int
    rollout: str
    made_at: float
    database: str
    policy_version: int
    policy_at: float
    revision: str
    join: str
    routes: Sequence[str]
    window: Window
    verdict: Verdict
    branches: Sequence[Standing]
    gates: Sequence[Finding]
    bound: Bound
    evidence: Sequence[UnitEvidence]
    funnel: Funnel
    losses: Losses
    outcomes: Sequence[Outcomes]
    dispatch: Mapping[str, int]
    fan_out: FanOutTime | None
    comparisons: Sequence[Comparison]
    mismatches: Sequence[Mismatch]
    examples: Sequence[Example]
    latency: Sequence[Latency]
    cost: Sequence[Cost]
    bill: Bill | None
    sample: Sample | None
    paired: PairedLatency | None
    waterfalls: Sequence[Waterfall]
    models: Sequence[ModelCost]
    cohorts: Sequence[Cohort]
    errors: Sequence[ErrorLine]
    curves: Mapping[str, Sequence[Point]]
    timeline: Sequence[Decision]
    policy: Sequence[Field]
    completeness: Completeness


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a report is made of. ``totals`` of the whole window; ``ever``: since the first call, as paths are counted;
    ``accounts``: unit → the state of its account, as the
    checkpoint keeps it; ``curves``: unit → steps → arm
    → figures, with unit ``""`` for the rollout itself; ``extent``: from when to
    when calls came, None where none did; ``newest``: the last few seconds of each unit; ``paths``:
    mismatch counts; ``examples``: a few stored trials; ``trials``: the newest ones, and ``kept``: policy version → the
    share of matched trials that it stores; ``decisions`` newest first;
    ``stored``: how many trials can be looked at, and the ends of their times; ``rows``: how many of them are of the
    window, 0 where that is not known."""

    policy: Policy
    standings: Sequence[Standing]
    accounts: Mapping[str, Mapping[str, Any]]
    totals: Sequence[Seen]
    ever: Sequence[Seen]
    curves: Mapping[str, Sequence[tuple[int, Mapping[str, Figures]]]]
    extent: tuple[int, int] | None
    newest: Newest
    paths: Sequence[parts.Counted]
    examples: Sequence[Example]
    trials: Sequence[Trial]
    kept: Mapping[int, float]
    decisions: Sequence[Decision]
    late_blocks: int
    processes: Sequence[Reporting]
    stored: tuple[int, float | None, float | None]
    rows: int
    now: float
    since: float
    database: str


def build(material: Material) -> Report:
    """The report of what was gathered."""
    policy = material.policy
    units = parts.by_unit(material.totals)
    whole = parts.whole(material.totals)
    window = _window(material)
    cost = costs(units, window.calls_per_s)
    findings = _findings(material.standings)
    funnel = parts.funnel(whole, material.rows)
    sampled = weighed(material.trials, material.kept)
    return Report(
        schema=SCHEMA,
        rollout=policy.rollout,
        made_at=material.now,
        database=material.database,
        policy_version=policy.version,
        policy_at=policy.registered_at,
        revision=policy.revision,
        join=policy.join,
        routes=tuple(policy.routes),
        window=window,
        verdict=verdict(policy.rollout, material.standings, whole["calls"], join=policy.join),
        branches=tuple(material.standings),
        gates=findings,
        bound=bound_of(policy),
        evidence=evidence(policy, material.standings, material.accounts, material.decisions, window.last or 0.0),
        funnel=funnel,
        losses=parts.losses(funnel, material.late_blocks),
        outcomes=outcomes(units, policy, material.newest),
        dispatch=whole.starting("dispatch:"),
        fan_out=fan_out_time(whole),
        comparisons=parts.comparisons(units),
        mismatches=parts.mismatches(material.paths, parts.whole(material.ever), parts.by_unit(material.ever), policy),
        examples=tuple(material.examples),
        latency=parts.latency(units, policy),
        cost=cost,
        bill=bill(cost, policy, window.calls_per_s, material.standings),
        sample=sample(sampled, material.stored[0], policy.store_sample),
        paired=paired_latency(sampled),
        waterfalls=waterfalls(sampled, policy),
        models=model_costs(sampled, window.calls_per_s if policy.store_sample else None),  # else of some calls alone
        cohorts=cohorts(sampled),
        errors=parts.errors(units),
        curves={unit: parts.curve(steps) for unit, steps in material.curves.items()},
        timeline=tuple(material.decisions),
        policy=fields(policy),
        completeness=_completeness(material, whole, funnel.steps[-1].count),
    )


def verdict(rollout: str, standings: Sequence[Standing], calls: int, *, join: str) -> Verdict:
    """One sentence for the person who has one minute, and one line for each branch."""
    word = worst(standings)
    names = _and([s.branch for s in standings if s.word is word])
    sentence = {
        Word.rolled_back: f"Rolled back: {names}{_meanwhile(standings, join)}",
        Word.holding: f"Do not promote yet. Held by the gates: {names}.",
        Word.undecided: f"Undecided: {names}. The deadline of the stage passed, so a person decides.",
        Word.paused: f"Paused: {names}. Nothing moves until somebody resumes it.",
        Word.waiting: f"Waiting for a person: {names}.",
        Word.frozen: f"Ready, but promotion is frozen: {names}.",
        Word.soaking: f"Going well: every gate that can judge passes; {names} must soak on.",
        Word.ready: f"Safe to promote: {names} passed every gate and the soak is over.",
        Word.completed: f"Completed: {names} serve every call.",
    }[word]
    if not standings:
        sentence = f"{rollout} has no branch yet: start the application that declares it."
    elif not calls:
        sentence += " No call has been recorded in this window."
    reasons = tuple(f"{s.branch} at {s.at}, {s.word.text}: {s.why}" for s in standings)
    return Verdict(word=word, sentence=sentence, reasons=reasons)


def _meanwhile(standings: Sequence[Standing], join: str) -> str:
    """What users get while something is rolled back: without a required branch no fan-out replaces control."""
    back = [s for s in standings if s.word is Word.rolled_back]
    live = [s.branch for s in standings if s.share > 0]
    if not live or (join == "replace" and any(s.required for s in back)):
        return ". Users get control's answers."
    instead = "which users get from control" if join == "overlay" else "of which users see nothing"
    return f", {instead}; {_and(live)} {'stays' if len(live) == 1 else 'stay'} live."


def fields(policy: Policy) -> tuple[Field, ...]:
    """The policy in force, field by field, with origins; the dotted names are those of a spec file."""
    values: dict[str, Any] = {
        "ramp": str(policy.ramp),
        "ramp.approve": [percent(share) for share in policy.ramp.approve],
        "ramp.freeze": list(policy.ramp.freeze),
        "ramp.harm": percent(policy.ramp.harm),
        "ramp.deadline": None if policy.ramp.deadline_s is None else duration_text(policy.ramp.deadline_s),
        "ramp.auto": policy.ramp.auto,
        "gates": [gate.to_dict() for gate in policy.gates],
        "budget.latency_s": policy.latency_s,
        "budget.tokens": policy.tokens,
        "budget.usd": _dollars(policy.nano),
        "prices": _prices(policy),
        "shadow.sample": policy.sample,
        "shadow.noise": policy.noise,
        "shadow.reverse": policy.reverse,
        "shadow.usd_per_day": _dollars(policy.nano_per_day),
        "store.sample": policy.store_sample,
        "store.ttl_s": policy.ttl_s,
        "store.max_trials": policy.max_trials,
        "join": policy.join,
        "flag": policy.flag or policy.rollout,
        "sticky": policy.sticky,
        "keyed": policy.keyed,
        "revision": policy.revision,
    }
    found = []
    for name, value in values.items():
        origin = policy.origins.get(name) or policy.origins.get(name.partition(".")[0]) or "code"
        found.append(Field(name=name, value=value, origin=origin))
    return tuple(found)


def _prices(policy: Policy) -> list[dict[str, str]] | str | None:
    """The prices that a spec lays over those of the code, of which only the code knows what they are."""
    if not policy.prices:
        return "the price book of the code" if policy.origins.get("prices") == "code" else None
    lines: list[dict[str, str]] = []
    for model, (input_usd, output_usd, cached_usd) in policy.prices.items():
        cached = {} if cached_usd is None else {"cached_input": cached_usd}
        lines.append({"model": model, "input": input_usd, "output": output_usd, **cached})
    return lines


def _dollars(nano: int | None) -> Decimal | None:
    """Exact, without zeros at the end."""
    return None if nano is None else Decimal(f"{usd_of(nano).normalize():f}")


def _findings(standings: Sequence[Standing]) -> tuple[Finding, ...]:
    """Each finding once (branches of a group share theirs), the worst grade first."""
    order = (Grade.breach, Grade.error, Grade.doubt, Grade.passed)
    unique = {(f.unit, f.gate): f for standing in standings for f in standing.findings}
    return tuple(sorted(unique.values(), key=lambda f: (order.index(f.grade), f.unit, f.gate)))


def _window(material: Material) -> Window:
    """The span, and the rate of calls from the first to the last: it does not move with whoever looks later."""
    calls = parts.whole(material.totals)["calls"]
    if material.extent is None or not calls:
        return Window(since=material.since, until=material.now, first=None, last=None, calls_per_s=None)
    first, last = (float(end) for end in material.extent)
    rate = calls / (last - first)
    return Window(since=material.since, until=material.now, first=first, last=last, calls_per_s=rate)


def _completeness(material: Material, whole: Figures, written: int) -> Completeness:
    """``written``: trials that the database took."""
    stored, oldest, newest = material.stored
    dropped = whole.starting("dropped:")
    return Completeness(
        late_blocks=material.late_blocks,
        dropped=dropped,
        arrived=parts.share(written, written + sum(dropped.values())),
        processes=tuple(material.processes),
        hooks=whole.starting("hook:"),
        stored=stored,
        oldest=oldest,
        newest=newest,
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
