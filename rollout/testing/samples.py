"""Sample values with sensible defaults, so that a test names only what it is about.

Everything belongs to the rollout ``profile`` and its branch ``orders`` unless told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import uuid4

from rollout.domain.call import NO_PARTS, NOTHING, Call, CallData, Parts
from rollout.domain.evidence import Arm, Block, BlockKey, Figures, Subject, marks_of
from rollout.domain.state import BranchPolicy, BranchState, Change, Decision, Lease, Policy, Trigger
from rollout.gates import errors
from rollout.ports import Batch, MismatchCount, RunRecord, TrialRecord

ROLLOUT, BRANCH = "profile", "orders"
_numbers = count(1)


def sample_call(
    path: str = "/profile/7",
    *,
    body: bytes = b"",
    json_body: Any = None,
    key: str | None = "alice",
    parts: Mapping[str, Any] | Parts = NO_PARTS,
    is_shadow: bool = False,
    state: Mapping[str, Any] = NOTHING,
    deadline: float | None = None,
    clock: Callable[[], float] | None = None,
    **request: Any,
) -> Call:
    """A call as a branch gets it.

    ``json_body``: the body, as JSON; ``parts``: of the branches that it comes after; ``deadline``: absolute, in seconds
    of ``clock``; ``request``: fields of ``CallData``, such as ``method``, ``headers``, ``query``, ``resources``.
    """
    return Call.of(
        CallData(path=path, **request),
        body=body if json_body is None else json.dumps(json_body).encode(),
        key=key,
        state=state,
        parts=parts if isinstance(parts, Parts) else Parts(parts),
        is_shadow=is_shadow,
        deadline=deadline,
        clock=clock,
    )


def sample_policy(
    rollout: str = ROLLOUT, *, branches: Sequence[str | BranchPolicy] = (BRANCH,), **changes: Any
) -> Policy:
    """What code declares of a rollout: each branch a unit of its own, the default ramp, a threshold for errors."""
    declared = tuple(
        BranchPolicy(name=branch, unit=branch, salt=f"{rollout}/{branch}", part=f"$.{branch}")
        if isinstance(branch, str)
        else branch
        for branch in branches
    )
    defaults: dict[str, Any] = {
        "gates": (errors(mode="threshold"),),
        "flag": rollout,
        "origins": {"ramp": "default", "gates": "code"},
    }
    return Policy(rollout=rollout, branches=declared, **{**defaults, **changes})


def sample_decision(rollout: str = ROLLOUT, action: str = "approve", **changes: Any) -> Decision:
    """A decision by a person, not yet in the audit."""
    defaults: dict[str, Any] = {"actor": "ann", "trigger": Trigger.person, "reason": "because", "policy_version": 1}
    return Decision(rollout=rollout, action=action, **{**defaults, **changes})


def sample_change(
    *before: BranchState, action: str = "promote", lease: Lease | None = None, reason: str = "because", **moved: Any
) -> Change:
    """A change that moves each state by ``moved`` (fields of ``BranchState``), with its decision.

    Left out, each goes up one stage, to a share of 1 %.
    """
    changes = [moved or {"stage": state.stage + 1, "share": 0.01, "entry": state.entry + 1} for state in before]
    after = tuple(state.moved(**fields) for state, fields in zip(before, changes, strict=True))
    moves = tuple(
        {"branch": old.branch, "from": f"{old.at_text()} {old.mode.text}", "to": f"{new.at_text()} {new.mode.text}"}
        for old, new in zip(before, after, strict=True)
    )
    decision = sample_decision(before[0].rollout, action, moves=moves, reason=reason)
    return Change(before=before, after=after, decision=decision, lease=lease)


def sample_trial(
    number: int | None = None, rollout: str = ROLLOUT, *, at: float = 1_767_614_400.0, **changes: Any
) -> TrialRecord:
    """A matched shadow trial with one run. ``number``: makes its id, which rises with it; left out, the next one."""
    number = next(_numbers) if number is None else number
    trial = TrialRecord(
        id=f"{number:032x}",
        rollout=rollout,
        at=at,
        mode="shadow",
        outcome="matched",
        version=1,
        route="/profile/{id}",
        method="GET",
        key_hash="00000000000a11ce",
        control_status=200,
        control_s=0.12,
        candidate_status=200,
        candidate_s=0.08,
        runs=[RunRecord(branch=BRANCH, mode="shadow", outcome="ok", latency_s=0.05, cost_nano=1_000)],
    )
    return replace(trial, **changes)


def sample_block(
    second: int,
    arm: Arm = "A",
    counts: Mapping[str, int] | Figures = NOTHING,
    *,
    latencies: Sequence[float] = (),
    rollout: str = ROLLOUT,
    unit: str = BRANCH,
    **key: Any,
) -> Block:
    """The figures of one second of an arm. ``latencies``: seconds, of its histogram; ``key``: fields of its key."""
    figures = counts if isinstance(counts, Figures) else Figures(counts or {"calls": 1})
    for value in latencies:
        figures.observe("latency", value)
    where: dict[str, Any] = {"version": 1, "entry": 1, "process": "p1", **key}
    return Block(BlockKey(rollout=rollout, unit=unit, arm=arm, second=second, **where), figures)


def sample_subject(
    key_hash: str, started_at: float, arm: Arm = "B", *, bad: bool = False, latency: int = 500, **changes: Any
) -> Subject:
    """A key's first call in a stage, one that went well. ``bad``: it did not, and has no latency."""
    defaults: dict[str, Any] = {"rollout": ROLLOUT, "unit": BRANCH, "version": 1, "entry": 1}
    if bad:
        defaults["marks"] = marks_of("bad")
    values = {**defaults, "latency": -1 if bad else latency, **changes}
    return Subject(key_hash=key_hash, arm=arm, started_at=started_at, **values)


def sample_mismatch(
    path: str = "$.orders", count: int = 1, *, at: float = 1_767_614_400.0, **changes: Any
) -> MismatchCount:
    """How often a path differed in one batch."""
    defaults: dict[str, Any] = {"rollout": ROLLOUT, "branch": BRANCH, "kind": "value", "first_at": at, "last_at": at}
    return MismatchCount(path=path, count=count, **{**defaults, **changes})


def sample_batch(*items: Any, id: str | None = None, process: str = "p1") -> Batch:  # noqa: A002 - the field's name
    """A batch of trials, blocks, subjects and mismatch counts, sorted by type. ``id``: a fresh one if left out."""
    return Batch(
        id=id or uuid4().hex,
        process=process,
        trials=[item for item in items if isinstance(item, TrialRecord)],
        blocks=[item for item in items if isinstance(item, Block)],
        subjects=[item for item in items if isinstance(item, Subject)],
        mismatches=[item for item in items if isinstance(item, MismatchCount)],
    )
