"""The policy that a declaration stands for: what of the code is stored, so that the command line works without it.

A price book may be a function, so it stays in the code: a policy has the prices that a spec file lays over it.
"""

from __future__ import annotations

from typing import Any

from rollout.definition import Branch, Budget, Rollout, Shadow, Store, default_gates
from rollout.domain.budget import Reserve
from rollout.domain.cost import nano_usd
from rollout.domain.prices import Price, PriceBook
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, Policy


def policy_of(rollout: Rollout, routes: tuple[str, ...] = ()) -> Policy:
    """The policy of a rollout that has no problems. ``routes``: the patterns that control answers."""
    units = {branch.name: unit for unit, members in rollout.units().items() for branch in members}
    return Policy(
        rollout=rollout.name,
        join=rollout.join,
        branches=tuple(_branch(rollout, branch, units[branch.name]) for branch in rollout.branches),
        ramp=rollout.ramp,
        gates=tuple(rollout.gates),
        latency_s=rollout.budget.latency_s,
        tokens=rollout.budget.tokens,
        nano=rollout.budget.nano,
        settle_s=rollout.settle_s,
        sample=rollout.shadow.sample,
        noise=rollout.shadow.noise,
        reverse=rollout.shadow.reverse,
        nano_per_day=None if rollout.shadow.usd_per_day is None else nano_usd(rollout.shadow.usd_per_day),
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


def prices_in_force(policy: Policy, declared: PriceBook | None) -> PriceBook | None:
    """What models cost: the prices of the policy are asked first, then the book that the code declares.

    A name with a version finds the policy's price of the model before a price of that very version in the code. None:
    there are no prices. ``ValueError`` for a price that is none.
    """
    if not policy.prices:
        return declared
    prices = {model: Price(*price) for model, price in policy.prices.items()}
    return PriceBook(prices, fallback=None if declared is None else declared.cost_nano)


def _branch(rollout: Rollout, branch: Branch, unit: str) -> BranchPolicy:
    reserve = branch.reserve or Reserve()
    return BranchPolicy(
        name=branch.name,
        unit=unit,
        salt=rollout.salt(branch),
        required=branch.required,
        after=branch.depends_on,
        flag=branch.flag,
        part=branch.part,
        sla_s=branch.sla_s,
        soft_timeout_s=branch.soft_timeout_s,
        hard_timeout_s=rollout.hard_timeout(branch),
        escalate_below=branch.escalate_below,
        effects=branch.effects,
        reserve_tokens=reserve.tokens,
        reserve_nano=reserve.nano,
        reserve_s=reserve.latency_s,
    )


def _origins(rollout: Rollout) -> dict[str, str]:
    """Whether each settable field was written in the code, or is the default."""
    values: dict[str, tuple[Any, Any]] = {
        "ramp": (rollout.ramp, Ramp()),
        "gates": (tuple(rollout.gates), default_gates()),
        "budget.latency_s": (rollout.budget.latency_s, Budget().latency_s),
        "budget.tokens": (rollout.budget.tokens, None),
        "budget.usd": (rollout.budget.usd, None),
        "prices": (rollout.prices, None),
        "shadow.sample": (rollout.shadow.sample, Shadow().sample),
        "shadow.noise": (rollout.shadow.noise, Shadow().noise),
        "shadow.reverse": (rollout.shadow.reverse, Shadow().reverse),
        "shadow.usd_per_day": (rollout.shadow.usd_per_day, None),
        "store.sample": (rollout.store.sample, Store().sample),
        "store.ttl_s": (rollout.store.ttl_s, Store().ttl_s),
    }
    return {name: "default" if value == default else "code" for name, (value, default) in values.items()}
