"""Spans of calls for OpenTelemetry (extra ``otel``): control, the fan-out, each branch; a shadow is a trace of its own.

from rollout_otel import OpenTelemetry

setup(app, [profile], tracing=OpenTelemetry())

It needs the API of OpenTelemetry alone; where spans go is for the SDK that the application sets up. What they say is
named in ``rollout_otel.names``. ``rollout_otel.sampling`` has a sampler for shadows, and needs the SDK.
"""

from rollout_otel.tracing import OpenTelemetry

__all__ = ["OpenTelemetry"]
