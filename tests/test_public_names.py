"""What is public is what ``__all__`` exports, and nothing joins or leaves it by accident."""

import rollout
import rollout_aiohttp

PUBLIC = [
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


def test_the_public_names_are_these() -> None:
    assert rollout.__all__ == PUBLIC
    assert all(hasattr(rollout, name) for name in PUBLIC)


def test_the_public_names_of_the_aiohttp_adapter_are_these() -> None:
    assert rollout_aiohttp.__all__ == [
        "ENGINE",
        "chaos_branches",
        "chaos_token",
        "guard",
        "handler_branch",
        "page",
        "setup",
    ]
