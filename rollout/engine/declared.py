"""The policy that a declaration stands for: what of the code is stored, so that the command line works without it."""

from __future__ import annotations

from typing import Any

from rollout.definition import Budget, Rollout, Shadow, Store, default_gates
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, Policy


def policy_of(rollout: Rollout, routes: tuple[str, ...] = ()) -> Policy:
    """The policy of a rollout that has no problems. ``routes``: the patterns that control answers."""
    units = {branch.name: unit for unit, members in rollout.units().items() for branch in members}
    return Policy(
        rollout=rollout.name,
        join=rollout.join,
        branches=tuple(
            BranchPolicy(
                name=branch.name,
                unit=units[branch.name],
                salt=rollout.salt(branch),
                required=branch.required,
                after=branch.depends_on,
                flag=branch.flag,
                part=branch.part,
                sla_s=branch.sla_s,
                hard_timeout_s=rollout.hard_timeout(branch),
                effects=branch.effects,
            )
            for branch in rollout.branches
        ),
        ramp=rollout.ramp,
        gates=tuple(rollout.gates),
        latency_s=rollout.budget.latency_s,
        settle_s=rollout.settle_s,
        sample=rollout.shadow.sample,
        noise=rollout.shadow.noise,
        reverse=rollout.shadow.reverse,
        store_sample=rollout.store.sample,
        ttl_s=rollout.store.ttl_s,
        max_trials=rollout.store.max_trials,
        flag=rollout.flag_key,
        sticky=rollout.sticky,
        keyed=rollout.key is not None,
        revision=rollout.revision,
        routes=routes,
        origins=_origins(rollout),
    )


def _origins(rollout: Rollout) -> dict[str, str]:
    """Whether each settable field was written in the code, or is the default."""
    values: dict[str, tuple[Any, Any]] = {
        "ramp": (rollout.ramp, Ramp()),
        "gates": (tuple(rollout.gates), default_gates()),
        "budget.latency_s": (rollout.budget.latency_s, Budget().latency_s),
        "shadow.sample": (rollout.shadow.sample, Shadow().sample),
        "shadow.noise": (rollout.shadow.noise, Shadow().noise),
        "shadow.reverse": (rollout.shadow.reverse, Shadow().reverse),
        "store.sample": (rollout.store.sample, Store().sample),
        "store.ttl_s": (rollout.store.ttl_s, Store().ttl_s),
    }
    return {name: "default" if value == default else "code" for name, (value, default) in values.items()}
