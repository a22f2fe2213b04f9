"""The room that evidence takes, however much of it there is."""

from __future__ import annotations

import gc
import json
import sys

from rollout.domain.stats import TwoSample, restart_weight
from tests.bench.gates.arms import Dice

WARM_UP = 1_000
MOST_GROWTH = 50  # objects: its past would be as many as there are blocks
MOST_LONGER = 50  # characters: numbers have more digits


def grown(blocks: int) -> tuple[int, int, int]:
    """How many more objects there are after so many blocks than after a thousand; characters of the gate's stored state
    at either time.
    """
    dice, gate, objects, stored = Dice("memory"), TwoSample("rollback"), [0, 0], [0, 0]
    drawn = [dice.look(100, 0.5, 0.01, 0.01) for _ in range(WARM_UP)]  # beforehand: dice keep tables
    for number, span in enumerate((range(WARM_UP), range(WARM_UP, blocks))):
        for block in span:
            gate.fund(restart_weight(block + 1))
            gate.update(*drawn[block % WARM_UP])
        stored[number] = len(json.dumps(gate.to_state()))
        gc.collect()
        objects[number] = sys.getallocatedblocks()
    return objects[1] - objects[0], stored[0], stored[1]
