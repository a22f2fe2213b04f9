"""Retries: which errors, how long to wait, how many a branch may afford, and that only one layer does it.

    answer = next_attempt(policy, error, attempt=1, remaining_s=1.2, dice=dice(), budget=budget, now=now, wall=wall)
    # a number: wait so many seconds and try again; a text: why not, and the error is raised

Layers multiply: three that try three times each make 27 attempts of one call. So an error that a layer gives up on is
marked, and no layer above it tries again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from inspect import iscoroutinefunction
from math import exp, isfinite
from typing import Any, Final, Literal

GaveUp = Literal["permanent", "attempts", "deadline", "budget"]

MOST_ATTEMPTS: Final = 10
TRANSIENT_STATUSES: Final = (408, 429, 502, 503, 504)
MEMORY_S: Final = 10.0  # how long a retry budget remembers calls that needed no retry
_STEP_S: Final = 1.0  # a deposit does not look at the age of what is there more often
_MARK: Final = "__rollout_retried__"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

# By name, because this package imports no third party. What aiohttp raises is no ConnectionError, but for a few.
_TRANSIENT_NAMES: Final = frozenset({"aiohttp.ClientConnectionError", "aiohttp.ClientPayloadError"})
# These are connection errors by their class; but the wrong certificate is as wrong the second time.
_PERMANENT_NAMES: Final = frozenset({"ssl.SSLCertVerificationError", "aiohttp.ServerFingerprintMismatch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a branch is tried again, and how often.

    * ``attempts``: in total, the first one counted, 1 .. 10. Default 2; 1 never tries again.
    * ``base_s``, ``cap_s``: the wait before the n-th retry is drawn from [0, min(``cap_s``, ``base_s`` · 2^(n-1)))
      seconds: full jitter, after Brooker, "Exponential Backoff And Jitter" (AWS, 2015). Defaults 0.05 and 1.
    * ``attempt_timeout_s``: seconds for one attempt; one that runs out of them is a transient error. Default None.
    * ``transient``: what is transient beside the standard errors (see ``is_transient``): exception classes, or
      ``error -> bool``. Default none.
    * ``budget``: retries and hedges as a share of the branch's calls, in [0, 1]. Default 0.2.
    * ``per_s``: so many more in each second, for branches with few calls; 0 switches it off. Default 10.
    """

    attempts: int = 2
    base_s: float = 0.05
    cap_s: float = 1.0
    attempt_timeout_s: float | None = None
    transient: Sequence[type[BaseException]] | Callable[[BaseException], bool] = ()
    budget: float = 0.2
    per_s: float = 10.0

    def problems(self) -> list[str]:
        """Every mistake, each with its remedy; empty when there is none."""
        return [*self._number_problems(), *_transient_problems(self.transient)]

    def _number_problems(self) -> Iterator[str]:
        whole = isinstance(self.attempts, int) and not isinstance(self.attempts, bool)
        if not (whole and 1 <= self.attempts <= MOST_ATTEMPTS):
            yield f"attempts is {self.attempts!r}; give a whole number from 1 (never try again) to {MOST_ATTEMPTS}"
        for name in ("base_s", "cap_s"):
            if not _is_amount(getattr(self, name)):
                yield f"{name} is {getattr(self, name)!r}; it must be 0 or more seconds, and finite"
        if _is_amount(self.base_s) and _is_amount(self.cap_s) and self.base_s > self.cap_s:
            yield f"base_s={self.base_s:g} is above cap_s={self.cap_s:g}; lower base_s or raise cap_s"
        timeout = self.attempt_timeout_s
        if timeout is not None and not (_is_amount(timeout) and timeout > 0):
            yield f"attempt_timeout_s is {timeout!r}; it must be above 0 seconds and finite, or left out"
        if not (_is_amount(self.budget) and self.budget <= 1):
            yield f"budget is {self.budget!r}; it is a share of the calls, from 0 to 1"
        if not _is_amount(self.per_s):
            yield f"per_s is {self.per_s!r}; it must be 0 or more retries a second, and finite"
        if self.attempts != 1 and self.budget == self.per_s == 0:
            yield "budget and per_s are both 0, so nothing is ever tried again; raise one, or write attempts=1"


def next_attempt(
    policy: Retry,
    error: BaseException,
    *,
    attempt: int,
    remaining_s: float | None,
    dice: float,
    budget: RetryBudget,
    now: float,
    wall: float,
) -> float | GaveUp:
    """Seconds to wait before the next attempt, or why there is none.

    * ``attempt``: the one that ended in ``error``; the first is 1.
    * ``remaining_s``: seconds until the deadline; None where there is none.
    * ``dice``: in [0, 1). ``now``: monotonic seconds, as ``budget`` was made with. ``wall``: epoch seconds.

    ``"permanent"``: the error is not transient, or another layer has retried it. ``"attempts"``: there are no more.
    ``"deadline"``: the wait would reach it. ``"budget"``: the branch has none left; asked last, so that no retry is
    paid for that does not happen.

    An error that is given up for one of the last three is marked (``mark_retried``), unless the policy never tries
    again. What ``policy.transient`` itself raises is raised.
    """
    if not is_transient(error, policy):
        return "permanent"
    # The jitter comes on top: a service asks all its callers for the same pause, and would see them all at once again.
    jitter_s = dice * min(policy.cap_s, policy.base_s * 2.0 ** (attempt - 1))
    wait_s = (retry_after_s(error, wall) or 0.0) + jitter_s
    why: GaveUp
    if attempt >= policy.attempts:
        why = "attempts"
    elif remaining_s is not None and wait_s >= remaining_s:
        why = "deadline"
    elif not budget.withdraw(now):
        why = "budget"
    else:
        return wait_s
    if policy.attempts > 1:  # a layer that never retries leaves it to the one above
        mark_retried(error)
    return why


