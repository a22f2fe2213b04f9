"""Faults on purpose: a branch that is slow, fails, hangs, answers nonsense or ignores its cancellation.

    slow = chaos(tickets, delay=(0.1, 2.0), rate=0.3, dice=FixedDice(seed=7))
    away = chaos(tickets, error=ConnectionError)
    search = FanOut("search", [orders, away])

Everything waits by ``asyncio.sleep``, so that ``run_virtual`` takes no time for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from typing import Any, Final, TypeGuard

from rollout.definition import Branch
from rollout.domain.call import Call
from rollout.mistakes.checks import is_number

Delay = float | tuple[float, float]
Error = BaseException | Callable[[], BaseException]

_ITS_OWN: Final[Any] = object()  # None is a part too
_LONGEST_S: Final = 1e9


def chaos(
    branch: Branch,
    *,
    delay: Delay = 0.0,
    error: Error | None = None,
    rate: float = 1.0,
    part: Any = _ITS_OWN,
    hang: bool = False,
    swallow: float = 0.0,
    dice: Callable[[], float] = random.random,
) -> Branch:
    """The same branch with faults, in live and in shadow alike.

    * ``delay``: seconds before anything else, or ``(least, most)``, uniformly between them. Default 0.
    * ``error``: raised instead of running the branch. A class or a function without arguments makes a fresh one each
      time, an instance is raised as it is. Default None.
    * ``rate``: the share of attempts that suffer, in [0, 1]; a retry is an attempt of its own. Default 1.
    * ``part``: returned instead of running the branch, the same object each time. Default: the branch's own.
    * ``hang``: whether it never returns until it is cancelled. Default False.
    * ``swallow``: seconds that it goes on for once it is cancelled, further cancellations ignored. Default 0.
    * ``dice``: thrown twice for an attempt: whether it suffers, and how long the delay is if so.

    Raises ``ValueError`` with every mistake.
    """
    problems = [*_of_branch(branch), *_of_faults(delay, error, rate, part, hang, swallow)]
    if problems:
        raise ValueError(f"chaos({getattr(branch, 'name', branch)!r}): {'; '.join(problems)}")
    least, most = delay if isinstance(delay, tuple) else (delay, delay)

    async def suffer(call: Call) -> Any:
        if most:
            await asyncio.sleep(least + (most - least) * dice())
        if hang:
            await asyncio.get_running_loop().create_future()
        if error is not None:
            raise _exception(error)
        return await branch.run(call) if part is _ITS_OWN else part

    @wraps(branch.run)  # what the engine reads of a function, such as `needs_request`, is that of the branch's own
    async def run(call: Call) -> Any:
        if dice() >= rate:
            return await branch.run(call)
        return await _stubborn(suffer(call), swallow)

    return replace(branch, run=run)


def _exception(error: Error) -> BaseException:
    made = error if isinstance(error, BaseException) else error()
    if not isinstance(made, BaseException):
        raise TypeError(f"error= of chaos made {made!r}, which cannot be raised: return an exception")
    return made


async def _stubborn(body: Awaitable[Any], seconds: float) -> Any:
    """What an awaitable comes to; where that is cancelled, only after so many seconds."""
    try:
        return await body
    except asyncio.CancelledError:
        await _regardless(seconds)
        raise


async def _regardless(seconds: float) -> None:
    """Sleep, however often that is cancelled."""
    time = asyncio.get_running_loop().time
    end = time() + seconds
    while (left := end - time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


# Mistakes


def _of_branch(branch: Any) -> Iterator[str]:
    if not isinstance(branch, Branch):
        yield f"{branch!r} is no branch; give a Branch(...)"
    elif not callable(branch.run):
        yield f"{branch.run!r} cannot be called; pass the branch an async function Call -> part"


def _of_faults(delay: Any, error: Any, rate: Any, part: Any, hang: Any, swallow: Any) -> Iterator[str]:
    if not _is_delay(delay):
        yield f"delay is {delay!r}; give seconds from 0 to 1e9, or (least, most) of them"
    if error is not None and not _is_error(error):
        yield f"error is {error!r}; give an exception, its class, or a function without arguments that makes one"
    if not is_number(rate) or not 0 <= rate <= 1:
        yield f"rate is {rate!r}; give a share in [0, 1], such as 0.3"
    if not isinstance(hang, bool):
        yield f"hang is {hang!r}; give True or False"
    if not _is_seconds(swallow):
        yield f"swallow is {swallow!r}; give seconds from 0 to 1e9"
    instead = [("error", error is not None), ("part", part is not _ITS_OWN), ("hang", hang is True)]
    given = [name for name, is_given in instead if is_given]
    if len(given) > 1:
        yield f"{' and '.join(given)} exclude each other; give one of them"
    if not given and delay in (0, (0, 0)) and swallow == 0:
        yield "there is no fault; give delay, error, part, hang or swallow"


def _is_delay(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(_is_seconds(end) for end in value) and value[0] <= value[1]
    return _is_seconds(value)


def _is_seconds(value: Any) -> TypeGuard[float]:
    return is_number(value) and 0 <= value <= _LONGEST_S


def _is_error(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, BaseException)
    return isinstance(value, BaseException) or callable(value)
