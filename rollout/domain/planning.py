"""How long a ramp takes, what it would let through, and which ramp fits the time there is.

A plan is a replay without dice: calls come as they do on average, and all else is what the controller does. So it knows
what each gate needs, what it costs to bet on several rates at once, soak and settle time, as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Final

from rollout.domain.ramp import Ramp
from rollout.domain.simulation.draws import Average
from rollout.domain.simulation.replay import End, Position, Scenario, Stay, beginning, stay_at
from rollout.domain.simulation.world import World

#: The harm budgets that are tried.
HARMS: Final = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
#: The lowest error rate of a candidate that is asked about.
_LEAST: Final = 1e-6
#: How often the span of rates in question is halved, by logarithm.
_HALVINGS: Final = 5
#: A candidate that has not taken the step after so many times the planned time is not let through.
_PATIENCE: Final = 3
#: How closely to look (``Scenario.fine``) where many ramps are tried, and where many rates are.
_MANY_RAMPS: Final = 20
_MANY_RATES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage of a plan. ``target``: the share of the step that ends it, None at the last one (which bakes).

    ``seconds``, ``calls``: until then; None where it does not come, and ``end`` says why. ``waits_for``: what comes
    last: gates, or ``"soak"``. ``worst_errors``: a candidate that fails so often (a share of calls) is about as likely
    to take the step as not; 1 where no gate looks at errors, None where no step is taken, or nobody asked.
    """

    share: float
    target: float | None
    seconds: float | None
    calls: int | None
    waits_for: Sequence[str]
    worst_errors: float | None = None
    end: End | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A ramp step by step, up to the one that is not taken, if there is one; without a step where none is left."""

    ramp: Ramp
    steps: Sequence[Step]

    @property
    def seconds(self) -> float | None:
        """Until the last stage is entered; None where it never is."""
        spans = [step.seconds for step in self.steps if step.target is not None]
        return None if None in spans else sum(span for span in spans if span is not None)

    @property
    def calls(self) -> int | None:
        """As ``seconds``: all calls until then."""
        counts = [step.calls for step in self.steps if step.target is not None]
        return None if None in counts else sum(count for count in counts if count is not None)

    def after(self, calls: float, soak_left_s: float) -> float | None:
        """Seconds that are left until the last stage is entered, when so many calls came at the first one, and so much
        of its soak is left. None where it never is."""
        if self.seconds is None or self.calls is None:
            return None
        first = next(iter(self.steps), None)
        if first is None or first.target is None or first.seconds is None or first.calls is None:
            return 0.0
        judging_s = 0.0 if "soak" in first.waits_for else first.seconds * max(0.0, 1 - calls / max(first.calls, 1))
        return max(soak_left_s, judging_s) + self.seconds - first.seconds

    @property
    def longest(self) -> Step:
        """The step that takes most of the time."""
        return max(self.steps, key=lambda step: inf if step.seconds is None else step.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A ramp that fits the time. ``seconds``: until its last stage is entered; ``worst_errors``: of its last step."""

    ramp: Ramp
    seconds: float
    worst_errors: float


def plan(scenario: Scenario, *, worst: bool = True) -> Plan:
    """The ramp of a scenario, from the stage on at which it begins. ``worst``: with what each step would let through,
    which takes most of the time.
    """
    steps = (_step(scenario, at, stay) if worst else _bare(scenario, stay) for at, stay in _path(scenario))
    return Plan(ramp=scenario.policy.ramp, steps=tuple(steps))


def fits(scenario: Scenario, within_s: float, keep: Collection[float] = ()) -> tuple[Fit, ...]:
    """Ramps that come to their last stage in so many seconds: the declared one and those that leave out its lowest
    shares, each with the least harm budget (from the declared one up) that does it. The least budget first, then the
    most stages. ``keep``: shares that must not be left out, because a branch stands there; nor is the one at which the
    scenario begins.
    """
    ramps = _shorter(scenario, keep)
    found = [fit for ramp in ramps if (fit := _fit(scenario, ramp, within_s)) is not None]
    return tuple(sorted(found, key=lambda fit: (fit.ramp.harm, -len(fit.ramp.stages))))


def loosest(scenario: Scenario, keep: Collection[float] = ()) -> Plan:
    """The fastest of all that ``fits`` tries, in case none does: the fewest stages, the largest harm budget."""
    *_, ramp = _shorter(scenario, keep)
    return plan(_of_ramp(scenario, replace(ramp, harm=max(ramp.harm, HARMS[-1]))), worst=False)


