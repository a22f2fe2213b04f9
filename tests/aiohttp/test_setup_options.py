"""The options of ``setup`` are checked with everything else, before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from rollout.errors import DeclarationError
from rollout_aiohttp import setup
from rollout_otel import OpenTelemetry
from tests.support.apps import monolith, profile


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("tick_s", 0, "tick_s is 0"),
        ("tick_s", float("nan"), "tick_s is nan"),
        ("tick_s", "1s", "tick_s is '1s'"),
        ("drain_s", -1.0, "drain_s is -1.0"),
        ("metrics_path", "metrics", "metrics_path is 'metrics'"),
        ("metrics_path", "/profile", "metrics_path /profile is a route already"),
        ("tracing", True, "tracing is True, which makes no spans"),
        ("tracing", OpenTelemetry, "OpenTelemetry'>, which makes no spans"),  # the class itself
    ],
)
def test_an_option_that_cannot_be_is_a_mistake(option: str, value: Any, says: str) -> None:
    app = web.Application()
    app.router.add_get("/profile", monolith)
    options: dict[str, Any] = {option: value}
    with pytest.raises(DeclarationError, match=says):
        setup(app, [profile()], database="sqlite:///never-made.db", **options)
    assert not app.middlewares
    assert len(app.router.routes()) == 2
