"""A policy in layers: what the code declares, and on top of it the fields that a spec file set."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from rollout.domain.cost import nano_usd
from rollout.domain.gates import GateSpec
from rollout.domain.prices import Price, PriceBook
from rollout.domain.ramp import Ramp
from rollout.domain.state import SETTABLE, Policy
from rollout.errors import UnknownName

_COLUMN: Final = {
    "budget.latency_s": "latency_s",
    "budget.tokens": "tokens",
    "budget.usd": "nano",
    "shadow.sample": "sample",
    "shadow.noise": "noise",
    "shadow.reverse": "reverse",
    "shadow.usd_per_day": "nano_per_day",
    "store.sample": "store_sample",
    "store.ttl_s": "ttl_s",
}
_DOLLARS: Final = ("budget.usd", "shadow.usd_per_day")


def layered(
    declared: Policy, fields: Mapping[str, Any], origins: Mapping[str, str], *, version: int, at: float
) -> Policy:
    """The policy in force, as version ``version`` of ``at`` (epoch seconds).

    ``declared``: of the code alone; ``fields``: by their names in ``SETTABLE``, as values of the domain or as JSON;
    ``origins``: where each comes from. Of a ramp, what is not named stays; every other field is replaced whole. Dollars
    are text or ``Decimal``; None, as of tokens: no limit. The settle time follows the budget. ``UnknownName`` for a
    field no spec may set, ``ValueError`` for a limit or a price that is none: no process could work by such a policy.
    """
    data = declared.to_dict()
    for name, value in plain_fields(fields).items():
        if name == "ramp":
            value = {**data["ramp"], **value}
        elif name in _DOLLARS and value is not None:
            value = nano_usd(value)
        data[_COLUMN.get(name, name)] = value
    _check_spending(data["tokens"], data["prices"])
    data["origins"] = {**data["origins"], **{name: origins[name] for name in fields}}
    if "budget.latency_s" in fields:
        data["settle_s"] = max([data["latency_s"], *(branch["hard_timeout_s"] for branch in data["branches"])]) + 0.1
    return Policy.from_dict(declared.rollout, version, data, at)


def _check_spending(tokens: object, prices: Mapping[str, Any]) -> None:
    if tokens is not None and (type(tokens) is not int or tokens < 1):
        raise ValueError(f"budget.tokens is {tokens!r}; it must be a whole number of at least 1, or None: no limit")
    PriceBook({model: Price(*price) for model, price in prices.items()})


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as JSON, ready to be stored. ``UnknownName`` for one that no spec may set."""
    for name in fields:
        if name not in SETTABLE:
            raise UnknownName("settable field", name, SETTABLE)
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Ramp | GateSpec):
        return value.to_dict()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
