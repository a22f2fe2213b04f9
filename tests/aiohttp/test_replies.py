"""Copies of responses, and responses of copies."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp.plugin import AiohttpClient

from rollout.domain.call import Reply
from rollout_aiohttp.replies import reply_of, reply_of_exception, response_of

KEY = web.ResponseKey("KEY", str)


class Counted(web.Response):
    """A response class of a user's, sent as any other."""


class Streamed(web.Response):
    """One that sends something else than its body."""

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (lambda: web.Response(), b""),
        (lambda: web.Response(body=b"abc"), b"abc"),
        (lambda: web.Response(text="ü"), "ü".encode()),
        (lambda: web.Response(text="ü", charset="latin-1"), b"\xfc"),
        (lambda: web.Response(body="ü"), "ü".encode()),
        (lambda: web.Response(body=bytearray(b"abc")), b"abc"),
        (lambda: web.Response(body=memoryview(b"abc")), b"abc"),
        (lambda: web.Response(body=io.StringIO("abc")), b"abc"),
        (lambda: web.json_response({"a": 1}), b'{"a": 1}'),
        (lambda: Counted(text="abc"), b"abc"),
        (lambda: web.HTTPNotFound(), b"404: Not Found"),
        (lambda: web.HTTPNoContent(), b""),
    ],
)
def test_a_response_with_its_body_in_memory_is_copied(response: Any, body: bytes) -> None:
    native = response()
    before = {**vars(native), "_headers": tuple(native.headers.items())}
    reply = reply_of(native)
    assert reply is not None
    assert (reply.status, reply.body) == (native.status, body)
    assert type(reply.body) is bytes
    assert reply.headers.items_ == tuple(native.headers.items())
    assert {**vars(native), "_headers": tuple(native.headers.items())} == before


def test_what_happens_to_the_response_later_does_not_reach_the_copy() -> None:
    native = web.Response(body=bytearray(b"abc"), headers={"X-A": "1"})
    reply = reply_of(native)
    native.headers["X-A"] = "2"
    native.body[:] = b"xyz"  # type: ignore[index]
    native.set_cookie("late", "1")
    assert reply is not None
    assert (reply.body, reply.headers["X-A"], reply.headers.getall("Set-Cookie")) == (b"abc", "1", [])


def test_the_bytes_of_the_body_are_shared_not_copied() -> None:
    body = b"x" * 1000
    reply = reply_of(web.Response(body=body))
    assert reply is not None
    assert reply.body is body


def test_cookies_that_were_set_are_among_the_headers_as_they_will_be_sent() -> None:
    native = web.Response(headers=[("Set-Cookie", "own=1")])
    native.set_cookie("sid", "a b", max_age=60, httponly=True, samesite="Lax")
    native.del_cookie("gone")
    reply = reply_of(native)
    assert reply is not None
    assert reply.headers.getall("Set-Cookie")[0] == "own=1"
    assert "sid=" in reply.headers.getall("Set-Cookie")[1]
    assert len(reply.headers.getall("Set-Cookie")) == 3


async def generated() -> AsyncIterator[bytes]:
    yield b"x"


def begun() -> web.Response:
    response = web.Response()
    asyncio.run(response.prepare(make_mocked_request("GET", "/")))
    return response


@pytest.mark.parametrize(
    "response",
    [
        lambda: web.StreamResponse(),
        lambda: web.WebSocketResponse(),
        lambda: web.FileResponse(Path(__file__)),
        lambda: web.Response(body=generated()),
        lambda: web.Response(body=io.BytesIO(b"x")),
        lambda: Streamed(text="x"),
        begun,
    ],
)
def test_what_cannot_be_copied_has_no_reply(response: Any) -> None:
    assert reply_of(response()) is None


async def test_compression_is_still_to_come_when_the_copy_is_taken(aiohttp_client: AiohttpClient) -> None:
    seen: list[Reply | None] = []

    async def handler(request: web.Request) -> web.Response:
        response = web.Response(text="abc" * 100)
        response.enable_compression()
        seen.append(reply_of(response))
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    client = await aiohttp_client(app)
    response = await client.get("/")
    assert response.headers["Content-Encoding"] == "deflate"
    assert seen[0] is not None
    assert seen[0].body == await response.read() == b"abc" * 100
    assert "Content-Encoding" not in seen[0].headers


@pytest.mark.parametrize("kind", [web.HTTPNotFound, web.HTTPForbidden, web.HTTPInternalServerError])
def test_a_raised_exception_is_a_reply_that_is_raised(kind: Any) -> None:
    reply = reply_of_exception(kind(text="why", headers={"X-A": "1"}))
    assert (reply.status, reply.body, reply.raised, reply.headers["X-A"]) == (kind.status_code, b"why", True, "1")


def all_exceptions(kind: type[web.HTTPException] = web.HTTPException) -> list[type[web.HTTPException]]:
    below = [sub for sub in kind.__subclasses__() if sub.__module__.startswith("aiohttp.")]
    found = [one for sub in below for one in all_exceptions(sub)]
    return [*([kind] if kind.status_code > 0 else []), *found]


