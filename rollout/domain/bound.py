"""What the gates of a policy promise together: how often they roll back a branch that is no worse than control.

The promise is that of the account (``rollout.domain.sequential.account``), by Ville's inequality. It holds where every
gate adds its evidence to it; a threshold gate beside them rolls back by a rule of its own, of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rollout.domain.durations import percent
from rollout.domain.state import Policy
from rollout.domain.stats import ALPHA_ROLLBACK

_PROMISE: Final = (
    "If this branch is no worse than control in every interval (comparative gates) and within its limits (absolute "
    "gates), the gates roll back any branch of this policy version with probability at most {alpha}, however often "
    "they look. Outages and drift that hit both arms alike are covered by the comparative gates only. "
    "Assumes {assumed}."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """``alpha``: the most often that a branch which is no worse is ever rolled back, of all branches together; None:
    no bound is stated, because of the gates ``without`` one. ``sentence``: the promise in words, or why there is none.
    """

    alpha: float | None
    sentence: str
    without: Sequence[str] = ()


def bound_of(policy: Policy) -> Bound:
    """The bound of a policy version. Callers that keep their bucket are counted once, so that the promise holds for
    them too; else each call is assigned by itself.
    """
    without = tuple(gate.name for gate in policy.gates if not gate.sequential)
    if without:
        judge = "judges by a threshold" if len(without) == 1 else "judge by thresholds"
        return Bound(alpha=None, sentence=f"No error bound: {', '.join(without)} {judge}.", without=without)
    if not policy.gates:
        return Bound(alpha=None, sentence="No gate is declared, so nothing is ever rolled back by itself.")
    assumed = "users counted once" if policy.scores_keys else "calls assigned one by one"
    return Bound(alpha=ALPHA_ROLLBACK, sentence=_PROMISE.format(alpha=percent(ALPHA_ROLLBACK), assumed=assumed))
