"""Spans of what a call comes to, told to a tracer of the user's: what it raises is counted, and costs nobody anything.

A span begins and ends at times that the engine knows anyway. Each run has a context of its own, in which its span is
the current one; a span that is entered there is never left, since the context goes with the run.
"""

from __future__ import annotations

from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rollout.domain.cost import NANO, Usage
from rollout.engine.attempts import HOOK_FAILURES
from rollout.engine.runs import FAILED, missed_sla
from rollout.ports import About, TraceSpan, Tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from rollout.engine.branchrun import BranchRun
    from rollout.engine.fanout import FanOut, FanOuts

_HOOK: Final = "tracing"


class Spans:
    """Begins the spans of one call. As a context manager it keeps what the tracer raises from everybody else."""

    __slots__ = ("_ahead_s", "_hook_failed", "_rollout", "_tracing", "time")

    def __init__(self, tracing: Tracing, of: FanOuts) -> None:
        self.time = of.time
        self._ahead_s = of.wall() - of.time()  # of the loop's clock; once, so that the spans of a call fit together
        self._tracing = tracing
        self._rollout = of.rollout
        self._hook_failed = of.hook_failed

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, HOOK_FAILURES):
            return False
        self._hook_failed(_HOOK, error)
        return True

    def begin(self, kind: str, at: float, **about: str) -> Span:
        """A span below the current one. ``at``: on the clock of the loop, as everywhere here."""
        return self._made(self._tracing.begin, kind, at, about)

    def around(self, kind: str, at: float, **about: str) -> Span:
        """The current span, or one of its own where there is none."""
        return self._made(self._tracing.around, kind, at, about)

    def apart(self, kind: str, at: float, link: Span, **about: str) -> Span:
        """The first span of a trace of its own."""
        return self._made(self._tracing.apart, kind, at, about, link.made)

    def epoch(self, at: float) -> float:
        """Epoch seconds of this machine."""
        return at + self._ahead_s

    def _made(self, make: Callable[..., TraceSpan], kind: str, at: float, about: About, *rest: Any) -> Span:
        span = Span(self)
        with self:
            span.made = make(kind, self.epoch(at), {"rollout": self._rollout, **about}, *rest)
            span.recording = span.made.recording
        return span


class Span:
    """A span that has begun; nothing at all where the tracer failed. ``recording``: whether anything is kept of it."""

    __slots__ = ("_ended", "_entered", "_spans", "made", "recording")

    def __init__(self, spans: Spans) -> None:
        self.made: TraceSpan | None = None
        self.recording = False
        self._ended = False
        self._entered: tuple[Any] | None = None
        self._spans = spans

    def enter(self) -> None:
        """Make it the current span of the context in which this is called."""
        if self.made is not None:
            with self._spans:
                self._entered = (self.made.enter(),)

    def leave(self) -> None:
        """Undo ``enter``, in the same context."""
        entered, self._entered = self._entered, None
        if self.made is not None and entered is not None:
            with self._spans:
                self.made.leave(*entered)

    def event(self, name: str, at: float, about: About) -> None:
        if self.made is not None:
            with self._spans:
                self.made.event(name, self._spans.epoch(at), about)

    def end(self, at: float, about: About, *, failed: bool = False) -> None:
        """It is over; what comes later changes nothing."""
        if self.made is not None and not self._ended:
            self._ended = True
            with self._spans:
                self.made.end(self._spans.epoch(at), about, failed=failed)


class FanOutSpans:
    """The span of a fan-out and those of its runs. A run that did not begin is an event of the fan-out."""

    __slots__ = ("_context", "_count", "_mode", "_span", "_spans")

    def __init__(self, spans: Spans, fan: FanOut, now: float) -> None:
        """Begins, below the current span of the fan-out's context, before it starts. Tells ``fan`` to say how it goes
        on.
        """
        self._spans = spans
        self._count = fan.count
        self._mode = "shadow" if fan.shadow else "live"
        self._context = fan.context.copy()
        self._span = self._context.run(spans.begin, "fan_out", now, mode=self._mode)
        self._context.run(self._span.enter)
        fan.count = self.count
        fan.spans = self

    def context_of(self, run: BranchRun) -> Context:
        """A context for a run that begins, in which its span is the current one."""
        context = self._context.copy()
        run.span = context.run(self._spans.begin, "branch", run.started, branch=run.branch, mode=self._mode)
        context.run(run.span.enter)
        return context

    def count(self, run: BranchRun) -> None:
        """A run is settled. What an orphan does from now on is below its span, and after it."""
        self._count(run)
        span, run.span = run.span, None
        if span is None:
            about = {"branch": run.branch, "outcome": run.outcome.value, "reason": run.reason}
            self._span.event("not_run", run.finished, about)
        else:
            span.end(run.finished, _about(run), failed=not run.is_shadow and run.outcome in FAILED)

    def end(self, fan: FanOut) -> None:
        """Every run is settled."""
        about = {"dispatch": fan.chosen, "failed_branch": "" if fan.failed is None else fan.failed.branch}
        self._span.end(self._spans.time(), about)


def _about(run: BranchRun) -> About:
    """How a run ended. What is not there is left out."""
    return {
        "outcome": run.outcome.value,
        "reason": run.reason,
        "error": "" if run.error is None else type(run.error).__name__,
        "attempts": run.attempts,
        "hedges": run.hedges,
        "sla_missed": missed_sla(run),
        **used(run.usage),
    }


def used(usage: Usage | None) -> dict[str, str | int | float]:
    """What was used, if anything was told. A cost that is not known is left out."""
    if usage is None:
        return {}
    cost = {} if usage.cost is None else {"usd": usage.cost / NANO}
    return {
        "model": usage.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        **cost,
    }
