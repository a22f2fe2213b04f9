"""The shop as it shall be: the same questions as branches, all asked at once, and how they are rolled out.

There are two revisions, as in life: the first one compares too strictly, and the shadow tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rollout import Branch, Budget, Call, Compare, Ramp, Rollout, Shadow, Store, gates
from rollout_demo.backoffice import BACK_OFFICE
from rollout_demo.monolith import profile

GATES: Final = (gates.errors(), gates.latency(q=0.9, worse_by=1.0), gates.mismatches(at_most=0.02))
COMPARE: Final = {
    1: Compare(),
    2: Compare(unordered={"$.tickets": "id"}),
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the ramp goes, in the texts that ``Ramp.parse`` takes. The harm budget is eight times the default, for a
    demo has a minute.
    """

    stages: str = "shadow 5% 25% 50% 100%"
    soak: str = "2s"
    harm: str = "2%"


FULL: Final = Pace()


async def fetch_orders(call: Call) -> Any:
    return await call.resources[BACK_OFFICE].orders(_customer(call))


async def fetch_tickets(call: Call) -> Any:
    return await call.resources[BACK_OFFICE].newer_tickets(_customer(call))


async def fetch_picks(call: Call) -> Any:
    return await call.resources[BACK_OFFICE].picks(_customer(call))


async def ask_model(call: Call) -> Any:
    query = call.query
    return await call.resources[BACK_OFFICE].summary(_customer(call), int(query["context"]), int(query["generate"]))


def rollout(name: str = "profile", revision: int = 2, pace: Pace = FULL) -> Rollout:
    """The rollout of the profile page. ``revision``: 1, or 2, which knows that the order of tickets does not matter."""
    return Rollout(
        name,
        control=profile,
        branches=[
            Branch("orders", fetch_orders, part="$.orders", sla_s=0.2, hard_timeout_s=0.5),
            Branch("tickets", fetch_tickets, part="$.tickets", sla_s=0.2, hard_timeout_s=0.5),
            Branch("picks", fetch_picks, part="$.picks", sla_s=0.2, hard_timeout_s=0.5),
            Branch("summary", ask_model, part="$.summary", required=False),
        ],
        key=lambda call: call.headers.get("X-User-Id"),
        revision=str(revision),
        compare=COMPARE[revision],
        ramp=Ramp.parse(pace.stages, soak=pace.soak, harm=pace.harm),
        gates=GATES,
        budget=Budget(latency_s=0.6),
        shadow=Shadow(sample=0.3, noise=0.1, max_lag_s=0.25, pause_s=1.0),
        store=Store(sample=0.05),
    )


def _customer(call: Call) -> int:
    return int(call.path_params["id"])
