"""One attempt over real HTTP: what is signed, what counts as taken, and what no answer can do to us."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from multidict import CIMultiDict, CIMultiDictProxy

from rollout_notify import Slack, Target, Webhook, try_targets
from rollout_notify.client import Client, NotTaken
from rollout_webhook import Hmac
from tests.notify.told import SECRET, hanging, receiving, sealed


def status(code: int, **headers: str) -> Any:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, headers=headers)

    return answer


async def attempt(target: Target, client: Client | None = None) -> None:
    posts = client or Client()
    try:
        await posts.post(target, sealed(), target.body(sealed()))
    finally:
        await posts.close()


async def refused(answer: Any) -> NotTaken:
    async with receiving(answer) as (_, url):
        with pytest.raises(NotTaken) as caught:
            await attempt(Slack(url))
    assert "token" not in str(caught.value)
    return caught.value


# What is sent


async def test_a_webhook_is_signed_as_our_own_receiver_verifies_it() -> None:
    async with receiving(status(204)) as (receiver, url):
        await attempt(Webhook(url, secret=SECRET))
    ((request, body),) = receiver.seen
    assert (request.method, request.path, request.content_type) == ("POST", "/services/token", "application/json")
    verified = await Hmac(SECRET).verify(request.headers, body, time.time())
    assert verified.body == body == Webhook(url, secret=SECRET).body(sealed())
    assert request.headers["Idempotency-Key"] == f"42-{sealed().hash[:16]}"
    assert request.headers["User-Agent"] == "rollout-kit"


async def test_each_attempt_is_signed_at_its_own_time() -> None:
    target = Webhook("https://ops.example/", secret=SECRET)
    body = target.body(sealed())
    for at in (1_767_614_400.9, 1_767_618_000.0):
        headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict(target.headers(sealed(), body, at)))
        assert headers["X-Timestamp"] == str(int(at))
        await Hmac(SECRET).verify(headers, body, at)


async def test_slack_gets_json_and_no_signature() -> None:
    async with receiving(status(200)) as (receiver, url):
        await attempt(Slack(url))
    ((request, body),) = receiver.seen
    assert body == Slack(url).body(sealed())
    assert "X-Signature" not in request.headers


@pytest.mark.parametrize("code", [200, 201, 202, 204])
async def test_every_2xx_is_taken(code: int) -> None:
    async with receiving(status(code)) as (_, url):
        await attempt(Slack(url))


# What is answered


@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 410, 413])
async def test_what_another_attempt_would_not_change_is_final(code: int) -> None:
    error = await refused(status(code))
    assert (str(error), error.transient) == (f"it answered {code}", False)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 599])
async def test_what_may_go_better_is_not(code: int) -> None:
    error = await refused(status(code, **{"Retry-After": "7"}))
    assert (str(error), error.transient) == (f"it answered {code}", True)
    assert error.headers["retry-after"] == "7"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(code: int) -> None:
    async with receiving(status(200)) as (elsewhere, url):
        error = await refused(status(code, Location=url))
    assert (str(error), error.transient) == (f"it answered {code}, and redirects are not followed", False)
    assert not elsewhere.seen


async def test_a_cookie_is_not_sent_back() -> None:
    client = Client()
    async with receiving(status(200, **{"Set-Cookie": "who=me; Path=/"})) as (receiver, url):
        for _ in range(2):
            # A name: aiohttp keeps no cookies of an address that is a number.
            await client.post(Slack(url.replace("127.0.0.1", "localhost")), sealed(), b"{}")
    await client.close()
    assert "Cookie" not in receiver.seen[1][0].headers


async def test_a_body_without_end_is_not_read() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            sent += 65_536

    async with receiving(endless) as (_, url), asyncio.timeout(10):
        await attempt(Slack(url))
    assert sent < 64 * 2**20


async def test_a_receiver_that_never_answers_is_left() -> None:
    async with receiving(hanging) as (_, url), asyncio.timeout(10):
        with pytest.raises(NotTaken, match=r"no answer within 0\.1 s") as caught:
            await attempt(Slack(url), Client(attempt_s=0.1))
    assert caught.value.transient
    assert Client()._timeout.total == 10


async def test_nobody_there_is_an_error_of_the_moment() -> None:
    url = f"http://127.0.0.1:{unused_port()}/services/token"
    with pytest.raises(NotTaken) as caught:
        await attempt(Slack(url))
    assert caught.value.transient
    assert "token" not in str(caught.value)
    assert str(caught.value) == "ClientConnectorError, Connection refused"


async def test_no_text_of_an_error_is_told_for_aiohttp_puts_the_address_there() -> None:
    class Broken:
        def post(self, url: str, **_: Any) -> Any:
            raise aiohttp.ClientOSError(32, f"Can not write request body for {url}")

    client, broken = Client(), cast("aiohttp.ClientSession", Broken())  # all of a session that is used
    client._session = broken
    with pytest.raises(NotTaken) as caught:
        await client.post(Slack("https://hooks.example/token"), sealed(), b"{}")
    assert str(caught.value) == "ClientOSError, Broken pipe"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 token\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", b"token\r\n\r\n", b"\x00\xff\r\n"]
)
async def test_what_is_no_http_is_an_error_of_the_moment_and_not_shown(answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(NotTaken) as caught:
        await attempt(Slack(f"http://127.0.0.1:{port}/services/token"))
    server.close()
    await server.wait_closed()
    assert caught.value.transient
    assert "token" not in str(caught.value)


# A test of the way


async def test_a_test_message_is_sent_once_to_every_target_and_tells_what_happened(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving(status(500)) as (broken, bad), receiving(status(200)) as (well, good):
        targets: list[Target] = [
            Webhook(bad, secret=SECRET),
            Slack(good),
            replace(Slack("http://127.0.0.1:1/token"), name="gone"),
        ]
        tried = await try_targets(targets, sealed())
    assert (len(broken.seen), len(well.seen)) == (1, 1)
    assert [(one.target, one.delivered, one.transient) for one in tried] == [
        ("webhook", False, True),
        ("slack", True, False),
        ("gone", False, True),
    ]
    assert tried[0].why == "it answered 500"
    assert tried[1].why == ""
    ours = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]  # the receivers'
    for secret in ("token", SECRET):
        assert secret not in repr(tried)
        assert not any(secret in line for line in ours)
