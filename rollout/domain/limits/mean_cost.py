"""The mean cost of the calls in which the unit ran, all its branches together, against a limit in nano-dollars and
against control's mean. Unknown is not zero.

Costs are never negative. So a sum beyond what ``minimum`` calls may cost in all is a breach already, whatever follows;
and one beyond what all calls may cost is a breach too, whatever those of unknown price did cost.
"""

from __future__ import annotations

from rollout.domain.cost import usd_text
from rollout.domain.evidence import Figures
from rollout.domain.gates import GateSpec, Grade
from rollout.domain.limits.check import Check, Window, too_few
from rollout.domain.limits.window import Sums


def cost(spec: GateSpec, window: Window, live: bool) -> list[Check]:
    """Live: the runs of arm B; in shadow: those of the pairs. Control's mean is that of arm A, or of the pairs."""
    arm = window(live_calls).b if live else window(paired_calls).p
    found = []
    if spec.at_most is not None:
        found.append(_judged(spec, arm, spec.at_most))
    if spec.worse_by is not None:
        control = window(control_priced)
        side = control.a if live and control.a["control_costed"] else control.p
        found += _dearer(spec, spec.worse_by, arm, side["control_costed"], side["control_cost_nano"])
    return found


def _dearer(spec: GateSpec, worse_by: float, arm: Figures, known: int, total: int) -> list[Check]:
    """Against control's mean. Where control costs nothing (it calls no model), only an absolute limit says anything."""
    n = arm["costed"]
    if known < spec.minimum:
        why = f"control's cost is known of {known:,} of {spec.minimum:,} calls"
        return [Check(grade=Grade.doubt, why=why, n=n)]
    if total > 0:
        baseline = total / known
        return [_judged(spec, arm, baseline * (1 + worse_by), baseline)]
    if spec.at_most is not None:
        return []
    why = "control costs nothing, so a relative limit says nothing: give the gate usd_per_call="
    return [Check(grade=Grade.error, why=why, baseline=0.0, n=n)]


def _judged(spec: GateSpec, arm: Figures, limit: float, baseline: float | None = None) -> Check:
    known, unknown, total = arm["costed"], arm["unpriced"], arm["cost_nano"]
    observed = total / known if known else None
    said = f"{usd_text(observed)} a call over {known:,} calls"
    if baseline is not None:
        said += f", control's {usd_text(baseline)}"
    if total > limit * max(known + unknown, spec.minimum):
        grade, why = Grade.breach, f"{said}, above the limit of {usd_text(limit)}"
    elif unknown:
        grade, why = Grade.error, f"cost unknown for {unknown:,} calls: give the models they use a price"
    elif known < spec.minimum:
        grade, why = Grade.doubt, too_few(spec, known, "calls")
    else:
        grade, why = Grade.passed, f"{said}, within the limit of {usd_text(limit)}"
    return Check(grade=grade, why=why, observed=observed, limit=limit, baseline=baseline, n=known)


def live_calls(sums: Sums) -> float:
    return sums.b["costed"] + sums.b["unpriced"]


def paired_calls(sums: Sums) -> float:
    return sums.p["costed"] + sums.p["unpriced"]


def control_priced(sums: Sums) -> float:
    return max(sums.a["control_costed"], sums.p["control_costed"])
