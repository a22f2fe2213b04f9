"""A trial that tells of itself in spans; where nobody traces, trials are plain ones and none of this is touched.

    the request's span ─┬─ control           (one of its own where the server makes none)
                        └─ fan_out ── branch, for each run
    shadow ─┬─ fan_out ── branch             a trace of its own, linked to the request's
            └─ control                       reverse, or noise

What is not recorded, because a sampler dropped it, gets nothing below it: the branches propagate that it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from rollout.domain.outcomes import ServedBy
from rollout.engine.spans import FanOutSpans, Span, Spans, used
from rollout.engine.trial import Handler, Trial

if TYPE_CHECKING:
    from rollout.domain.call import Reply
    from rollout.engine.cells import Fault
    from rollout.engine.fanout import FanOut
    from rollout.ports import About


class TracedTrial(Trial):
    """See the module. What it overrides does the same as in ``Trial``, and says so."""

    fallback = ""  # why the user got control's reply although branches were live
    told = False  # what the flags answered
    refused = ""  # why there is no shadow
    spans: Spans
    request_span: Span
    shadow_span: Span

    def serve(self, handler: Handler) -> Coroutine[Any, Any, Any]:
        assert self.runtime.tracing is not None
        self.spans = Spans(self.runtime.tracing, self.runtime.fan_outs)
        return self._serve_traced(handler)

    async def _serve_traced(self, handler: Handler) -> Any:
        span = self.request_span = self.spans.around("call", self.started)
        control = partial(self._control_traced, handler) if span.recording else handler
        return await self._inside(span, partial(self._serve_told, control), self._served_by)

    async def _serve_told(self, handler: Handler) -> Any:
        self._tell_flags()
        return await super().serve(handler)

    async def _prepare(self) -> bool:
        prepared = await super()._prepare()
        self._tell_flags()
        return prepared

    def _tell_flags(self) -> None:
        """Tell what the flags answered for this call, as soon as it is assigned. What the toolkit itself answers is
        looked up again: of callers who keep their assignment nobody keeps the answer.
        """
        view, key, span = self.view, self.key, self.request_span
        if self.assignment is None or not span.recording or self.told:
            return
        self.told = True
        with self.spans:
            caller = "" if key is None else view.hash_of(key, self.runtime.redactor)
            for flag in dict.fromkeys((view.flag, *filter(None, view.flags))):
                answer = self.flags.get(flag) or self.runtime.flags.peek(flag, key)
                if answer is not None:
                    about = {"flag": flag, "value": answer.value, "reason": answer.reason, "provider": answer.provider}
                    span.event("flag", self.spans.time(), {**about, "caller": caller})

    async def _control_traced(self, handler: Handler, native: Any) -> Any:
        span = self.spans.begin("control", self.spans.time(), mode="live")
        return await self._inside(span, partial(handler, native), self._control_used)

    async def control_again(self) -> Reply:
        span = self.spans.begin("control", self.spans.time(), mode="shadow")
        about = self._control_used if self.mode == "reverse" else dict  # the noise is not metered
        reply: Reply = await self._inside(span, super().control_again, about, shadow=True)
        return reply

    async def _inside(
        self, span: Span, answer: Callable[[], Awaitable[Any]], about: Callable[[], About], *, shadow: bool = False
    ) -> Any:
        """What ``answer`` returns or raises, inside of a span, which then ends. ``about``: what is to be told then."""
        error = ""
        span.enter()
        try:
            response = await answer()
            error = _error_of(getattr(response, "status", None))
            return response
        except BaseException as raised:
            error = self._error_of(raised)
            raise
        finally:
            span.leave()
            span.end(self.spans.time(), {**about(), "error": error}, failed=bool(error) and not shadow)

    def _error_of(self, raised: BaseException) -> str:
        """What went wrong: nothing where the caller went away, or what was raised is an answer below 500."""
        if isinstance(raised, asyncio.CancelledError):
            return ""
        reply = self.runtime.reply_of_error(raised)
        return type(raised).__name__ if reply is None else _error_of(reply.status)

    def _control_used(self) -> About:
        return used(None if self.control_run is None else self.control_run.usage)

    def _served_by(self) -> About:
        served_by = ServedBy.fallback if self.fallback else ServedBy.control
        if self.candidate is not None:
            served_by = ServedBy.candidate
        return {"served_by": served_by.value, "fallback": self.fallback, "refused": self.refused}

    def abandon(self, reason: str) -> None:
        if reason.startswith("refused:"):
            self.refused = reason.removeprefix("refused:")
        super().abandon(reason)

    def _count(self, fault: Fault | None) -> None:
        super()._count(fault)
        if fault is not None:
            self.fallback = fault.fallback

    def _fan_out(self, now: float, *, shadow: bool) -> FanOut:
        fan = super()._fan_out(now, shadow=shadow)
        assert self.assignment is not None
        names = self.assignment.shadow if shadow else self.assignment.live
        if names and (self.shadow_span if shadow else self.request_span).recording:
            FanOutSpans(self.spans, fan, now)
        return fan

    def begin(self, task: asyncio.Task[Any], now: float) -> Coroutine[Any, Any, None] | None:
        assert self.context is not None
        self.shadow_span = self.context.run(self.spans.apart, "shadow", now, self.request_span, mode="shadow")
        self.context.run(self.shadow_span.enter)
        return super().begin(task, now)

    def _end(self) -> None:
        if not self.ended:
            about = {} if self.outcome is None else {"comparison": self.outcome.value}
            self.shadow_span.end(self.spans.time(), about)
        super()._end()


def _error_of(status: Any) -> str:
    """Nothing where a handler returned what is no response: that is between it and the framework."""
    return str(status) if isinstance(status, int) and status >= 500 else ""
