"""Handlers on sealed requests: everything works as on a real one, and nothing reaches the user."""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import BodyPartReader, ClientSession, FormData, web
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp.plugin import AiohttpClient

from rollout.domain.call import Call, CallData, Reply
from rollout_aiohttp.internals import SealedRequest
from rollout_aiohttp.runs import run_sealed
from rollout_aiohttp.sealed import sealed_request
from rollout_aiohttp.sink import SealedError
from rollout_aiohttp.source import RequestSource
from tests.aiohttp.conftest import Exchange

USER = web.RequestKey("USER", list)
Handler = Callable[[web.Request], Awaitable[Any]]


async def call_of(request: web.Request) -> Call:
    source = RequestSource(request)
    source.keep()
    return Call.of(source, body=await request.read())


async def test_a_sealed_request_reads_as_the_original(exchange: Exchange) -> None:
    async def facts(request: web.Request) -> dict[str, Any]:
        names = """method path path_qs raw_path query_string host scheme remote secure version content_type charset
        content_length body_exists can_read_body keep_alive url rel_url headers raw_headers cookies client_max_size
        client_max_fields if_modified_since http_range forwarded app config_dict match_info"""
        found = {name: getattr(request, name) for name in names.split()}
        found["route"], found["apps"] = request.match_info.route, request.match_info.apps
        return {**found, "config_dict": list(found["config_dict"]), "text": await request.text()}

    async def probe(request: web.Request) -> Any:
        source = RequestSource(request)
        source.keep()
        native = await facts(request)
        return native, await facts(sealed_request(Call.of(source, body=await request.read())))

    headers = {"Range": "bytes=0-5", "X-A": "ü"}
    path = "/profile/7%2F8?a=1&b=%20"
    for extra in ({}, {"json": {"a": "ü"}}, {"data": b"\xc3\xbc"}):
        (native, sealed), _ = await exchange(probe, "POST", path, headers=headers, cookies={"c": "1"}, **extra)
        assert native == sealed


async def test_forms_and_multipart_are_read_from_the_copy(exchange: Exchange) -> None:
    form = FormData()
    form.add_field("name", "Ada")
    form.add_field("photo", b"\xff" * 9, filename="x.png", content_type="image/png")

    async def posted(request: web.Request) -> web.Response:
        fields = await request.post()
        photo = fields["photo"]
        assert isinstance(photo, web.FileField)
        return web.json_response([fields["name"], photo.filename, len(photo.file.read())])

    async def parts(request: web.Request) -> web.Response:
        reader = await request.multipart()
        return web.json_response([part.name async for part in reader if isinstance(part, BodyPartReader)])

    call, _ = await exchange(call_of, "POST", data=form)
    for _ in range(2):
        assert (await run_sealed(posted, sealed_request(call))).json_value() == ["Ada", "x.png", 9]
        assert (await run_sealed(parts, sealed_request(call))).json_value() == ["name", "photo"]


async def test_what_earlier_middlewares_stored_is_there_and_the_request_stays_its_own(exchange: Exchange) -> None:
    session = ["alice"]
    other = web.RequestKey("other", str)

    async def probe(request: web.Request) -> Any:
        request[USER] = session
        call = await call_of(request)
        request[other] = "of control"
        sealed = sealed_request(call)
        sealed[USER].append("seen")
        sealed[other] = "of the branch"
        sealed.match_info["id"] = "of the branch"
        return sealed, request[other], request.match_info["id"], sealed_request(call)

    (sealed, key, match, again), _ = await exchange(probe)
    assert sealed[USER] is session  # shallow: the objects are shared
    assert (sealed[other], key, match) == ("of the branch", "of control", "7")
    assert other not in again
    assert again.match_info == {"id": "7"}


class Instance:
    async def __call__(self, request: web.Request) -> web.Response:
        return web.Response(text=f"instance {request.match_info['id']}")

    async def method(self, request: web.Request) -> web.Response:
        return web.Response(text=f"method {request.match_info['id']}")


class AView(web.View):
    async def get(self) -> web.Response:
        return web.Response(text=f"view {self.request.match_info['id']}")


