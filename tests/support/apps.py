"""An aiohttp application with its rollouts set up on a new SQLite file, served on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rollout import Branch, Rollout, Shadow
from rollout.domain.call import Call
from rollout.domain.evidence import Figures
from rollout.engine.process import Engine
from rollout.engine.runtime import Runtime
from rollout.ports import TrialRecord
from rollout.testing import FakeFlags
from rollout_aiohttp.setup import setup

CONTROL = {"id": 7, "orders": [1, 2], "tickets": []}


async def monolith(request: web.Request) -> web.Response:
    """The handler that there is."""
    return web.json_response(CONTROL)


async def orders(call: Call) -> Any:
    return [1, 2]


def by_user(call: Call) -> str | None:
    return call.headers.get("X-User-Id")


def profile(*branches: Branch, control: Any = monolith, **declared: Any) -> Rollout:
    """A rollout called ``profile``, by default with the branch ``orders`` that is right."""
    return Rollout(
        "profile",
        control=control,
        branches=branches or (Branch("orders", orders, part="$.orders"),),
        **{"key": by_user, "shadow": Shadow(noise=0.0, max_lag_s=10.0), **declared},
    )


@dataclass
class Served:
    """An application that is served."""

    app: web.Application
    engine: Engine
    client: TestClient[web.Request, web.Application]
    path: Path

    def runtime(self, name: str = "profile") -> Runtime:
        return self.engine.runtimes[name]

    def stand(self, shares: Mapping[str, float], name: str = "profile") -> None:
        """From the next call on, branches are live for these shares, the others in shadow."""
        assert self.engine.snapshot is not None
        states = {
            branch: replace(state, share=shares.get(branch, 0.0), stage=int(branch in shares))
            for branch, state in self.engine.snapshot.states[name].items()
        }
        self.runtime(name).decide(self.engine.snapshot.policies[name], states)

    async def settled(self, name: str = "profile") -> None:
        """Every shadow has ended."""
        lane = self.runtime(name).lane
        await until(lambda: not len(lane) and not lane.running)

    async def trials(self, name: str = "profile") -> list[TrialRecord]:
        """What was recorded so far, oldest first."""
        await self.settled(name)
        assert self.engine.recorder is not None
        assert self.engine.backend is not None
        assert await self.engine.recorder.write_all()
        return (await self.engine.backend.ledger.trials(name, limit=1_000))[::-1]

    def funnel(self, name: str = "profile") -> Figures:
        return self.runtime(name).figures()


async def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    """Returns as soon as something is true that nobody tells of."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def application(*routes: tuple[str, str, Any]) -> web.Application:
    """An application with routes (method, path, handler); by default the monolith's."""
    app = web.Application()
    for method, path, handler in routes or (("GET", "/profile/{id}", monolith),):
        if method == "GET":
            app.router.add_get(path, handler)  # HEAD too
        else:
            app.router.add_route(method, path, handler)
    return app


class PatientServer(TestServer):
    """Lets a handler end when its client has gone, as ``web.run_app`` does."""

    __test__ = False

    async def _make_runner(self, **kwargs: Any) -> web.BaseRunner:
        return await super()._make_runner(**{**kwargs, "handler_cancellation": False})


@asynccontextmanager
async def served(
    folder: Path,
    rollouts: Sequence[Rollout] | Rollout,
    app: web.Application | None = None,
    *,
    live: dict[str, float] | None = None,
    cancels: bool = True,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve an application. ``cancels``: whether the server cancels handlers whose client has gone."""
    app = application() if app is None else app
    rollouts = [rollouts] if isinstance(rollouts, Rollout) else rollouts
    path = folder / "rollout.db"
    engine = setup(
        app, rollouts, **{"database": f"sqlite:///{path}", "controller": False, "flags": FakeFlags(), **options}
    )
    server = TestServer(app) if cancels else PatientServer(app)
    async with TestClient(server) as client:
        found = Served(app, engine, client, path)
        if live is not None:
            found.stand(live)
        yield found
