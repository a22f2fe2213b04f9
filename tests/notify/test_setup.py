"""``setup(app, …, notify=[…])`` with real receivers: once, signed, counted, and in nobody's way."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from rollout import DeclarationError
from rollout.ports import Backend
from rollout.usecases import steer
from rollout_aiohttp import setup
from rollout_notify import Notifications, Slack, Webhook
from rollout_webhook import Event, Hmac, webhook
from rollout_wiring.inbox import inbox
from tests.notify.told import SECRET, hanging, receiving, sealed
from tests.support.apps import Served, application, profile, served, until


async def led(wrapped: Served) -> Backend:
    """The database of an application that leads."""
    await until(lambda: wrapped.engine.metrics().last_tick_at is not None)
    assert wrapped.engine.backend is not None
    return wrapped.engine.backend


def counted(text: str) -> dict[str, float]:
    """The series of notifications on a metrics page."""
    lines = [line for line in text.splitlines() if line.startswith("rolloutkit_notifications_total{")]
    return {line.partition("{")[2].partition("}")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_a_transition_reaches_every_target_once_and_is_counted(tmp_path: Path) -> None:
    options: dict[str, Any] = {"controller": True, "tick_s": 0.02, "metrics_path": "/metrics"}
    async with receiving() as (hooks, hook), receiving() as (channel, slack):
        notify = [Webhook(hook, secret=SECRET), Slack(slack)]
        async with served(tmp_path, profile(), notify=notify, **options) as wrapped:
            backend = await led(wrapped)
            async with wrapped.client.get("/metrics") as page:
                before = counted(await page.text())
            await steer.pause(backend, "profile", reason="lunch <!channel>", actor="ann")
            await until(lambda: len(hooks.seen) == len(channel.seen) == 1)
            async with wrapped.client.get("/metrics") as page:
                after = counted(await page.text())
            (decision, *_) = await backend.state.decisions(limit=1)
    assert set(before.values()) == {0.0}
    assert {series for series, count in after.items() if count} == {
        'target="webhook",outcome="delivered"',
        'target="slack",outcome="delivered"',
    }
    ((request, body),) = hooks.seen
    verified = await Hmac(SECRET).verify(request.headers, body, time.time())
    message = json.loads(verified.body)
    assert (message["action"], message["actor"], message["number"]) == ("pause", "ann", decision.number)
    assert message["key"] == request.headers["Idempotency-Key"] == f"{decision.number}-{decision.hash[:16]}"
    assert "lunch &lt;!channel&gt;" in json.loads(channel.seen[0][1])["text"]


async def test_of_two_processes_one_tells(tmp_path: Path) -> None:
    async with receiving() as (receiver, url):
        options: dict[str, Any] = {"controller": True, "tick_s": 0.02, "notify": [Slack(url)]}
        async with served(tmp_path, profile(), process="a", **options) as first:
            backend = await led(first)
            async with served(tmp_path, profile(), process="b", **options) as second:
                await until(lambda: second.engine.controller is not None)
                await steer.pause(backend, "profile", reason="lunch", actor="ann")
                await steer.resume(backend, "profile", reason="back", actor="ann")
                await until(lambda: len(receiver.seen) == 2)
    actions = [json.loads(body)["text"].partition(" ·")[0] for _, body in receiver.seen]
    assert actions == ["profile: paused", "profile: resumed"]


async def test_a_receiver_that_hangs_delays_no_decision_and_the_stop_by_its_bound_only(tmp_path: Path) -> None:
    async with receiving(hanging) as (receiver, url), receiving() as (after, well):
        options: dict[str, Any] = {"controller": True, "tick_s": 0.02, "drain_s": 0.2}
        async with served(tmp_path, profile(), notify=[Slack(url)], **options) as wrapped:
            backend = await led(wrapped)
            await steer.pause(backend, "profile", reason="lunch", actor="ann")
            await until(lambda: len(receiver.seen) == 1)
            before = wrapped.engine.metrics().last_tick_at
            await until(lambda: wrapped.engine.metrics().last_tick_at != before)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert wrapped.engine.metrics().notifications["slack", "shutdown"] == 1
        async with served(tmp_path, profile(), notify=[Slack(well)], **options):
            await until(lambda: len(after.seen) == 1)
    assert after.seen[0][1] == receiver.seen[0][1]
    assert after.seen[0][0].headers["Idempotency-Key"] == receiver.seen[0][0].headers["Idempotency-Key"]


async def test_what_waits_is_told_while_the_process_stops_and_by_nobody_again(tmp_path: Path) -> None:
    stopping = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await stopping.wait()
        return web.Response()

    async with receiving(slow) as (receiver, url):
        options: dict[str, Any] = {"controller": True, "tick_s": 0.02, "notify": [Slack(url)]}
        async with served(tmp_path, profile(), **options) as wrapped:
            await steer.pause(await led(wrapped), "profile", reason="lunch", actor="ann")
            await until(lambda: len(receiver.seen) == 1)
            asyncio.get_running_loop().call_later(0.1, stopping.set)
        assert wrapped.engine.metrics().notifications["slack", "delivered"] == 1
        async with served(tmp_path, profile(), **options) as wrapped:
            backend = await led(wrapped)
            await steer.resume(backend, "profile", reason="back", actor="ann")
            await until(lambda: len(receiver.seen) > 1)
    assert ["profile: paused" in body.decode() for _, body in receiver.seen] == [True, False]


async def test_our_own_receiver_takes_a_decision_once_however_often_it_is_told(tmp_path: Path) -> None:
    events: list[Event] = []

    async def deliver(event: Event) -> None:
        events.append(event)

    app = web.Application()
    received = webhook(
        app,
        "/hooks",
        "rollouts",
        verify=Hmac(SECRET),
        deliver=deliver,
        inbox=inbox(f"sqlite:///{tmp_path / 'inbox.db'}"),
        event_id="$.key",
        key="$.rollout",
    )
    async with TestServer(app) as server:
        await until(lambda: received.inbox is not None)
        target = Webhook(str(server.make_url("/hooks")), secret=SECRET)
        for decision in (sealed(1), sealed(1), sealed(2)):
            made = Notifications([target])
            await made.tell(decision)
            await made.drain(10)
            assert made.counts()["webhook", "delivered"] == 1
        await until(lambda: len(events) == 2)
    assert [(event.key, event.payload["number"]) for event in events] == [("profile", 1), ("profile", 2)]


def test_mistakes_in_targets_are_found_with_all_others_and_no_secret_is_shown() -> None:
    app = application()
    with pytest.raises(DeclarationError) as caught:
        setup(
            app,
            [profile(), profile()],
            tick_s=0,
            notify=[Slack("http://ann:token@x/"), Webhook("https://x/", secret="token")],
        )
    places = {problem.where for problem in caught.value.problems}
    assert places == {'rollout "profile"', "setup", 'notify "slack"', 'notify "webhook"'}
    assert "token" not in str(caught.value)