async def function(request: web.Request) -> web.Response:
    return web.Response(text=f"function {request.match_info['id']}", status=203, headers={"X-A": "1"})


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (function, "function 7"),
        (Instance(), "instance 7"),
        (Instance().method, "method 7"),
        (AView, "view 7"),
        (lambda request: web.Response(text="plain"), "plain"),
    ],
)
async def test_every_kind_of_handler_runs(exchange: Exchange, handler: Any, text: str) -> None:
    call, _ = await exchange(call_of)
    reply = await run_sealed(handler, sealed_request(call))
    assert reply.text() == text


async def test_a_view_without_the_method_and_a_raised_error_are_replies_that_are_raised(exchange: Exchange) -> None:
    async def missing(request: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="no such user")

    call, _ = await exchange(call_of, "DELETE")
    reply = await run_sealed(AView, sealed_request(call))
    assert (reply.status, reply.raised, reply.headers["Allow"]) == (405, True, "GET")
    reply = await run_sealed(missing, sealed_request(call))
    assert (reply.status, reply.raised, reply.text()) == (404, True, "no such user")


async def test_any_other_error_passes_through_and_no_response_is_an_error(exchange: Exchange) -> None:
    async def bug(request: web.Request) -> web.Response:
        raise ZeroDivisionError

    async def nothing(request: web.Request) -> None:
        return

    call, _ = await exchange(call_of)
    with pytest.raises(ZeroDivisionError):
        await run_sealed(bug, sealed_request(call))
    with pytest.raises(SealedError, match=r"nothing returned NoneType"):
        await run_sealed(nothing, sealed_request(call))


async def test_a_file_is_read_into_the_reply(exchange: Exchange, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(b"<p>" * 200_000)

    async def handler(request: web.Request) -> web.FileResponse:
        return web.FileResponse(file, headers={"X-A": "1"})

    call, _ = await exchange(call_of)
    reply = await run_sealed(handler, sealed_request(call))
    assert (reply.status, reply.body) == (200, file.read_bytes())
    assert sorted(reply.headers) == ["Accept-Ranges", "Content-Type", "Etag", "Last-Modified", "X-A"]
    assert reply.content_type == "text/html"
    call, _ = await exchange(call_of, headers={"Range": "bytes=3-5"})
    reply = await run_sealed(handler, sealed_request(call))
    assert (reply.status, reply.body) == (206, b"<p>")
    call, _ = await exchange(call_of, headers={"If-None-Match": "*"})
    assert (await run_sealed(handler, sealed_request(call))).status == 304
    with pytest.raises(SealedError, match="above the limit of 1000"):
        await run_sealed(handler, sealed_request(call.__class__.of((await exchange(call_of))[0].source), limit=1000))


async def test_a_missing_file_is_a_404(exchange: Exchange, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.FileResponse:
        return web.FileResponse(tmp_path / "missing")

    call, _ = await exchange(call_of)
    assert (await run_sealed(handler, sealed_request(call))).status == 404


async def streams(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=201, headers={"X-A": "1"})
    response.set_cookie("sid", "1")
    response.enable_compression()
    await response.prepare(request)
    for _ in range(3):
        await response.write(b"ab")
    await response.write_eof(b"c")
    return response


async def generates(request: web.Request) -> web.Response:
    async def body() -> Any:
        yield b"ab"
        yield b"c"

    return web.Response(body=body(), status=201, headers={"X-A": "1"})


@pytest.mark.parametrize(("handler", "body"), [(streams, b"abababc"), (generates, b"abc")])
async def test_a_stream_is_captured_as_it_was_before_it_was_encoded(
    exchange: Exchange, handler: Handler, body: bytes
) -> None:
    call, _ = await exchange(call_of)
    reply = await run_sealed(handler, sealed_request(call))
    assert (reply.status, reply.body, reply.headers["X-A"]) == (201, body, "1")
    ours = {"Content-Encoding", "Transfer-Encoding", "Date", "Server", "Connection", "Content-Length"}
    assert not ours & set(reply.headers)
    if handler is streams:
        assert reply.headers.getall("Set-Cookie") == ["sid=1; Path=/"]


async def test_a_stream_without_end_is_cut_at_the_limit(exchange: Exchange) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100)

    call, _ = await exchange(call_of)
    with pytest.raises(SealedError, match="above the limit of 1000"):
        await run_sealed(endless, sealed_request(call, limit=1000))


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


async def test_a_websocket_is_refused(exchange: Exchange) -> None:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        return response

    call, _ = await exchange(call_of, headers=WEBSOCKET)
    with pytest.raises(SealedError, match="WebSocket"):
        await run_sealed(socket, sealed_request(call))


async def test_signals_of_the_application_do_not_run(exchange: Exchange) -> None:
    prepared: list[web.BaseRequest] = []

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        prepared.append(request)

    app = web.Application()
    app.on_response_prepare.append(on_prepare)
    call, _ = await exchange(call_of, app=app)
    assert len(prepared) == 1
    await run_sealed(streams, sealed_request(call))
    assert len(prepared) == 1


async def everything_at_once(request: web.Request) -> web.Response:
    """What a hostile or careless handler may try to reach the user by."""
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: request.transport.write(b"STOLEN"),  # type: ignore[union-attr]
        lambda: request.transport.writelines([b"STOLEN"]),  # type: ignore[union-attr]
        lambda: request.transport.close(),  # type: ignore[union-attr]
        lambda: request.transport.abort(),  # type: ignore[union-attr]
        lambda: request.protocol.transport.write(b"STOLEN"),  # type: ignore[union-attr]
        lambda: request.protocol.force_close(),
        lambda: request.clone(method="PUT").transport.write(b"STOLEN"),  # type: ignore[union-attr]
        lambda: request.writer.transport.write(b"STOLEN"),  # type: ignore[union-attr]
    )
    for attempt in attempts:
        try:
            attempt()
        except (SealedError, AttributeError, RuntimeError):
            continue
    await request.writer.write(b"STOLEN")
    await streams(request.clone())
    return await web.StreamResponse().prepare(request) and web.Response(text="STOLEN")  # type: ignore[return-value]


