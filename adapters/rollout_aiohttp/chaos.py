"""Faults by header: whoever has the secret can make a branch slow or fail for one call, in a system that is running.

    profile = chaos_branches(profile, secret=os.environ.get("CHAOS_SECRET"))  # before setup(app, [profile])
    token = chaos_token(secret, {"tickets": {"delay": 2.0, "error": "ConnectionError"}}, valid_s=300)

A call with ``X-Rollout-Chaos: <token>`` then suffers, in live and in shadow alike, within the timeouts and budgets of
the branch, and is evidence like any other call: enough of them hold a ramp, or roll it back. A token is good for any
number of calls until it expires. It reaches no other service: the branches see the call without it.

The token is ``v1.<payload>.<signature>``: base64url of a JSON without padding, and the HMAC-SHA256 of all before the
second dot, in hex. What cannot be verified changes nothing but a count.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import hmac
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Final, cast, overload

from multidict import CIMultiDict, CIMultiDictProxy, istr

from rollout import Branch, Call, Rollout
from rollout.domain.call import CallSource, Headers
from rollout.mistakes.checks import is_number, is_time
from rollout_aiohttp.snapshot import RequestSnapshot

HEADER: Final = istr("X-Rollout-Chaos")
#: What a token may name. All are errors of the outside world or of a branch's code, none ends a process.
ERRORS: Final[Mapping[str, type[Exception]]] = {
    error.__name__: error
    for error in (
        *(ConnectionError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError, TimeoutError, OSError),
        *(PermissionError, LookupError, KeyError, ValueError, TypeError, RuntimeError),
    )
}
_FAULTS: Final = frozenset({"delay", "error", "rate", "hang"})
_MOST_BYTES: Final = 4096  # of a token
_LEAST_BYTES: Final = 16  # of a secret
_LONGEST_S: Final = 3600.0

log = logging.getLogger("rollout.chaos")


# Making a token


def chaos_token(
    secret: str | bytes,
    faults: Mapping[str, Mapping[str, Any]],
    *,
    valid_s: float = 300.0,
    now: float | None = None,
) -> str:
    """A token for ``X-Rollout-Chaos``: branch name → faults, of which each branch has at least one.

    * ``delay``: seconds before anything else, 0 to 3600, or ``[least, most]``, uniformly between them.
    * ``error``: the name of a builtin error (``ERRORS``), which is raised instead of running the branch.
    * ``hang``: ``True``: it does not return until it is cut.
    * ``rate``: the share of attempts that suffer, in [0, 1]. Default 1.

    ``secret``: at least 16 bytes; a text stands for its UTF-8. ``valid_s``: seconds until it expires, above 0.
    ``now``: epoch seconds; default: this machine's clock. Raises ``ValueError`` for a mistake, or a token above 4 kB.
    """
    if not is_time(valid_s):
        raise ValueError(f"valid_s is {valid_s!r}; give seconds above 0, such as 300")
    if not isinstance(faults, Mapping) or not faults:
        raise ValueError(f'faults is {faults!r}; name at least one branch, such as {{"tickets": {{"delay": 2.0}}}}')
    for branch, given in faults.items():
        try:
            _Fault.of(given)
        except ValueError as error:
            raise ValueError(f'chaos token, branch "{branch}": {error}') from None
    expires_at = (time.time() if now is None else now) + valid_s
    payload = json.dumps({"faults": faults, "expires_at": expires_at}, separators=(",", ":"), sort_keys=True)
    signed = f"v1.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}"
    token = f"{signed}.{_signature(_key(secret), signed)}"
    if len(token) > _MOST_BYTES:
        raise ValueError(f"the token has {len(token)} bytes, at most {_MOST_BYTES} are accepted; name fewer branches")
    return token


# Listening for one


@overload
def chaos_branches(
    of: Rollout,
    *,
    secret: str | bytes | None,
    counts: dict[str, int] | None = None,
    dice: Callable[[], float] = random.random,
    wall: Callable[[], float] = time.time,
) -> Rollout: ...
@overload
def chaos_branches(
    of: Sequence[Branch],
    *,
    secret: str | bytes | None,
    counts: dict[str, int] | None = None,
    dice: Callable[[], float] = random.random,
    wall: Callable[[], float] = time.time,
) -> list[Branch]: ...
def chaos_branches(
    of: Rollout | Sequence[Branch],
    *,
    secret: str | bytes | None,
    counts: dict[str, int] | None = None,
    dice: Callable[[], float] = random.random,
    wall: Callable[[], float] = time.time,
) -> Rollout | list[Branch]:
    """The same rollout, or the same branches, whose runs suffer what a token in ``X-Rollout-Chaos`` says.

    * ``secret``: what tokens are signed with, at least 16 bytes. None or empty: every token is refused.
    * ``counts``: counts the attempts that met a token: ``injected``; and ``refused:<why>``, where it changed nothing:
      ``secret`` (we have none), ``size`` (above 4 kB), ``form``, ``signature``, ``expired``, ``faults`` (one that is
      not known). Default None: they are in the log only.
    * ``dice``: thrown for ``rate``, and for a delay. ``wall``: epoch seconds.

    A branch that the token does not name runs as ever. Raises ``ValueError`` for a secret that is too short.
    """
    chaos = _Chaos(_key(secret) if secret else b"", {} if counts is None else counts, dice, wall)
    if isinstance(of, Rollout):
        return replace(of, branches=[chaos.listening(branch) for branch in of.branches])
    return [chaos.listening(branch) for branch in of]


@dataclass(frozen=True, slots=True)
class _Chaos:
    """What the branches share."""

    key: bytes
    counts: dict[str, int]
    dice: Callable[[], float]
    wall: Callable[[], float]

    def listening(self, branch: Branch) -> Branch:
        if not (isinstance(branch, Branch) and callable(branch.run)):
            return branch  # a mistake, which `problems()` finds

        @wraps(branch.run)  # what the engine reads of a function, such as `needs_request`, is that of the branch's own
        def run(call: Call) -> Awaitable[Any]:
            token = call.headers.get(HEADER)
            if token is None:
                return branch.run(call)
            return self._met(token, branch, _without_token(call))

        return replace(branch, run=run)

    async def _met(self, token: str, branch: Branch, call: Call) -> Any:
        try:
            fault = _verified(token, self.key, self.wall()).get(branch.name)
        except _Refused as refused:
            self._count(f"refused:{refused}", branch)
            fault = None
        if fault is not None and self.dice() < fault.rate:
            self._count("injected", branch)
            await fault.suffer(self.dice)
        return await branch.run(call)

    def _count(self, what: str, branch: Branch) -> None:
        count = self.counts[what] = self.counts.get(what, 0) + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th … time, so that a log cannot fill a disk
            words = "a chaos token came to branch %s: %s; so far %d times"
            log.warning(words, branch.name, what, count, extra={"event": f"chaos_{what.partition(':')[0]}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """What one branch suffers. ``least_s``, ``most_s``: of the delay."""

    least_s: float = 0.0
    most_s: float = 0.0
    error: type[Exception] | None = None
    hang: bool = False
    rate: float = 1.0

    @staticmethod
    def of(given: Any) -> _Fault:
        """From what a token says. Raises ``ValueError``."""
        if not isinstance(given, Mapping) or not given.keys() & {"delay", "error", "hang"}:
            raise ValueError(f"there is no fault in {given!r}; give delay, error or hang")
        delay, error = given.get("delay", 0.0), given.get("error")
        hang, rate = given.get("hang", False), given.get("rate", 1.0)
        ends = delay if isinstance(delay, list | tuple) else [delay, delay]
        if unknown := sorted(map(str, given.keys() - _FAULTS)):
            raise ValueError(f"there is no fault {unknown[0]!r}; use {', '.join(sorted(_FAULTS))}")
        if len(ends) != 2 or not all(is_number(end) and 0 <= end <= _LONGEST_S for end in ends) or ends[0] > ends[1]:
            raise ValueError(f"delay is {delay!r}; give seconds from 0 to {_LONGEST_S:g}, or [least, most] of them")
        if error is not None and not (isinstance(error, str) and error in ERRORS):
            raise ValueError(f"error is {error!r}; name one of {', '.join(ERRORS)}")
        if not isinstance(hang, bool):
            raise ValueError(f"hang is {hang!r}; give true or false")
        if hang and error is not None:
            raise ValueError("error and hang exclude each other; give one of them")
        if not is_number(rate) or not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate!r}; give a share in [0, 1], such as 0.3")
        kind = None if error is None else ERRORS[error]
        return _Fault(least_s=ends[0], most_s=ends[1], error=kind, hang=hang, rate=rate)

    async def suffer(self, dice: Callable[[], float]) -> None:
        if self.most_s:
            await asyncio.sleep(self.least_s + (self.most_s - self.least_s) * dice())
        if self.hang:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error("injected by a chaos token")


# Verifying it


class _Refused(Exception):
    """The token is not to be followed; its text says why in one word."""


def _verified(token: str, key: bytes, now: float) -> dict[str, _Fault]:
    """The faults by branch name. Nothing of the token is read before its signature was found right."""
    if not key:
        raise _Refused("secret")
    if len(token) > _MOST_BYTES:
        raise _Refused("size")
    version, _, rest = token.partition(".")
    payload, _, signature = rest.partition(".")
    if version != "v1" or not token.isascii():  # `compare_digest` takes no other text
        raise _Refused("form")
    if not hmac.compare_digest(signature, _signature(key, f"v1.{payload}")):
        raise _Refused("signature")
    try:
        said = json.loads(base64.urlsafe_b64decode(f"{payload}=="))
        expires_at, given = said["expires_at"], said["faults"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _Refused("form") from None
    if not is_number(expires_at) or not now < expires_at:
        raise _Refused("expired")
    try:
        return {branch: _Fault.of(faults) for branch, faults in given}
    except ValueError:
        raise _Refused("faults") from None


def _signature(key: bytes, signed: str) -> str:
    return hmac.digest(key, signed.encode(), "sha256").hex()


def _key(secret: str | bytes) -> bytes:
    if not isinstance(secret, str | bytes):
        raise ValueError(f"the chaos secret is of type {type(secret).__name__}; give a text or bytes")
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < _LEAST_BYTES:
        raise ValueError(f"the chaos secret has {len(key)} bytes; take one of at least {_LEAST_BYTES}, at random")
    return key


# The call as the branches see it


def _without_token(call: Call) -> Call:
    return call.with_(source=cast(CallSource, _Untold(call.source)))


class _Untold:
    """The source of a call less the token: neither the headers nor a request that is made of it pass it on."""

    def __init__(self, source: CallSource) -> None:
        self._source = source
        self.headers = _untold(source.headers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @property
    def snapshot(self) -> RequestSnapshot:
        """As that of a ``RequestSource``; ``AttributeError`` where the call does not come from a request."""
        snapshot = copy.copy(cast(Any, self._source).snapshot)
        snapshot.headers = _untold(snapshot.headers)
        return cast(RequestSnapshot, snapshot)


def _untold(headers: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(headers, CIMultiDictProxy):
        return Headers(headers).without(HEADER)
    mine = CIMultiDict(headers)
    mine.popall(HEADER, None)
    return CIMultiDictProxy(mine)
