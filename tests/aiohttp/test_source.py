"""Calls over real requests: what a branch sees, then and after the request has ended."""

from __future__ import annotations

import gc
import io
from typing import Any

import pytest
from aiohttp import FormData, web
from pytest_aiohttp.plugin import AiohttpClient

from rollout.domain.call import Call
from rollout_aiohttp.forms import Upload
from rollout_aiohttp.source import RequestSource
from tests.aiohttp.conftest import Exchange

DB = web.AppKey("DB", str)
USER = web.RequestKey("USER", str)


async def kept(request: web.Request) -> RequestSource:
    source = RequestSource(request)
    source.keep()
    return source


async def held(request: web.Request) -> RequestSource:
    source = RequestSource(request)
    source.hold()
    return source


async def looked_at(request: web.Request) -> RequestSource:
    return RequestSource(request)


@pytest.mark.parametrize("probe", [kept, looked_at])
async def test_every_field_is_that_of_the_request_even_after_its_end(exchange: Exchange, probe: Any) -> None:
    app = web.Application()
    app[DB] = "pool"
    source, _ = await exchange(
        probe, "POST", "/profile/a%2Fb?tag=x&tag=y", app=app, headers={"X-User-Id": "alice"}, cookies={"sid": "1"}
    )
    call = Call(source)
    assert (call.method, call.path, call.route) == ("POST", "/profile/a/b", "/profile/{id}")
    assert call.path_params == {"id": "a/b"}
    assert call.query["tag"] == "x"
    assert call.query.getall("tag") == ["x", "y"]  # type: ignore[attr-defined]
    assert call.headers["x-user-id"] == "alice"
    assert call.cookies == {"sid": "1"}
    assert call.resources[DB] == "pool"


