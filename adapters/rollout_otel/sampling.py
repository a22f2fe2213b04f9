"""Samplers for the tracer provider of the application. Needs the SDK of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from rollout_otel.names import ATTRIBUTES

_MODE: Final = ATTRIBUTES["mode"]


class ShadowSampler(Sampler):
    """Keeps a share of the shadows, and leaves everything else to another sampler.

    * ``otherwise``: who decides of all spans that begin no shadow, ``DEFAULT_ON`` of the SDK say. One that is based on
      the parent drops what is below a shadow that was dropped; of the toolkit's own spans none is even begun there.
    * ``share``: of shadows whose request is kept (others never get here), in [0, 1]; default 0, none. ``ValueError``
      outside of it.
    """

    def __init__(self, otherwise: Sampler, share: float = 0.0) -> None:
        self._otherwise = otherwise
        self._share = share
        self._shadows = TraceIdRatioBased(share)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision of one span, as the SDK asks for it."""
        sampler = self._shadows if _begins_shadow(parent_context, attributes) else self._otherwise
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"ShadowSampler{{{self._share:g},{self._otherwise.get_description()}}}"


def _begins_shadow(parent_context: Context | None, attributes: Attributes) -> bool:
    """Whether a span is the first one of a shadow's trace."""
    parent = get_current_span(parent_context).get_span_context()
    return not parent.is_valid and (attributes or {}).get(_MODE) == "shadow"