def is_transient(error: BaseException, policy: Retry) -> bool:
    """Whether another attempt may go better.

    The standard errors: ``ConnectionError``, ``TimeoutError``, aiohttp's connection and payload errors, and whatever
    has a ``status`` of 408, 429, 502, 503 or 504; not a refused certificate. Then what ``policy.transient`` declares.

    Never: what is no ``Exception`` (a cancellation), says ``retriable = False``, or was retried by another layer.
    """
    if not isinstance(error, Exception) or getattr(error, "retriable", True) is False or was_retried(error):
        return False
    return _is_standard(error) or _is_declared(error, policy)


def _is_standard(error: Exception) -> bool:
    names = {f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}" for cls in type(error).__mro__}
    if names & _PERMANENT_NAMES:
        return False
    if isinstance(error, ConnectionError | TimeoutError) or names & _TRANSIENT_NAMES:
        return True
    return getattr(error, "status", None) in TRANSIENT_STATUSES


def _is_declared(error: Exception, policy: Retry) -> bool:
    if callable(policy.transient):
        return bool(policy.transient(error))
    return isinstance(error, tuple(policy.transient))


def mark_retried(error: BaseException) -> None:
    """Let no layer above try again. The mark stays with the object: raise a new error for a new failure."""
    vars(error)[_MARK] = True  # not setattr: a frozen dataclass would refuse; every exception has this dictionary


def was_retried(error: BaseException) -> bool:
    """Whether a layer has given up on this error, or on one that it was raised ``from``."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if _MARK in vars(cause):
            return True
        seen.add(id(cause))  # causes may form a ring
        cause = cause.__cause__
    return False


def retry_after_s(error: BaseException, wall: float) -> float | None:
    """Seconds that ``error.headers`` ask to wait by ``Retry-After`` (RFC 9110, 10.2.3): 0 or more, and finite.

    Seconds, also with a fraction, or an HTTP date, which is held against ``wall`` (epoch seconds); 0 if it is over.
    None without the header, or if it cannot be read.
    """
    headers = getattr(error, "headers", None)
    if not isinstance(headers, Mapping):
        return None
    for name, value in headers.items():
        if str(name).lower() == "retry-after":
            return _asked_s(str(value).strip(), wall)
    return None


def _asked_s(text: str, wall: float) -> float | None:
    if _NUMBER.fullmatch(text):
        asked = float(text)
        return asked if isfinite(asked) else None  # hundreds of digits
    try:
        moment = parsedate_to_datetime(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, at - wall)


class RetryBudget:
    """What one branch may spend on retries and hedges: ``share`` of a retry for each call, and ``per_s`` each second.

    It starts with ``per_s`` retries; in its first ``t`` seconds, with ``n`` calls, it grants at most
    ``share``·n + ``per_s``·(t + 1).

    What is not used fades, with a time constant of 10 seconds: after a long quiet, 10 · ``per_s`` are there, and under
    a steady load, 10 seconds of calls beside. The last whole retry does not fade, so that a branch with a call a minute
    gets one too.

    ``now``: monotonic seconds; a clock that goes back is taken to stand still.
    """

    __slots__ = ("_balance", "_per_s", "_settled_at", "_share")

    def __init__(self, share: float, per_s: float, now: float) -> None:
        self._share, self._per_s = share, per_s
        self._balance = per_s
        self._settled_at = now

    def deposit(self, now: float) -> None:
        """One call more: the call, not each of its attempts."""
        if now - self._settled_at >= _STEP_S:
            self._settle(now)
        self._balance += self._share

    def withdraw(self, now: float) -> bool:
        """Whether one retry or hedge may start; if so, it is paid for."""
        self._settle(now)
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True

    def _settle(self, now: float) -> None:
        """Solve b' = per_s - b / 10 s up to ``now``; but below one retry, or down to it, nothing fades."""
        elapsed = now - self._settled_at
        if elapsed <= 0:
            return
        level = self._per_s * MEMORY_S
        faded = level + (self._balance - level) * exp(-elapsed / MEMORY_S)
        self._balance = max(faded, min(1.0, self._balance + self._per_s * elapsed))
        self._settled_at = now


def _transient_problems(transient: Any) -> Iterator[str]:
    # A class can be called too, and so can an async function; what they return would be true of every error.
    is_function = callable(transient) and not isinstance(transient, type) and not iscoroutinefunction(transient)
    if is_function:
        return
    if not isinstance(transient, Sequence) or isinstance(transient, str):
        yield f"transient is {transient!r}; write transient=(ThatError,), or give a plain function error -> bool"
        return
    for stranger in transient:
        if not (isinstance(stranger, type) and issubclass(stranger, Exception)):
            yield f"transient holds {stranger!r}; name classes below Exception (a cancellation is never retried)"


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