@pytest.mark.parametrize("kind", all_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_aiohttp_comes_back_as_its_own_class(kind: Any) -> None:
    arguments: dict[Any, tuple[Any, ...]] = {
        web.HTTPMethodNotAllowed: ("GET", ["PUT", "POST"]),
        web.HTTPRequestEntityTooLarge: (10, 20),
        web.HTTPUnavailableForLegalReasons: ("https://law.example/",),
    }
    original = kind(*(("/there",) if issubclass(kind, web.HTTPMove) else arguments.get(kind, ())))
    reply = reply_of_exception(original)
    for control in (None, original):
        again = response_of(reply, control=control)
        assert type(again) is kind
        assert again is not original
        assert again.status == original.status
        assert again.body == original.body
        assert sorted(again.headers.items()) == sorted(original.headers.items())
        if isinstance(again, web.HTTPMethodNotAllowed):
            assert again.allowed_methods == {"PUT", "POST"}
        if issubclass(kind, web.HTTPMove):
            assert str(vars(again)["location"]) == "/there"


def test_a_users_own_exception_keeps_its_class_and_fields() -> None:
    class OutOfStock(web.HTTPConflict):
        def __init__(self, article: int) -> None:
            super().__init__(text=f"no {article}")
            self.article = article

    control = OutOfStock(7)
    again = response_of(Reply(409, [("X-A", "1")], b"changed", raised=True), control=control)
    assert isinstance(again, OutOfStock)
    assert (again.article, again.body, dict(again.headers)) == (7, b"changed", {"X-A": "1"})
    assert (control.text, "X-A" in control.headers) == ("no 7", False)


@pytest.mark.parametrize(("status", "base"), [(418, web.HTTPError), (599, web.HTTPError), (399, web.HTTPRedirection)])
def test_a_status_without_a_class_gets_one(status: int, base: Any) -> None:
    again = response_of(Reply(status, (), b"x", raised=True))
    assert isinstance(again, base)
    assert (again.status, again.body) == (status, b"x")


@pytest.mark.parametrize(
    ("reply", "control", "raised"),
    [
        (Reply(302), web.Response(), False),
        (Reply(302), web.HTTPNotFound(), True),
        (Reply(200), web.HTTPNotFound(), False),
        (Reply(404, raised=True), web.Response(), True),
        (Reply(404, raised=True), None, True),
        (Reply(404), None, False),
    ],
)
def test_where_control_raises_the_candidate_does(reply: Reply, control: Any, raised: bool) -> None:
    assert isinstance(response_of(reply, control=control), web.HTTPException) is raised


def test_a_response_of_a_reply_leaves_out_what_is_of_the_connection() -> None:
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Content-Length", "99"), ("ETag", '"a"')]
    response = response_of(Reply(200, [*headers, ("Content-Type", "a/b; c=d"), ("Vary", "x"), ("Vary", "y")], b"abc"))
    assert sorted(name for name, _ in response.headers.items()) == ["Content-Type", "ETag", "Vary", "Vary"]
    assert response.content_length == 3


def test_what_control_asked_of_the_server_is_carried_over() -> None:
    control = web.Response(text="old", reason="Fine")
    control[KEY] = "kept"
    control.force_close()
    control.enable_compression(web.ContentCoding.gzip)
    control.set_cookie("sid", "1", max_age=5)
    reply = reply_of(control)
    assert reply is not None
    response = response_of(Reply(200, reply.headers, b"new"), control=control)
    assert (response[KEY], response.keep_alive, response.reason, response.compression) == ("kept", False, "Fine", True)
    assert "Set-Cookie" not in response.headers
    assert response.cookies["sid"].OutputString() == control.cookies["sid"].OutputString()
    response.del_cookie("sid")
    assert control.cookies["sid"].value == "1"


def test_cookies_that_the_reply_leaves_out_or_adds_are_left_out_and_added() -> None:
    control = web.Response()
    control.set_cookie("sid", "1")
    response = response_of(Reply(200, [("Set-Cookie", "other=2")]), control=control)
    assert response.headers.getall("Set-Cookie") == ["other=2"]
    assert not response.cookies


async def test_over_the_wire_a_copied_response_is_the_same(aiohttp_client: AiohttpClient) -> None:
    async def native(request: web.Request) -> web.Response:
        response = web.json_response({"a": ["ü"] * 50}, headers=[("Vary", "a"), ("Vary", "b"), ("X-Empty", "")])
        response.set_cookie("sid", "x y", path="/p")
        if "gzip" in request.query:
            response.enable_compression(web.ContentCoding.gzip)
        if "chunked" in request.query:
            response.enable_chunked_encoding()
        return response

    async def copied(request: web.Request) -> web.Response:
        control = await native(request)
        reply = reply_of(control)
        assert reply is not None
        return response_of(reply, control=control)

    app = web.Application()
    app.router.add_get("/native", native)
    app.router.add_get("/copied", copied)
    client = await aiohttp_client(app)
    for query in ("", "?gzip", "?chunked"):
        one, other = await client.get(f"/native{query}"), await client.get(f"/copied{query}")
        assert await one.read() == await other.read()
        without_date = [[item for item in r.raw_headers if item[0] != b"Date"] for r in (one, other)]
        assert sorted(without_date[0]) == sorted(without_date[1])


async def test_a_copied_exception_is_sent_as_control_s_would_be(aiohttp_client: AiohttpClient) -> None:
    async def native(request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere", headers={"X-A": "1"})

    async def copied(request: web.Request) -> web.Response:
        try:
            return await native(request)
        except web.HTTPException as error:
            again = response_of(reply_of_exception(error), control=error)
            assert isinstance(again, web.HTTPException)
            raise again from None

    app = web.Application()
    app.router.add_get("/native", native)
    app.router.add_get("/copied", copied)
    client = await aiohttp_client(app)
    one, other = [await client.get(path, allow_redirects=False) for path in ("/native", "/copied")]
    assert (one.status, await one.text(), one.reason) == (other.status, await other.text(), other.reason)
    assert (other.headers["Location"], other.headers["X-A"]) == ("/elsewhere", "1")