async def test_the_users_bytes_are_the_same_whatever_a_branch_does_meanwhile(aiohttp_client: AiohttpClient) -> None:
    async def control(request: web.Request) -> web.Response:
        call = await call_of(request)
        branches = [asyncio.create_task(run_sealed(everything_at_once, sealed_request(call))) for _ in range(3)]
        await asyncio.sleep(0.01)
        if request.query:
            await asyncio.gather(*branches)
        return web.Response(text="for the user", headers={"Date": "today"})

    async def plain(request: web.Request) -> web.Response:
        return web.Response(text="for the user", headers={"Date": "today"})

    app = web.Application()
    app.router.add_get("/control", control)
    app.router.add_get("/plain", plain)
    client = await aiohttp_client(app)
    expected = await raw(client.port, "/plain")
    for path in ("/control", "/control?wait=1"):
        assert await raw(client.port, path) == expected


async def raw(port: int | None, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_nothing_of_a_sealed_request_leads_to_the_users_connection(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> Any:
        sealed = sealed_request(await call_of(request))
        reached = reachable(sealed)
        theirs = {id(thing) for thing in (request, request.protocol, request.transport, request.task, request.writer)}
        return theirs & reached, len(reached), request.transport is not None

    (found, walked, connected), _ = await exchange(probe, "POST", data=b"body")
    assert connected
    assert walked > 50
    assert not found


def reachable(root: object) -> set[int]:
    """The ids of everything that an object leads to, but through what is shared with the whole process."""
    shared = (web.Application, type, types.ModuleType, types.FunctionType, types.CodeType, asyncio.AbstractEventLoop)
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, shared):
            continue
        seen.add(id(thing))
        waiting.extend(gc.get_referents(thing))
    return seen


async def test_only_a_sealed_request_is_run_and_only_calls_of_requests_are_sealed() -> None:
    with pytest.raises(SealedError, match="sealed_request"):
        await run_sealed(function, make_mocked_request("GET", "/"))
    with pytest.raises(SealedError, match="CallData"):
        sealed_request(Call(CallData()))


async def test_a_handler_may_ask_others_over_http_and_use_the_loop(exchange: Exchange, unused_tcp_port: int) -> None:
    async def other(request: web.Request) -> Reply:
        sealed = sealed_request(await call_of(request))
        assert isinstance(sealed, SealedRequest)

        async def asks(request: web.Request) -> web.Response:
            async with ClientSession() as session:
                with pytest.raises(OSError, match=r".*"):
                    await session.get(f"http://127.0.0.1:{unused_tcp_port}/")
            await asyncio.get_running_loop().run_in_executor(None, int)
            return web.Response(text="asked")

        return await run_sealed(asks, sealed)

    reply, _ = await exchange(other)
    assert reply.text() == "asked"
