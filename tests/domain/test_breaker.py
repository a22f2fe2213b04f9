"""The circuit breaker: every row of its table, its limits to the call, and any order of events against a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, nan
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rollout.domain.breaker import SLICES, TABLE, UNCOUNTED, Breaker, Circuit, Ending, Event, State

SMALL = Breaker(minimum=2, window=4, open_s=10.0, probes=3)


def run(circuit: Circuit, ending: Ending, now: float = 0.0, took_s: float = 0.1) -> State:
    """One call from admission to its end; the state it leaves."""
    permit = circuit.admit(now)
    assert permit is not None, f"refused while {circuit.state}"
    circuit.report(permit, ending, took_s, now)
    return circuit.state


def run_many(circuit: Circuit, ending: Ending, many: int, now: float = 0.0) -> State:
    for _ in range(many):
        run(circuit, ending, now)
    return circuit.state


def opened(policy: Breaker = SMALL, now: float = 0.0) -> Circuit:
    circuit = Circuit(policy)
    assert run_many(circuit, Ending.failure, policy.minimum, now) is State.open
    return circuit


def half_opened(policy: Breaker = SMALL) -> Circuit:
    """Half-open at ``open_s``, no permit left but that of the first probe, which was cancelled."""
    circuit = opened(policy)
    assert run(circuit, Ending.neutral, policy.open_s) is State.half_open
    return circuit


# The table

REACH: dict[State, Callable[[], Circuit]] = {
    State.closed: lambda: Circuit(SMALL),
    State.open: opened,
    State.half_open: half_opened,
}
CAUSE: dict[Event, Callable[[Circuit], object]] = {
    Event.failing: lambda circuit: run_many(circuit, Ending.failure, 2, 10.0),
    Event.slowing: lambda circuit: run_many(circuit, Ending.slow, 2 if circuit.state is State.closed else 3, 10.0),
    Event.rested: lambda circuit: circuit.admit(10.0),
    Event.recovered: lambda circuit: run_many(circuit, Ending.success, 3, 10.0),
    Event.lost: lambda circuit: [circuit.admit(now) for now in (10.0, 10.0, 10.0, 20.0)],
}


@pytest.mark.parametrize(("state", "event"), TABLE)
def test_every_row_of_the_table_moves_begins_a_generation_and_is_counted(state: State, event: Event) -> None:
    circuit = REACH[state]()
    generation, moves = circuit.generation, dict(circuit.transitions)
    CAUSE[event](circuit)
    assert circuit.state is TABLE[state, event]
    assert circuit.generation == generation + 1
    assert circuit.transitions == moves | {event: moves[event] + 1}


def test_the_table_knows_every_state_and_event() -> None:
    assert {state for state, _ in TABLE} == set(State) == set(TABLE.values())
    assert {event for _, event in TABLE} == set(Event)


# Closed


def test_a_new_circuit_is_closed_and_every_permit_is_true() -> None:
    circuit = Circuit(Breaker())
    assert (circuit.state, circuit.opened_at, circuit.refused) == (State.closed, None, 0)
    assert circuit.admit(0.0)
    assert UNCOUNTED


def test_by_default_10_failures_of_20_open_and_9_do_not() -> None:
    for failures, state in ((9, State.closed), (10, State.open)):
        circuit = Circuit(Breaker())
        run_many(circuit, Ending.failure, failures)
        run_many(circuit, Ending.success, 20 - failures)
        assert circuit.state is state


def test_nothing_opens_below_the_minimum_and_a_success_may_complete_it() -> None:
    circuit = Circuit(Breaker(minimum=5, window=5))
    assert run_many(circuit, Ending.failure, 4) is State.closed
    run(circuit, Ending.success, now=7.0)
    assert (circuit.state, circuit.opened_at) == (State.open, 7.0)


@pytest.mark.parametrize("percent", [1, 7, 28, 50, 55, 100])
@pytest.mark.parametrize("calls", [100, 300, 700])
@pytest.mark.parametrize(("ending", "name"), [(Ending.failure, "failure_rate"), (Ending.slow, "slow_rate")])
def test_a_rate_exactly_reached_opens_and_one_call_less_does_not(
    percent: int, calls: int, ending: Ending, name: str
) -> None:
    policy = Breaker(**{name: percent / 100, "minimum": calls, "window": calls})  # type: ignore[arg-type]
    enough = percent * calls // 100
    for bad, state in ((enough, State.open), (enough - 1, State.closed)):
        circuit = Circuit(policy)
        run_many(circuit, Ending.success, calls - bad)
        run_many(circuit, ending, bad)
        assert circuit.state is state


def test_a_call_that_the_window_no_longer_holds_does_not_count() -> None:
    circuit = Circuit(Breaker(minimum=4, window=4))
    for ending in (Ending.failure, *[Ending.success] * 4, Ending.failure, *[Ending.success] * 3, Ending.failure):
        run(circuit, ending)
    assert circuit.state is State.closed
    assert run(circuit, Ending.failure) is State.open


def test_a_cancelled_call_counts_neither_way() -> None:
    circuit = Circuit(SMALL)
    run(circuit, Ending.failure)
    assert run_many(circuit, Ending.neutral, 10) is State.closed
    run(circuit, Ending.failure)
    assert circuit.state is State.open


def test_what_was_counted_before_it_opened_is_forgotten_when_it_closes() -> None:
    circuit = half_opened()
    run_many(circuit, Ending.success, 3, 10.0)
    assert run(circuit, Ending.failure, 10.0) is State.closed


# Slow


@pytest.mark.parametrize(("took_s", "slow"), [(-1.0, False), (0.5, False), (0.5000001, True), (inf, True), (nan, True)])
def test_a_success_is_slow_above_slow_s_or_if_nobody_knows_how_long_it_took(took_s: float, slow: bool) -> None:
    circuit = Circuit(Breaker(slow_s=0.5, minimum=1))
    run(circuit, Ending.success, took_s=took_s)
    assert (circuit.state is State.open) is slow


@pytest.mark.parametrize("took_s", [1e9, inf, nan])
def test_without_slow_s_only_what_is_reported_slow_is(took_s: float) -> None:
    circuit = Circuit(SMALL)
    run(circuit, Ending.success, took_s=took_s)
    assert run(circuit, Ending.success, took_s=took_s) is State.closed


def test_a_slow_failure_is_a_failure_and_a_slow_cancellation_nothing() -> None:
    circuit = Circuit(Breaker(slow_s=0.5, failure_rate=1.0, slow_rate=0.1, minimum=2))
    run(circuit, Ending.failure, took_s=9.0)
    run(circuit, Ending.neutral, took_s=9.0)
    assert run(circuit, Ending.success) is State.closed


def test_failures_and_slow_calls_are_not_added_up() -> None:
    circuit = Circuit(Breaker(failure_rate=0.6, slow_rate=0.6, minimum=10))
    for _ in range(5):
        run(circuit, Ending.slow)
        run(circuit, Ending.failure)
    assert circuit.state is State.closed


# Open


def test_an_open_circuit_refuses_until_open_s_is_over_and_not_a_moment_longer() -> None:
    circuit = opened(now=100.0)
    assert [circuit.admit(now) for now in (100.0, 105.0, 109.999)] == [None] * 3
    assert circuit.refused == 3
    assert circuit.admit(110.0) == circuit.generation
    assert circuit.state is State.half_open


def test_opened_at_is_when_it_last_opened() -> None:
    circuit = half_opened()
    assert circuit.opened_at == 0.0
    run_many(circuit, Ending.failure, 2, 11.5)
    assert circuit.opened_at == 11.5


# Half-open


def test_of_10_000_calls_half_open_admits_exactly_its_probes() -> None:
    circuit = opened(Breaker(open_s=10.0))
    permits = [circuit.admit(10.0) for _ in range(10_000)]
    assert [permit for permit in permits if permit is not None] == [circuit.generation] * 5
    assert circuit.refused == 9_995


def test_a_cancelled_probe_gives_its_permit_back() -> None:
    circuit = half_opened()
    permits = [circuit.admit(10.0) for _ in range(3)]
    assert circuit.admit(10.0) is None
    assert permits[0] is not None
    circuit.report(permits[0], Ending.neutral, 0.1, 10.0)
    assert circuit.admit(10.0) == permits[0]
    assert circuit.admit(10.0) is None


@pytest.mark.parametrize(("failures", "state"), [(0, State.closed), (2, State.closed), (3, State.open)])
def test_the_rate_of_the_probes_decides_when_all_have_ended(failures: int, state: State) -> None:
    circuit = half_opened(Breaker(probes=5, open_s=10.0))
    endings = [Ending.success] * (5 - failures) + [Ending.failure] * failures
    for ending in endings[:-1]:
        run(circuit, ending, 10.0)
        assert circuit.state is State.half_open
    run(circuit, endings[-1], 10.0)
    assert circuit.state is state


@pytest.mark.parametrize(("ending", "event"), [(Ending.failure, Event.failing), (Ending.slow, Event.slowing)])
def test_it_opens_as_soon_as_the_other_probes_cannot_avoid_it(ending: Ending, event: Event) -> None:
    circuit = half_opened(Breaker(probes=10, failure_rate=0.3, slow_rate=0.3, open_s=10.0))
    assert run_many(circuit, ending, 2, 10.0) is State.half_open
    run(circuit, ending, 10.0)
    assert (circuit.state, circuit.transitions[event]) == (State.open, 1 + (event is Event.failing))


def test_seldom_calls_are_no_lost_probes() -> None:
    circuit = half_opened()
    for now in (1_000.0, 2_000.0, 3_000.0):
        run(circuit, Ending.success, now)
    assert circuit.state is State.closed
    assert circuit.transitions[Event.lost] == 0


def test_probes_that_never_answer_are_replaced_open_s_after_the_last_permit_and_their_results_come_too_late() -> None:
    circuit = half_opened()
    lost = [circuit.admit(now) for now in (10.0, 11.0, 15.0)]
    assert circuit.admit(24.999) is None
    fresh = [circuit.admit(25.0) for _ in range(4)]
    assert fresh == [circuit.generation] * 3 + [None]
    for permit in lost:
        assert permit is not None
        circuit.report(permit, Ending.failure, 15.0, 25.0)
    assert (circuit.state, circuit.stale) == (State.half_open, 3)


def test_the_probes_of_an_earlier_half_open_time_do_not_count_in_the_next() -> None:
    circuit = half_opened()
    assert run_many(circuit, Ending.failure, 2, 10.0) is State.open
    assert run(circuit, Ending.failure, 20.0) is State.half_open
    assert run_many(circuit, Ending.success, 2, 20.0) is State.closed


# Generations


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("reach", [opened, half_opened])
def test_a_late_result_of_an_earlier_generation_changes_nothing(reach: Callable[[], Circuit], ending: Ending) -> None:
    circuit = reach()
    before = (circuit.state, circuit.generation, circuit.opened_at, dict(circuit.transitions))
    for _ in range(100):
        circuit.report(1, ending, 60.0, 10.0)
    assert (circuit.state, circuit.generation, circuit.opened_at, circuit.transitions) == before
    assert circuit.stale == 100
    assert run_many(circuit, Ending.success, 3, 10.0) is State.closed


def test_a_late_result_does_not_count_in_the_window_of_a_later_closed_time() -> None:
    circuit = half_opened()
    run_many(circuit, Ending.success, 3, 10.0)
    for _ in range(10):
        circuit.report(1, Ending.failure, 60.0, 10.0)
    assert circuit.state is State.closed
    assert run(circuit, Ending.failure, 10.0) is State.closed


# The window of time

TIMED = Breaker(minimum=4, window=1, window_s=10.0)


def test_a_window_of_time_holds_any_number_of_calls() -> None:
    circuit = Circuit(TIMED)
    run_many(circuit, Ending.success, 10_000)
    assert run_many(circuit, Ending.failure, 9_999) is State.closed
    run(circuit, Ending.failure)
    assert circuit.state is State.open


@pytest.mark.parametrize(("now", "state"), [(9.99, State.open), *[(now, State.closed) for now in (10.0, 19.0, 1e9)]])
def test_a_call_leaves_the_window_of_time_by_its_slice(now: float, state: State) -> None:
    circuit = Circuit(TIMED)
    run(circuit, Ending.failure, 0.0)
    run_many(circuit, Ending.failure, 3, now)
    assert circuit.state is state


def test_old_successes_that_leave_the_window_of_time_let_a_rate_rise() -> None:
    circuit = Circuit(TIMED)
    run_many(circuit, Ending.success, 50, 0.0)
    assert run_many(circuit, Ending.failure, 20, 5.0) is State.closed
    run(circuit, Ending.success, 10.0)
    assert circuit.state is State.open


def test_a_call_whose_end_was_timed_before_that_of_another_counts_with_it() -> None:
    circuit = Circuit(TIMED)
    for now in (50.0, 3.0, 49.0, 50.0):
        run(circuit, Ending.failure, now)
    assert circuit.state is State.open


# Observe

OBSERVED = Breaker(minimum=2, window=4, open_s=10.0, probes=3, observe=True)


def test_observe_counts_and_moves_but_never_refuses() -> None:
    circuit = opened(OBSERVED)
    assert [circuit.admit(5.0) for _ in range(7)] == [UNCOUNTED] * 7
    assert [circuit.admit(10.0) for _ in range(7)] == [circuit.generation] * 3 + [UNCOUNTED] * 4
    assert (circuit.state, circuit.refused, circuit.would_refuse) == (State.half_open, 0, 11)


def test_observe_sees_the_results_of_probes_only() -> None:
    circuit = opened(OBSERVED)
    assert circuit.admit(5.0) == UNCOUNTED
    permits = [circuit.admit(10.0) for _ in range(20)]
    for permit in permits[3:]:
        assert permit is not None
        circuit.report(permit, Ending.failure, 0.1, 10.0)
    assert (circuit.state, circuit.stale) == (State.half_open, 0)
    for permit in permits[:3]:
        assert permit is not None
        circuit.report(permit, Ending.success, 0.1, 10.0)
    assert circuit.state is State.closed


# What a user declares


def test_the_defaults_and_the_ends_of_every_range_have_no_problems() -> None:
    least = Breaker(
        failure_rate=1e-9, slow_s=0.001, slow_rate=1e-9, minimum=1, window=1, window_s=0.001, open_s=0.001, probes=1
    )
    most = Breaker(failure_rate=1, slow_s=86_400, slow_rate=1, minimum=10**9, window_s=86_400, open_s=86_400)
    assert [policy.problems() for policy in (Breaker(), least, most, Breaker(minimum=7, window=7))] == [[]] * 4


WRONG: list[tuple[str, list[Any], str]] = [
    ("failure_rate", [0, -0.1, 1.01, 50, nan, inf, "50%", True, None], "above 0 and at most 1"),
    ("slow_rate", [0, -0.1, 1.01, 50, nan, inf, "50%", True, None], "above 0 and at most 1"),
    ("slow_s", [0, -1, 1e-9, 86_401, 10**400, nan, inf, "1s", True], "0.001 to 86 400 seconds, or None"),
    ("window_s", [0, -1, 5e-324, 86_401, 10**400, nan, inf, "1m", True], "0.001 to 86 400 seconds, or None"),
    ("open_s", [0, -1, 86_401, 10**400, nan, inf, "30s", None, True], "0.001 to 86 400 seconds"),
    ("minimum", [0, -1, 2.5, nan, "20", True, None], "whole number of at least 1"),
    ("probes", [0, -1, 2.5, nan, "5", True, None], "whole number of at least 1"),
    ("window", [0, -1, 99.5, nan, "100", True, None, 10**12], "1 to 1 000 000"),
    ("observe", [1, "yes", None], "True or False"),
]


@pytest.mark.parametrize(
    ("name", "value", "remedy"), [(name, value, remedy) for name, values, remedy in WRONG for value in values]
)
def test_a_mistake_names_the_field_the_value_and_the_remedy(name: str, value: Any, remedy: str) -> None:
    (problem,) = Breaker(**{name: value}).problems()
    assert problem.startswith(f"{name} is {value!r}; ")
    assert remedy in problem


def test_a_minimum_that_the_window_can_never_hold_is_a_mistake_unless_the_window_is_of_time() -> None:
    (problem,) = Breaker(minimum=20, window=10).problems()
    assert "minimum is 20" in problem
    assert "lower minimum to 10" in problem
    assert Breaker(minimum=20, window=10, window_s=60.0).problems() == []


def test_every_mistake_is_reported_at_once() -> None:
    wrong = Breaker(failure_rate=2, slow_s=0, slow_rate=0, minimum=0, window=0, window_s=0, open_s=0, probes=0)
    assert [problem.split()[0] for problem in wrong.problems()] == [
        *("failure_rate", "slow_rate", "slow_s", "window_s", "open_s", "minimum", "probes", "window")
    ]


# Any order of events, against a model that remembers every call and works everything out anew


@dataclass
class Model:
    """What the documentation says, slowly: lists of all that happened, exact fractions, nothing kept up to date."""

    policy: Breaker
    state: State = State.closed
    generation: int = 1
    moved_at: float = 0.0
    permits: list[tuple[int, float]] = field(default_factory=list)  # generation, when
    endings: list[tuple[int, Ending, float]] = field(default_factory=list)  # generation, how, when
    not_let_through: int = 0
    late: int = 0

    def admit(self, now: float) -> int | None:
        rested = now >= self.moved_at + self.policy.open_s
        if self.state is State.open and rested:
            self._enter(State.half_open, now)
        elif self.state is State.half_open and self.probes_out() == self.policy.probes:
            last = max(at for generation, at in self.permits if generation == self.generation)
            if now >= last + self.policy.open_s:
                self._enter(State.half_open, now)
        out_of_probes = self.state is State.half_open and self.probes_out() == self.policy.probes
        if self.state is State.open or out_of_probes:
            self.not_let_through += 1
            return UNCOUNTED if self.policy.observe else None
        self.permits.append((self.generation, now))
        return self.generation

    def report(self, permit: int, ending: Ending, took_s: float, now: float) -> None:
        if permit == UNCOUNTED:
            return
        if permit != self.generation:
            self.late += 1
            return
        if ending is Ending.success and self.policy.slow_s is not None and took_s > self.policy.slow_s:
            ending = Ending.slow
        self.endings.append((permit, ending, now))
        held = self._held(now)
        if self.state is State.closed:
            of, enough = len(held), ending is not Ending.neutral and len(held) >= self.policy.minimum
        else:
            of, enough = self.policy.probes, len(held) == self.policy.probes
        bad = any(
            held.count(which) > 0 and Fraction(held.count(which), of) >= Fraction(str(rate))
            for which, rate in ((Ending.failure, self.policy.failure_rate), (Ending.slow, self.policy.slow_rate))
        )
        if bad and (enough or self.state is State.half_open):
            self._enter(State.open, now)
        elif enough and self.state is State.half_open:
            self._enter(State.closed, now)

    def probes_out(self) -> int:
        """The permits of this generation that were not given back."""
        back = [e for generation, e, _ in self.endings if generation == self.generation and e is Ending.neutral]
        return len([1 for generation, _ in self.permits if generation == self.generation]) - len(back)

    def _held(self, now: float) -> list[Ending]:
        """The endings of this generation that the window holds; half-open, all of its probes'."""
        mine = [(e, at) for generation, e, at in self.endings if generation == self.generation]
        told = [(e, at) for e, at in mine if e is not Ending.neutral]
        if self.state is State.half_open:
            return [e for e, _ in told]
        if self.policy.window_s is None:
            return [e for e, _ in told[-self.policy.window :]]
        slice_s = self.policy.window_s / SLICES
        return [e for e, at in told if at // slice_s > now // slice_s - SLICES]

    def _enter(self, state: State, now: float) -> None:
        self.state, self.moved_at = state, now
        self.generation += 1


POLICIES = st.builds(
    Breaker,
    failure_rate=st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0]),
    slow_s=st.sampled_from([None, 1.0]),
    slow_rate=st.sampled_from([0.2, 0.6, 1.0]),
    minimum=st.integers(1, 4),
    window=st.integers(4, 10),
    window_s=st.sampled_from([None, None, 5.0, 10.0]),
    open_s=st.sampled_from([1.0, 5.0]),
    probes=st.integers(1, 4),
    observe=st.booleans(),
)
ENDINGS = st.sampled_from([*[Ending.success] * 3, Ending.failure, Ending.slow, Ending.neutral])
STEPS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, 5.0, 60.0, 1e6])


