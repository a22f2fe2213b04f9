"""Join the parts to a candidate: the overlay of each part at its place, or what the user's aggregator makes of them."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rollout.domain.call import WAIT, Reply
from rollout.domain.outcomes import RunOutcome
from rollout.errors import RolloutError

if TYPE_CHECKING:
    from rollout.engine.fanout import FanOut
    from rollout.engine.runtime import Runtime

#: Headers of control's reply that no longer hold for a body that was made anew.
STALE = ("Content-Length", "Content-Encoding", "ETag", "Transfer-Encoding")
CONTROL_NOT_JSON = "control_not_json"
AGGREGATE_TIMEOUT = "aggregate_timeout"
WAITS = "aggregate_waits"


class Unjoinable(RolloutError):
    """There is no candidate. ``reason``: one word for the counter; ``branches``: whose parts are to blame, if it is no
    more than one branch's fault.
    """

    def __init__(self, reason: str, why: str, *, branches: frozenset[str] = frozenset()) -> None:
        self.reason = reason
        self.branches = branches
        super().__init__(why)


async def join(runtime: Runtime, control: Reply | None, fan: FanOut) -> Reply:
    """The candidate of a fan-out whose required branches have their parts.

    ``control``: its reply, or None where the branches stand in for it. Raises ``Unjoinable``, or what the aggregator
    raises; a cancellation only where the caller was cancelled. What the framework lets a handler raise as its answer is
    the answer of an aggregator too.
    """
    answered = next((run for run in fan.runs.values() if run.outcome is RunOutcome.answered), None)
    if answered is not None:
        return _declared_answer(answered.error, answered.station.branch.answers)
    if runtime.definition.aggregate is None:
        whole = whole_reply(runtime, fan)
        return whole if whole is not None else _laid_over(runtime, control, fan)
    aggregate = runtime.definition.aggregate
    try:
        made = await asked(fan, lambda: aggregate(fan.call, control, fan.parts()))
    except Unjoinable:
        raise
    except Exception as error:
        reply = runtime.reply_of_error(error)
        if reply is None:
            raise
        return reply
    return as_reply(made, control)


async def asked(fan: FanOut, aggregate: Callable[[], Any]) -> Any:
    """What an aggregator makes of the parts that are there; asked again while it returns ``WAIT`` and more may come.

    Raises what it raises, and ``Unjoinable`` where it comes too late, or waits for what cannot come. Where the caller
    is cancelled, what is under way is cut.
    """
    try:
        return await _asked(fan, aggregate)
    except asyncio.CancelledError:
        fan.cut(RunOutcome.cancelled)
        raise


async def _asked(fan: FanOut, aggregate: Callable[[], Any]) -> Any:
    while True:
        pending, ended = fan.pending, fan.ended
        made = _called(aggregate)
        if inspect.isawaitable(made):
            made = await _bounded(made, fan)
        if made is not WAIT:
            return made
        if not pending:
            raise Unjoinable(WAITS, "the aggregator waits for more parts, and none is under way")
        await fan.more_than(ended)
        if fan.failed is not None:
            name, outcome = fan.failed.branch, fan.failed.outcome
            raise Unjoinable(
                f"{outcome}", f"{name} ended as {outcome} while the aggregator waited", branches=frozenset((name,))
            )


def whole_reply(runtime: Runtime, fan: FanOut) -> Reply | None:
    """The part that is a reply of its own: of a branch that lives at ``$``, as a handler that answered no JSON does."""
    for name, path in runtime.part_paths.items():
        run = fan.runs.get(name)
        if run is not None and isinstance(run.part, Reply):
            if path.steps:
                why = f"the part of {name} is a Reply, which has no place inside a JSON value"
                raise Unjoinable("part_not_json", why, branches=frozenset((name,)))
            return run.part
    return None


def overlay(runtime: Runtime, control: Reply | None, fan: FanOut) -> Any:
    """Control's JSON with each part at its place; in ``replace`` an empty object takes the place of control's."""
    if control is None:
        value: Any = {}
    else:
        try:
            value = json.loads(control.body)
        except ValueError:
            raise Unjoinable(CONTROL_NOT_JSON, "control's reply is no JSON, so no part can be laid over it") from None
    for name, path in runtime.part_paths.items():
        run = fan.runs.get(name)
        if run is not None and run.outcome is RunOutcome.ok:
            value = path.put(value, run.part)
    return value


def _laid_over(runtime: Runtime, control: Reply | None, fan: FanOut) -> Reply:
    value = overlay(runtime, control, fan)
    try:
        return as_reply(value, control)
    except (TypeError, ValueError):
        runs = (run for run in fan.runs.values() if run.outcome is RunOutcome.ok)
        foreign = frozenset(run.branch for run in runs if not _is_json(run.part))
        raise Unjoinable(
            "part_not_json", f"no JSON can be made of what {', '.join(sorted(foreign))} returned", branches=foreign
        ) from None


def _is_json(part: Any) -> bool:
    try:
        json.dumps(part, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def as_reply(made: Any, control: Reply | None) -> Reply:
    """A reply as it is; a JSON value with the status and headers of control. Raises ``TypeError`` or ``ValueError``
    if it is no JSON.
    """
    if isinstance(made, Reply):
        return made
    body = _json_of(made, control)
    if control is None:
        return Reply(200, (("Content-Type", "application/json; charset=utf-8"),), body)
    return Reply(control.status, control.headers.without(*STALE), body, raised=control.raised)


def _json_of(made: Any, control: Reply | None) -> bytes:
    """The body. NaN and the infinities are no JSON, and break the user's parser, unless control sends them too."""
    try:
        return json.dumps(made, allow_nan=False).encode()
    except ValueError:
        if control is None or not any(word in control.body for word in (b"NaN", b"Infinity")):
            raise
        return json.dumps(made).encode()


def _declared_answer(error: BaseException | None, answers: Any) -> Reply:
    """The reply of an exception that the branch declares as an answer."""
    status = next((status for known, status in answers.items() if isinstance(error, known)), 500)
    return Reply(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{status}".encode())


def _called(aggregate: Callable[[], Any]) -> Any:
    """What an aggregator returns. To exit or to be cancelled is its failure, and nobody else's end."""
    try:
        return aggregate()
    except (asyncio.CancelledError, SystemExit) as error:
        raise RuntimeError(f"the aggregator raised {type(error).__name__}") from error


async def _bounded(made: Any, fan: FanOut) -> Any:
    """An aggregator's result, by the deadline of the call. It is cut from outside, so that it cannot swallow its
    cancellation.
    """
    task = asyncio.get_running_loop().create_task(_contained(made))
    try:
        done, _ = await asyncio.wait([task], timeout=fan.call.remaining_s)
    except asyncio.CancelledError:
        forsake(task)
        raise
    if not done:
        forsake(task)
        raise Unjoinable(AGGREGATE_TIMEOUT, "the aggregator was not ready by the deadline of the call")
    return task.result()


async def _contained(made: Any) -> Any:
    try:
        return await made
    except (asyncio.CancelledError, SystemExit) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise RuntimeError(f"the aggregator raised {type(error).__name__}") from error


def forsake(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody waits for any more. What it raises then concerns nobody."""
    task.add_done_callback(_noted)
    task.cancel()


def _noted(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
