"""Handlers as branches and pages as aggregators."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from rollout.domain.call import Call, Parts, Reply
from rollout_aiohttp.branches import handler_branch, page
from rollout_aiohttp.source import RequestSource
from tests.aiohttp.conftest import Exchange

NAME = web.AppKey("NAME", str)


async def call_of(request: web.Request) -> Call:
    source = RequestSource(request)
    source.keep()
    return Call.of(source, body=await request.read())


@pytest.mark.parametrize(
    ("response", "part"),
    [
        (lambda: web.json_response({"a": [1]}), {"a": [1]}),
        (lambda: web.json_response(None), None),
        (lambda: web.Response(body=b"[1]", content_type="application/hal+json", status=201), [1]),
        (lambda: web.json_response({"a": 1}, status=404), Reply),
        (lambda: web.Response(body=b"{", content_type="application/json"), Reply),
        (lambda: web.Response(text="[1]"), Reply),
    ],
)
async def test_the_part_of_a_handler_is_its_json_or_its_reply(exchange: Exchange, response: Any, part: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        made: web.Response = response()
        return made

    call, _ = await exchange(call_of)
    got = await handler_branch(handler)(call)
    assert isinstance(got, Reply) if part is Reply else got == part


async def test_a_raised_redirect_is_a_reply_that_is_raised(exchange: Exchange) -> None:
    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPFound("/login")

    call, _ = await exchange(call_of)
    got = await handler_branch(handler)(call)
    assert (got.status, got.raised, got.headers["Location"]) == (302, True, "/login")


async def test_a_branch_has_the_name_of_its_handler_and_may_run_many_times_at_once(exchange: Exchange) -> None:
    async def profile_v2(request: web.Request) -> web.Response:
        """The new one."""
        return web.json_response(await request.json())

    branch = handler_branch(profile_v2)
    call, _ = await exchange(call_of, "POST", json={"a": 1})
    first, second = await branch(call), await branch(call)
    assert first == second == {"a": 1}
    assert first is not second
    assert (getattr(branch, "__name__", ""), branch.__doc__) == ("profile_v2", "The new one.")


def rendered(request: web.Request, call: Call, control: Reply | None, parts: Parts) -> web.Response:
    """As aiohttp_jinja2's ``render_template`` does: the application gives the environment, the request the context."""
    name = request.config_dict[NAME]
    text = f"{name}: {request.match_info['id']} {parts['orders']} {control.status if control else None}"
    return web.Response(text=text, content_type="text/html")


async def rendered_async(request: web.Request, call: Call, control: Reply | None, parts: Parts) -> web.Response:
    return rendered(request, call, control, parts)


@pytest.mark.parametrize("fn", [rendered, rendered_async])
async def test_a_page_gets_a_request_with_its_application(exchange: Exchange, fn: Any) -> None:
    app = web.Application()
    app[NAME] = "shop"
    call, _ = await exchange(call_of, app=app)
    reply = await page(fn)(call, Reply(200), Parts({"orders": 3}))
    assert (reply.status, reply.text()) == (200, "shop: 7 3 200")
    assert reply.content_type == "text/html; charset=utf-8"


@pytest.mark.parametrize("value", [{"a": 1}, [], None, Reply(204)])
async def test_a_page_may_answer_with_a_reply_or_a_value_as_any_aggregator(exchange: Exchange, value: Any) -> None:
    call, _ = await exchange(call_of)
    assert await page(lambda request, call, control, parts: value)(call, None, Parts()) is value


async def test_a_page_may_raise_a_redirect(exchange: Exchange) -> None:
    def fn(request: web.Request, call: Call, control: Reply | None, parts: Parts) -> web.Response:
        raise web.HTTPSeeOther("/login")

    call, _ = await exchange(call_of)
    reply = await page(fn)(call, None, Parts())
    assert (reply.status, reply.raised) == (303, True)
