"""The middleware on real connections: what the user gets, for every kind of handler, request and reply."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData, WSMsgType, web

from rollout import Branch, Call, Parts, Reply, Shadow
from rollout.testing import FakeFlags
from rollout_aiohttp import handler_branch
from tests.support.apps import CONTROL, Served, application, monolith, profile, served, until

LIVE = {"orders": 1.0}
ALICE = {"X-User-Id": "alice"}


async def wrong(call: Call) -> Any:
    return ["not", "these"]


async def spoil(call: Call) -> Any:
    """Change whatever can be changed."""
    for target in (call.headers, call.query, call.path_params, call.cookies, call.state, call.parts):
        with pytest.raises((TypeError, AttributeError)):
            target["x"] = "y"  # type: ignore[index]
    with pytest.raises(AttributeError):
        call.key = "bob"  # type: ignore[misc]
    if call.body:
        call.json().clear()
    return wrong


async def text_of(served: Served, path: str = "/profile/7", **options: Any) -> tuple[int, str]:
    async with served.client.get(path, headers=ALICE, **options) as response:
        return response.status, await response.text()


# Shadow


async def test_the_user_s_bytes_are_those_of_control_whatever_shadows_do(tmp_path: Path) -> None:
    async def huge(call: Call) -> Any:
        return "x" * 10_000_000

    async def fails(call: Call) -> Any:
        raise ValueError("secret")

    branches = [Branch(name, run, part="$.orders") for name, run in (("a", spoil), ("b", huge), ("c", fails))]
    bare = application()
    async with served(tmp_path, profile(*branches, aggregate=lambda call, control, parts: dict(parts))) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE) as response:
            headers = {name: value for name, value in response.headers.items() if name != "Date"}
            assert await response.json() == CONTROL
        await wrapped.settled()
        assert wrapped.funnel()["finished"] == 1
    assert "X-Rollout" not in "".join(headers)
    assert bare is not wrapped.app


async def test_a_shadow_is_recorded_with_both_sides(tmp_path: Path) -> None:
    async with served(tmp_path, profile(Branch("orders", wrong, part="$.orders"))) as wrapped:
        await text_of(wrapped)
        (trial,) = await wrapped.trials()
        assert (trial.outcome, trial.route, trial.method, trial.control_status) == (
            "mismatched",
            "/profile/{id}",
            "GET",
            200,
        )
        assert {str(one["path"]) for one in trial.differences} <= {"$.orders", "$.orders[*]"}
        assert wrapped.funnel()["served:control"] == 1


async def test_what_the_middleware_costs_is_measured_once_a_second(tmp_path: Path) -> None:
    async with served(tmp_path, profile()) as wrapped:
        for _ in range(40):
            await text_of(wrapped)
        overhead = wrapped.engine.metrics().rollouts["profile"].histograms["overhead"]
        assert 1 <= overhead.total < 40


async def test_other_routes_and_other_methods_pass_untouched(tmp_path: Path) -> None:
    async def other(request: web.Request) -> web.Response:
        return web.Response(text="other")

    app = application(("GET", "/profile/{id}", monolith), ("POST", "/profile/{id}", monolith), ("GET", "/other", other))
    async with served(tmp_path, profile(), app, live=LIVE) as wrapped:
        assert await text_of(wrapped, "/other") == (200, "other")
        assert await text_of(wrapped, "/nowhere") == (404, "404: Not Found")
        async with wrapped.client.post("/profile/7", headers=ALICE) as response:
            assert await response.json() == CONTROL
        assert wrapped.funnel()["calls"] == 0


# Live


async def test_a_live_part_is_laid_over_control_s_reply(tmp_path: Path) -> None:
    async with served(tmp_path, profile(Branch("orders", wrong, part="$.orders")), live=LIVE) as wrapped:
        status, text = await text_of(wrapped)
        assert (status, json.loads(text)) == (200, {**CONTROL, "orders": ["not", "these"]})
        assert wrapped.funnel()["served:candidate"] == 1


async def test_cookies_and_headers_of_control_stay_with_the_candidate(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        response = web.json_response(CONTROL, headers={"X-Trace": "7", "ETag": '"control"'})
        response.set_cookie("session", "abc", httponly=True)
        return response

    rollout = profile(control=control)
    async with (
        served(tmp_path, rollout, application(("GET", "/profile/{id}", control)), live=LIVE) as wrapped,
        wrapped.client.get("/profile/7", headers=ALICE) as response,
    ):
        assert response.headers["X-Trace"] == "7"
        assert response.cookies["session"].value == "abc"
        assert "ETag" not in response.headers
        assert int(response.headers["Content-Length"]) == len(await response.read())


@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
@pytest.mark.parametrize(
    "made",
    [
        web.HTTPFound("/login"),
        web.HTTPNotFound(text="no such profile"),
        web.HTTPServiceUnavailable(headers={"Retry-After": "3"}),
    ],
    ids=lambda made: str(made.status),
)
async def test_what_control_raises_reaches_the_user_as_without_us(
    made: web.HTTPException, live: dict[str, float], tmp_path: Path
) -> None:
    async def control(request: web.Request) -> web.Response:
        raise type(made)(
            **({"location": "/login"} if made.status == 302 else {"text": made.text, "headers": made.headers})
        )

    rollout = profile(control=control)
    async with served(tmp_path, rollout, application(("GET", "/profile/{id}", control)), live=live) as wrapped:
        async with wrapped.client.get("/profile/7", headers=ALICE, allow_redirects=False) as response:
            assert (response.status, await response.text()) == (made.status, made.text)
            assert response.headers.get("Retry-After") == made.headers.get("Retry-After")
        await wrapped.settled()
        assert wrapped.funnel()["calls"] == 1
        assert wrapped.funnel()["bad"] == int(made.status >= 500)


async def test_an_exception_of_control_s_own_is_a_500_as_without_us(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        raise ValueError("control's own")

    rollout = profile(control=control)
    async with served(tmp_path, rollout, application(("GET", "/profile/{id}", control)), live=LIVE) as wrapped:
        status, text = await text_of(wrapped)
        assert (status, "control's own" in text) == (500, False)
        assert wrapped.funnel()["bad"] == 1


@pytest.mark.parametrize("join", ["overlay", "replace"])
async def test_a_redirect_that_the_candidate_raises_is_a_redirect_to_middlewares_and_users(
    join: str, tmp_path: Path
) -> None:
    seen: list[str] = []

    @web.middleware
    async def outer(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPFound as error:
            seen.append(str(error.location))
            raise
        return response

    def aggregate(call: Call, control: Reply | None, parts: Parts) -> Any:
        raise web.HTTPFound("/there")

    app = application()
    app.middlewares.append(outer)
    async with (
        served(tmp_path, profile(aggregate=aggregate, join=join), app, live=LIVE) as wrapped,
        wrapped.client.get("/profile/7", headers=ALICE, allow_redirects=False) as response,
    ):
        assert (response.status, response.headers["Location"]) == (302, "/there")
    assert seen == ["/there"]


async def test_an_aggregator_may_redirect_by_its_reply(tmp_path: Path) -> None:
    rollout = profile(aggregate=lambda call, control, parts: Reply.redirect("/there"))
    async with (
        served(tmp_path, rollout, live=LIVE) as wrapped,
        wrapped.client.get("/profile/7", headers=ALICE, allow_redirects=False) as response,
    ):
        assert (response.status, response.headers["Location"]) == (302, "/there")


# Kinds of handlers


class View(web.View):
    async def get(self) -> web.Response:
        return web.json_response(CONTROL)

    async def post(self) -> web.Response:
        return web.json_response({"posted": await self.request.json()})


class Methods:
    async def show(self, request: web.Request) -> web.Response:
        return web.json_response(CONTROL)


class Instance:
    async def __call__(self, request: web.Request) -> web.Response:
        return web.json_response(CONTROL)


@pytest.mark.filterwarnings("ignore:Bare functions")
@pytest.mark.parametrize("control", [View, Methods().show, Instance()], ids=["class view", "bound method", "instance"])
async def test_every_kind_of_handler_is_wrapped(control: Any, tmp_path: Path) -> None:
    rollout = profile(Branch("orders", wrong, part="$.orders"), control=control)
    async with served(tmp_path, rollout, application(("*", "/profile/{id}", control)), live=LIVE) as wrapped:
        assert json.loads((await text_of(wrapped))[1])["orders"] == ["not", "these"]
        if control is View:
            async with wrapped.client.post("/profile/7", json={"x": 1}) as response:
                assert await response.json() == {"posted": {"x": 1}}


POOL = web.AppKey("pool", str)


async def test_a_handler_of_a_sub_application_is_wrapped(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        return web.json_response({"orders": request.config_dict[POOL]})

    sub, app = application(("GET", "/profile/{id}", control)), web.Application()
    app[POOL] = "the outer pool"
    app.add_subapp("/api", sub)
    seen: list[Any] = []

    async def branch(call: Call) -> Any:
        seen.append((call.route, call.resources[POOL], dict(call.path_params)))
        return call.resources[POOL]

    async with served(tmp_path, profile(Branch("orders", branch, part="$.orders"), control=control), app) as wrapped:
        assert json.loads((await text_of(wrapped, "/api/profile/7"))[1]) == {"orders": "the outer pool"}
        assert [trial.outcome for trial in await wrapped.trials()] == ["matched"]
    assert seen == [("/api/profile/{id}", "the outer pool", {"id": "7"})]


async def test_a_handler_can_be_a_branch_and_reaches_nobody(tmp_path: Path) -> None:
    async def newer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"not to the user")
        return response

    rollout = profile(Branch("orders", handler_branch(newer), part="$", required=True))
    async with served(tmp_path, rollout) as wrapped:
        assert json.loads((await text_of(wrapped))[1]) == CONTROL
        assert len(await wrapped.trials()) == 1


# Kinds of requests


async def test_head_is_shadowed_too_and_has_no_body(tmp_path: Path) -> None:
    async with served(tmp_path, profile(), live=LIVE) as wrapped:
        async with wrapped.client.head("/profile/7", headers=ALICE) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert int(response.headers["Content-Length"]) > 0
        assert [trial.outcome for trial in await wrapped.trials()] == ["matched"]


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"orders": len(body), "text": body[:20].decode("latin-1")})


async def length(call: Call) -> Any:
    return len(call.body)


def posted(**declared: Any) -> Any:
    return profile(Branch("orders", length, part="$.orders"), control=echo, methods=["POST", "PUT"], **declared)


def echoing() -> web.Application:
    app = web.Application(client_max_size=2**22)
    app.router.add_route("*", "/profile/{id}", echo)
    return app


@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
async def test_a_post_is_shadowed_where_its_effects_are_safe_and_control_reads_the_same_body(
    live: dict[str, float], tmp_path: Path
) -> None:
    async with served(tmp_path, posted(effects="safe"), echoing(), live=live) as wrapped:
        for size in (0, 1, 1_000, 70_000, 2**20):
            async with wrapped.client.post("/profile/7", headers=ALICE, data=io.BytesIO(b"x" * size)) as response:
                assert (await response.json())["orders"] == size
        trials = await wrapped.trials()
        assert [trial.outcome for trial in trials] == ["matched"] * 5


@pytest.mark.parametrize(("effects", "reason"), [(None, "unsafe"), (lambda call: "dry" in call.query, "unsafe")])
async def test_a_post_whose_effects_are_not_safe_is_not_shadowed(effects: Any, reason: str, tmp_path: Path) -> None:
    async with served(tmp_path, posted(effects=effects), echoing()) as wrapped:
        async with wrapped.client.post("/profile/7", headers=ALICE, data=b"xy") as response:
            assert (await response.json())["orders"] == 2
        assert (wrapped.funnel()[f"skipped:{reason}"], wrapped.funnel()["drawn"]) == (1, 0)
        if effects is not None:
            async with wrapped.client.post("/profile/7?dry=1", headers=ALICE, data=b"xy") as response:
                assert response.status == 200
            assert len(await wrapped.trials()) == 1


@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
async def test_bodies_that_cannot_be_copied_go_to_control_alone_and_are_counted(
    live: dict[str, float], tmp_path: Path
) -> None:
    async def pieces() -> Any:
        for _ in range(3):
            yield b"abc"

    async with served(tmp_path, posted(effects="safe", max_body=1_000), echoing(), live=live) as wrapped:
        async with wrapped.client.post("/profile/7", headers=ALICE, data=pieces()) as response:
            assert (await response.json())["orders"] == 9
        async with wrapped.client.post("/profile/7", headers=ALICE, data=b"x" * 1_001) as response:
            assert (await response.json())["orders"] == 1_001
        packed = gzip.compress(b"x" * 50_000)
        async with wrapped.client.post(
            "/profile/7", headers={**ALICE, "Content-Encoding": "gzip"}, data=packed
        ) as response:
            assert (await response.json())["orders"] == 50_000
        async with wrapped.client.post("/profile/7", headers=ALICE, data=io.BytesIO(b"x" * (2**22 + 1))) as response:
            assert response.status == 413
        funnel = wrapped.funnel()
        assert (funnel["skipped:streamed"], funnel["skipped:too_large"], funnel["calls"]) == (1, 3, 4)
        assert await wrapped.trials() == []


async def test_an_upload_reaches_control_and_branches_alike(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        fields = await request.post()
        upload = fields["file"]
        assert isinstance(upload, web.FileField)
        return web.json_response({"orders": [fields["name"], upload.filename, upload.file.read().decode()]})

    async def branch(call: Call) -> Any:
        fields = await call.form()
        return [fields["name"], fields["file"].filename, fields["file"].content.decode()]

    rollout = profile(Branch("orders", branch, part="$.orders"), control=control, methods=["POST"], effects="safe")
    async with served(tmp_path, rollout, application(("POST", "/profile/{id}", control))) as wrapped:
        form = FormData({"name": "ann"})
        form.add_field("file", b"content", filename="a.txt")
        async with wrapped.client.post("/profile/7", headers=ALICE, data=form) as response:
            assert await response.json() == {"orders": ["ann", "a.txt", "content"]}
        (trial,) = await wrapped.trials()
        assert trial.outcome == "matched", trial


async def test_a_session_is_captured_before_routing(tmp_path: Path) -> None:
    async def capture(request: web.Request) -> dict[str, str]:
        await asyncio.sleep(0)
        return {"user": request.cookies["session"].removeprefix("of-")}

    seen: list[Any] = []

    async def branch(call: Call) -> Any:
        seen.append((call.key, call.state["user"]))
        return [1, 2]

    rollout = profile(Branch("orders", branch, part="$.orders"), capture=capture, key=lambda call: call.state["user"])
    async with served(tmp_path, rollout, live={"orders": 0.5}) as wrapped:
        async with wrapped.client.get("/profile/7", cookies={"session": "of-alice"}) as response:
            assert await response.json() == CONTROL
        await wrapped.settled()
    assert seen == [("alice", "alice")]


# Kinds of replies


async def test_a_stream_goes_to_the_user_and_is_counted(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"piece ")
        return response

    rollout = profile(control=control)
    for live in (LIVE, {}):
        folder = tmp_path / str(len(live))
        folder.mkdir()
        async with served(folder, rollout, application(("GET", "/profile/{id}", control)), live=live) as wrapped:
            assert await text_of(wrapped) == (200, "piece piece piece ")
            await wrapped.settled()
            assert wrapped.funnel()["skipped:streamed"] == 1


async def test_a_file_goes_to_the_user_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("of a file")

    async def control(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(tmp_path / "page.txt")

    rollout = profile(control=control)
    async with served(tmp_path, rollout, application(("GET", "/profile/{id}", control)), live=LIVE) as wrapped:
        assert await text_of(wrapped) == (200, "of a file")
        assert wrapped.funnel()["skipped:streamed"] == 1


async def test_a_websocket_is_left_alone_and_counted(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"echo {message.data}")
        return socket

    rollout = profile(control=control)
    async with served(tmp_path, rollout, application(("GET", "/profile/{id}", control)), live=LIVE) as wrapped:
        async with wrapped.client.ws_connect("/profile/7", headers=ALICE) as socket:
            await socket.send_str("hello")
            assert (await socket.receive()).data == "echo hello"
        assert wrapped.funnel()["skipped:upgrade"] == 1
        assert wrapped.funnel()["drawn"] == 0


async def test_a_compressed_reply_is_compared_before_it_is_packed(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        response = web.json_response({**CONTROL, "long": "x" * 5_000})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    rollout = profile(control=control)
    async with served(tmp_path, rollout, application(("GET", "/profile/{id}", control)), live=LIVE) as wrapped:
        async with wrapped.client.get("/profile/7", headers={**ALICE, "Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert (await response.json())["orders"] == [1, 2]
        assert [trial.outcome for trial in await wrapped.trials()] == ["matched"]


# Clients that go away


@pytest.mark.parametrize("live", [LIVE, {}], ids=["live", "shadow"])
@pytest.mark.parametrize("cancels", [True, False], ids=["cancelling", "patient"])
async def test_a_client_that_goes_away_leaves_nothing_behind(
    cancels: bool, live: dict[str, float], tmp_path: Path
) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def control(request: web.Request) -> web.Response:
        entered.set()
        try:
            await asyncio.sleep(0.3)
        finally:
            ended.set()
        return web.json_response(CONTROL)

    async def branch(call: Call) -> Any:
        await asyncio.sleep(0.35)
        return [1, 2]

    rollout = profile(Branch("orders", branch, part="$.orders"), control=control)
    app = application(("GET", "/profile/{id}", control))
    async with served(tmp_path, rollout, app, live=live, cancels=cancels) as wrapped:
        call = asyncio.create_task(text_of(wrapped))
        await entered.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await ended.wait()
        runtime = wrapped.runtime()
        await until(lambda: runtime.figures()["calls"] == 1 and not any(one.inflight for one in runtime.stations()))
        trials = await wrapped.trials()
        assert len(trials) == (0 if cancels else 1)
        assert wrapped.funnel()["calls"] == 1
        assert wrapped.funnel()["bad"] == int(cancels)


async def test_a_client_that_breaks_off_its_upload_is_control_s_business(tmp_path: Path) -> None:
    met: list[str] = []

    async def control(request: web.Request) -> web.Response:
        try:
            await request.read()
        except BaseException as error:
            met.append(type(error).__name__)
            raise
        return web.json_response(CONTROL)

    rollout = profile(control=control, methods=["POST"], effects="safe")
    app = application(("POST", "/profile/{id}", control))
    async with served(tmp_path, rollout, app, cancels=False) as wrapped:
        reader, writer = await asyncio.open_connection(wrapped.client.host, wrapped.client.port)
        writer.write(b"POST /profile/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await until(lambda: wrapped.funnel()["calls"] == 1)
        del reader
        assert met
        assert await wrapped.trials() == []


# Marks and flags


async def test_a_mark_that_a_client_wrote_is_not_believed_and_not_passed_on(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def branch(call: Call) -> Any:
        seen.append((call.is_shadow, "X-Rollout-Shadow" in call.headers))
        return [1, 2]

    async with served(tmp_path, profile(Branch("orders", branch, part="$.orders")), live=LIVE) as wrapped:
        async with wrapped.client.get("/profile/7", headers={**ALICE, "X-Rollout-Shadow": "1"}) as response:
            assert response.status == 200
        await wrapped.settled()
    assert seen == [(False, False)]


async def test_a_rollout_whose_flag_is_off_changes_nothing(tmp_path: Path) -> None:
    flags = FakeFlags({"profile": "off"})
    async with served(tmp_path, profile(Branch("orders", wrong, part="$.orders")), live=LIVE, flags=flags) as wrapped:
        assert json.loads((await text_of(wrapped))[1]) == CONTROL
        assert (wrapped.funnel()["calls"], wrapped.funnel()["drawn"]) == (1, 0)


async def test_a_shadow_begins_when_the_user_has_the_reply(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def branch(call: Call) -> Any:
        await release.wait()
        return [1, 2]

    async with served(tmp_path, profile(Branch("orders", branch, part="$.orders"))) as wrapped:
        for _ in range(5):
            assert (await text_of(wrapped))[0] == 200
        release.set()
        assert len(await wrapped.trials()) == 5


async def test_many_users_at_once_each_get_their_own_reply(tmp_path: Path) -> None:
    async def control(request: web.Request) -> web.Response:
        await asyncio.sleep(0.001)
        return web.json_response({"orders": request.match_info["id"]})

    async def branch(call: Call) -> Any:
        await asyncio.sleep(0.001)
        return call.path_params["id"]

    rollout = profile(
        Branch("orders", branch, part="$.orders"), control=control, shadow=Shadow(noise=0.05, max_lag_s=10.0)
    )
    app = application(("GET", "/profile/{id}", control))
    async with served(tmp_path, rollout, app, live={"orders": 0.5}) as wrapped:

        async def one(number: int) -> None:
            async with wrapped.client.get(f"/profile/{number}", headers={"X-User-Id": f"user-{number}"}) as response:
                assert await response.json() == {"orders": str(number)}

        await asyncio.gather(*(one(number) for number in range(200)))
        assert {trial.outcome for trial in await wrapped.trials()} == {"matched"}
        assert wrapped.funnel()["calls"] == 200


async def test_a_fault_of_the_engine_s_leaves_the_call_to_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("not foreseen")

    async with served(tmp_path, profile(), live=LIVE) as wrapped:
        monkeypatch.setattr(wrapped.runtime(), "admit", broken)
        assert json.loads((await text_of(wrapped))[1]) == CONTROL
        assert wrapped.funnel()["fault:admit"] == 1
