"""``setup(app, …, page=…)``: beside the user's routes, behind their middlewares, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rollout.errors import DeclarationError
from rollout_aiohttp import setup
from rollout_page import Page
from tests.page.visits import HTML, OPERATE
from tests.support.apps import application, monolith, profile, served, until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def test_there_is_no_page_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path, profile()) as wrapped:
        assert (await wrapped.client.get("/rollout")).status == 404


async def test_it_stands_behind_the_middlewares_of_the_application_and_is_counted_by_no_rollout(tmp_path: Path) -> None:
    passed: list[str] = []

    @web.middleware
    async def theirs(request: web.Request, handler: Handler) -> web.StreamResponse:
        passed.append(request.path)
        return await handler(request)

    app = application()
    app.middlewares.append(theirs)
    async with served(tmp_path, profile(), app, page="/rollout") as wrapped:
        async with wrapped.client.get("/rollout/r/profile") as answer:
            assert answer.status == 200
            assert "You may look." in " ".join((await answer.text()).split())
        assert passed == ["/rollout/r/profile"]
        assert wrapped.funnel()["calls"] == 0
        async with wrapped.client.get("/profile/7") as answer:
            assert answer.status == 200
            assert "Content-Security-Policy" not in answer.headers
        assert wrapped.funnel()["calls"] == 1


async def test_it_stands_before_a_route_that_takes_any_path(tmp_path: Path) -> None:
    app = application(("GET", "/{tail:.*}", monolith))
    async with served(tmp_path, profile(), app, page="/rollout") as wrapped:
        async with wrapped.client.get("/rollout/r/profile") as answer:
            assert "You may look." in " ".join((await answer.text()).split())
        assert wrapped.funnel()["calls"] == 0


async def test_tokens_may_be_declared_and_the_path_chosen(tmp_path: Path) -> None:
    async with served(tmp_path, profile(), page=Page("/internal/rollouts", operate=OPERATE)) as wrapped:
        async with wrapped.client.get("/internal/rollouts", headers=HTML, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/internal/rollouts/sign-in?onward=/internal/rollouts"
        bearer = {"Authorization": f"Bearer {OPERATE}"}
        async with wrapped.client.get("/internal/rollouts", headers=bearer) as answer:
            assert 'href="/internal/rollouts/r/profile"' in await answer.text()


async def test_those_who_follow_are_let_go_when_it_ends_and_do_not_hold_it_up(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as client, served(tmp_path, profile(), page="/rollout") as wrapped:
        url = wrapped.client.make_url("/rollout/r/profile/stream")
        streams = [await client.get(url) for _ in range(5)]
        for stream in streams:
            await stream.content.readuntil(b"\n\n")
        async with asyncio.timeout(20):  # aiohttp waits a minute for handlers that do not end
            await wrapped.client.server.close()
        for stream in streams:
            await stream.read()  # to its regular end


async def test_a_viewer_who_goes_is_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path, profile(), page=Page("/rollout", viewers=1), cancels=False) as wrapped:
        async with wrapped.client.get("/rollout/stream") as stream:
            await stream.content.readuntil(b"\n\n")
            assert (await wrapped.client.get("/rollout/stream")).status == 503
        async with asyncio.timeout(10):
            # The server notices on its own that a viewer went: nothing here could be waited on.
            while (await wrapped.client.get("/rollout/stream")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_while_the_database_is_not_there_yet_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "rollout.db").mkdir()  # cannot be opened as a file
    async with served(tmp_path, profile(), page="/rollout") as wrapped:
        async with wrapped.client.get("/rollout") as answer:
            assert answer.status == 503
            assert "was not reached yet" in await answer.text()
        assert (await wrapped.client.get("/profile/7")).status == 200


async def test_a_decision_of_the_page_moves_the_application_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, profile(), page=Page("/rollout", operate=OPERATE)) as wrapped:
        form = {"event": "rollback", "reason": "INC-42"}
        bearer = {"Authorization": f"Bearer {OPERATE}"}
        async with wrapped.client.post("/rollout/r/profile", data=form, headers=bearer, allow_redirects=False) as done:
            assert done.status == 303

        def mode() -> str:
            assert wrapped.engine.snapshot is not None
            return wrapped.engine.snapshot.states["profile"]["orders"].mode.value

        await until(lambda: mode() == "rolled_back")


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("rollout", "path is 'rollout'"),
        (7, "7 is no page"),
        (Page(operate="short"), "the token operate has 5 characters"),
        ("/profile", "/profile is taken by the route /profile/{id}"),
    ],
)
def test_mistakes_are_told_with_all_others_before_anything_is_changed(page: Any, says: str) -> None:
    app = application(("GET", "/profile/{id}", monolith))
    with pytest.raises(DeclarationError, match="tick_s is 0") as caught:
        setup(app, [profile()], database="sqlite:///never-made.db", tick_s=0, page=page)
    assert says in str(caught.value)
    assert "short" not in str(caught.value)
    assert not app.middlewares
