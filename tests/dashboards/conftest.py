"""An application with a rollout of every kind of guard, driven, and what it exposed before and after."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rollout import Branch, Breaker, Budget, Hedge, Reserve, Retry, Rollout, Shadow, record_usage
from rollout.domain.call import Call
from rollout_notify import Slack
from tests.dashboards.exposition import Exposition
from tests.support.apps import Served, application, by_user, monolith, profile, served, until

CALLS = 30


@dataclass(frozen=True, slots=True)
class Scraped:
    """``first``: before any call; ``last``: after all of them, with a controller that has judged."""

    first: Exposition
    last: Exposition


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    return asyncio.run(_driven(tmp_path_factory.mktemp("live")))


@pytest.fixture(scope="session")
def live(scraped: Scraped) -> Exposition:
    """What Prometheus reads of a running application."""
    return scraped.last


async def _driven(folder: Path) -> Scraped:
    app = application(("GET", "/profile/{id}", monolith), ("GET", "/search/{id}", search))
    told = [Slack("http://127.0.0.1:9/nobody")]  # nothing is decided, so nobody is told
    options: dict[str, Any] = {"controller": True, "tick_s": 0.05, "metrics_path": "/metrics", "notify": told}
    async with served(folder, rollouts(), app, **options) as wrapped:
        first = await _scrape(wrapped)
        wrapped.stand({"orders": 0.5})
        for number in range(CALLS):
            for path in ("profile", "search"):
                async with wrapped.client.get(f"/{path}/{number}", headers={"X-User-Id": f"user-{number}"}) as response:
                    assert response.status == 200
        await wrapped.settled("profile")
        await wrapped.settled("search")
        controller = wrapped.engine.controller
        assert controller is not None
        await until(lambda: controller.last_success_at is not None and bool(controller.evidence()))
        return Scraped(first, await _scrape(wrapped))


async def _scrape(wrapped: Served) -> Exposition:
    async with wrapped.client.get("/metrics") as response:
        return Exposition(await response.text())


async def search(request: web.Request) -> web.Response:
    return web.json_response({"hits": [1], "images": []})


async def orders(call: Call) -> Any:
    record_usage(input_tokens=10, output_tokens=5, usd="0.001")
    return [1, 2] if call.path_params["id"] != "3" else [2, 1]


async def tickets(call: Call) -> Any:
    raise ConnectionError("the tickets are away")


async def hits(call: Call) -> Any:
    return [1]


def raises(call: Call) -> bool:
    raise ValueError("a hook that raises")


def rollouts() -> list[Rollout]:
    """One with every guard and budget that a branch can have, and a plain one with a group."""
    guarded = profile(
        Branch("orders", orders, part="$.orders", sla_s=1e-6, hedge=Hedge(), reserve=Reserve(tokens=20, latency_s=0.1)),
        Branch("tickets", tickets, part="$.tickets", required=False, retry=Retry(attempts=2), breaker=Breaker()),
        Branch("rest", hits, part="$.rest", required=False, after="orders", when=raises),
        budget=Budget(latency_s=2.0, tokens=1_000, usd="0.01"),
        shadow=Shadow(noise=0.0, max_lag_s=10.0, usd_per_day="1"),
    )
    plain = Rollout(
        "search",
        control=search,
        branches=[Branch("hits", hits, part="$.hits"), Branch("images", hits, part="$.images")],
        join="replace",
        key=by_user,
        shadow=Shadow(noise=0.0, max_lag_s=10.0),
    )
    return [guarded, plain]
