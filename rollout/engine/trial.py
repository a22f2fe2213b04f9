"""One request, from the middleware's hand-over to the reply, and its shadow after that.

    serve ─┬─ nothing live: control answers; the shadow is submitted when the user has the reply
           ├─ overlay:      control and the live branches side by side; their parts laid over its reply
           └─ replace:      the branches instead of control; control as the fallback
    run_shadow: the branches that are not live, the aggregator, the comparison, the record

Whatever goes wrong here ends in ``Runtime.fault``, a counter and a log line; the user gets control's reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

from rollout.context import RunContext, current_run
from rollout.domain.call import NO_PARTS, NOTHING, Call, Circumstances, Reply
from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome
from rollout.domain.prices import PriceBook
from rollout.domain.routing import Assignment
from rollout.engine.branchrun import BranchRun
from rollout.engine.cells import Cell, Fault, Scored
from rollout.engine.clean import conclude_clean
from rollout.engine.conclusion import conclude
from rollout.engine.fanout import FanOut
from rollout.engine.joining import CONTROL_NOT_JSON, Unjoinable, join
from rollout.engine.notes import of_call
from rollout.engine.second import Second
from rollout.engine.standin import StandIn, may_not_fall_back, no_answer
from rollout.ports import FlagAnswer

if TYPE_CHECKING:
    from rollout.engine.runtime import Runtime
    from rollout.engine.view import View

Handler = Callable[[Any], Awaitable[Any]]
#: Ends of a live run that are the branch's failure.
_BAD: Final = (RunOutcome.error, RunOutcome.hard_timeout, RunOutcome.rejected, RunOutcome.short_circuited)


class ControlRun(RunContext):
    """Control, as the code below it sees where it belongs to."""

    # Without slots and without the base's constructor: one is made for every trial. What is shared is looked up, as in
    # `BranchRun`.
    branch = ""
    is_shadow = False
    deadline = None
    usage = None
    jobs = None
    blocked = None

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def rollout(self) -> str:  # type: ignore[override]
        return self._runtime.name

    @property
    def clock(self) -> Callable[[], float]:  # type: ignore[override]
        return self._runtime.time

    @property
    def prices(self) -> PriceBook | None:  # type: ignore[override]
        return self._runtime.fan_outs.prices


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
    flags: Mapping[str, FlagAnswer] = NOTHING  # what was answered, where somebody had to be asked
    outcome: Outcome | None = None  # of the comparison
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
        self.begun = started  # later where the body had to come first, which is nobody's time but the user's
        self.second = second
        self.assignment = assignment
        self.cell = cell

    # ---- the user's request

    def serve(self, handler: Handler) -> Coroutine[Any, Any, Any]:
        """The response to the request, to be awaited. Raises what control raises."""
        if self.ready and self.assignment is not None and not self.assignment.live:
            return self._control_then_shadow(handler)  # the common case, without a coroutine around it
        return self._serve(handler)

    async def _serve(self, handler: Handler) -> Any:
        if not self.ready:
            try:
                self.ready = await self._prepare()
            except asyncio.CancelledError:
                self.runtime.unrouted(self)
                self._count(Fault(None, "", None))
                raise
            except Exception as error:
                self.runtime.fault("prepare", error)
            if not self.ready:
                self.runtime.unrouted(self)
                return await self._control_only(handler)
        assert self.assignment is not None
        if not self.assignment.live:
            return await self._control_then_shadow(handler)
        self.mode = "live"
        stand_in = self.runtime.stand_in
        if stand_in is not None and stand_in.serves(self.assignment):
            return await self._replace(handler, stand_in)
        return await self._overlay(handler)

    async def _prepare(self) -> bool:
        """Everything that may wait: capture, flag, body. False where the call is to be served by control alone."""
        runtime = self.runtime
        if self.assignment is None and not await runtime.route(self):
            return False
        assert self.assignment is not None
        if not self.assignment.runs or not runtime.draw(self):
            return False
        if runtime.host.has_body(self.native):
            body = await runtime.host.read_body(self.native, runtime.definition.max_body)
            if body is None:
                runtime.skipped(self.second, "too_large")
                return False
            self.size += len(body)
            self.body = body
            self.begun = runtime.time()
        runtime.keep(self)
        return True

    async def _control_only(self, handler: Handler) -> Any:
        assert self.cell is not None
        try:
            response = await handler(self.native)
        except BaseException as error:
            self.runtime.count_error(self.cell, self.started, error)
            raise
        self.runtime.count(self.cell, self.started, response)
        return response

    async def _control(self, handler: Handler) -> Any:
        """Run control in the user's own task, and copy what it answered. Raises what it raises."""
        runtime = self.runtime
        run = self.control_run = ControlRun(runtime)
        token = current_run.set(run)
        begun = runtime.time()
        try:
            response = await handler(self.native)
        except BaseException as error:
            self._control_raised(error, begun)
            raise
        finally:
            current_run.reset(token)
        self.control_s = runtime.time() - begun
        if runtime.stand_in is not None:
            runtime.stand_in.control.add(self.control_s)
        self.reply = runtime.reply_of(response)
        return response

    async def _control_then_shadow(self, handler: Handler) -> Any:
        """The common case: control answers, and the trial goes to the lane. One coroutine, as every frame is felt
        here.
        """
        runtime = self.runtime
        run = self.control_run = ControlRun(runtime)
        token = current_run.set(run)
        try:
            response = await handler(self.native)
        except asyncio.CancelledError:
            self._count(Fault(None, "", None))
            raise
        except BaseException as error:
            self._control_raised(error, self.begun)
            self._count(self._control_fault())
            self._submit()
            raise
        finally:
            current_run.reset(token)
        now = runtime.time()
        control_s = self.control_s = now - self.begun
        if runtime.stand_in is not None:
            runtime.stand_in.control.add(control_s)
        reply = self.reply = runtime.reply_of(response)
        cell = self.cell
        if reply is None:
            self._count(None)
            runtime.skipped(self.second, "streamed")
            return response
        if cell is not None and reply.status < 500 and not cell.sealed:
            free = run.usage is None
            cell.finish(now - self.started, free)
            if not free:
                self._note(cell)
        else:
            self._count(self._control_fault())
        self._submit()
        return response

    def _control_raised(self, error: BaseException, begun: float) -> None:
        self.control_s = self.runtime.time() - begun
        if not isinstance(error, asyncio.CancelledError):
            self.reply = self.runtime.reply_of_error(error)
            self.control_error = None if self.reply is not None else error

    async def _overlay(self, handler: Handler) -> Any:
        """Control and the live branches run side by side. Any failure of theirs leaves control's reply as it is."""
        runtime = self.runtime
        fan = self._begin_live()
        if fan is None:
            return await self._control_only(handler)
        try:
            response = await self._control(handler)
        except BaseException as error:
            if self.reply is None or not self._joins(self.reply):
                fan.cut(RunOutcome.cancelled)
                gone = isinstance(error, asyncio.CancelledError)
                self._count(Fault(None, "", None) if gone else self._control_fault())
                if not gone:
                    self._submit()
                raise
            response = error  # a reply that was raised, and that the aggregator gets too
        if self.reply is None:
            fan.cut(RunOutcome.cancelled)
            runtime.skipped(self.second, "streamed")
            return self._fall_back(response, "streamed", frozenset())
        if not self._joins(self.reply):
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
        answer = await self._answer(fan, response)
        if isinstance(answer, BaseException):  # a redirect that was raised is raised again
            raise answer
        return answer

    def _begin_live(self) -> FanOut | None:
        """Start the live branches; None where that failed, and control is to answer alone."""
        try:
            now = self.runtime.time()
            fan = self._fan_out(now, shadow=False)
            fan.start(now)
            if fan.chosen and self.second is not None:
                self.second.chose(fan.chosen)
        except Exception as error:
            self.runtime.fault("start", error)
            if self.fan is not None:
                self.fan.cut(RunOutcome.cancelled)
            return None
        return fan

    def _joins(self, control: Reply) -> bool:
        """Whether there can be a candidate beside this reply of control's; other than 2xx passes through by default."""
        return control.ok or self.runtime.definition.aggregate_all

    async def _answer(self, fan: FanOut, response: Any) -> Any:
        """The candidate, or control's response if there is none: to be returned, or raised if it is an exception."""
        runtime = self.runtime
        if fan.failed is not None:
            failed = fan.failed
            fan.cut(RunOutcome.cancelled)
            return self._fall_back(response, f"{failed.outcome}", self._blame())
        try:
            candidate = await join(runtime, self.reply, fan)
            native = runtime.host.response_of(candidate, response)
        except asyncio.CancelledError:
            self._count(Fault(None, "", None))
            raise
        except Exception as error:
            fan.cut(RunOutcome.cancelled)
            return self._fall_back(response, runtime.join_failed(error), self._blamed_for(error))
        fan.cut(RunOutcome.soft_timeout)  # what the candidate was made without
        self._served(candidate)
        return native

    def _blamed_for(self, error: Exception) -> frozenset[int]:
        """The units of the branches whose parts cannot be joined; all that are live where it is no one's part; none
        where nothing can be laid over control's reply, which is no JSON.
        """
        if isinstance(error, Unjoinable) and error.reason == CONTROL_NOT_JSON:
            return frozenset()
        names = error.branches if isinstance(error, Unjoinable) else frozenset()
        if not names:
            return self._blame(all_of_them=True)
        return frozenset(self.view.unit_of[name] for name in names)

    async def _replace(self, handler: Handler, stand_in: StandIn) -> Any:
        """The live branches instead of control, unless they fail, or come so late that control would miss the
        deadline.
        """
        runtime = self.runtime
        fan = self._begin_live()
        if fan is None:
            return await self._control_only(handler)
        reason = ""
        blamed: frozenset[int] = frozenset()
        try:
            async with asyncio.timeout_at(stand_in.fallback_at(self.begun, runtime.latency_s)) as limit:
                await fan.decided()
            if fan.failed is None:
                candidate = await join(runtime, None, fan)
                native = runtime.host.response_of(candidate, None)
            else:
                reason, blamed = str(fan.failed.outcome), self._blame()
        except asyncio.CancelledError:
            fan.cut(RunOutcome.cancelled)
            self._count(Fault(None, "", None))
            raise
        except Exception as error:
            late = isinstance(error, TimeoutError) and limit.expired()
            reason = "late" if late else runtime.join_failed(error)
            blamed = self._blamed_for(error)
        if not reason:
            fan.cut(RunOutcome.soft_timeout)  # what the candidate was made without
            self._served(candidate)
            if isinstance(native, BaseException):
                raise native
            return native
        cut_short = may_not_fall_back(fan)
        fan.cut(RunOutcome.cancelled)
        if cut_short:
            self._count(Fault(blamed, "impossible", runtime.time() - self.started))
            return runtime.host.response_of(no_answer(fan, reason), None)
        return await self._instead(handler, reason, blamed)

    async def _instead(self, handler: Handler, reason: str, blamed: frozenset[int]) -> Any:
        """Control, because the branches that stood in for it have no answer."""
        try:
            response = await self._control(handler)
        except asyncio.CancelledError:
            self._count(Fault(None, "", None))
            raise
        except BaseException:
            failed = self._control_fault() is not None
            self._count(Fault(None if failed else blamed, reason, self.runtime.time() - self.started))
            self._submit()
            raise
        return self._fall_back(response, reason, blamed)

    # ---- how it ended, for the user

    def _served(self, candidate: Reply) -> None:
        """The user gets the candidate."""
        assert self.cell is not None
        now = self.runtime.time()
        self.candidate = candidate
        self.candidate_s = now - self.begun
        blamed = self._blame()
        if not self.cell.sealed:
            self.cell.served += 1
        # Blamed: an optional branch failed. The user has an answer, its gate has a failure.
        self._count(Fault(blamed, "", now - self.started) if blamed else None)
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
            return
        if fault is not None:
            cell.fault(fault)
        else:
            cell.finish(self.runtime.time() - self.started)
        self._note(cell)

    def _note(self, cell: Cell | Scored) -> None:
        """Count which of the live units ran, and what they and control cost."""
        for unit, note in of_call(self):
            cell.note(unit, note)

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
        return frozenset(
            unit_of[name]
            for name, run in self.fan.runs.items()
            if run.outcome in _BAD or (run.outcome is RunOutcome.over_budget and run.station.required)
        )

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

    def _fan_out(self, now: float, *, shadow: bool) -> FanOut:
        runtime, assignment, second = self.runtime, self.assignment, self.second
        assert assignment is not None
        assert second is not None
        if self.context is None:
            self.context = copy_context()
        deadline = (now if shadow else self.begun) + runtime.latency_s
        about = Circumstances(self.body, self.key, self.state, NO_PARTS, shadow, deadline, runtime.time)
        self.call = Call(self.call.source, about)
        self.fan = FanOut(
            runtime.fan_outs,
            assignment.shadow if shadow else assignment.live,
            self.call,
            shadow,
            self.context,
            self._count_run if assignment.apart else second.count_run,
            self.fan.runs if self.fan is not None else None,
        )
        return self.fan

    def _count_run(self, run: BranchRun) -> None:
        """The runs of a branch whose flag does not say ``auto`` for this caller are no evidence."""
        assert self.assignment is not None
        assert self.second is not None
        apart = run.branch in self.assignment.apart
        (self.second.count_apart if apart else self.second.count_run)(run)

    def begin(self, task: asyncio.Task[Any], now: float) -> Coroutine[Any, Any, None] | None:
        """Run what is not live. Called by the lane (``Runnable``); never raises."""
        try:
            runtime = self.runtime
            # Counted where it begins, not where the call did: after a slow control what takes longest, a timeout,
            # would come after the seal, and never be evidence.
            second = self.view.open
            if not second.ends - 1.0 <= now < second.ends:
                second = self.view.second(int(now + runtime.tally.offset))
            self.second = second
            second.begun += 1
            fan = self._fan_out(now, shadow=True)
            rest = fan.start(now, self._both_sides, task)
            if fan.chosen:
                second.chose(fan.chosen)
            return rest
        except Exception as error:
            self.runtime.fault("shadow", error)
            self._end()
            return None

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
                self.outcome = Outcome.matched
                self._end()
            else:
                self.task = runtime.loop.create_task(self._conclude(), name="rollout-conclusion", context=self.context)
                self.task.add_done_callback(self._concluded)  # also if it is cancelled before its first step
        except Exception as error:
            runtime.fault("shadow", error)
            self._end()

    async def _conclude(self) -> None:
        runtime = self.runtime
        current_run.set(self._shadow_run())  # aggregator, views, control once more: all of it is shadow
        try:
            if self.mode == "reverse":
                await self._reverse()
            await conclude(self)
        except Exception as error:
            runtime.fault("shadow", error)

    def _concluded(self, _: asyncio.Task[None]) -> None:
        if self.fan is not None:
            self.fan.cut(RunOutcome.shutdown)  # nothing is left, but where the conclusion was cut itself
        self._end()

    def _shadow_run(self) -> RunContext:
        runtime = self.runtime
        return RunContext(
            runtime.name,
            is_shadow=True,
            deadline=self.call.deadline,
            clock=runtime.time,
            blocked=runtime.blocked,
            prices=runtime.fan_outs.prices,
        )

    def _end(self) -> None:
        """Give the place in the lane back, and let go of everything, so that reference counting frees it."""
        if not self.ended:
            self.ended = True
            self.runtime.lane.ended(self)
        self.release()

    async def _reverse(self) -> None:
        """Control, in shadow of the branches that stood in for it."""
        runtime = self.runtime
        run = self.control_run = self._shadow_run()  # of control: what it uses is not the branches'
        token = current_run.set(run)
        begun = runtime.time()
        try:
            self.reply = await self.control_again()
        except Exception as error:
            self.reply = runtime.reply_of_error(error)
            self.control_error = None if self.reply is not None else error
        finally:
            current_run.reset(token)
        self.control_s = runtime.time() - begun

    async def control_again(self) -> Reply:
        """Control once more, in shadow: nothing that it does reaches the user. Raises what it raises."""
        return await self.runtime.run_control_again(self.call)

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