class Calls(RuleBasedStateMachine):
    """Calls come, end in any order, late or never, while the clock stands still, goes on, or jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.running: list[int] = []
        self.circuit: Circuit | None = None

    @precondition(lambda self: self.circuit is None)
    @rule(policy=POLICIES)
    def declare(self, policy: Breaker) -> None:
        assert policy.problems() == []
        self.circuit, self.model = Circuit(policy), Model(policy)

    @precondition(lambda self: self.circuit is not None)
    @rule(many=st.integers(1, 6))
    def begin(self, many: int) -> None:
        for _ in range(many):
            permit = self._circuit.admit(self.now)
            assert permit == self.model.admit(self.now)
            if permit is not None:
                self.running.append(permit)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), ending=ENDINGS, took_s=st.sampled_from([0.5, 1.0, 1.5]), many=st.integers(1, 4))
    def end(self, data: st.DataObject, ending: Ending, took_s: float, many: int) -> None:
        for _ in range(min(many, len(self.running))):
            permit = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
            self._circuit.report(permit, ending, took_s, self.now)
            self.model.report(permit, ending, took_s, self.now)

    @precondition(lambda self: self.running)
    @rule()
    def lose(self) -> None:
        self.running.pop()

    @rule(step=STEPS)
    def wait(self, step: float) -> None:
        self.now += step

    @invariant()
    def the_circuit_is_where_the_model_is(self) -> None:
        if (circuit := self.circuit) is not None:
            assert (circuit.state, circuit.generation) == (self.model.state, self.model.generation)
            assert sum(circuit.transitions.values()) == circuit.generation - 1
            assert (circuit.refused + circuit.would_refuse, circuit.stale) == (
                self.model.not_let_through,
                self.model.late,
            )
            assert (circuit.refused if circuit.policy.observe else circuit.would_refuse) == 0

    @invariant()
    def half_open_has_no_more_probes_out_than_it_permits(self) -> None:
        if self.circuit is not None and self.circuit.state is State.half_open:
            assert self.model.probes_out() <= self.circuit.policy.probes

    @property
    def _circuit(self) -> Circuit:
        assert self.circuit is not None
        return self.circuit


TestAnyOrderOfCalls = Calls.TestCase
TestAnyOrderOfCalls.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
