"""The simulation itself: a history is what it promises to be, and the same every time."""

from __future__ import annotations

from collections import Counter

import pytest

from rollout.domain.state import Trigger
from tests.fleet.faults import FAULTS
from tests.fleet.fleet import Fleet
from tests.fleet.histories import lived


@pytest.fixture(scope="module")
def fleets() -> list[Fleet]:
    return [lived(Fleet(seed)) for seed in range(40)]


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_tells_the_same_history_every_time(fleets: list[Fleet], seed: int) -> None:
    assert lived(Fleet(seed)).chronicle.lines == fleets[seed].chronicle.lines


def test_a_history_has_three_processes_two_hundred_ticks_and_five_faults(fleets: list[Fleet]) -> None:
    assert min(len(fleet.processes) for fleet in fleets) >= 3
    assert min(fleet.timeline.now for fleet in fleets) >= 200
    assert min(len(fleet.suffered) for fleet in fleets) >= 5


def test_everything_that_can_go_wrong_does(fleets: list[Fleet]) -> None:
    assert {name for fleet in fleets for name in fleet.suffered} == {fault.__name__ for fault in FAULTS}
    assert sum(fleet.chronicle.fenced for fleet in fleets) > 0
    assert sum(fleet.chronicle.repeated for fleet in fleets) > 0
    assert sum(fleet.chronicle.late for fleet in fleets) > 0


def test_ramps_move_all_the_while(fleets: list[Fleet]) -> None:
    decisions = [moved.change.decision for fleet in fleets for moved in fleet.chronicle.moved]
    made = Counter(one.action for one in decisions if one.trigger is Trigger.controller)
    assert made["promote"] > 5 * len(fleets)
    assert min(made["complete"], made["rollback"]) > len(fleets) / 2
    assert sum(one.trigger is Trigger.person for one in decisions) > len(fleets)
