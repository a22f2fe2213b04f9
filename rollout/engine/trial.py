"""One request, from the middleware's hand-over to the reply, and its shadow after that.

    serve ─┬─ nothing live: control answers; the shadow is submitted when the user has the reply
           ├─ overlay:      control and the live branches side by side; their parts laid over its reply
           └─ replace:      the branches instead of control; control as the fallback
    run_shadow: the branches that are not live, the aggregator, the comparison, the record

Whatever goes wrong here ends in ``Runtime.fault``, a counter and a log line; the user gets control's reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from rollout.context import RunContext, current_run
from rollout.domain.call import NO_PARTS, NOTHING, Call, Circumstances, Reply
from rollout.domain.outcomes import RunOutcome
from rollout.domain.routing import Assignment
from rollout.engine.cells import Cell, Fault, Scored
from rollout.engine.clean import conclude_clean
from rollout.engine.conclusion import conclude
from rollout.engine.fanout import BranchRun, FanOut
from rollout.engine.joining import Unjoinable, join
from rollout.engine.second import Second

if TYPE_CHECKING:
    from rollout.engine.runtime import Runtime
    from rollout.engine.view import View

Handler = Callable[[Any], Awaitable[Any]]


class Trial:
    """One call seen from both sides."""

    # Without slots, so that what most trials never set can be a default of the class.
    mode = "shadow"
    body = b""
    state: Mapping[str, Any] = NOTHING
    reply: Reply | None = None
    control_error: BaseException | None = None
    control_run: RunContext | None = None
    control_s: float | None = None
    candidate: Reply | None = None
    candidate_s: float | None = None
    fan: FanOut | None = None
    context: Context | None = None
    task: asyncio.Task[None] | None = None
    size = 0
    noise = False  # control is to run once more, to be compared with itself
    drawn = False
    ready = False  # nothing must be waited for before control may run
    done = False  # there is nothing to conclude any more
    ended = False  # its place in the lane is given back

    def __init__(
        self,
        runtime: Runtime,
        view: View,
        native: Any,
        call: Call,
        key: str | None,
        started: float,
        second: Second | None = None,
        assignment: Assignment | None = None,
        cell: Cell | Scored | None = None,
    ) -> None:
        """``assignment`` and ``cell`` are None where a remote flag must be asked first."""
        self.runtime = runtime
        self.view = view
        self.native = native
        self.call = call
        self.key = key
        self.started = started
        self.second = second
        self.assignment = assignment
        self.cell = cell

    # ---- the user's request

    async def serve(self, handler: Handler) -> Any:
        """The response to the request. Raises what control raises."""
        if not self.ready:
            try:
                self.ready = await self._prepare()
            except Exception as error:
                self.runtime.fault("prepare", error)
            if not self.ready:
                return await self._control_only(handler)
        assert self.assignment is not None
        if not self.assignment.live:
            return await self._control_then_shadow(handler)
        self.mode = "live"
        if self.runtime.replaces and self.runtime.replaced_by(self.assignment):
            return await self._replace(handler)
        return await self._overlay(handler)

    async def _prepare(self) -> bool:
        """Everything that may wait: flag, capture, body. False where the call is to be served by control alone."""
        runtime = self.runtime
        if self.assignment is None and not await runtime.route_remote(self):
            return False
        assert self.assignment is not None
        if not self.assignment.runs or not runtime.draw(self):
            return False
        if runtime.captures:
            self.state = await runtime.capture(self.native)
        if runtime.host.has_body(self.native):
            body = await runtime.host.read_body(self.native, runtime.definition.max_body)
            if body is None:
                runtime.skipped(self.second, "too_large")
                return False
            self.size += len(body)
            self.body = body
        runtime.keep(self)
        return True

    async def _control_only(self, handler: Handler) -> Any:
        try:
            response = await handler(self.native)
        except BaseException as error:
            if self.cell is not None:
                self.runtime.count_error(self.cell, self.started, error)
            raise
        if self.cell is not None:
            self.runtime.count(self.cell, self.started, response)
        return response

    async def _control(self, handler: Handler) -> Any:
        """Run control in the user's own task, and copy what it answered. Raises what it raises."""
        runtime = self.runtime
        run = self.control_run = RunContext(runtime.name, deadline=None, clock=runtime.time)
        token = current_run.set(run)
        try:
            response = await handler(self.native)
        except BaseException as error:
            self._control_raised(error)
            raise
        finally:
            current_run.reset(token)
        self.control_s = runtime.time() - self.started
        self.reply = runtime.reply_of(response)
        return response

    async def _control_then_shadow(self, handler: Handler) -> Any:
        """The common case: control answers, and the trial goes to the lane. One coroutine, as every frame is felt
        here.
        """
        runtime = self.runtime
        run = self.control_run = RunContext(runtime.name, "", False, None, runtime.time)
        token = current_run.set(run)
        try:
            response = await handler(self.native)
        except asyncio.CancelledError:
            self._count(Fault(None, "", None))
            raise
        except BaseException as error:
            self._control_raised(error)
            self._count(self._control_fault())
            self._submit()
            raise
        finally:
            current_run.reset(token)
        control_s = self.control_s = runtime.time() - self.started
        reply = self.reply = runtime.reply_of(response)
        cell = self.cell
        if reply is None:
            self._count(None)
            runtime.skipped(self.second, "streamed")
            return response
        if reply.status < 500 and cell is not None and not cell.sealed:
            cell.finish(control_s)
        else:
            self._count(self._control_fault())
        self._submit()
        return response

    def _control_raised(self, error: BaseException) -> None:
        self.control_s = self.runtime.time() - self.started
        if not isinstance(error, asyncio.CancelledError):
            self.reply = self.runtime.reply_of_error(error)
            self.control_error = None if self.reply is not None else error

    async def _overlay(self, handler: Handler) -> Any:
        """Control and the live branches run side by side. Any failure of theirs leaves control's reply as it is."""
        runtime = self.runtime
        fan = self._fan_out(shadow=False)
        fan.start()
        try:
            response = await self._control(handler)
        except BaseException as error:
            fan.cut(RunOutcome.cancelled)
            self._count(Fault(None, "", None) if isinstance(error, asyncio.CancelledError) else self._control_fault())
            if not isinstance(error, asyncio.CancelledError):
                self._submit()
            raise
        if self.reply is None:
            fan.cut(RunOutcome.cancelled)
            runtime.skipped(self.second, "streamed")
            return self._fall_back(response, "streamed", frozenset())
        if not self.reply.ok and not runtime.definition.aggregate_all:  # a reply that is not 2xx passes through
            fan.cut(RunOutcome.cancelled)
            self._count(self._control_fault())
            self._submit()
            return response
        try:
            await fan.decided()
        except asyncio.CancelledError:
            fan.cut(RunOutcome.cancelled)
            self._count(Fault(None, "", None))
            raise
        return await self._answer(fan, response)

    async def _answer(self, fan: FanOut, response: Any) -> Any:
        """The candidate, or control's response if there is none."""
        runtime = self.runtime
        if fan.failed is not None:
            failed = fan.failed
            fan.cut(RunOutcome.cancelled)
            return self._fall_back(response, f"{failed.outcome}", self._blame())
        try:
            candidate = await join(runtime, self.call, self.reply, fan, native=self.native)
            native = runtime.host.response_of(candidate, response)
        except asyncio.CancelledError:
            self._count(Fault(None, "", None))
            raise
        except Unjoinable as error:
            return self._fall_back(response, error.reason, self._blame(all_of_them=error.ours))
        except Exception as error:
            runtime.fault("aggregate", error)
            return self._fall_back(response, "aggregate", self._blame(all_of_them=True))
        self._served(candidate)
        if isinstance(native, BaseException):  # a redirect that was raised is raised again
            raise native
        return native

    async def _replace(self, handler: Handler) -> Any:
        """The live branches instead of control, unless they fail, or come so late that control would miss the
        deadline.
        """
        runtime = self.runtime
        fan = self._fan_out(shadow=False)
        fan.start()
        reason = ""
        try:
            async with asyncio.timeout_at(runtime.fallback_at(self.started)):
                await fan.decided()
            if fan.failed is not None:
                reason = str(fan.failed.outcome)
        except TimeoutError:
            reason = "late"
        except asyncio.CancelledError:
            fan.cut(RunOutcome.cancelled)
            self._count(Fault(None, "", None))
            raise
        if not reason:
            try:
                candidate = await join(runtime, self.call, None, fan, native=self.native)
                native = runtime.host.response_of(candidate, None)
            except asyncio.CancelledError:
                self._count(Fault(None, "", None))
                raise
            except Exception as error:
                runtime.fault("aggregate", error)
                reason = "aggregate"
            else:
                self._served(candidate)
                if isinstance(native, BaseException):
                    raise native
                return native
        blamed = self._blame(all_of_them=reason in ("aggregate", "late"))
        if runtime.may_not_fall_back(fan):
            fan.cut(RunOutcome.cancelled)
            self._count(Fault(blamed, "impossible", runtime.time() - self.started))
            return runtime.host.response_of(runtime.no_answer(fan, reason), None)
        fan.cut(RunOutcome.cancelled)
        try:
            response = await self._control(handler)
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            self._count(Fault(None, "" if gone else reason, None if gone else runtime.time() - self.started))
            if not gone:
                self._submit()
            raise
        return self._fall_back(response, reason, blamed)

    # ---- how it ended, for the user

    def _served(self, candidate: Reply) -> None:
        """The user gets the candidate."""
        assert self.cell is not None
        now = self.runtime.time()
        self.candidate = candidate
        self.candidate_s = now - self.started
        blamed = self._blame()
        self.cell.served += 1
        if blamed:  # an optional branch failed: the user has an answer, its gate has a failure
            self.cell.fault(Fault(blamed, "", self.candidate_s))
        else:
            self.cell.finish(self.candidate_s)
        self.runtime.served_candidate(self.candidate_s)
        self._submit()

    def _fall_back(self, response: Any, reason: str, blamed: frozenset[int]) -> Any:
        """The user gets control's reply although branches were live."""
        self._count(Fault(blamed, reason, self.runtime.time() - self.started))
        if self.reply is not None:
            self._submit()
        return response

    def _count(self, fault: Fault | None) -> None:
        cell = self.cell
        assert cell is not None
        if cell.sealed:
            self.runtime.tally.late += 1
        elif fault is not None:
            cell.fault(fault)
        else:
            cell.finish(self.runtime.time() - self.started)

    def _control_fault(self) -> Fault | None:
        """Control failed: it raised something of its own, or answered 5xx."""
        if self.control_error is None and (self.reply is None or self.reply.status < 500):
            return None
        return Fault(None, "", None)

    def _blame(self, *, all_of_them: bool = False) -> frozenset[int]:
        """The units (by index) whose live branches failed; or all that were live, where no one branch is to blame."""
        assert self.assignment is not None
        assert self.fan is not None
        unit_of = self.view.unit_of
        if all_of_them:
            return frozenset(unit_of[name] for name in self.assignment.live)
        bad = (RunOutcome.error, RunOutcome.hard_timeout, RunOutcome.rejected)
        return frozenset(unit_of[name] for name, run in self.fan.runs.items() if run.outcome in bad)

    # ---- the shadow

    def _submit(self) -> None:
        """Hand the trial to the shadow lane, if there is anything to run or to compare. The user's reply is on its
        way.
        """
        try:
            self.runtime.submit(self)
        except Exception as error:
            self.runtime.fault("submit", error)

    def capture_context(self) -> None:
        """Keep the context variables of the request, for branches that run after it."""
        if self.context is None:
            self.context = copy_context()

    def _fan_out(self, *, shadow: bool) -> FanOut:
        runtime, assignment, second = self.runtime, self.assignment, self.second
        assert assignment is not None
        assert second is not None
        if self.context is None:
            self.context = copy_context()
        deadline = (runtime.time() if shadow else self.started) + runtime.latency_s
        about = Circumstances(self.body, self.key, self.state, NO_PARTS, shadow, deadline, runtime.time)
        self.call = Call(self.call.source, about)
        self.fan = FanOut(
            runtime.fan_outs,
            assignment.shadow if shadow else assignment.live,
            self.call,
            shadow,
            self.context,
            second.count_run,
            self.fan.runs if self.fan is not None else None,
        )
        return self.fan

    def begin(self) -> None:
        """Run what is not live. Called by the lane; never raises."""
        try:
            assert self.second is not None
            self.second.funnel.add("started")
            self._fan_out(shadow=True).start(self._both_sides)
        except Exception as error:
            self.runtime.fault("shadow", error)
            self._end()

    def _both_sides(self) -> None:
        """All branches have ended: conclude at once if the trial is clean, else in a task, as hooks may have to be
        waited for.
        """
        runtime, fan = self.runtime, self.fan
        if self.done or fan is None:
            self._end()
            return
        try:
            quick = self.mode == "shadow" and runtime.overlaid and not self.noise
            if quick and conclude_clean(self, fan):
                self._end()
            else:
                self.task = runtime.loop.create_task(self._conclude(), name="rollout-conclusion", context=self.context)
        except Exception as error:
            runtime.fault("shadow", error)
            self._end()

    async def _conclude(self) -> None:
        try:
            if self.mode == "reverse":
                await self._reverse()
            await conclude(self)
        except Exception as error:
            self.runtime.fault("shadow", error)
        finally:
            self._end()

    def _end(self) -> None:
        """Give the place in the lane back, and let go of everything, so that reference counting frees it."""
        if not self.ended:
            self.ended = True
            self.runtime.lane.ended(self)
        self.release()

    async def _reverse(self) -> None:
        """Control, in shadow of the branches that stood in for it."""
        runtime = self.runtime
        begun = runtime.time()
        try:
            self.reply = await runtime.run_control_again(self.call)
        except Exception as error:
            self.reply = runtime.reply_of_error(error)
            self.control_error = None if self.reply is not None else error
        self.control_s = runtime.time() - begun

    def abandon(self, reason: str) -> None:
        """The lane refused the trial (``refused:…``), or stops it on the way (``shutdown``)."""
        self.done = True
        assert self.second is not None
        self.runtime.funnel(self.second, reason if ":" in reason else f"dropped:{reason}")
        if self.task is not None:
            self.task.cancel()
        elif self.fan is not None and self.fan.shadow:
            self.fan.cut(RunOutcome.shutdown)

    def release(self) -> None:
        """Let go of everything that the trial held, so that reference counting frees it."""
        self.fan = None
        self.native = None
        self.context = None
        self.control_error = None
        self.task = None

    @property
    def live_runs(self) -> dict[str, BranchRun]:
        """The runs that were live, by branch."""
        assignment = self.assignment
        if self.fan is None or assignment is None:
            return {}
        return {name: run for name, run in self.fan.runs.items() if name in assignment.live}
