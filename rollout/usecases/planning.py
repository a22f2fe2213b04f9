"""The verbs that look ahead: ``plan`` and ``simulate``. Neither changes anything, nor keeps the database open.

    outlook = look_ahead(await settings(backend, "profile", wanted=Wanted()))
    at = await setting(backend, "profile", "orders", wanted=Wanted(traffic=100.0))
    planned = plan(at, within_s=86_400.0)
    simulated = simulate(at, runs=200, seed=7, dice=random.Random)

What nobody says is taken from what was recorded in the last day in which there were calls: traffic, control's errors
and latency, mismatches, missed SLAs, costs. ``About.origins`` tells of each where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rollout.domain import planning
from rollout.domain.durations import percent
from rollout.domain.lifecycle import at_share, share_of, stage_at
from rollout.domain.planning import Step
from rollout.domain.ramp import Ramp
from rollout.domain.simulation.draws import Chance, Dice
from rollout.domain.simulation.replay import Scenario, replay
from rollout.domain.simulation.summary import Summary, summary
from rollout.domain.simulation.truth import Drift, Outage, Truth
from rollout.domain.state import Mode, Policy
from rollout.errors import Refused
from rollout.ports import Backend
from rollout.usecases.rates import Origin, Rates, Traffic
from rollout.usecases.reached import Reached, reached_by
from rollout.usecases.standpoint import Standpoint

#: A mean cost of control that is as good as any other, in nano-dollars, where nothing is known.
_SOME_NANO: Final = 1_000_000.0

MakeDice = Callable[[str], Dice]  # of a seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person says; None: nothing. ``traffic``: calls a second. ``ramp``: as ``Ramp.parse`` reads it. ``start``:
    the share of the stage to begin at, None for where the unit stands. ``dearer``: the unit's cost above control's,
    relative; above its own where control costs nothing. All others as in ``Truth``.
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
    start: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is planned or simulated. ``units``: how many the rollout has. ``traffic``: calls a second; ``recorded``: the
    calls that it is of, None where it is given. ``origins``: where ``traffic`` and some fields of ``truth`` come from.
    ``keyed``: whether each caller counts once a stage. ``people``: what waits for a person or a date, as sentences:
    that is not in it.
    """

    rollout: str
    unit: str
    units: int
    ramp: str
    harm: float
    soak_s: float
    gates: Sequence[str]
    traffic: float
    recorded: Traffic | None
    truth: Truth
    origins: Mapping[str, Origin]
    keyed: bool
    people: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``approve``: the approvals in force. ``standing``: the shares at which branches of the rollout are live now.
    ``reached``: None where a person says at which stage to begin. ``soak_left_s``: of the stage that is reached."""

    about: About
    approve: Sequence[float]
    standing: Collection[float]
    reached: Reached | None
    soak_left_s: float
    scenario: Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A ramp that fits the time, as declared. ``approve``: what is left of the approvals, None where there are none.
    ``seconds``: from now on.
    """

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
    """``steps``: from the stage on at which it stands, from shadow on where it must be resumed first; none once it is
    completed. ``seconds``, ``calls``: from the entry of the first until the last stage is entered, None where it never
    is. ``left_s``: seconds until then from now on; None where it never is, or waits for a person first. ``in_time``:
    whether that is within ``within_s``, None if nobody asked; where it is not, ``options`` are ramps that are, and
    ``loosest`` stands where there are none.
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
class Outlook:
    """All units of a rollout, without what each step would let through, nor what else would fit. ``left_s``,
    ``in_time``: of all of them, as in ``Planned``."""

    rollout: str
    units: Sequence[Planned]
    left_s: float | None
    within_s: float | None
    in_time: bool | None


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
    return _setting(at, at.units(branch)[0], await Rates.of(backend, at.policy), wanted)


async def settings(backend: Backend, rollout: str, *, wanted: Wanted) -> tuple[Setting, ...]:
    """The same of every unit of a rollout, in the order declared; ``Refused`` too where it has none yet."""
    at = await Standpoint.of(backend, rollout)
    if not (units := at.units(None)):
        raise Refused(f"{rollout} has no branch yet: start the application that declares it.")
    rates = await Rates.of(backend, at.policy)
    return tuple(_setting(at, unit, rates, wanted) for unit in units)


def look_ahead(units: Sequence[Setting], within_s: float | None = None) -> Outlook:
    """How long each unit takes from where it stands. ``units``: at least one, of the same rollout."""
    found = tuple(_planned(at, within_s, worst=False) for at in units)
    spans = [one.left_s for one in found]
    left_s = None if None in spans else max(span for span in spans if span is not None)
    return Outlook(
        rollout=units[0].about.rollout,
        units=found,
        left_s=left_s,
        within_s=within_s,
        in_time=_in_time(left_s, within_s),
    )


def plan(at: Setting, within_s: float | None = None) -> Planned:
    """How long each step takes; where that is more than ``within_s``, which ramps take less."""
    found = _planned(at, within_s, worst=True)
    if found.in_time is not False or within_s is None or _stands_still(at):
        return found
    gone_s = 0.0 if found.seconds is None or found.left_s is None else found.seconds - found.left_s
    options = _options(at, within_s, gone_s)
    return replace(found, options=options, loosest=None if options else _loosest(at))


def _planned(at: Setting, within_s: float | None, *, worst: bool) -> Planned:
    """A plan without what would fit the time."""
    reached = at.reached
    if reached is not None and reached.mode is Mode.completed:
        found = planning.Plan(ramp=at.scenario.policy.ramp, steps=())
    else:
        found = planning.plan(at.scenario, worst=worst)
    left_s = found.seconds if reached is None else found.after(reached.calls, at.soak_left_s)
    if _stands_still(at):
        left_s = None
    return Planned(
        about=at.about,
        steps=found.steps,
        seconds=found.seconds,
        calls=found.calls,
        reached=reached,
        left_s=left_s,
        within_s=within_s,
        in_time=_in_time(left_s, within_s),
        options=(),
        loosest=None,
    )


def _in_time(left_s: float | None, within_s: float | None) -> bool | None:
    return None if within_s is None else left_s is not None and left_s <= within_s


def _stands_still(at: Setting) -> bool:
    return at.reached is not None and at.reached.waits != ""


def _setting(at: Standpoint, unit: str, rates: Rates, wanted: Wanted) -> Setting:
    policy = replace(at.policy, ramp=_ramp(at.policy.ramp, wanted))
    truth, origins = _truth(policy, wanted, *rates.known(unit))
    origins["traffic"] = "recorded" if wanted.traffic is None else "given"
    traffic = _traffic(policy.rollout, rates.traffic) if wanted.traffic is None else wanted.traffic
    about = About(
        rollout=policy.rollout,
        unit=unit,
        units=len(policy.units()),
        ramp=policy.ramp.text(),
        harm=policy.ramp.harm,
        soak_s=policy.ramp.soak_s,
        gates=tuple(spec.name for spec in policy.gates),
        traffic=traffic,
        recorded=rates.traffic if wanted.traffic is None else None,
        truth=truth,
        origins=origins,
        keyed=policy.scores_keys,
        people=tuple(_people(policy.ramp)),
    )
    share = share_of(at.members(unit))
    start = stage_at(policy.ramp, share) if wanted.start is None else _stage(policy.ramp, wanted.start)
    reached = reached_by(at, unit, rates) if wanted.start is None else None
    same = reached is not None and share in policy.ramp.stages  # else the stage of the plan is none that it entered
    if reached is not None and not (same and wanted.errors is None and wanted.mismatches is None):
        reached = replace(reached, calls=0.0)  # what came is no evidence of another stage, or of what is not the case
    return Setting(
        about=about,
        approve=at.policy.ramp.approve,
        standing={state.share for state in at.states.values() if state.live},
        reached=reached,
        soak_left_s=max(0.0, policy.ramp.soak_at(start) - (reached.seconds if reached is not None and same else 0.0)),
        scenario=Scenario.of(policy, unit, truth, traffic, start),
    )


def _options(at: Setting, within_s: float, gone_s: float) -> tuple[Option, ...]:
    """``gone_s``: how much of the plan is over."""
    return tuple(
        Option(
            ramp=fit.ramp.text(),
            harm=fit.ramp.harm,
            approve=_approvals(at.approve, fit.ramp.stages),
            seconds=max(0.0, fit.seconds - gone_s),
            worst_errors=fit.worst_errors,
        )
        for fit in planning.fits(at.scenario, within_s + gone_s, at.standing)
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


def _truth(
    policy: Policy, wanted: Wanted, known: Mapping[str, float], known_origins: Mapping[str, Origin]
) -> tuple[Truth, dict[str, Origin]]:
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
    return truth, {**origins, **known_origins, **dict.fromkeys(given, "given")}


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


def _traffic(rollout: str, traffic: Traffic | None) -> float:
    if traffic is None or traffic.per_s is None:
        raise Refused(
            f"Fewer than two calls of {rollout} were recorded, so its traffic is not known. "
            "Say how much there is: --traffic 100/s, or --traffic 5/h."
        )
    return traffic.per_s
