"""What the tests of spans share: a tracer provider that keeps its spans, and a server and a client that are
instrumented as OpenTelemetry's own instrumentations do it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from rollout_otel import OpenTelemetry
from tests.support.apps import monolith


class Traces(SpanProcessor):
    """Spans that have ended, in the order in which they began. ``open``: how many have not ended."""

    def __init__(self, sampler: Sampler = DEFAULT_ON) -> None:
        self.open = 0
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(self)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = OpenTelemetry(self.provider)
        self.tracer = self.provider.get_tracer("tests")

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.open += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.open -= 1

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    @property
    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans)

    def one(self, name: str) -> ReadableSpan:
        """The only span of that name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def above(self, name: str) -> list[str]:
        """The names of the spans that the only span of that name is below, the nearest first."""
        by_id = {span.context.span_id: span for span in self.spans if span.context is not None}
        found, parent = [], self.one(name).parent
        while parent is not None and not parent.is_remote:
            found.append(by_id[parent.span_id].name)
            assert by_id[parent.span_id].context.trace_id == parent.trace_id
            parent = by_id[parent.span_id].parent
        return found

    def trace_of(self, name: str) -> int:
        return int(self.one(name).context.trace_id)

    def text(self) -> str:
        """Everything that leaves the process."""
        return "".join(span.to_json() for span in self.spans)

    # ---- what an application instruments

    def application(self, control: Any = monolith) -> web.Application:
        """An application whose server makes a span of each request, called ``GET``, which fails as its answers do."""

        @web.middleware
        async def instrumented(request: web.Request, handler: Any) -> web.StreamResponse:
            token = attach(extract(request.headers))
            try:
                with self.tracer.start_as_current_span(request.method, kind=SpanKind.SERVER) as span:
                    response: web.StreamResponse = await handler(request)
                    if response.status >= 500:
                        span.set_status(StatusCode.ERROR)
                    return response
            finally:
                detach(token)

        app = web.Application(middlewares=[instrumented])
        app.router.add_get("/profile/{id}", control)
        return app

    async def instrumented(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """A middleware of a client that makes a span of each request, called ``fetch``, and propagates it."""
        with self.tracer.start_as_current_span("fetch", kind=SpanKind.CLIENT):
            inject(request.headers)
            return await handler(request)


class Upstream:
    """A service that remembers the headers it was sent. ``url``: where it is."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self.url = url
        self.session = session
        self.headers: list[dict[str, str]] = []

    async def fetch(self, _: Any = None) -> Any:
        """What a branch does: ask the service."""
        async with self.session.get(self.url) as reply:
            return await reply.json()


@asynccontextmanager
async def upstream(traces: Traces, part: Any = (1, 2)) -> AsyncIterator[Upstream]:
    """A service on a real port that answers ``part``, with an instrumented client of it."""

    async def answer(request: web.Request) -> web.Response:
        found.headers.append(dict(request.headers))
        return web.json_response(part)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server, ClientSession(middlewares=[traces.instrumented]) as session:
        found = Upstream(str(server.make_url("/")), session)
        yield found


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def told(span: ReadableSpan) -> dict[str, dict[str, Any]]:
    """The events of a span by name; of each name there is one at most."""
    found = {event.name: dict(event.attributes or {}) for event in span.events}
    assert len(found) == len(span.events)
    return found


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9
