"""How a run of a branch can end, and who can have answered a call: the one list for counts, tables and metrics."""

from __future__ import annotations

from enum import StrEnum


class RunOutcome(StrEnum):
    """How one run of a branch ended. Disjoint; every run that was asked for ends in exactly one."""

    ok = "ok"  # a part
    answered = "answered"  # an exception that the branch declares as an answer (`answers=`)
    error = "error"  # any other exception
    hard_timeout = "hard_timeout"  # cut at its hard timeout, or at the deadline of the call
    rejected = "rejected"  # not started: the bulkhead was full
    skipped = "skipped"  # not started: `when=`, the dispatch, or a branch it comes after decided so
    cancelled = "cancelled"  # the caller went away
    shutdown = "shutdown"  # the process stopped first; in no gate


class ServedBy(StrEnum):
    """Whose reply the user got."""

    control = "control"  # the branch was not live for this call
    candidate = "candidate"
    fallback = "fallback"  # live, but something went wrong: control's reply
