"""The client guard over real connections: what a run sends, and what a shadow run may not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp import ClientRequest, ClientResponse, ClientSession, web
from pytest_aiohttp.plugin import AiohttpServer
from yarl import URL

from rollout.context import RunContext, current_run
from rollout.errors import DeclarationError, SideEffectRefused
from rollout_aiohttp.addresses import Allowed, address_of
from rollout_aiohttp.guard import guard

MARKS = ("X-Rollout-Shadow", "Baggage", "X-Request-Deadline")


@contextmanager
def run(**fields: Any) -> Iterator[list[tuple[str, str]]]:
    """Code below is part of a run; yields the side effects that were refused."""
    blocked: list[tuple[str, str]] = []
    context = RunContext("profile", "orders", blocked=lambda *what: blocked.append(what), **fields)
    token = current_run.set(context)
    try:
        yield blocked
    finally:
        current_run.reset(token)


class Upstream:
    """A server that keeps what it was asked, and redirects where ``?to=`` says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.origin = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path))
        self.headers.append(request.headers)
        if "to" in request.query:
            status = int(request.query.get("status", "307"))
            return web.Response(status=status, headers={"Location": request.query["to"]})
        return web.Response(text="done")


@pytest.fixture
async def upstream(aiohttp_server: AiohttpServer) -> Upstream:
    made = Upstream()
    app = web.Application(handler_args={"max_field_size": 2**15})
    app.router.add_route("*", "/{tail:.*}", made.answer)
    server = await aiohttp_server(app)
    made.origin = str(server.make_url("/"))[:-1]
    return made


@asynccontextmanager
async def session(*allow: str, wall: float = 1_000.0) -> AsyncIterator[ClientSession]:
    async with ClientSession(middlewares=[guard(allow=allow, wall=lambda: wall)]) as made:
        yield made


async def test_outside_of_a_run_nothing_is_touched(upstream: Upstream) -> None:
    async with session() as client:
        await client.post(f"{upstream.origin}/x", headers={"Baggage": "a=1"})
    assert upstream.asked == [("POST", "/x")]
    assert {name: upstream.headers[0].get(name) for name in MARKS} == {
        "X-Rollout-Shadow": None,
        "Baggage": "a=1",
        "X-Request-Deadline": None,
    }


async def test_a_live_run_sends_what_it_likes_and_tells_its_deadline(upstream: Upstream) -> None:
    async with session() as client:
        with run(deadline=12.5, clock=lambda: 10.0) as blocked:
            await client.post(f"{upstream.origin}/x")
    assert (upstream.asked, blocked) == ([("POST", "/x")], [])
    assert upstream.headers[0]["X-Request-Deadline"] == "1002.500"
    assert "X-Rollout-Shadow" not in upstream.headers[0]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "get"])
async def test_a_shadow_run_may_look_and_its_requests_are_marked(upstream: Upstream, method: str) -> None:
    async with session() as client:
        with run(is_shadow=True, deadline=12.0, clock=lambda: 10.0):
            await client.request(method, f"{upstream.origin}/x")
    sent = upstream.headers[0]
    assert [sent.get(name) for name in MARKS] == ["1", "rollout.shadow=1", "1002.000"]


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ("a=1;p=2, b=%20", "a=1;p=2,b=%20,rollout.shadow=1"),
        ("rollout.shadow=0,a=1", "a=1,rollout.shadow=1"),
        ("", "rollout.shadow=1"),
        ("a=" + "x" * 8190, "a=" + "x" * 8190),
    ],
)
async def test_the_baggage_stays_well_formed(upstream: Upstream, own: str, sent: str) -> None:
    async with session() as client:
        with run(is_shadow=True):
            await client.get(f"{upstream.origin}/x", headers={"Baggage": own})
    assert upstream.headers[0]["Baggage"] == sent


async def test_a_request_that_is_sent_twice_is_marked_once(upstream: Upstream) -> None:
    async def twice(request: ClientRequest, handler: Any) -> ClientResponse:
        (await handler(request)).close()
        response: ClientResponse = await handler(request)
        return response

    async with ClientSession(middlewares=[twice, guard()]) as client:
        with run(is_shadow=True):
            await client.get(f"{upstream.origin}/x", headers={"Baggage": "a=1"})
    assert [sent["Baggage"] for sent in upstream.headers] == ["a=1,rollout.shadow=1"] * 2


async def test_a_deadline_that_is_there_already_stays(upstream: Upstream) -> None:
    async with session() as client:
        with run(deadline=12.0, clock=lambda: 10.0):
            await client.get(f"{upstream.origin}/x", headers={"X-Request-Deadline": "7"})
    assert upstream.headers[0]["X-Request-Deadline"] == "7"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post", "CONNECT", "TRACE", "PURGE"])
async def test_a_shadow_run_may_not_change_anything(upstream: Upstream, method: str) -> None:
    address = upstream.origin.replace("http://", "http://user:secret@") + "/orders/7?token=secret#x"
    async with session() as client:
        with run(is_shadow=True) as blocked, pytest.raises(SideEffectRefused) as error:
            await client.request(method, address, json={"a": 1})
    assert upstream.asked == []
    assert blocked == [(method.upper(), f"{upstream.origin}/orders/7")]
    assert "secret" not in str(error.value)
    assert 'branch "orders" of rollout "profile"' in str(error.value)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"])
