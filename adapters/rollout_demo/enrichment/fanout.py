"""The handler as it shall be: the three asked at once, each guarded by what its service needs."""

from __future__ import annotations

from typing import Any, Final

from rollout import Branch, Breaker, Budget, Call, Parts, Ramp, Reply, Retry, Rollout, Shadow, gates
from rollout_demo.enrichment.monolith import SOURCES, customer

NAME: Final = "customer"
BRANCHES: Final = ("geo", "company", "score")
UNIT: Final = "+".join(BRANCHES)  # they share a salt, so they move together
HARD_S: Final = 0.25  # for the score
OPEN_S: Final = 1.0
PROBES: Final = 3
HARM: Final = "5%"  # of all calls may be worse off at a step: an example has half a minute


async def ask_geo(call: Call) -> Any:
    return await call.resources[SOURCES].ask("geo", call.path_params["id"])


async def ask_register(call: Call) -> Any:
    return await call.resources[SOURCES].ask("register", call.path_params["id"])


async def ask_score(call: Call) -> Any:
    return await call.resources[SOURCES].ask("score", call.path_params["id"])


def record(call: Call, control: Reply | None, parts: Parts) -> Any:
    """The same record as the monolith's; without the score where it is missing, and saying why."""
    found = {"id": int(call.path_params["id"]), "place": parts["geo"], "company": parts["company"]}
    if "score" in parts:
        found["score"] = parts["score"]
    return {**found, "missing": dict(parts.missing)}


def rollout(stages: str = "shadow 20% 50% 100%", soak: str = "1s") -> Rollout:
    """``stages``, ``soak``: as ``Ramp.parse`` takes them."""
    return Rollout(
        NAME,
        control=customer,
        join="replace",
        branches=[
            Branch("geo", ask_geo, sla_s=0.06, hard_timeout_s=0.3),
            Branch("company", ask_register, sla_s=0.1, hard_timeout_s=0.5, retry=Retry(attempts=3)),
            Branch(
                "score",
                ask_score,
                required=False,
                sla_s=0.1,
                hard_timeout_s=HARD_S,
                breaker=Breaker(minimum=10, window=20, open_s=OPEN_S, probes=PROBES),
                salt=NAME,  # the others' salt: live for the same callers, although it is optional
            ),
        ],
        aggregate=record,
        key=lambda call: call.path_params["id"],
        budget=Budget(latency_s=0.6),
        ramp=Ramp.parse(stages, soak=soak, harm=HARM),
        # Fallbacks instead of errors: a record without its score is no error, that is what optional means.
        gates=[gates.fallbacks(at_most=0.05), gates.latency(q=0.75, worse_by=0.0), gates.mismatches(at_most=0.02)],
        shadow=Shadow(noise=0.0, reverse=0.25, max_lag_s=0.5, pause_s=0.5),
    )
