"""Sequential tests: evidence that may be looked at as often as one likes.

A gate against which nothing holds reaches E ≥ 1/α at any time with probability at most α (Ville's inequality). All
logarithms are natural. A state (``to_state``, ``from_state``) is a small JSON-ready dictionary and gives back the very
same floats.
"""

from rollout.domain.stats.account import account_log_e
from rollout.domain.stats.allocation import allocation_log_e
from rollout.domain.stats.cost import CostLimit, MeanCost, MeanCostPromotion
from rollout.domain.stats.e_process import EProcess, Side, log_mean_exp, log_sum_exp
from rollout.domain.stats.funding import ALPHA_ALLOCATION, ALPHA_PROMOTE, ALPHA_ROLLBACK, START, restart_weight
from rollout.domain.stats.information import information
from rollout.domain.stats.latency import LatencyPromotion, LatencyRollback, RankBets
from rollout.domain.stats.one_sample import OneSample, one_sample_log_e
from rollout.domain.stats.pairs import Discordant, PairPromotion, PairRollback, PairSign, discordant_log_e
from rollout.domain.stats.two_sample import TwoSample, alternatives, block_log_e

__all__ = [
    "ALPHA_ALLOCATION",
    "ALPHA_PROMOTE",
    "ALPHA_ROLLBACK",
    "START",
    "CostLimit",
    "Discordant",
    "EProcess",
    "LatencyPromotion",
    "LatencyRollback",
    "MeanCost",
    "MeanCostPromotion",
    "OneSample",
    "PairPromotion",
    "PairRollback",
    "PairSign",
    "RankBets",
    "Side",
    "TwoSample",
    "account_log_e",
    "allocation_log_e",
    "alternatives",
    "block_log_e",
    "discordant_log_e",
    "information",
    "log_mean_exp",
    "log_sum_exp",
    "one_sample_log_e",
    "restart_weight",
]