def worst_errors(scenario: Scenario, at: Position, target: float, planned_s: float) -> float:
    """See ``Step``. ``at``: the entry of a stage that a healthy branch leaves for ``target`` after ``planned_s``."""
    deadline_s = min(scenario.deadline_s, _PATIENCE * planned_s)
    scenario = replace(scenario, fine=_MANY_RATES, deadline_s=deadline_s)
    low = max(_LEAST, scenario.truth.errors)
    for high in (min(1.0, low + 2 * scenario.policy.ramp.tolerance(target)), 1.0):
        if not _passes(scenario, at, high):
            break
        low = high
    else:
        return 1.0
    for _ in range(_HALVINGS):
        rate = sqrt(low * high)
        low, high = (rate, high) if _passes(scenario, at, rate) else (low, rate)
    return high


def _step(scenario: Scenario, at: Position, stay: Stay) -> Step:
    step = _bare(scenario, stay)
    if step.target is None or step.seconds is None:
        return step
    return replace(step, worst_errors=worst_errors(scenario, at, step.target, step.seconds))


def _bare(scenario: Scenario, stay: Stay) -> Step:
    """The step of a stay, without what it would let through."""
    target = next((share for share in scenario.policy.ramp.stages if share > stay.share), None)
    if stay.end in (End.rolled_back, End.undecided):
        return Step(share=stay.share, target=target, seconds=None, calls=None, waits_for=(stay.cause,), end=stay.end)
    return Step(
        share=stay.share, target=target, seconds=stay.seconds, calls=stay.calls, waits_for=tuple(stay.waited_for)
    )


def _path(scenario: Scenario) -> Iterator[tuple[Position, Stay]]:
    """The stages of a ramp on average, each with where it stood before."""
    world = World(scenario.policy, scenario.truth, scenario.traffic, Average())
    at: Position | None = beginning(scenario)
    while at is not None:
        before = at
        stay, at = stay_at(scenario, world, at)
        yield before, stay


def _passes(scenario: Scenario, at: Position, errors: float) -> bool:
    """Whether a candidate that fails so often from here on takes the next step, on average."""
    scenario = replace(scenario, truth=replace(scenario.truth, worse_errors=errors))
    world = World(scenario.policy, scenario.truth, scenario.traffic, Average())
    stay, _ = stay_at(scenario, world, at)
    return stay.end is None


def _shorter(scenario: Scenario, keep: Collection[float]) -> Iterator[Ramp]:
    """The ramp, and those without its lowest live shares, as long as two are left."""
    ramp = scenario.policy.ramp
    yield ramp
    shadow, *live = ramp.stages
    while len(live) > 2 and live[0] not in {*keep, ramp.stages[scenario.start]}:
        live.pop(0)
        yield replace(ramp, stages=(shadow, *live))


def _fit(scenario: Scenario, ramp: Ramp, within_s: float) -> Fit | None:
    """A ramp with the least harm budget that fits: with more of it nothing takes longer, so halving finds it."""
    budgets = [ramp.harm, *(harm for harm in HARMS if harm > ramp.harm)]
    low, high = 0, len(budgets)
    found: tuple[Scenario, Position, float] | None = None
    while low < high:
        middle = (low + high) // 2
        tried = _of_ramp(scenario, replace(ramp, harm=budgets[middle]))
        arrival = _arrival(tried, within_s)
        if arrival is None:
            low = middle + 1
        else:
            found, high = (tried, *arrival), middle
    if found is None:
        return None
    tried, before, entered = found
    worst = worst_errors(tried, before, ramp.stages[-1], entered - before.now)
    return Fit(ramp=tried.policy.ramp, seconds=entered, worst_errors=worst)


def _of_ramp(scenario: Scenario, ramp: Ramp) -> Scenario:
    start = ramp.stages.index(scenario.policy.ramp.stages[scenario.start])
    return replace(scenario, policy=replace(scenario.policy, ramp=ramp), start=start, fine=_MANY_RAMPS)


def _arrival(scenario: Scenario, within_s: float) -> tuple[Position, float] | None:
    """Where a ramp stands before its last step, and when that is taken; None if not in time."""
    patient = replace(scenario, deadline_s=min(scenario.deadline_s, within_s))
    last = scenario.policy.ramp.stages[-1]
    before: Position | None = None
    for at, stay in _path(patient):
        if at.now > within_s:
            return None
        if stay.share == last:
            return None if before is None else (before, at.now)
        before = at
    return None
