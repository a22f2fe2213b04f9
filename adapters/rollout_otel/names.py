"""What the engine tells of a span, in the names of OpenTelemetry's semantic conventions where they have one, else below
``rolloutkit.``.

Of the conventions: events of feature flags as in version 1.44 (a release candidate), ``gen_ai.*`` as in development.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rollout.ports import About

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "flag": "feature_flag.evaluation",
        "not_run": "rolloutkit.branch.not_run",
        "retry": "rolloutkit.branch.retry",
        "hedge": "rolloutkit.branch.hedge",
    }
)
ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rollout": "rolloutkit.rollout",
        "branch": "rolloutkit.branch.name",
        "mode": "rolloutkit.mode",
        "served_by": "rolloutkit.served_by",
        "fallback": "rolloutkit.fallback.reason",
        "refused": "rolloutkit.shadow.refused",
        "dispatch": "rolloutkit.dispatch.reason",
        "failed_branch": "rolloutkit.fan_out.failed_branch",
        "comparison": "rolloutkit.comparison.outcome",
        "outcome": "rolloutkit.branch.outcome",
        "reason": "rolloutkit.branch.reason",
        "attempts": "rolloutkit.branch.attempts",
        "hedges": "rolloutkit.branch.hedges",
        "sla_missed": "rolloutkit.branch.sla_missed",
        "attempt": "rolloutkit.branch.attempt",
        "wait_s": "rolloutkit.branch.retry.wait",
        "usd": "rolloutkit.usage.usd",
        "error": "error.type",
        "model": "gen_ai.response.model",
        "input_tokens": "gen_ai.usage.input_tokens",
        "output_tokens": "gen_ai.usage.output_tokens",
        "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    }
)
#: Of the evaluation of a flag, whose ``reason`` is not that of a run.
FLAG_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "flag": "feature_flag.key",
        "value": "feature_flag.result.variant",
        "reason": "feature_flag.result.reason",
        "provider": "feature_flag.provider.name",
        "caller": "feature_flag.context.id",
        "error": "error.type",
    }
)
#: Why there was no answer → ``error.type``. The conventions leave names for what they do not list to others.
_FLAG_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "error": "general",
        "type": "type_mismatch",
        "timeout": "timeout",
        "not_ready": "provider_not_ready",
        "not_found": "flag_not_found",
        "busy": "busy",
        "value": "invalid_value",
    }
)


def attributes_of(about: About) -> dict[str, str | int | float | bool]:
    """The attributes of a span or of an event of a run. An empty text, or a count of nothing, is left out."""
    return {ATTRIBUTES[name]: value for name, value in about.items() if value or _counts(name)}


def flag_attributes_of(about: About) -> dict[str, str | int | float | bool]:
    """The attributes of an evaluation: a reason for which there was no answer is an error of that type."""
    told = dict(about)
    error = _FLAG_ERRORS.get(str(told["reason"]))
    if error is not None:
        told |= {"reason": "error", "error": error}
    elif told["reason"] in ("", "other"):
        told["reason"] = "unknown"
    return {FLAG_ATTRIBUTES[name]: value for name, value in told.items() if name in FLAG_ATTRIBUTES and value != ""}


def _counts(name: str) -> bool:
    """Whether 0 is said too: tokens that were counted, and what they cost."""
    return name in ("input_tokens", "output_tokens", "usd")
