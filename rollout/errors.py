"""Every error the toolkit raises. Each is a small letter: what happened, to which thing, which value, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


class RolloutError(Exception):
    """The base of every error of this toolkit."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake of a declaration: where it stands, what is wrong, and what to do about it."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} → {self.remedy}"


class DeclarationError(RolloutError):
    """Everything that is wrong with what was declared, in one error.

    ``problems`` holds each mistake; the message lists them all, one to a line.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        count = len(self.problems)
        head = f"{count} mistake{'s' if count != 1 else ''} in what was declared:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


class UnknownName(RolloutError):
    """A rollout, branch or other thing was named that does not exist; the nearest name is offered."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        if near:
            remedy = f'Did you mean "{near[0]}"?'
        elif known:
            remedy = f"Known: {', '.join(sorted(known)[:10])}."
        elif kind == "rollout":
            remedy = "None is registered in this database yet: start the application once, or check the database URL."
        else:
            remedy = "There is none so far."
        super().__init__(f'There is no {kind} "{name}". {remedy}')


class IllegalTransition(RolloutError):
    """A change that the lifecycle does not allow from here; the message names the legal ones."""

    def __init__(self, thing: str, mode: str, event: str, legal: Sequence[str]) -> None:
        self.thing, self.mode, self.event, self.legal = thing, mode, event, tuple(legal)
        allowed = ", ".join(legal) if legal else "nothing"
        super().__init__(f"{thing} is {mode}: {event} is not possible there. Possible now: {allowed}.")


class Refused(RolloutError):
    """A change that is legal but not allowed now (a gate is not through, an approval is missing, a freeze is on …)."""


class Conflict(RolloutError):
    """Somebody else changed the same thing first: nothing was written. Read again and decide again."""


class Outdated(Conflict):
    """A change was asked for by somebody who had not seen what happened since: nothing was written.

    ``since``: the decisions that they had not seen, newest first; the message tells them.
    """

    def __init__(self, thing: str, since: Sequence[Any]) -> None:
        self.thing, self.since = thing, tuple(since)
        lines = "".join(
            f"\n  - #{one.number} {one.action} by {one.actor}{f': {one.reason}' if one.reason else ''}" for one in since
        )
        super().__init__(
            f"{thing} has changed since you looked, nothing was written. Look again and decide again.{lines}"
        )


class Fenced(Conflict):
    """The writer no longer leads (its lease epoch is over): nothing was written."""


class DatabaseError(RolloutError):
    """The database cannot be used: unreachable, unreadable, read-only, or not one of ours."""


class SchemaError(DatabaseError):
    """The schema is older or newer than this version of the toolkit; the message names the command to run."""


class SpecError(RolloutError):
    """A spec file is wrong. ``problems`` lists every mistake, each with the line of its key."""

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems: tuple[Problem, ...] = tuple(problems)
        head = f"{path}: {len(self.problems)} mistake{'s' if len(self.problems) != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


class FanOutFailed(RolloutError):
    """A fan-out has no answer. ``parts`` holds what came all the same, ``parts.missing`` why the rest is not there;
    ``runs`` how each branch ended, by name. Its cause is the error of the branch, or of the aggregator.
    """

    def __init__(self, name: str, why: str, parts: Any, runs: Mapping[str, Any]) -> None:
        self.parts = parts
        self.runs = runs
        super().__init__(f"fan-out {name}: {why}")


class SideEffectRefused(RolloutError):
    """A shadow run tried to change the outside world through the guarded client; the request was not sent."""


class BranchTimeout(RolloutError, TimeoutError):
    """A branch was cut at its hard timeout or at the deadline of the call."""


class Rejected(RolloutError):
    """A branch run was not started: its bulkhead was full."""
