"""What the adapter takes for granted of aiohttp's private parts. A failure here means: look at `internals.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.payload import BytesPayload
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp.plugin import AiohttpClient

from rollout_aiohttp import internals

ADAPTER = Path(internals.__file__).parent


def test_private_names_of_aiohttp_are_used_in_one_module_only() -> None:
    """Assignments to `self._x` are our own; anything else with one underscore, on another object, is not."""
    used = {
        (file.name, match)
        for file in ADAPTER.glob("*.py")
        for match in re.findall(r"\b(?!self\b|cls\b)(\w+\._[a-z]\w*)", file.read_text(encoding="utf-8"))
        if file.name != "internals.py"
    }
    assert not used


async def test_bytes_that_are_put_back_are_read_first_in_any_state_of_the_reader() -> None:
    protocol = BaseProtocol(__import__("asyncio").get_running_loop())
    for read_before in range(5):
        content = StreamReader(protocol, 2**16)
        content.feed_data(b"abcd")
        content.feed_data(b"ef")
        if read_before == 4:
            content.feed_eof()
        got = content.read_nowait(read_before) if read_before else b""
        assert internals.is_untouched(content) is (read_before == 0)
        internals.put_back(content, got)
        assert internals.is_untouched(content)
        assert content.total_bytes == 6
        assert content.read_nowait() == b"abcdef"
        assert content.at_eof() is (read_before == 4)


@pytest.mark.filterwarnings("ignore:unread_data")
async def test_putting_back_is_what_aiohttps_deprecated_method_does() -> None:
    protocol = BaseProtocol(__import__("asyncio").get_running_loop())
    states = []
    for put_back in (internals.put_back, StreamReader.unread_data):
        content = StreamReader(protocol, 2**16)
        content.feed_data(b"abcdef")
        put_back(content, content.read_nowait(4))
        slots = ("_buffer", "_buffer_offset", "_size", "_cursor", "_eof_counter", "total_bytes")
        states.append([getattr(content, slot) for slot in slots])
    assert states[0] == states[1]


def test_cookies_and_the_wish_to_compress_are_where_they_were() -> None:
    response, fresh = web.Response(text="x"), web.Response(text="y")
    assert internals.cookies_of(response) is None
    response.set_cookie("a", "1")
    assert internals.cookies_of(response) is response.cookies
    response.enable_compression(web.ContentCoding.gzip, 3)
    internals.copy_encoding(response, fresh)
    assert {name: value for name, value in vars(fresh).items() if "compression" in name} == {
        name: value for name, value in vars(response).items() if "compression" in name
    }


def test_a_payload_of_bytes_has_them() -> None:
    assert internals.payload_bytes(BytesPayload(b"abc")) == b"abc"


async def test_the_copy_that_aiohttp_keeps_of_a_body_is_where_it_was() -> None:
    request = make_mocked_request("GET", "/")
    assert internals.cached_body(request) is None
    assert await request.read() == internals.cached_body(request) == b""


async def test_a_route_calls_the_handler_that_was_put_in_also_in_a_joined_application(
    aiohttp_client: AiohttpClient,
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="old")

    async def other(request: web.Request) -> web.Response:
        return web.Response(text="new")

    @web.middleware
    async def inner_middleware(request: web.Request, handler: object) -> web.StreamResponse:
        response = await handler(request)  # type: ignore[operator]
        response.headers["X-Inner"] = "1"
        return response  # type: ignore[no-any-return]

    outer, inner = web.Application(), web.Application(middlewares=[inner_middleware])
    route = inner.router.add_get("/", handler)
    outer.add_subapp("/inner", inner)
    internals.replace_handler(route, other)
    client = await aiohttp_client(outer)
    response = await client.get("/inner/")
    assert (await response.text(), response.headers["X-Inner"]) == ("new", "1")
    assert route.handler is other
