"""The body of a request is copied, and control cannot tell."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import FormData, web
from pytest_aiohttp.plugin import AiohttpClient

from rollout_aiohttp.bodies import read_body, skip_reason
from tests.aiohttp.conftest import Exchange

MAX = 1000
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
PARTS = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'


async def by_read(request: web.Request) -> Any:
    return await request.read(), await request.read()


async def by_text(request: web.Request) -> Any:
    return await request.text()


async def by_json(request: web.Request) -> Any:
    return await request.json()


async def by_post(request: web.Request) -> Any:
    return dict(await request.post()), dict(await request.post())


async def by_multipart(request: web.Request) -> Any:
    return [(part.name, await part.read()) async for part in await request.multipart()]  # type: ignore[union-attr]


async def by_content(request: web.Request) -> Any:
    return await request.content.read(3), await request.content.readexactly(1), await request.content.read()


async def by_line(request: web.Request) -> Any:
    return [line async for line in request.content]


async def by_chunks(request: web.Request) -> Any:
    return b"".join([chunk async for chunk in request.content.iter_chunked(4)])


async def by_clone(request: web.Request) -> Any:
    return await request.clone(method="PUT").read()


async def state(request: web.Request) -> Any:
    return request.can_read_body, request.body_exists, request.content.at_eof(), request.content.total_bytes


READERS = [by_read, by_text, by_json, by_post, by_multipart, by_content, by_line, by_chunks, by_clone, state]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
async def test_control_reads_the_body_as_without_us(exchange: Exchange, reader: Any) -> None:
    body, headers = (PARTS, MULTIPART) if reader is by_multipart else (b"[1,2]\n[3]", FORM)
    body = b'{"a": "\xc3\xbc"}' if reader is by_json else body

    async def without(request: web.Request) -> Any:
        return await reader(request)

    async def copied(request: web.Request) -> Any:
        assert skip_reason(request, MAX) is None
        assert await read_body(request, MAX) == body
        return await reader(request)

    async def copied_twice(request: web.Request) -> Any:
        assert await read_body(request, MAX) == await read_body(request, MAX) == body
        return await reader(request)

    expected, _ = await exchange(without, "POST", data=body, headers=headers)
    for probe in (copied, copied_twice):
        got, response = await exchange(probe, "POST", data=body, headers=headers)
        if reader is not state:
            assert got == expected
        assert response.status == 200
    if reader is state:
        assert got == (True, True, False, len(body))


async def test_a_reader_that_a_middleware_made_before_still_finds_the_body(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> Any:
        reader, content = await request.multipart(), request.content
        assert await read_body(request, MAX) == PARTS
        assert content is request.content
        part = await reader.next()
        return await part.read()  # type: ignore[union-attr]

    got, _ = await exchange(probe, "POST", data=PARTS, headers=MULTIPART)
    assert got == b"1"


async def test_a_body_that_was_read_before_is_taken_from_aiohttps_own_copy(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> Any:
        await request.read()
        assert skip_reason(request, MAX) is None
        return await read_body(request, MAX), skip_reason(request, 2)

    got, _ = await exchange(probe, "POST", data=b"abc")
    assert got == (b"abc", "too_large")


@pytest.mark.parametrize("use", [by_multipart, by_content, by_line])
async def test_a_body_that_was_consumed_is_skipped(exchange: Exchange, use: Any) -> None:
    async def probe(request: web.Request) -> Any:
        await use(request)
        return skip_reason(request, MAX)

    got, _ = await exchange(probe, "POST", data=PARTS, headers=MULTIPART)
    assert got == "consumed"


async def chunks() -> AsyncIterator[bytes]:
    yield b"abc"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"method": "GET"}, None),
        ({"method": "POST"}, None),
        ({"method": "POST", "data": b""}, None),
        ({"method": "POST", "data": b"x" * 1000}, None),
        ({"method": "POST", "data": b"x" * 1001}, "too_large"),
        ({"method": "POST", "data": chunks()}, "streamed"),
        ({"method": "GET", "headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}, "upgrade"),
        ({"method": "GET", "headers": {"Connection": "keep-alive, Upgrade", "Upgrade": "h2c"}}, "upgrade"),
        ({"method": "GET", "headers": {"Upgrade": "websocket"}}, None),
        ({"method": "POST", "data": b"x", "expect100": True}, None),
    ],
)
async def test_why_a_request_is_skipped(exchange: Exchange, request_: dict[str, Any], reason: str | None) -> None:
    async def probe(request: web.Request) -> Any:
        return skip_reason(request, MAX)

    got, _ = await exchange(probe, request_.pop("method"), **request_)
    assert got == reason


async def test_above_the_applications_own_limit_control_answers_413(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> Any:
        return skip_reason(request, MAX)

    app = web.Application(client_max_size=100)
    got, response = await exchange(probe, "POST", data=b"x" * 101, app=app, answer=answer)
    assert (got, response.status) == ("too_large", 413)


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_copied_unpacked(exchange: Exchange, coding: str, pack: Any) -> None:
    async def probe(request: web.Request) -> Any:
        assert skip_reason(request, MAX) is None
        return await read_body(request, MAX), request.headers["Content-Encoding"]

    body = json.dumps(["abc"] * 100).encode()
    got, response = await exchange(probe, "POST", data=pack(body), headers={"Content-Encoding": coding}, answer=answer)
    assert got == (body, coding)
    assert await response.read() == body


@pytest.mark.parametrize(("size", "status"), [(2**20, 200), (9 * 2**20, 413)])
async def test_a_body_that_unpacks_to_more_than_allowed_is_given_back(
    exchange: Exchange, size: int, status: int
) -> None:
    async def probe(request: web.Request) -> Any:
        assert skip_reason(request, 100_000) is None
        return await read_body(request, 100_000)

    packed = gzip.compress(b"a" * size)
    app = web.Application(client_max_size=8 * 2**20)
    headers = {"Content-Encoding": "gzip"}
    got, response = await exchange(probe, "POST", data=packed, headers=headers, app=app, answer=answer)
    assert got is None
    assert response.status == status
    if status == 200:
        whole = await response.read() == b"a" * size
        assert whole


async def test_a_body_that_is_not_what_its_coding_says_is_controls_to_answer(aiohttp_client: AiohttpClient) -> None:
    copies: list[bytes | None] = []

    async def copying(request: web.Request) -> web.Response:
        copies.append(await read_body(request, MAX))
        return await answer(request)

    app = web.Application()
    app.router.add_post("/plain", answer)
    app.router.add_post("/copied", copying)
    client = await aiohttp_client(app)
    statuses = []
    for path in ("/plain", "/copied"):
        async with client.post(path, data=b"not gzip", headers={"Content-Encoding": "gzip"}) as response:
            statuses.append(response.status)
    assert statuses[0] == statuses[1]
    assert copies in ([None], [])  # the parser may refuse it before any handler


async def test_a_client_that_leaves_in_the_middle_leaves_control_with_its_own_error(
    aiohttp_client: AiohttpClient,
) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def work(request: web.Request) -> Any:
        copy = await read_body(request, MAX)
        reason = skip_reason(request, MAX)
        with pytest.raises(Exception, match=r".*") as error:
            await request.read()
        return copy, reason, error.type

    async def handler(request: web.Request) -> web.Response:
        tasks.append(asyncio.create_task(work(request)))  # outlives the handler, which the test server cancels
        return web.Response(body=repr(await asyncio.shield(tasks[0])))

    app = web.Application()
    app.router.add_post("/", handler)
    client = await aiohttp_client(app)
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    copy, reason, error = await asyncio.wait_for(tasks[0], 2)
    assert copy is None
    assert reason is not None
    assert issubclass(error, ConnectionError)


async def test_a_cancelled_copy_gives_back_what_it_read(aiohttp_client: AiohttpClient) -> None:
    async def handler(request: web.Request) -> web.Response:
        copying = asyncio.create_task(read_body(request, MAX))
        await asyncio.sleep(0.05)
        copying.cancel()
        await asyncio.wait([copying])
        assert copying.cancelled()
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/", handler)
    client = await aiohttp_client(app)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 10\r\n\r\nfirst")
    await asyncio.sleep(0.15)
    writer.write(b"-last")
    answered = await asyncio.wait_for(reader.read(), 2)
    writer.close()
    await writer.wait_closed()
    assert answered.endswith(b"first-last")


async def test_the_connection_goes_on_after_a_copied_body(aiohttp_client: AiohttpClient) -> None:
    async def handler(request: web.Request) -> web.Response:
        copy = await read_body(request, MAX)
        return web.Response(text=f"{len(copy or b'')}")  # control does not read at all

    app = web.Application()
    app.router.add_post("/", handler)
    client = await aiohttp_client(app)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    one = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    last = one.replace(b"Host: h", b"Host: h\r\nConnection: close")
    writer.write(one + one + last)
    answered = await asyncio.wait_for(reader.read(), 2)
    writer.close()
    await writer.wait_closed()
    assert answered.count(b"HTTP/1.1 200 OK") == 3


async def test_a_form_with_a_file_is_posted_after_the_copy(exchange: Exchange) -> None:
    form = FormData()
    form.add_field("photo", b"\xff" * 50, filename="x.png", content_type="image/png")

    async def probe(request: web.Request) -> Any:
        await read_body(request, MAX)
        fields = await request.post()
        return fields["photo"].file.read()  # type: ignore[union-attr]

    got, _ = await exchange(probe, "POST", data=form)
    assert got == b"\xff" * 50
