"""The verbs that look ahead: ``plan`` and ``simulate``. Neither changes anything, nor keeps the database open.

    at = await setting(backend, "profile", wanted=Wanted(traffic=100.0))
    planned = plan(at, within_s=86_400.0)
    simulated = simulate(at, runs=200, seed=7, dice=random.Random)

What nobody says is taken from what was recorded in the last day: traffic, control's errors and latency, mismatches,
missed SLAs, costs. ``About.origins`` tells of each where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from rollout.domain import planning, report_parts
from rollout.domain.durations import percent
from rollout.domain.lifecycle import at_share, mode_of, share_of
from rollout.domain.planning import Step
from rollout.domain.ramp import Ramp
from rollout.domain.simulation.draws import Chance, Dice
from rollout.domain.simulation.recorded import recorded
from rollout.domain.simulation.replay import Scenario, replay
from rollout.domain.simulation.summary import Summary, summary
from rollout.domain.simulation.truth import Drift, Outage, Truth
from rollout.domain.state import Mode, Policy
from rollout.errors import Refused
from rollout.ports import Backend
from rollout.usecases.standpoint import Standpoint

#: How far back recorded calls count, and the step in which they are read, in seconds.
RECENT_S: Final = 86_400
_STEP_S: Final = 60
#: A mean cost of control that is as good as any other, in nano-dollars, where nothing is known.
_SOME_NANO: Final = 1_000_000.0

Origin = Literal["given", "recorded", "assumed"]
MakeDice = Callable[[str], Dice]  # of a seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person says; None: nothing. ``traffic``: calls a second. ``ramp``: as ``Ramp.parse`` reads it. ``start``:
    the share of the stage to begin at. ``dearer``: the unit's cost above control's, relative; above its own where
    control costs nothing. All others as in ``Truth``.
    """

    traffic: float | None = None
    errors: float | None = None
    worse_errors: float | None = None
    slower: float = 0.0
    mismatches: float | None = None
    dearer: float | None = None
    drift: Drift | None = None
    outages: Sequence[Outage] = ()
    users: int | None = None
    ramp: str | None = None
    harm: float | None = None
    start: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is planned or simulated. ``units``: how many the rollout has. ``traffic``: calls a second. ``origins``:
    where ``traffic`` and some fields of ``truth`` come from. ``keyed``: whether each caller counts once a stage.
    ``people``: what waits for a person or a date, as sentences: that is not in it.
    """

    rollout: str
    unit: str
    units: int
    ramp: str
    harm: float
    soak_s: float
    gates: Sequence[str]
    traffic: float
    truth: Truth
    origins: Mapping[str, Origin]
    keyed: bool
    people: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Where the unit's ramp stands now: at this share, for so many seconds."""

    share: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``approve``: the approvals in force. ``standing``: the shares at which branches of the rollout are live now.
    ``reached``: None where the unit's ramp does not move, or is at no stage of the one that is planned."""

    about: About
    approve: Sequence[float]
    standing: Collection[float]
    reached: Reached | None
    scenario: Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A ramp that fits the time, as declared. ``approve``: what is left of the approvals, None where there are none."""

    ramp: str
    harm: float
    approve: str | None
    seconds: float
    worst_errors: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosest:
    """The fastest ramp that was tried where none fits. ``seconds``: None for ever. ``waits_for``: most of the time."""

    ramp: str
    harm: float
    seconds: float | None
    waits_for: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """``seconds``, ``calls``: from the first stage on until the last is entered, None where it never is. ``left_s``:
    seconds until then from where it stands (``reached``), None where it never is, or where it stands nowhere.
    ``in_time``: whether ``seconds`` is within ``within_s``, None if nobody asked; where it is not, ``options`` are
    ramps that are, and ``loosest`` stands where there are none.
    """

    about: About
    steps: Sequence[Step]
    seconds: float | None
    calls: int | None
    reached: Reached | None
    left_s: float | None
    within_s: float | None
    in_time: bool | None
    options: Sequence[Option]
    loosest: Loosest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """``deadline_s``: after so many seconds at a stage a ramp counts as undecided."""

    about: About
    start: str
    deadline_s: float
    seed: int
    summary: Summary


async def setting(backend: Backend, rollout: str, branch: str | None = None, *, wanted: Wanted) -> Setting:
    """Read what is in force and what was recorded. ``branch``: left out, the first one.

    ``UnknownName`` for a rollout or branch that is not there; ``Refused`` where what is wanted cannot be, or where the
    traffic is neither given nor recorded.
    """
    at = await Standpoint.of(backend, rollout)
    unit = at.units(branch)[0]
    policy = replace(at.policy, ramp=_ramp(at.policy.ramp, wanted))
    truth, origins = _truth(policy, wanted, await _recorded(backend, at, unit))
    origins["traffic"] = "recorded" if wanted.traffic is None else "given"
    traffic = await _traffic(backend, at) if wanted.traffic is None else wanted.traffic
    about = About(
        rollout=rollout,
        unit=unit,
        units=len(policy.units()),
        ramp=policy.ramp.text(),
        harm=policy.ramp.harm,
        soak_s=policy.ramp.soak_s,
        gates=tuple(spec.name for spec in policy.gates),
        traffic=traffic,
        truth=truth,
        origins=origins,
        keyed=policy.scores_keys,
        people=tuple(_people(policy.ramp)),
    )
    scenario = Scenario.of(policy, unit, truth, traffic, _stage(policy.ramp, wanted.start))
    standing = {state.share for state in at.states.values() if state.live}
    return Setting(
        about=about,
        approve=at.policy.ramp.approve,
        standing=standing,
        reached=_reached(at, unit, policy.ramp),
        scenario=scenario,
    )


def plan(at: Setting, within_s: float | None = None) -> Planned:
    """How long each step takes; where that is more than ``within_s``, which ramps take less."""
    found = planning.plan(at.scenario)
    in_time = None if within_s is None else found.seconds is not None and found.seconds <= within_s
    options = () if within_s is None or in_time else _options(at, within_s)
    return Planned(
        about=at.about,
        steps=found.steps,
        seconds=found.seconds,
        calls=found.calls,
        reached=at.reached,
        left_s=None if at.reached is None else _left(found.steps, at.reached),
        within_s=within_s,
        in_time=in_time,
        options=options,
        loosest=_loosest(at) if in_time is False and not options else None,
    )


def _reached(at: Standpoint, unit: str, ramp: Ramp) -> Reached | None:
    members = at.members(unit)
    share = share_of(members)
    if mode_of(members) is not Mode.active or share not in ramp.stages:
        return None
    return Reached(share=share, seconds=max(0.0, at.now - max(state.entered_at for state in members)))


def _left(steps: Sequence[Step], reached: Reached) -> float | None:
    """Seconds until the last stage is entered: of the steps that are left, less what has passed of the first. None too
    where the plan comes to no such stage.
    """
    if reached.share not in {step.share for step in steps}:
        return None
    ahead = [step.seconds for step in steps if step.target is not None and step.share >= reached.share]
    spans = [span for span in ahead if span is not None]
    if len(spans) < len(ahead):
        return None
    return max(0.0, spans[0] - reached.seconds) + sum(spans[1:]) if spans else 0.0


def _options(at: Setting, within_s: float) -> tuple[Option, ...]:
    return tuple(
        Option(
            ramp=fit.ramp.text(),
            harm=fit.ramp.harm,
            approve=_approvals(at.approve, fit.ramp.stages),
            seconds=fit.seconds,
            worst_errors=fit.worst_errors,
        )
        for fit in planning.fits(at.scenario, within_s, at.standing)
    )


def _approvals(approve: Sequence[float], stages: Sequence[float]) -> str | None:
    return " ".join(percent(share) for share in approve if share in stages) if approve else None


def _loosest(at: Setting) -> Loosest:
    found = planning.loosest(at.scenario, at.standing)
    ramp = found.ramp
    return Loosest(ramp=ramp.text(), harm=ramp.harm, seconds=found.seconds, waits_for=found.longest.waits_for)


def simulate(
    at: Setting, *, runs: int, seed: int, dice: MakeDice, done: Callable[[int], None] = lambda number: None
) -> Simulated:
    """Replay the ramp ``runs`` times. ``done`` is told after each how many are. The same seed gives the same ramps."""
    ramps = []
    for number in range(1, runs + 1):
        ramps.append(replay(at.scenario, Chance(dice(f"{seed}:{number}"))))
        done(number)
    return Simulated(
        about=at.about,
        start=at_share(at.scenario.policy.ramp.stages[at.scenario.start]),
        deadline_s=at.scenario.deadline_s,
        seed=seed,
        summary=summary(ramps),
    )


def _ramp(declared: Ramp, wanted: Wanted) -> Ramp:
    """The ramp in force, or the one to be tried, with the soak time of the one in force."""
    ramp = declared
    if wanted.ramp is not None:
        tried = Ramp.parse(wanted.ramp)
        approve = tuple(share for share in declared.approve if share in tried.stages)
        ramp = replace(declared, stages=tried.stages, approve=approve, faults=tried.faults)
    if wanted.harm is not None:
        ramp = replace(ramp, harm=wanted.harm)
    if problems := ramp.problems():
        raise Refused(f"The ramp cannot be tried: {'; '.join(problems)}.")
    return ramp


def _stage(ramp: Ramp, share: float) -> int:
    for stage, one in enumerate(ramp.stages):
        if abs(one - share) < 1e-9:
            return stage
    raise Refused(f"{percent(share)} is no stage of the ramp {ramp.text()}. Begin at one of them.")


def _people(ramp: Ramp) -> Iterator[str]:
    if ramp.approve:
        yield f"a person must approve {', '.join(map(percent, ramp.approve))}"
    if ramp.freeze:
        yield f"promotion is frozen {', '.join(ramp.freeze)}"
    if not ramp.auto:
        yield "the ramp is moved by hand"


async def _recorded(backend: Backend, at: Standpoint, unit: str) -> dict[str, float]:
    totals = await backend.ledger.totals(at.policy.rollout, since=at.now - RECENT_S)
    units = report_parts.by_unit(totals)
    a, b, pairs = (report_parts.summed(units, unit, arm) for arm in ("A", "B", "P"))
    return recorded(a, b, pairs)


def _truth(policy: Policy, wanted: Wanted, known: Mapping[str, float]) -> tuple[Truth, dict[str, Origin]]:
    """What was recorded, and over it what is wanted."""
    given = {name: value for name in ("errors", "mismatches") if (value := getattr(wanted, name)) is not None}
    costs = _costs(policy, known, wanted.dearer)
    truth = Truth(
        **{**known, **costs, **given},
        worse_errors=wanted.worse_errors,
        slower=wanted.slower,
        drift=wanted.drift,
        outages=tuple(wanted.outages),
        users=wanted.users,
    )
    if problems := list(truth.problems()):
        raise Refused(f"That cannot be: {'; '.join(problems)}.")
    if wanted.users is not None and not policy.scores_keys:
        raise Refused(f"{policy.rollout} draws every call by itself and tells no users apart. Leave the users out.")
    origins: dict[str, Origin] = {"errors": "assumed", **dict.fromkeys(costs, "assumed")}
    return truth, {**origins, **dict.fromkeys(known, "recorded"), **dict.fromkeys(given, "given")}


def _costs(policy: Policy, known: Mapping[str, float], dearer: float | None) -> dict[str, float]:
    """The mean costs that gates look at: where nobody knows them, half of what is allowed, the same on both sides where
    they are compared."""
    specs = [spec for spec in policy.gates if spec.kind == "cost"]
    if not specs:
        return {"nano": 0.0, "control_nano": 0.0}
    limits = [spec.at_most for spec in specs if spec.at_most is not None]
    nano = known.get("nano", min(limits, default=2 * _SOME_NANO) / 2)
    compared = any(spec.worse_by is not None for spec in specs)
    control = known.get("control_nano", nano if compared else 0.0)
    if dearer is not None:
        nano = (control or nano) * (1 + dearer)
    return {"nano": nano, "control_nano": control}


async def _traffic(backend: Backend, at: Standpoint) -> float:
    """Calls a second in the last day, from the first one on."""
    name, until = at.policy.rollout, at.now - at.policy.settle_s
    series = await backend.ledger.series(name, "", at.now - RECENT_S, at.now, _STEP_S)
    steps = [(second, calls) for second, arms in series if (calls := sum(one["calls"] for one in arms.values()))]
    if not steps:
        raise Refused(
            f"No call of {name} was recorded in the last day, so its traffic is not known. "
            "Say how much there is: --traffic 100/s, or --traffic 5/h."
        )
    return sum(calls for _, calls in steps) / max(until - steps[0][0], 1.0)
