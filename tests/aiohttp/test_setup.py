"""``setup``: every mistake in one error, nothing half done, and a database that may come later."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rollout import Branch, Budget, Call, Compare, DatabaseError, DeclarationError, Ramp, Rollout, SchemaError, gates
from rollout.testing import FakeFlags
from rollout_aiohttp import ENGINE, setup
from tests.support.apps import CONTROL, application, monolith, orders, profile, served, until

ALICE = {"X-User-Id": "alice"}


async def monolit(request: web.Request) -> web.Response:
    """Not quite the handler that is routed."""
    return web.Response()


async def other(request: web.Request) -> web.Response:
    return web.json_response({"orders": "of the other"})


def declared(app: web.Application, *rollouts: Rollout, **options: Any) -> list[str]:
    """What is wrong, as ``setup`` says."""
    with pytest.raises(DeclarationError) as caught:
        setup(app, rollouts, flags=FakeFlags(), **options)
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


# Mistakes


def test_every_mistake_of_every_rollout_is_in_one_error() -> None:
    first = Rollout(
        "profile",
        control=monolith,
        branches=[
            Branch("orders", orders, part="$.orders", hard_timeout_s=9.0, sla_s=-1),
            Branch("orders", orders, part="orders["),
            Branch("a", orders, part="$.a", after="b"),
            Branch("b", orders, part="$.b", after="a", max_concurrency=0),
            Branch("w", orders, part="$.w", effects="write", answers={ValueError: 7}),
        ],
        budget=Budget(latency_s=1.5),
        compare=Compare(ignore=["$["], tolerance={"$.x": -1}),
        ramp=Ramp.parse("shadow 50% 10%"),
        gates=[gates.errors(), gates.errors()],
        methods="GET",
        key="alice",  # type: ignore[arg-type]
    )
    second = Rollout("profile", control=other, branches=[])
    problems = declared(application(), first, second)
    for expected in (
        'two branches are called "orders"',
        "after= goes in a circle",
        'a write branch stands outside join="replace"',
        "is above the budget of the call",
        "sla_s is -1",
        "max_concurrency is 0",
        "answers maps",
        "ramp",
        "compare",
        "is declared twice",
        "methods is one text",
        "key is 'alice'",
        "there is no branch",
        "control other is on no route",
    ):
        assert any(expected in problem for problem in problems), (expected, problems)
    assert all("→" in problem for problem in problems)


def test_two_rollouts_on_one_handler_are_refused() -> None:
    (problem,) = declared(application(), profile(), replace(profile(), name="again"))
    assert 'is that of rollout "profile" too' in problem


def test_a_handler_that_is_on_no_route_is_named_with_those_that_are_like_it() -> None:
    (problem,) = declared(application(), profile(control=monolit))
    assert "monolith (/profile/{id})" in problem


def test_a_refusal_leaves_the_application_as_it_was() -> None:
    app = application()
    before = (list(app.middlewares), list(app.cleanup_ctx), len(app.router.routes()), ENGINE in app)
    declared(app, profile(Branch("orders", orders)), metrics_path="/metrics")
    assert (list(app.middlewares), list(app.cleanup_ctx), len(app.router.routes()), ENGINE in app) == before


@pytest.mark.parametrize("database", ["mysql://x/y", "postgres", "sqlite", "", "redis://x"])
def test_an_address_that_cannot_be_a_database_is_refused_at_once(database: str) -> None:
    app = application()
    with pytest.raises(DatabaseError):
        setup(app, [profile()], database=database, flags=FakeFlags())
    assert not app.middlewares


@web.middleware
async def late(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    return response


async def late_context(app: web.Application) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("what", ["middleware", "context"])
async def test_whatever_is_registered_after_setup_keeps_the_application_from_starting(
    what: str, tmp_path: Path
) -> None:
    app = application()
    setup(app, [profile()], database=f"sqlite:///{tmp_path}/rollout.db", flags=FakeFlags(), controller=False)
    app.middlewares.append(late) if what == "middleware" else app.cleanup_ctx.append(late_context)
    with pytest.raises(DeclarationError, match=r"late.*\n?.*move setup\(app, …\) below it"):
        await web.AppRunner(app).setup()
    assert not (tmp_path / "rollout.db").exists()


async def test_a_running_application_is_refused(tmp_path: Path) -> None:
    app = application()
    async with TestClient(TestServer(app)):
        assert any("it runs already" in problem for problem in declared(app, profile()))


# What it does


async def test_the_engine_is_in_the_application_and_the_policy_in_the_database(tmp_path: Path) -> None:
    async with served(tmp_path, profile()) as wrapped:
        assert wrapped.app[ENGINE] is wrapped.engine
        assert wrapped.engine.snapshot is not None
        policy = wrapped.engine.snapshot.policies["profile"]
        assert [branch.name for branch in policy.branches] == ["orders"]
        assert policy.routes == ("/profile/{id}",)


async def test_several_rollouts_each_have_their_own_handlers(tmp_path: Path) -> None:
    async def branch(call: Call) -> Any:
        return "of a branch"

    app = application(
        ("GET", "/profile/{id}", monolith), ("GET", "/v2/profile/{id}", monolith), ("GET", "/other", other)
    )
    second = Rollout("other", control=other, branches=[Branch("orders", branch, part="$.orders")])
    async with served(tmp_path, [profile(), second], app) as wrapped:
        wrapped.stand({"orders": 1.0}, "other")
        for path in ("/profile/7", "/v2/profile/7", "/other"):
            async with wrapped.client.get(path, headers=ALICE) as response:
                assert (await response.json())["orders"] == ("of a branch" if path == "/other" else [1, 2])
        assert (wrapped.funnel()["calls"], wrapped.funnel("other")["calls"]) == (2, 1)


async def test_metrics_are_served_where_they_are_asked_for_and_complete_from_the_start(tmp_path: Path) -> None:
    async with served(tmp_path, profile(), metrics_path="/metrics") as wrapped:
        async with wrapped.client.get("/metrics") as response:
            page = await response.text()
        assert 'rolloutkit_requests_total{rollout="profile",served_by="control",outcome="ok"} 0' in page
        async with wrapped.client.get("/profile/7", headers=ALICE):
            await wrapped.settled()
        async with wrapped.client.get("/metrics") as response:
            page = await response.text()
        assert 'rolloutkit_requests_total{rollout="profile",served_by="control",outcome="ok"} 1' in page
        assert 'rolloutkit_comparisons_total{rollout="profile",branch="orders",result="matched"} 1' in page


# A database that is not there, or is another's


async def test_control_answers_while_the_database_is_missing_and_the_engine_begins_when_it_is_there(
    tmp_path: Path,
) -> None:
    app = application()
    in_the_way = tmp_path / "rollout.db"
    in_the_way.mkdir()
    engine = setup(app, [profile()], database=f"sqlite:///{in_the_way}", flags=FakeFlags(), controller=False)
    engine.options = replace(engine.options, retry_s=0.05)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/profile/7", headers=ALICE) as response:
            assert await response.json() == CONTROL
        assert not engine.runtimes
        in_the_way.rmdir()
        async with asyncio.timeout(10):
            await engine.ready.wait()
        async with client.get("/profile/7", headers=ALICE) as response:
            assert await response.json() == CONTROL
        await until(lambda: engine.runtimes["profile"].figures()["finished"] == 1)


async def test_an_application_whose_database_never_comes_stops_cleanly(tmp_path: Path) -> None:
    app = application()
    (tmp_path / "rollout.db").mkdir()
    setup(app, [profile()], database=f"sqlite:///{tmp_path}/rollout.db", flags=FakeFlags())
    async with TestClient(TestServer(app)) as client, client.get("/profile/7") as response:
        assert json.loads(await response.text()) == CONTROL


async def test_a_schema_of_another_version_refuses_to_start_and_names_the_command(tmp_path: Path) -> None:
    async with served(tmp_path, profile()):
        pass
    with sqlite3.connect(tmp_path / "rollout.db") as database:
        database.execute("UPDATE rollout_alembic_version SET version_num = 'of_the_future'")
    database.close()
    app = application()
    setup(app, [profile()], database=f"sqlite:///{tmp_path}/rollout.db", flags=FakeFlags())
    with pytest.raises(SchemaError, match="rollout"):
        await web.AppRunner(app).setup()


async def test_a_second_start_on_the_same_file_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    for count in (1, 2):
        async with served(tmp_path, profile()) as wrapped:
            async with wrapped.client.get("/profile/7", headers=ALICE) as response:
                assert response.status == 200
            assert len(await wrapped.trials()) == count
            assert wrapped.engine.snapshot is not None
            assert wrapped.engine.snapshot.policies["profile"].version == 1
