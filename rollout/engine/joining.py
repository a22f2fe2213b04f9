"""Join the parts to a candidate: the overlay of each part at its place, or what the user's aggregator makes of them."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import TYPE_CHECKING, Any

from rollout.domain.call import Call, Reply
from rollout.domain.outcomes import RunOutcome
from rollout.errors import RolloutError

if TYPE_CHECKING:
    from rollout.engine.fanout import FanOut
    from rollout.engine.runtime import Runtime

#: Headers of control's reply that no longer hold for a body that was made anew.
STALE = ("Content-Length", "Content-Encoding", "ETag", "Transfer-Encoding")


class Unjoinable(RolloutError):
    """There is no candidate. ``reason``: one word for the counter; ``ours``: whether no single branch is to blame."""

    def __init__(self, reason: str, why: str, *, ours: bool = True) -> None:
        self.reason = reason
        self.ours = ours
        super().__init__(why)


async def join(runtime: Runtime, call: Call, control: Reply | None, fan: FanOut, *, native: Any = None) -> Reply:
    """The candidate of a fan-out whose required branches have their parts.

    ``control``: its reply, or None where the branches stand in for it. Raises ``Unjoinable``, or what the aggregator
    raises.
    """
    answered = next((run for run in fan.runs.values() if run.outcome is RunOutcome.answered), None)
    if answered is not None:
        return _declared_answer(answered.error, answered.station.branch.answers)
    aggregate = runtime.definition.aggregate
    if aggregate is None:
        whole = whole_reply(runtime, fan)
        return whole if whole is not None else as_reply(overlay(runtime, control, fan), control)
    made = aggregate(call, control, fan.parts())
    if inspect.isawaitable(made):
        made = await _bounded(made, runtime, fan)
    return as_reply(made, control)


def whole_reply(runtime: Runtime, fan: FanOut) -> Reply | None:
    """The part that is a reply of its own: of a branch that lives at ``$``, as a handler that answered no JSON does."""
    for name, path in runtime.part_paths.items():
        run = fan.runs.get(name)
        if run is not None and isinstance(run.part, Reply):
            if path.steps:
                raise Unjoinable(
                    "part_not_json", f"the part of {name} is a Reply, which has no place inside a JSON value"
                )
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
            raise Unjoinable("control_not_json", "control's reply is no JSON, so no part can be laid over it") from None
    for name, path in runtime.part_paths.items():
        run = fan.runs.get(name)
        if run is not None and run.outcome is RunOutcome.ok:
            value = path.put(value, run.part)
    return value


def as_reply(made: Any, control: Reply | None) -> Reply:
    """A reply as it is; a JSON value with the status and headers of control. Raises ``TypeError`` if it is no JSON."""
    if isinstance(made, Reply):
        return made
    body = json.dumps(made).encode()
    if control is None:
        return Reply(200, (("Content-Type", "application/json; charset=utf-8"),), body)
    return Reply(control.status, control.headers.without(*STALE), body, raised=control.raised)


def _declared_answer(error: BaseException | None, answers: Any) -> Reply:
    """The reply of an exception that the branch declares as an answer."""
    status = next((status for known, status in answers.items() if isinstance(error, known)), 500)
    return Reply(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{status}".encode())


async def _bounded(made: Any, runtime: Runtime, fan: FanOut) -> Any:
    """An aggregator's result, by the deadline of the call. It is cut from outside, so that it cannot swallow its
    cancellation.
    """
    task = asyncio.ensure_future(made)
    left = fan.call.remaining_s
    try:
        done, _ = await asyncio.wait([task], timeout=left)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise Unjoinable("aggregate_timeout", "the aggregator was not ready by the deadline of the call")
    return task.result()
