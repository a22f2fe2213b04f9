"""Control is found wherever it is routed, and the order of registration is held against what must be so."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from rollout import definition
from rollout_aiohttp.routes import cleanup_last, find_routes, innermost, install, route_problems


async def profile(request: web.Request) -> web.Response:
    return web.Response()


async def other(request: web.Request) -> web.Response:
    return web.Response()


class Shop:
    async def show(self, request: web.Request) -> web.Response:
        return web.Response()

    async def __call__(self, request: web.Request) -> web.Response:
        return web.Response()


class ShopView(web.View):
    async def get(self) -> web.Response:
        return web.Response()


SHOP = Shop()
PARTIAL = functools.partial(profile)


@pytest.mark.filterwarnings("ignore:Bare functions are deprecated")
@pytest.mark.parametrize(
    ("routed", "named"),
    [
        (profile, profile),
        (SHOP.show, SHOP.show),  # two objects, equal
        (SHOP, SHOP),
        (ShopView, ShopView),
        (PARTIAL, PARTIAL),
    ],
)
def test_control_is_found_by_identity_whatever_it_is(routed: Any, named: Any) -> None:
    app = web.Application()
    app.router.add_get("/other", other)
    app.router.add_post("/profile/{id}", routed)
    found = find_routes(app, named)
    assert [(one.app, one.method, one.path) for one in found] == [(app, "POST", "/profile/{id}")]
    assert found[0].handler is found[0].route.handler


@pytest.mark.filterwarnings("ignore:Bare functions are deprecated")
@pytest.mark.parametrize("named", [Shop().show, Shop(), other, functools.partial(profile), ShopView(None)])  # type: ignore[arg-type]
def test_what_is_only_like_control_is_not_found(named: Any) -> None:
    app = web.Application()
    app.router.add_get("/a", SHOP.show)
    app.router.add_get("/b", SHOP)
    app.router.add_get("/c", profile)
    app.router.add_view("/d", ShopView)
    assert find_routes(app, named) == []


def test_every_route_of_control_is_found() -> None:
    app = web.Application()
    app.router.add_get("/a", profile)  # HEAD too
    app.router.add_view("/v", ShopView)
    resource = app.router.add_resource("/b/{id:\\d+}")
    resource.add_route("PUT", profile)
    resource.add_route("GET", other)
    found = {(one.method, one.path) for one in find_routes(app, profile)}
    assert found == {("GET", "/a"), ("HEAD", "/a"), ("PUT", "/b/{id}")}
    assert [one.method for one in find_routes(app, ShopView)] == ["*"]


def test_control_is_found_in_sub_applications_at_any_depth() -> None:
    outer, middle, inner, by_domain = (web.Application() for _ in range(4))
    inner.router.add_get("/p/{id}", profile)
    by_domain.router.add_get("/d", profile)
    middle.add_subapp("/inner", inner)
    outer.add_subapp("/middle", middle)
    outer.add_domain("shop.example", by_domain)
    found = [(one.app, one.path) for one in find_routes(outer, profile) if one.method == "GET"]
    assert found == [(inner, "/middle/inner/p/{id}"), (by_domain, "/d")]
    assert all(one.joined for one in find_routes(outer, profile))
    outer.router.add_get("/", other)
    assert not find_routes(outer, other)[0].joined


async def test_the_middleware_is_innermost_in_joined_applications_too(aiohttp_client: AiohttpClient) -> None:
    order: list[str] = []

    def noting(name: str) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
            order.append(name)
            if name == "ours":
                order.append("control" if handler in (profile, ShopView) else "other")
            made: web.StreamResponse = await handler(request)
            return made

        return middleware

    ours = noting("ours")
    outer, inner = web.Application(middlewares=[noting("outer")]), web.Application(middlewares=[noting("inner")])
    inner.router.add_get("/p/{id}", profile)
    inner.router.add_view("/v", ShopView)
    inner.router.add_get("/other", other)
    outer.router.add_get("/p", profile)
    outer.add_subapp("/in", inner)
    owners = install([*find_routes(outer, profile), *find_routes(outer, ShopView)], ours)
    assert owners == [outer]
    client = await aiohttp_client(outer)
    seen = {}
    for path in ("/p", "/in/p/1", "/in/v", "/in/other"):
        order.clear()
        assert (await client.get(path)).status == 200
        seen[path] = [*order]
    assert seen == {
        "/p": ["outer", "ours", "control"],
        "/in/p/1": ["outer", "ours", "other", "inner", "ours", "control"],
        "/in/v": ["outer", "ours", "other", "inner", "ours", "control"],
        "/in/other": ["outer", "ours", "other", "inner"],
    }


def rollout(name: str, control: Any) -> definition.Rollout:
    return definition.Rollout(name, control=control, branches=[])


def test_control_without_a_route_is_a_problem_that_names_the_nearest() -> None:
    async def profiles(request: web.Request) -> web.Response:
        return web.Response()

    profiles.__qualname__ = "profiles"
    app = web.Application()
    app.router.add_get("/profile", profile)
    (problem,) = route_problems(app, [rollout("a", profiles)])
    assert problem.where == 'rollout "a"'
    assert problem.what == "control profiles is on no route"
    assert "profile (/profile)" in problem.remedy


def test_control_that_is_routed_decorated_is_a_problem_that_says_so() -> None:
    def decorated(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> Any:
            return await handler(request)

        return wrapper

    app = web.Application()
    app.router.add_get("/profile", decorated(decorated(profile)))
    (problem,) = route_problems(app, [rollout("a", profile)])
    assert problem.remedy == "/profile has it decorated: pass the decorated handler, as the route has it"


@pytest.mark.filterwarnings("ignore:Bare functions are deprecated")
@pytest.mark.parametrize("control", [lambda: profile, lambda: SHOP.show, lambda: SHOP, lambda: ShopView])
def test_two_rollouts_on_one_control_are_a_problem(control: Callable[[], Any]) -> None:
    app = web.Application()
    app.router.add_get("/profile", control())
    app.router.add_get("/other", other)
    (problem,) = route_problems(app, [rollout("a", control()), rollout("o", other), rollout("b", control())])
    assert problem.where == 'rollout "b"'
    assert 'that of rollout "a" too' in problem.what


def test_an_application_that_runs_already_is_a_problem() -> None:
    app = web.Application()
    app.router.add_get("/profile", profile)
    app.freeze()
    (problem,) = route_problems(app, [rollout("a", profile)])
    assert "frozen" in problem.what


@web.middleware
async def ours(request: web.Request, handler: Any) -> web.StreamResponse:
    made: web.StreamResponse = await handler(request)
    return made


@web.middleware
async def late(request: web.Request, handler: Any) -> web.StreamResponse:
    made: web.StreamResponse = await handler(request)
    return made


def test_a_middleware_is_innermost_if_none_follows() -> None:
    assert innermost(web.Application(middlewares=[late, ours]), ours) is None
    assert "late" in (innermost(web.Application(middlewares=[ours, late]), ours) or "")
    assert "replaced" in (innermost(web.Application(middlewares=[late]), ours) or "")


async def our_context(app: web.Application) -> AsyncIterator[None]:
    yield


async def late_context(app: web.Application) -> AsyncIterator[None]:
    yield


def test_a_cleanup_context_is_last_if_none_follows() -> None:
    app = web.Application()
    assert "not among" in (cleanup_last(app, our_context) or "")
    app.cleanup_ctx.extend([late_context, our_context])
    assert cleanup_last(app, our_context) is None
    app.cleanup_ctx.append(late_context)
    assert "late_context" in (cleanup_last(app, our_context) or "")