async def test_nothing_that_control_does_to_its_request_changes_the_call(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> RequestSource:
        source = await kept(request)
        request.match_info["id"] = "changed"
        request.match_info["more"] = "x"
        request[USER] = "mallory"
        return source

    source, _ = await exchange(probe)
    assert source.path_params == {"id": "7"}
    assert USER not in source.snapshot.stored


async def test_path_params_that_were_looked_at_before_control_stay(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> Any:
        source = RequestSource(request)
        before = source.path_params
        request.match_info["id"] = "changed"
        return before, source.path_params

    (before, after), _ = await exchange(probe)
    assert before == after == {"id": "7"}


@pytest.mark.parametrize("field", ["path_params", "query", "headers", "cookies", "resources"])
async def test_fields_cannot_be_written(exchange: Exchange, field: str) -> None:
    for probe in (kept, looked_at):
        source, _ = await exchange(probe)
        with pytest.raises(TypeError):
            getattr(source, field)["id"] = "changed"


async def test_the_request_is_let_go_once_the_call_was_kept(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> list[bool]:
        source = RequestSource(request)
        holds = [any(one is request for one in gc.get_referents(source))]
        source.keep()
        return [*holds, any(one is request for one in gc.get_referents(source))]

    holds, _ = await exchange(probe)
    assert holds == [True, False]


async def test_in_a_sub_application_the_route_has_its_prefix_and_both_applications_give_resources(
    aiohttp_client: AiohttpClient,
) -> None:
    seen: list[RequestSource] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(RequestSource(request))
        return web.Response()

    inner_key, shared = web.AppKey("inner", str), web.AppKey("shared", str)
    inner, outer = web.Application(), web.Application()
    inner[inner_key], inner[shared], outer[DB], outer[shared] = "i", "inner", "o", "outer"
    inner.router.add_get("/item/{id}", handler)
    outer.add_subapp("/shop", inner)
    client = await aiohttp_client(outer)
    await client.get("/shop/item/1")
    source = seen[0]
    assert source.route == "/shop/item/{id}"
    for _ in ("looked at", "kept"):
        assert (source.resources[inner_key], source.resources[DB], source.resources[shared]) == ("i", "o", "inner")
        source.keep()


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ({"X-Rollout-Shadow": "1"}, {}),
        ({"x-rollout-shadow": "0", "X-Request-Deadline": "1"}, {}),
        ({"Baggage": "rollout.shadow=1"}, {}),
        ({"Baggage": "a=1;p, rollout.shadow=1;x=y ,b=2"}, {"Baggage": "a=1;p,b=2"}),
        ({"Baggage": "a=1 , b=2"}, {"Baggage": "a=1 , b=2"}),
        ({"Baggage": "x-rollout.=1"}, {"Baggage": "x-rollout.=1"}),
    ],
)
async def test_inbound_marks_are_taken_off_and_make_no_call_a_shadow(
    exchange: Exchange, sent: dict[str, str], seen: dict[str, str]
) -> None:
    names = ("X-Rollout-Shadow", "X-Request-Deadline", "Baggage")
    for probe in (kept, held):
        source, _ = await exchange(probe, headers={**sent, "X-Other": "1"})
        assert {name: source.headers[name] for name in names if name in source.headers} == seen
        assert source.headers["X-Other"] == "1"
        assert not Call(source).is_shadow


async def body_too(request: web.Request) -> tuple[RequestSource, bytes]:
    source = await kept(request)
    return source, await request.read()


async def test_a_multipart_form_is_parsed_many_times_and_after_the_request(exchange: Exchange) -> None:
    form = FormData()
    form.add_field("name", "Ada")
    form.add_field("tag", "a")
    form.add_field("tag", "b")
    form.add_field("photo", b"\x00\xff" * 10, filename="a.png", content_type="image/png")
    form.add_field("blob", "{}", content_type="application/json")
    (source, body), _ = await exchange(body_too, "POST", data=form)
    for _ in range(2):
        fields = await source.form(body)
        assert fields["name"] == "Ada"
        assert fields.getall("tag") == ["a", "b"]
        assert fields["photo"] == Upload("a.png", "image/png", b"\x00\xff" * 10)
        assert fields["blob"] == b"{}"


async def test_a_file_that_aiohttp_keeps_on_disk_is_read_whole(exchange: Exchange) -> None:
    content = bytes(range(256)) * 2**13  # 2 MiB
    form = FormData()
    form.add_field("photo", io.BytesIO(content), filename="big", content_type="image/png")
    app = web.Application(client_max_size=2**23)
    (source, body), _ = await exchange(body_too, "POST", app=app, data=form)
    same = (await source.form(body))["photo"].content == content
    assert same  # a bare comparison would print 2 MiB


async def test_an_urlencoded_form_is_parsed_as_aiohttp_does(exchange: Exchange) -> None:
    async def probe(request: web.Request) -> Any:
        return await body_too(request), dict(await request.post())

    ((source, body), native), _ = await exchange(probe, "POST", data={"a": "1 &ü", "b": ""})
    assert dict(await source.form(body)) == native == {"a": "1 &ü", "b": ""}


async def test_a_form_that_is_none_gives_no_fields(exchange: Exchange) -> None:
    (source, body), _ = await exchange(body_too, "POST", json={"a": 1})
    assert dict(await source.form(body)) == {}


@pytest.mark.parametrize("body", [b"no boundary here", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"])
async def test_a_broken_multipart_form_is_a_value_error(exchange: Exchange, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    (source, copy), _ = await exchange(body_too, "POST", data=body, headers=headers)
    with pytest.raises(ValueError, match=r"\w"):
        await source.form(copy)


async def test_too_many_fields_are_a_value_error_that_names_the_route(exchange: Exchange) -> None:
    app = web.Application(client_max_fields=2)
    (source, body), _ = await exchange(body_too, "POST", app=app, data={"a": "1", "b": "2", "c": "3"})
    with pytest.raises(ValueError, match=r"/profile/\{id\}"):
        await source.form(body)
