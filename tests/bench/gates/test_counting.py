"""What is counted in many places adds up to the same evidence, and evidence takes the same room however much there
is.
"""

from __future__ import annotations

import pytest

from tests.bench.gates.counted import evidence
from tests.bench.gates.room import MOST_GROWTH, MOST_LONGER, WARM_UP, grown
from tests.bench.gates.running import scaled, show

SECONDS = 1_000
PROCESSES = (2, 8)
EXACT = 1e-9

BLOCKS = 1_000_000


@pytest.mark.bench
async def test_counts_of_many_processes_are_the_evidence_of_one() -> None:
    alone = await evidence(SECONDS, 1, seed=1)
    rows = []
    for processes in PROCESSES:
        split = await evidence(SECONDS, processes, seed=1)
        apart = max(abs(one - other) for one, other in zip(alone, split, strict=True))
        rows.append((f"{processes}", f"{alone[0]:.9f}", f"{split[0]:.9f}", f"{apart:.1e}"))
        assert apart <= EXACT
    show(
        f"log E of an account of {SECONDS:,} seconds, counted by one process and by several",
        ("processes", "one", "several", "furthest apart, any gate"),
        rows,
        f"bound: {EXACT:.0e}",
    )


@pytest.mark.bench
def test_evidence_takes_the_same_room_after_a_million_blocks() -> None:
    blocks = scaled(BLOCKS)
    growth, early, late = grown(blocks)
    show(
        f"A gate on errors after {blocks:,} blocks, against {WARM_UP:,}",
        ("grown by", "stored before", "stored now"),
        [(f"{growth:,} objects", f"{early} characters", f"{late} characters")],
        f"bounds: {MOST_GROWTH} objects, {MOST_LONGER} characters",
    )
    assert growth <= MOST_GROWTH
    assert late <= early + MOST_LONGER
