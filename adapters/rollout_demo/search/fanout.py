"""The handler as it shall be: four indexes asked at once, and no waiting for the slowest.

No index is promoted before another, so the rollout has one branch, and the fan-out is inside of it.
"""

from __future__ import annotations

from typing import Any, Final

from rollout import WAIT, Branch, Budget, Call, Compare, FanOut, Hedge, Parts, Ramp, Rollout, Shadow, gates
from rollout_demo.search.monolith import SHARDS, page, search

NAME: Final = "search"
RESULTS: Final = "results"
QUORUM: Final = 3
FEWEST: Final = 2
SLA_S: Final = 0.05
SOFT_S: Final = 0.12
HARD_S: Final = 1.0
HEDGE_S: Final = 0.05
HARM: Final = "5%"  # of all calls may be worse off at a step: an example has half a minute
BUDGET: Final = Budget(latency_s=1.2)


async def north(call: Call) -> Any:
    return await call.resources[SHARDS].ask("north", call.query["q"])


async def east(call: Call) -> Any:
    return await call.resources[SHARDS].ask("east", call.query["q"])


async def south(call: Call) -> Any:
    return await call.resources[SHARDS].ask("south", call.query["q"])


async def west(call: Call) -> Any:
    return await call.resources[SHARDS].ask("west", call.query["q"])


def ranked(call: Call, parts: Parts) -> Any:
    """The hits of all that have answered. Asked when three have, and when all the others are late."""
    return page(call.query["q"], parts, parts.missing) if len(parts) >= FEWEST else WAIT


def fan_out(soft_s: float = SOFT_S) -> FanOut:
    """Answers when three indexes have, or, where that takes longer than ``soft_s`` seconds, with two."""
    return FanOut(
        NAME,
        [
            Branch("north", north, sla_s=SLA_S, soft_timeout_s=soft_s, hard_timeout_s=HARD_S),
            Branch(
                "east", east, sla_s=SLA_S, soft_timeout_s=soft_s, hard_timeout_s=HARD_S, hedge=Hedge(after_s=HEDGE_S)
            ),
            Branch("south", south, sla_s=SLA_S, soft_timeout_s=soft_s, hard_timeout_s=HARD_S),
            Branch("west", west, sla_s=SLA_S, soft_timeout_s=soft_s, hard_timeout_s=HARD_S),
        ],
        quorum=QUORUM,
        aggregate=ranked,
        budget=BUDGET,
    )


def agrees(control: Any, candidate: Any) -> bool:
    """Whether a page has the monolith's hits. One that is not complete may lack some, but not change their order."""
    theirs, ours = control["hits"], candidate["hits"]
    if candidate["complete"]:
        return bool(theirs == ours)
    return [hit for hit in theirs if hit in ours] == [hit for hit in ours if hit in theirs]


def rollout(indexes: FanOut, stages: str = "shadow 20% 50% 100%", soak: str = "1s") -> Rollout:
    """``stages``, ``soak``: as ``Ramp.parse`` takes them."""

    async def results(call: Call) -> Any:
        return (await indexes.run(call)).value

    return Rollout(
        NAME,
        control=search,
        join="replace",
        branches=[Branch(RESULTS, results, part="$", sla_s=0.1)],
        budget=BUDGET,
        compare=Compare(equal=agrees),
        ramp=Ramp.parse(stages, soak=soak, harm=HARM),
        gates=[gates.errors(), gates.latency(q=0.75, worse_by=0.0), gates.mismatches(at_most=0.02)],
        shadow=Shadow(noise=0.0, reverse=0.25, max_lag_s=0.5, pause_s=0.5),
    )
