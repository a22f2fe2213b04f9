"""A decision as the JSON that a webhook gets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rollout.domain.approvals import ASK
from rollout.domain.gates import Finding
from rollout.domain.state import Decision
from rollout_notify.texts import plain

SCHEMA: Final = 1
TEST: Final = "test"  # the action of a message that only tests the way
LONGEST: Final = 2_000  # characters of a reason
_WORD: Final = 200  # of a name, or where a branch stands
_SENTENCE: Final = 500  # of why a gate finds what it finds
MOST_MOVES: Final = 100
MOST_FINDINGS: Final = 50


def document(decision: Decision) -> dict[str, Any]:
    """What is told of a decision, JSON-ready, with these keys:

    * ``schema``: 1; rises when a key changes its meaning or goes, not when one is added.
    * ``key``: the idempotency key, ``NUMBER-HASH``: the same whenever this decision is told again, and no other's.
    * ``event``: ``transition``, ``approval`` (one is waited for) or ``test``.
    * ``number``: of the decision in the audit, rising; 0 of a test. ``at``: when, UTC, as ``2026-01-05T12:00:00.250Z``.
    * ``rollout``; ``action``: promote, rollback, pause, resume, reset, approve, complete, ask, test.
    * ``moves``: of each branch ``branch``, ``from`` and ``to``; none of an approval that is waited for. At most 100.
    * ``reason``: at most 2 000 characters. ``actor``: a person or a process. ``trigger``: controller or person.
    * ``findings``: of each gate, as in the audit: ``gate``, ``unit``, ``grade``, ``observed``, ``limit``, ``baseline``
      (of control), ``n``, ``why``, ``unit_name`` and so on. At most 50.
    * ``policy_version``. ``left_out``: how many ``moves`` and ``findings`` beyond the most.

    Control characters and marks that reorder text are taken out, everywhere.
    """
    moves, findings = decision.moves, decision.findings
    return {
        "schema": SCHEMA,
        "key": key_of(decision),
        "event": event_of(decision),
        "number": decision.number,
        "at": utc(decision.at),
        "rollout": plain(decision.rollout, _WORD),
        "action": plain(decision.action, _WORD),
        "moves": [_words(move) for move in moves[:MOST_MOVES]],
        "reason": plain(decision.reason, LONGEST),
        "actor": plain(decision.actor, _WORD),
        "trigger": decision.trigger.value,
        "findings": [_finding(finding) for finding in findings[:MOST_FINDINGS]],
        "policy_version": decision.policy_version,
        "left_out": {
            "moves": max(0, len(moves) - MOST_MOVES),
            "findings": max(0, len(findings) - MOST_FINDINGS),
        },
    }


def key_of(decision: Decision) -> str:
    """The number tells decisions of one database apart, the hash those of several, and of one that was restored."""
    return f"{decision.number}-{decision.hash[:16]}"


def event_of(decision: Decision) -> str:
    """``transition``, ``approval`` or ``test``."""
    return {ASK: "approval", TEST: "test"}.get(decision.action, "transition")


def utc(at: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(move: Mapping[str, str]) -> dict[str, str]:
    return {str(name): plain(text, _WORD) for name, text in move.items()}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        name: plain(value, _SENTENCE) if isinstance(value, str) else value for name, value in finding.to_dict().items()
    }
