"""The account of a branch: what its gates hold together."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from rollout.domain.stats.e_process import log_sum_exp


def account_log_e(weights: Sequence[float], log_es: Sequence[float]) -> float:
    """log Σ w_g·E_g. With weights that add up to at most 1 it is an e-process as each gate is (Ville's inequality), and
    B branches together are wrongly rolled back with probability at most α if each is at B/α.

    ``ValueError`` unless each gate has a weight, 0 or more, and they add up to at most 1.
    """
    if len(weights) != len(log_es):
        raise ValueError(f"{len(weights)} weights do not fit {len(log_es)} gates: give one for each")
    if not all(weight >= 0 for weight in weights) or not sum(weights) <= 1.0 + 1e-9:
        raise ValueError(f"weights {weights} are no shares of one account: give each 0 or more, at most 1 in all")
    return log_sum_exp([log(weight) + log_e for weight, log_e in zip(weights, log_es, strict=True) if weight])
