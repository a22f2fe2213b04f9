"""Dollars, tokens and what gates observed, in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from rollout_demo.models.server import Spent
from rollout_demo.narrator import share

#: Why a task has one opinion, as ``parts.missing`` names it, in the order in which it is told; and what that means.
REASONS: Final = {
    "skipped(confident)": "the cheap model was sure",
    "second": "the dear model was asked",
    "over_budget(time)": "less than 0.9 s were left",
    "over_budget(tokens)": "less than 1,000 tokens were left",
    "over_budget(usd)": "less than $0.018 were left",
}


def dollars(nano: float) -> str:
    return f"${nano / 1e9:.4f}"


def bill(spent: Sequence[Spent]) -> str:
    """The mean and the most of some calls."""
    mean, most = fmean(one.nano for one in spent), max(one.nano for one in spent)
    return f"[bold]{dollars(mean)}[/] a call, {dollars(most)} at most; {max(one.tokens for one in spent):,} tokens"


def observed(finding: Any) -> str:
    """``p90 0.36 ≤ 0.76 s``, ``cost $0.0021 ≤ $0.0170``; what has no number yet is ``?``."""
    name = finding.gate.removeprefix("latency ")
    if finding.observed is None or finding.limit is None:
        return f"{name} ?"
    sign = ">" if str(finding.grade) == "breach" else "≤"
    match finding.unit_name:
        case "s":
            return f"{name} {finding.observed:.2f} {sign} {finding.limit:.2f} s"
        case "nano$":
            return f"{name} {dollars(finding.observed)} {sign} {dollars(finding.limit)}"
        case _:
            return f"{name} {share(finding.observed)} {sign} {share(finding.limit)}"
