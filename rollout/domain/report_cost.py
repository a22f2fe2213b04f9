"""The cost part of a report: per call, and projected to every call of a month at the rate observed. By unit it is
counted of every call; by branch and model, of a sample of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from rollout.domain.cost import usd_of
from rollout.domain.evidence import Figures
from rollout.domain.report_parts import Units, summed
from rollout.domain.report_sample import Run, Sampled, calls
from rollout.domain.report_values import Bill, Cost, ModelCost
from rollout.domain.standing import Standing
from rollout.domain.state import Policy

MONTH_S: Final = 30 * 86_400
_NANO_USD: Final = Decimal("1e-9")


def costs(units: Units, calls_per_s: float | None) -> tuple[Cost, ...]:
    """Control, where it recorded usage; each unit's branches; and the whole fan-out, if every branch ran on every
    call."""
    found = []
    # Control is one handler: each unit has counted it over its own pairs, so the one that has seen most speaks for it.
    # Arm A counts the same calls of it again.
    control = max(
        (summed(units, unit, "P") for unit in units),
        key=lambda figures: figures["control_costed"] + figures["control_unpriced"],
        default=None,
    )
    used = ("control_cost_nano", "control_unpriced", "control_tokens_in", "control_tokens_out")
    if control is not None and any(control[name] for name in used):
        of_compared = _cost("", "control", control, "control_", calls_per_s)
        found.append(replace(of_compared, spent_usd=None))  # its other calls could record no usage
    branches = []
    for unit in units:
        figures = summed(units, unit, "A", "B", "P")
        if figures["costed"] + figures["unpriced"]:
            branches.append(_cost(unit, "branch", figures, "", calls_per_s))
    return (*found, *branches, *([_together(branches)] if len(branches) > 1 else []))


def bill(
    lines: Sequence[Cost], policy: Policy, calls_per_s: float | None, standings: Sequence[Standing]
) -> Bill | None:
    """Control and branches together at 100 %, of the lines of ``costs``; None where nobody recorded usage."""
    if not lines:
        return None
    known = {line.unit or line.side: line for line in lines}
    today = known["control"].per_call_usd if "control" in known else Decimal(0)
    control = ["control"] if "control" in known else []
    unknown = [name for name in (*control, *policy.units()) if name not in known or known[name].unpriced]
    share = 1.0 if policy.join == "overlay" else policy.reverse
    per_call = None
    if today is not None and not unknown:
        parts = [known[unit].per_call_usd or Decimal(0) for unit in policy.units()]
        per_call = sum(parts, (today * Decimal(str(share))).quantize(_NANO_USD))
    month, month_today = _month_usd(per_call, calls_per_s), _month_usd(today, calls_per_s)
    return Bill(
        control_share=share,
        per_call_usd=per_call,
        month_usd=month,
        today_per_call_usd=today,
        today_month_usd=month_today,
        more_usd=None if month is None or month_today is None else month - month_today,
        unknown=unknown,
        supposed=[standing.branch for standing in standings if not standing.share],
    )


def _month_usd(per_call: Decimal | None, calls_per_s: float | None) -> Decimal | None:
    month = _month(None if per_call is None else int(per_call.scaleb(9)), calls_per_s)
    return None if month is None else usd_of(month)


def _together(lines: Sequence[Cost]) -> Cost:
    """Every branch on every call; unknown as soon as one of them is."""

    def total(name: str) -> Any:
        values = [getattr(line, name) for line in lines]
        return None if None in values else sum(values)

    sums = {name: total(name) for name in ("spent_usd", "per_call_usd", "month_usd", "tokens_in", "tokens_out")}
    return Cost(unit="", side="all branches", calls=None, costed=None, unpriced=None, **sums)


def _cost(unit: str, side: str, figures: Figures, prefix: str, calls_per_s: float | None) -> Cost:
    """``prefix``: of the names of the figures."""
    costed, unpriced, nano = (figures[f"{prefix}{name}"] for name in ("costed", "unpriced", "cost_nano"))
    calls = costed + unpriced
    each = round(nano / costed) if costed else None
    month = _month(each, calls_per_s)
    return Cost(
        unit=unit,
        side=side,
        calls=calls,
        costed=costed,
        unpriced=unpriced,
        spent_usd=usd_of(nano) if costed else None,
        per_call_usd=usd_of(each) if each is not None else None,
        month_usd=usd_of(month) if month is not None else None,
        tokens_in=figures[f"{prefix}tokens_in"] / calls,
        tokens_out=figures[f"{prefix}tokens_out"] / calls,
    )


def model_costs(sampled: Sequence[Sampled], calls_per_s: float | None) -> tuple[ModelCost, ...]:
    """What each branch spends on each model, the dearest first, then those of unknown cost."""
    used: dict[tuple[str, str], list[tuple[Run, float]]] = {}
    for one in sampled:
        for run in one.trial.runs:
            if run.model or run.cost_nano != 0 or run.input_tokens or run.output_tokens:
                used.setdefault((run.branch, run.model), []).append((run, one.weight))
    whole = calls(sampled)
    lines = [_of_model(branch, model, runs, whole, calls_per_s) for (branch, model), runs in used.items()]
    return tuple(sorted(lines, key=lambda line: (-(line.per_call_usd or 0), line.branch, line.model)))


def _of_model(
    branch: str, model: str, runs: Sequence[tuple[Run, float]], whole: float, calls_per_s: float | None
) -> ModelCost:
    """``whole``: how many calls the sample stands for."""
    weight = sum(each for _, each in runs)
    priced = [(run.cost_nano, each) for run, each in runs if run.cost_nano is not None]
    nano = sum(cost * each for cost, each in priced)
    per_call = round(nano / whole) if len(priced) == len(runs) else None
    month = _month(per_call, calls_per_s)
    return ModelCost(
        branch=branch,
        model=model,
        runs=len(runs),
        unpriced=len(runs) - len(priced),
        tokens_in=sum(run.input_tokens * each for run, each in runs) / weight,
        tokens_out=sum(run.output_tokens * each for run, each in runs) / weight,
        per_run_usd=usd_of(round(nano / sum(each for _, each in priced))) if priced else None,
        per_call_usd=None if per_call is None else usd_of(per_call),
        month_usd=None if month is None else usd_of(month),
    )


def _month(each: int | None, calls_per_s: float | None) -> int | None:
    """Nano-dollars of a month at so many a call."""
    return None if each is None or calls_per_s is None else round(each * calls_per_s * MONTH_S)
