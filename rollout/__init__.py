"""Rolloutkit: move a monolithic handler to a fan-out of branches, in shadow first, then by a ramp that is gated and
rolls back by itself.
"""

from rollout import gates
from rollout.context import in_shadow, record_usage
from rollout.definition import Branch, Budget, Rollout, Shadow, Store
from rollout.domain.call import Call, Parts, Reply
from rollout.domain.comparison import Compare
from rollout.domain.cost import Usage
from rollout.domain.html import html
from rollout.domain.ramp import Ramp
from rollout.errors import (
    BranchTimeout,
    Conflict,
    DatabaseError,
    DeclarationError,
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

__all__ = [
    "Branch",
    "BranchTimeout",
    "Budget",
    "Call",
    "Compare",
    "Conflict",
    "DatabaseError",
    "DeclarationError",
    "Fenced",
    "IllegalTransition",
    "Parts",
    "Problem",
    "Ramp",
    "Refused",
    "Rejected",
    "Reply",
    "Rollout",
    "RolloutError",
    "SchemaError",
    "Shadow",
    "SideEffectRefused",
    "SpecError",
    "Store",
    "UnknownName",
    "Usage",
    "gates",
    "html",
    "in_shadow",
    "record_usage",
]
