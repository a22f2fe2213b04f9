"""How a run of a branch can end, and who can have answered a call: the one list for counts, tables and metrics."""

from __future__ import annotations

from enum import StrEnum


class RunOutcome(StrEnum):
    """How one run of a branch ended. Disjoint; every run that was asked for ends in exactly one."""

    ok = "ok"  # a part
    answered = "answered"  # an exception that the branch declares as an answer (`answers=`)
    error = "error"  # any other exception
    soft_timeout = "soft_timeout"  # cut because the candidate was made without it, after its soft timeout
    hard_timeout = "hard_timeout"  # cut at its hard timeout, or at the deadline of the call
    rejected = "rejected"  # not started: the bulkhead was full
    short_circuited = "short_circuited"  # not started: its breaker is open
    over_budget = "over_budget"  # not started: the time, tokens or dollars that are left do not cover it
    skipped = "skipped"  # not started: `when=`, the dispatch, a sure first opinion, or what it comes after decided so
    cancelled = "cancelled"  # the caller went away, or a quorum was reached without it
    shutdown = "shutdown"  # the process stopped first; in no gate


class ServedBy(StrEnum):
    """Whose reply the user got."""

    control = "control"  # the branch was not live for this call
    candidate = "candidate"
    fallback = "fallback"  # live, but something went wrong: control's reply
