"""What ``webhook(…)`` was given, and every mistake in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Final

from rollout.engine.inbox import Deliver, InboxOptions
from rollout.errors import Problem
from rollout.mistakes.checks import NAME_REMEDY, is_name, is_number, is_whole, path_or_problem
from rollout.ports import Inbox
from rollout_webhook.verifying import Verifier

_LONGEST_BODY: Final = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """See ``webhook``."""

    path: str
    name: str
    verify: Verifier
    deliver: Deliver
    inbox: Callable[[], Awaitable[Inbox]]
    event_id: str | None
    key: str
    max_body: int
    most: int
    drain_s: float
    options: InboxOptions
    wall: Callable[[], float]

    def problems(self) -> Iterator[Problem]:
        """Every mistake, each with its remedy."""
        where = f'webhook "{self.name}"'
        if not is_name(self.name):
            yield Problem("webhook", f"the name is {self.name!r}", NAME_REMEDY)
        if not isinstance(self.path, str) or not self.path.startswith("/"):
            yield Problem(where, f"the path is {self.path!r}", 'write for example "/hooks/identity"')
        yield from self._of_functions(where)
        for name, path in (("event_id", self.event_id), ("key", self.key)):
            if path is not None:
                yield from _of_path(f"{where}: {name}", path)
        yield from self._of_numbers(where)
        yield from (
            Problem(where, f"redelivery: {problem}", "mend it") for problem in self.options.redelivery.problems()
        )

    def _of_functions(self, where: str) -> Iterator[Problem]:
        if not _is_async(self.deliver):
            yield Problem(where, f"deliver is {self.deliver!r}", "pass an async function of one event")
        if not callable(self.inbox):
            remedy = 'pass what opens one: rollout_wiring.inbox.inbox("sqlite:///rollout.db")'
            yield Problem(where, f"inbox is {self.inbox!r}", remedy)
        if not hasattr(self.verify, "verify"):
            yield Problem(where, f"verify is {self.verify!r}", "pass Jwks(…) or Hmac(…)")
            return
        mistakes = list(self.verify.problems())
        yield from mistakes
        if not mistakes and is_number(self.options.ttl_s) and not self.options.ttl_s > self.verify.window_s:
            yield Problem(
                where,
                f"ids are kept for ttl_s={self.options.ttl_s:g} seconds, but a request could be replayed for "
                f"{self.verify.window_s:g}",
                "keep them for longer, or accept requests for a shorter time",
            )

    def _of_numbers(self, where: str) -> Iterator[Problem]:
        options = self.options
        for name, value, least, greatest in (
            ("max_body", self.max_body, 1, _LONGEST_BODY),
            ("most", self.most, 1, 10_000_000),
            ("options.concurrency", options.concurrency, 1, 10_000),
        ):
            if not is_whole(value) or not least <= value <= greatest:
                yield Problem(where, f"{name} is {value!r}", f"give a whole number from {least} to {greatest}")
        for name, seconds, shortest, longest in (
            ("drain_s", self.drain_s, 0.0, 3600.0),
            ("options.timeout_s", options.timeout_s, 0.001, 86400.0),
            ("options.lease_s", options.lease_s, 1.0, 3600.0),
            ("options.poll_s", options.poll_s, 0.01, 60.0),
            ("options.ttl_s", options.ttl_s, 1.0, 366 * 86400.0),
        ):
            if not is_number(seconds) or not shortest <= seconds <= longest:
                yield Problem(where, f"{name} is {seconds!r}", f"it must be {shortest:g} to {longest:g} seconds")


def _of_path(where: str, text: Any) -> Iterator[Problem]:
    remedy = 'name one place in what is signed, such as "$.user.id"'
    path, problem = path_or_problem(text, where, remedy)
    if problem is not None:
        yield problem
    elif path is not None and not path.is_plain:
        yield Problem(where, f"{text} may name several places", remedy)


def _is_async(function: Any) -> bool:
    # Not to learn whether it can be called (`callable` tells that): an object may be called by an async `__call__`.
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
