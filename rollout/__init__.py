"""Rolloutkit: move a monolithic handler to a fan-out of branches, in shadow first, then by a ramp that is gated and
rolls back by itself.
"""

from rollout import dispatch, gates, meters
from rollout.context import in_shadow, record_usage, run_in_pool
from rollout.definition import Branch, Budget, Rollout, Shadow, Store
from rollout.domain.breaker import Breaker
from rollout.domain.budget import Reserve
from rollout.domain.call import WAIT, Call, Parts, Reply
from rollout.domain.comparison import Compare
from rollout.domain.cost import Usage
from rollout.domain.hedge import Hedge
from rollout.domain.html import html
from rollout.domain.prices import Price, PriceBook
from rollout.domain.ramp import Ramp
from rollout.domain.retry import Retry
from rollout.errors import (
    BranchTimeout,
    Conflict,
    DatabaseError,
    DeclarationError,
    FanOutFailed,
    Fenced,
    IllegalTransition,
    Problem,
    Refused,
    Rejected,
    RolloutError,
    SchemaError,
    SideEffectRefused,
    SpecError,
    UnknownName,
)
from rollout.fan_out import Answer, FanOut

__all__ = [
    "WAIT",
    "Answer",
    "Branch",
    "BranchTimeout",
    "Breaker",
    "Budget",
    "Call",
    "Compare",
    "Conflict",
    "DatabaseError",
    "DeclarationError",
    "FanOut",
    "FanOutFailed",
    "Fenced",
    "Hedge",
    "IllegalTransition",
    "Parts",
    "Price",
    "PriceBook",
    "Problem",
    "Ramp",
    "Refused",
    "Rejected",
    "Reply",
    "Reserve",
    "Retry",
    "Rollout",
    "RolloutError",
    "SchemaError",
    "Shadow",
    "SideEffectRefused",
    "SpecError",
    "Store",
    "UnknownName",
    "Usage",
    "dispatch",
    "gates",
    "html",
    "in_shadow",
    "meters",
    "record_usage",
    "run_in_pool",
]