async def test_a_method_in_disguise_is_refused(upstream: Upstream, header: str) -> None:
    async with session() as client:
        with run(is_shadow=True):
            await client.get(f"{upstream.origin}/x", headers={header: "get"})
            with pytest.raises(SideEffectRefused):
                await client.get(f"{upstream.origin}/x", headers={header: "Delete"})


async def test_a_websocket_is_refused_unless_its_address_is_allowed(aiohttp_server: AiohttpServer) -> None:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.close()
        return response

    app = web.Application()
    app.router.add_get("/ws", socket)
    server = await aiohttp_server(app)
    with run(is_shadow=True):
        async with session() as client:
            with pytest.raises(SideEffectRefused):
                await client.ws_connect(server.make_url("/ws"))
        async with session(str(server.make_url("/"))) as client, client.ws_connect(server.make_url("/ws")) as opened:
            assert not opened.closed


async def test_an_allowed_address_is_asked_and_marked(upstream: Upstream) -> None:
    async with session(f"{upstream.origin}/v1/") as client:
        with run(is_shadow=True) as blocked:
            await client.post(f"{upstream.origin}/v1/chat?x=1")
            await client.post(URL(f"{upstream.origin}/v1"))
            for path in ("/v1x", "/v2/v1/", "/", "//v1/chat", "/V1/chat"):
                with pytest.raises(SideEffectRefused):
                    await client.post(f"{upstream.origin}{path}")
    assert upstream.asked == [("POST", "/v1/chat?x=1"), ("POST", "/v1")]
    assert upstream.headers[0]["X-Rollout-Shadow"] == "1"
    assert len(blocked) == 5


@pytest.mark.parametrize("status", ["307", "308"])
async def test_a_redirect_does_not_lead_around_the_guard(upstream: Upstream, status: str) -> None:
    async with session(f"{upstream.origin}/v1") as client:
        with run(is_shadow=True) as blocked:
            target = f"{upstream.origin}/v1/go?status={status}&to=/elsewhere"
            with pytest.raises(SideEffectRefused):
                await client.post(target, data=b"x")
            await client.post(f"{upstream.origin}/v1/go?status={status}&to=/v1/there", data=b"x")
    assert ("POST", "/elsewhere") not in upstream.asked
    assert upstream.asked[-1] == ("POST", "/v1/there")
    assert blocked == [("POST", f"{upstream.origin}/elsewhere")]


async def test_another_host_in_the_header_is_refused(upstream: Upstream) -> None:
    async with session(upstream.origin) as client:
        with run(is_shadow=True):
            await client.post(f"{upstream.origin}/x", headers={"Host": upstream.origin.removeprefix("http://")})
            with pytest.raises(SideEffectRefused):
                await client.post(f"{upstream.origin}/x", headers={"Host": "payments.example"})


@pytest.mark.parametrize(
    "address",
    [
        "https://api.example/v1",
        "https://api.example/v1/",
        "https://api.example/v1/chat/completions?x=1",
        "https://API.example:443/v1/chat",
        "https://user:pw@api.example/v1/chat",
        "https://api.example/v1/%63hat",
        "https://api.example/v1/a..b",
    ],
)
def test_an_address_below_an_allowed_one_is_covered(address: str) -> None:
    assert Allowed(["https://other.example/", "https://api.example/v1/"]).covers(URL(address))


@pytest.mark.parametrize(
    "address",
    [
        "http://api.example/v1/chat",
        "https://api.example:8443/v1/chat",
        "https://api.example.evil.org/v1/chat",
        "https://evil.org/https://api.example/v1/",
        "https://api.example@evil.org/v1/chat",
        "https://api.example%2f@evil.org/v1/chat",
        "https://sub.api.example/v1/chat",
        "https://api.example./v1/chat",
        "https://api.example/",
        "https://api.example/v10",
        "https://api.example/v1;x/chat",
        "https://api.example/v1/../admin",
        "https://api.example/v1/%2e%2e/admin",
        "https://api.example/v1/%252e%252e/admin",
        "https://api.example/v1/.%2e/admin",
        "https://api.example/v1/..;/admin",
        "https://api.example/v1/..%2fadmin",
        "https://api.example/v1%2fchat",
        "https://api.example/v1/..\\admin",
        "https://api.example/v1/..%5cadmin",
        "https://api.example/v1/%00",
        "https://api.example/v1/./../admin",
        "https://api.example//v1/chat",
        "https://арi.example/v1/chat",  # Cyrillic
    ],
)
@pytest.mark.parametrize("encoded", [False, True])
def test_nothing_else_is(address: str, encoded: bool) -> None:
    assert not Allowed(["https://api.example/v1/"]).covers(URL(address, encoded=encoded))


def test_an_allowed_name_may_be_international() -> None:
    assert Allowed(["https://bücher.example"]).covers(URL("https://xn--bcher-kva.example/any"))


def test_every_address_that_is_not_usable_is_named_in_one_error_without_its_password() -> None:
    with pytest.raises(DeclarationError) as error:
        guard(
            allow=[
                "api.example",
                "ftp://api.example/",
                "https://u:secret@a.example/",
                "https://a.example/?x=1",
                "https://a/%2f",
            ]
        )
    assert len(error.value.problems) == 5
    assert "secret" not in str(error.value)


def test_an_address_for_people_has_no_secrets() -> None:
    assert address_of(URL("https://u:p@a.example:8443/x?y=1#z")) == "https://a.example:8443/x"
