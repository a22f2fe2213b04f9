"""A secret planted wherever users' data can be is in no table, no log record, no metric and no report."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from rollout import Branch, Call, Compare, Store
from rollout.domain.report import Report
from rollout.ports import Backend
from rollout.testing import FakeFlags
from rollout.usecases.look import show, status
from rollout.usecases.reporting import diff, report
from rollout_aiohttp import handler_branch
from rollout_render import document
from tests.support.apps import Served, application, profile, served

SECRET = "Zk4929x123456q789012"
#: What belongs to the user's server, and not to us: aiohttp logs paths and exceptions of handlers.
NOT_OURS = ("aiohttp.access", "aiohttp.server")


class LeakyError(Exception):
    """Tells what it should not."""

    def __repr__(self) -> str:
        return f"LeakyError({SECRET})"


async def control(request: web.Request) -> web.Response:
    await request.read()
    if "fail" in request.query:
        raise LeakyError(f"control and {SECRET}")
    if "missing" in request.query:
        raise web.HTTPNotFound(text=SECRET, headers={"X-Reason": SECRET})
    value = {"orders": [1, SECRET], "tickets": {SECRET: SECRET}, "card": SECRET, "deep": {"list": [{"name": SECRET}]}}
    response = web.json_response(value, headers={"X-Token": SECRET, "Location": f"/{SECRET}"})
    response.set_cookie("session", SECRET)
    return response


async def fails(call: Call) -> Any:
    raise LeakyError(f"branch and {SECRET}")


async def differs(call: Call) -> Any:
    return {f"{SECRET}x": [call.headers["Authorization"], call.query["q"], call.path_params["id"], call.body.decode()]}


async def foreign(call: Call) -> Any:
    return {SECRET: LeakyError(SECRET), "bytes": SECRET.encode(), "set": {SECRET}}


async def hangs(call: Call) -> Any:
    await asyncio.sleep(60)


async def other_handler(request: web.Request) -> web.Response:
    return web.Response(text=f"<p>{SECRET}</p>", content_type="text/html", headers={"X-Token": SECRET})


def leaky(*_: Any) -> Any:
    raise LeakyError(f"a hook and {SECRET}")


def leaky_aggregate(call: Call, control: Any, parts: Any) -> Any:
    if call.query.get("hook"):
        leaky()
    return {**control.json_value(), "card": f"{SECRET}!", SECRET: 1}


BRANCHES = (
    Branch("fails", fails, part="$.orders", required=False),
    Branch("differs", differs, part="$.tickets", required=False),
    Branch("foreign", foreign, part="$.deep", required=False),
    Branch("hangs", hangs, part="$.card", required=False, hard_timeout_s=0.05),
    Branch("handler", handler_branch(other_handler), part="$.handler", required=False),
)


def rollouts() -> dict[str, Any]:
    """Every way for data to come out: the overlay, an aggregator, views and rules that raise, a redactor that does."""
    common: dict[str, Any] = {
        "control": control,
        "methods": ["GET", "POST"],
        "effects": "safe",
        "key": lambda call: call.headers["X-User-Id"],
    }
    return {
        "overlay": profile(*BRANCHES, **common),
        "aggregate": profile(*BRANCHES, aggregate=leaky_aggregate, **common),
        "replace": profile(*BRANCHES, Branch("all", differs, part="$"), join="replace", **common),
        "clear": profile(*BRANCHES, store=Store(clear=["$.status", "$.deep.count"], redact=leaky), **common),
        "view": profile(*BRANCHES, aggregate=leaky_aggregate, compare=Compare(view=leaky), **common),
        "headers": profile(
            *BRANCHES,
            aggregate=lambda call, control, parts: web_reply(),
            compare=Compare(headers=["Location", "X-Token", "Set-Cookie"]),
            **common,
        ),
        "capture": profile(*BRANCHES, capture=leaky_capture, **{**common, "key": leaky}),
    }


async def leaky_capture(request: web.Request) -> dict[str, str]:
    if "hook" in request.query:
        leaky()
    return {"identity": SECRET}


def web_reply() -> Any:
    from rollout import Reply

    return Reply(409, {"Location": f"/other-{SECRET}", "X-Token": f"{SECRET}1", "Set-Cookie": SECRET}, SECRET.encode())


async def visit(wrapped: Served) -> None:
    """Calls with the secret in the path, the query, headers, cookies, bodies; some fail, some miss."""
    headers = {"X-User-Id": SECRET, "Authorization": f"Bearer {SECRET}", "X-Note": SECRET, "baggage": f"user={SECRET}"}
    cookies = {"session": SECRET}
    for query in ("", "&fail=1", "&missing=1", "&hook=1"):
        path = f"/profile/{quote(SECRET)}?q={SECRET}{query}"
        async with wrapped.client.get(path, headers=headers, cookies=cookies, allow_redirects=False):
            pass
        body = json.dumps({SECRET: SECRET})
        async with wrapped.client.post(path, headers=headers, cookies=cookies, data=body, allow_redirects=False):
            pass
    await wrapped.trials()


async def documents(backend: Backend) -> dict[str, str]:
    """Everything that people are shown."""
    made: Report = await report(backend, "profile")
    shown = {form: document(made, form) for form in ("text", "json", "html", "markdown")}
    shown["status"] = repr(await status(backend))
    shown["show"] = repr(await show(backend, "profile"))
    shown["diff"] = repr(await diff(backend, "profile"))
    return shown


def dumped(path: Path) -> str:
    """Every table of the database, as SQL."""
    database = sqlite3.connect(path)
    try:
        return "\n".join(database.iterdump())
    finally:
        database.close()


@pytest.mark.parametrize(
    "live", [{}, {"fails": 1.0, "differs": 1.0, "handler": 1.0, "all": 1.0}], ids=["shadow", "live"]
)
@pytest.mark.parametrize("name", list(rollouts()))
async def test_a_planted_secret_comes_out_nowhere(
    name: str, live: dict[str, float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rollout = rollouts()[name]
    app = application(("*", "/profile/{id}", control))
    flags = FakeFlags(instant=name != "aggregate")
    async with served(
        tmp_path, rollout, app, live=live, flags=flags, metrics_path="/metrics", controller=True
    ) as wrapped:
        await visit(wrapped)
        async with wrapped.client.get("/metrics") as response:
            metrics = await response.text()
        assert wrapped.engine.backend is not None
        shown = await documents(wrapped.engine.backend)
        funnel = wrapped.funnel()
        trials = await wrapped.trials()
    found = {
        "tables": dumped(tmp_path / "rollout.db"),
        "files": "".join(file.read_bytes().decode("latin-1") for file in tmp_path.iterdir()),
        "metrics": metrics,
        "logs": "\n".join(
            f"{record.getMessage()} {record.exc_text or ''} {vars(record)}"
            for record in caplog.records
            if record.name not in NOT_OURS
        ),
        **shown,
    }
    leaks = [where for where, text in found.items() if SECRET in text or SECRET.lower() in text.lower()]
    assert leaks == []
    # It was not for want of data that nothing was found.
    assert funnel["calls"] == 8
    if name != "capture":
        assert trials
        assert "LeakyError" in found["tables"]
        assert found["tables"].count("hash") > 0


async def test_a_value_that_was_named_is_in_clear_so_the_search_would_have_found_it(tmp_path: Path) -> None:
    rollout = profile(
        Branch("differs", differs, part="$.tickets"), control=control, store=Store(clear=["$"]), methods=["GET"]
    )
    app = application(("*", "/profile/{id}", control))
    async with served(tmp_path, rollout, app) as wrapped:
        await visit(wrapped)
    assert SECRET in dumped(tmp_path / "rollout.db")
