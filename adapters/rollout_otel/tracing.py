"""``OpenTelemetry``: the tracer that ``setup(…, tracing=…)`` takes."""

from __future__ import annotations

from contextvars import Token
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from rollout.ports import About, TraceSpan
from rollout_otel.names import EVENTS, attributes_of, flag_attributes_of

try:
    from opentelemetry import baggage, trace
    from opentelemetry.context import Context, attach, detach
except ImportError as missing:
    raise ImportError(
        'rollout_otel needs the API of OpenTelemetry, which is not installed: pip install "rollout-kit[otel]"'
    ) from missing

SCOPE: Final = "rollout-kit"
_NS: Final = 1_000_000_000
_MARKS: Final = "rollout."  # members of baggage that only a guarded client of ours may write


class OpenTelemetry:
    """The ``Tracing`` of OpenTelemetry.

    ``provider``: of the tracer. Default: the global one, also if it is set later; where there is none, calls get no
    spans.

    Spans are internal ones. Those of control and of the live fan-out are below the request's span; a shadow is a trace
    of its own, linked to it, and the status of its spans is never set, so that no shadow counts as an error of the
    service. Messages of exceptions, and stack traces, are in no span: they may hold secrets. Nor is the targeting key:
    its keyed hash is, the same as in the ledger.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, _installed(), provider)

    def begin(self, kind: str, at: float, about: About) -> OwnSpan:
        """A span below the current one."""
        return OwnSpan(self._started(kind, at, about))

    def around(self, kind: str, at: float, about: About) -> TraceSpan:
        """The current span of this process, if there is one: of an instrumented server, say."""
        current = trace.get_current_span()
        found = current.get_span_context()
        if not found.is_valid or found.is_remote:
            return OwnSpan(self._started(kind, at, about))
        current.set_attributes(attributes_of(about))
        return RequestSpan(current)

    def apart(self, kind: str, at: float, about: About, link: TraceSpan | None) -> OwnSpan:
        """A span without a parent; the baggage of the current context is below it too. Where the request is not
        sampled there is none: an upstream that samples one request in a hundred must not get a hundred shadows for it.
        """
        links = []
        if isinstance(link, RequestSpan):
            request = link.span.get_span_context()
            if not request.trace_flags.sampled:
                return OwnSpan(trace.NonRecordingSpan(request))
            links.append(trace.Link(request))
        nothing = trace.set_span_in_context(trace.INVALID_SPAN)
        return OwnSpan(self._started(kind, at, about, nothing, links))

    def _started(
        self, kind: str, at: float, about: About, context: Context | None = None, links: list[trace.Link] | None = None
    ) -> trace.Span:
        return self._tracer.start_span(
            f"{kind} {about.get('branch', about['rollout'])}",
            context,
            attributes=attributes_of(about),
            links=links,
            start_time=_ns(at),
            record_exception=False,
            set_status_on_exception=False,
        )


class RequestSpan:
    """The span of a request, which belongs to whoever began it."""

    __slots__ = ("span",)

    def __init__(self, span: trace.Span) -> None:
        self.span = span

    @property
    def recording(self) -> bool:
        return self.span.is_recording()

    def enter(self) -> Token[Context]:
        return attach(_unmarked(trace.set_span_in_context(self.span)))

    def leave(self, token: Token[Context]) -> None:
        detach(token)

    def event(self, name: str, at: float, about: About) -> None:
        attributes = flag_attributes_of(about) if name == "flag" else attributes_of(about)
        self.span.add_event(EVENTS[name], attributes, _ns(at))

    def end(self, at: float, about: About, *, failed: bool = False) -> None:
        """It goes on, and how the request ends is not ours to say."""
        self.span.set_attributes(attributes_of({name: value for name, value in about.items() if name != "error"}))


class OwnSpan(RequestSpan):
    """A span of the toolkit's."""

    __slots__ = ()

    def end(self, at: float, about: About, *, failed: bool = False) -> None:
        self.span.set_attributes(attributes_of(about))
        if failed:
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end(_ns(at))


def _unmarked(context: Context) -> Context:
    """The context less our marks in its baggage: a server that is instrumented believes what a caller wrote there."""
    for name in baggage.get_all(context):
        if name.startswith(_MARKS):
            context = baggage.remove_baggage(name, context)
    return context


def _ns(at: float) -> int:
    return int(at * _NS)


def _installed() -> str | None:
    try:
        return version("rollout-kit")
    except PackageNotFoundError:
        return None
