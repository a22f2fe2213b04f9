"""Two hundred ramps of branches that are as good as their control, over real HTTP and on a real database.

Twenty at a time, in a process of their own, on an SQLite file. Every call is drawn by itself, and fails one time in a
thousand whoever answers it. The gates look every 0.1 s, without a soak, at errors and at mismatches; of two hundred
ramps they may roll back two by their bound, and four before anybody should worry. A budget of 0.1 s makes a settle time
of 0.2 s, the shortest that there is for a budget that a real call can keep.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from tests.ramps.climb import End, climb
from tests.ramps.handlers import Handlers

RAMPS, AT_A_TIME = 200, 20
MOST_ROLLED_BACK = 4
FEWEST_COMPLETED = 0.9  # of them: a ramp that always holds is never rolled back either
PER_S = 70.0  # calls of each
ROUND_S = 52.0  # at most, for each twenty
LIMIT_S = 600.0


@pytest.mark.bench
async def test_of_two_hundred_healthy_branches_four_at_most_are_rolled_back(tmp_path: Path) -> None:
    begun = time.monotonic()
    ends: list[End] = []
    for round_ in range(RAMPS // AT_A_TIME):
        database = f"sqlite:///{tmp_path / f'{round_}.db'}"
        handlers = Handlers(database=database, healthy=AT_A_TIME, seed=round_)
        ends += await climb(handlers, per_s=PER_S, within_s=ROUND_S)
    took_s = time.monotonic() - begun
    told = Counter(end.told for end in ends)
    calls = median(end.calls for end in ends)
    print(f"\n{RAMPS} healthy ramps in {took_s:.0f} s, {calls:,.0f} calls each (median): {dict(told)}")
    assert told["shadow, rolled back"] <= MOST_ROLLED_BACK
    assert told["100%, completed"] >= FEWEST_COMPLETED * RAMPS
    assert took_s < LIMIT_S
