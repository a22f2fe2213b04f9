"""The example of the notification: its sinks, its senders, what the inbox does with an event, and that its story comes
true.
"""

import asyncio
import io
import json
import smtplib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponseError, ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from rich.console import Console

from rollout_demo.narrator import Narrator
from rollout_demo.notification import story
from rollout_demo.notification.fanout import Undelivered, delivery
from rollout_demo.notification.monolith import application
from rollout_demo.notification.orders import CHANNELS, SECRET, body_of, is_signed, key_of, order, signed, text_of
from rollout_demo.notification.senders import Addresses, Senders
from rollout_demo.notification.sinks import HttpSink, MailSink, Sink
from rollout_demo.services import serve
from rollout_webhook import Hmac

NOW = 1_800_000_000.0


class World:
    """The sinks, running, and senders for them."""

    def __init__(self) -> None:
        self.email, self.sms, self.push = MailSink(0.0), HttpSink(0.0), HttpSink(0.0)
        self.senders: Senders

    @property
    def sinks(self) -> dict[str, Sink]:
        return {"email": self.email, "sms": self.sms, "push": self.push}

    def kept(self) -> dict[str, set[str]]:
        return {channel: set(sink.kept) for channel, sink in self.sinks.items()}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with AsyncExitStack() as stack:
        for sink in (made.email, made.sms, made.push):
            await sink.start(stack)
        made.senders = Senders(Addresses(made.email.port, made.sms.address, made.push.address))
        life = made.senders.live(web.Application())
        await anext(life)
        yield made
        await anext(life, None)


# What is sent


async def test_a_mail_that_comes_twice_is_kept_once(world: World) -> None:
    paid = order(1)
    await world.senders.email(paid, "first")
    await world.senders.email(paid, "second")
    key = key_of(paid, "email")
    assert (world.email.kept, world.email.offered[key]) == ({key: "first"}, 2)


async def test_a_message_over_http_that_comes_twice_is_kept_once(world: World) -> None:
    for text in ("first", "second"):
        await world.senders.push(order(1), text)
    key = key_of(order(1), "push")
    assert (world.push.kept, world.push.offered[key]) == ({key: "first"}, 2)


async def test_an_ill_sink_refuses_and_keeps_nothing(world: World) -> None:
    for sink in world.sinks.values():
        sink.ill = True
    with pytest.raises(smtplib.SMTPDataError):
        await world.senders.email(order(1), "text")
    with pytest.raises(ClientResponseError, match="503"):
        await world.senders.sms(order(1), "text")
    assert (world.email.kept, world.sms.kept, world.sms.refused) == ({}, {}, 1)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"EXPN all\r\nQUIT\r\n", b"220 sink\r\n502 not known\r\n221 bye\r\n"),
        (b"\r\n", b"220 sink\r\n"),
        (b"x" * 10_000 + b"\r\n", b"220 sink\r\n"),
        (b"DATA\r\n" + b"more\r\n" * 300 + b".\r\nQUIT\r\n", b"220 sink\r\n354 go on\r\n"),
    ],
)
async def test_a_client_that_talks_nonsense_is_hung_up_on(world: World, sent: bytes, answer: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.email.port)
    writer.write(sent)
    heard = b""
    try:
        while piece := await reader.read(1_000):
            heard += piece
    except ConnectionError:  # what was not read any more makes a reset of the end
        pass
    writer.close()
    assert answer.startswith(heard)
    assert not world.email.kept


async def test_a_dot_at_the_beginning_of_a_line_comes_through(world: World) -> None:
    await world.senders.email(order(1), ".\n..two\nend")
    [text] = world.email.kept.values()
    assert text.split() == [".", "..two", "end"]


# What is signed


@given(st.integers(0, 10_000), st.integers(-300, 300))
def test_monolith_and_inbox_accept_the_same_signature(number: int, late_s: int) -> None:
    paid = order(number)
    body = body_of(paid)
    headers = CIMultiDictProxy(CIMultiDict(signed(paid, body, NOW)))
    assert is_signed(headers, body, NOW + late_s)
    assert asyncio.run(Hmac(SECRET).verify(headers, body, NOW + late_s)).body == body


@pytest.mark.parametrize(
    ("change", "late_s"),
    [
        ({"X-Signature": "sha256=" + "0" * 64}, 0),
        ({"X-Signature": "sha256=é"}, 0),
        ({"X-Timestamp": "now"}, 0),
        ({"X-Timestamp": ""}, 0),
        ({}, 301),
        ({}, -301),
    ],
)
def test_the_monolith_accepts_no_other(change: dict[str, str], late_s: float) -> None:
    body = body_of(order(1))
    assert not is_signed({**signed(order(1), body, NOW), **change}, body, NOW + late_s)


async def test_the_monolith_sends_all_three_to_whoever_signs_and_nothing_to_others(world: World) -> None:
    paid = order(3)
    body = body_of(paid)
    async with AsyncExitStack() as stack:
        shop = await serve(application(world.senders), stack)
        session = await stack.enter_async_context(ClientSession())
        async with session.post(f"{shop}/hooks/order-paid", data=body) as reply:
            assert reply.status == 401
        assert world.kept() == {channel: set() for channel in CHANNELS}
        headers = signed(paid, body, time.time())
        async with session.post(f"{shop}/hooks/order-paid", data=body, headers=headers) as reply:
            assert (reply.status, await reply.json()) == (200, {"sent": list(CHANNELS)})
    assert world.kept() == {channel: {key_of(paid, channel)} for channel in CHANNELS}


# What the inbox does with an event


class Event:
    """One event, as an inbox hands it over."""

    def __init__(self, number: int = 1, done: frozenset[str] = frozenset()) -> None:
        self.payload = json.loads(body_of(order(number)))
        self.done = done

    async def finish(self, step: str) -> None:
        self.done |= {step}


class Told:
    """Senders that note what they are to send, and fail where they are told to."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)
        self.sent: list[str] = []

    def __getattr__(self, channel: str) -> Any:
        async def send(paid: Any, text: str) -> None:
            assert text == text_of(paid)
            self.sent.append(channel)
            if channel in self.failing:
                raise ConnectionError

        return send


@pytest.mark.looptime
async def test_what_could_not_be_sent_is_named_and_the_others_are_finished() -> None:
    senders, event = Told("sms"), Event()
    with pytest.raises(Undelivered, match=r"^sms: error$"):
        await delivery(senders)(event)  # type: ignore[arg-type]
    assert event.done == {"email", "push"}
    assert sorted(senders.sent) == ["email", "push", "sms", "sms"]  # sms was tried twice


@pytest.mark.looptime
async def test_a_later_attempt_sends_only_what_is_not_finished() -> None:
    senders, event = Told(), Event(done=frozenset({"email", "push"}))
    await delivery(senders)(event)  # type: ignore[arg-type]
    assert senders.sent == ["sms"]
    assert event.done == set(CHANNELS)


@pytest.mark.looptime
async def test_a_message_that_is_sent_but_not_remembered_is_offered_again_with_its_key() -> None:
    class Forgetful(Event):
        async def finish(self, step: str) -> None:
            raise RuntimeError("the process dies here")

    senders = Told()
    with pytest.raises(Undelivered):
        await delivery(senders)(Forgetful())  # type: ignore[arg-type]
    await delivery(senders)(Event())  # type: ignore[arg-type]
    assert sorted(senders.sent) == sorted(CHANNELS * 2)


async def test_an_event_that_both_sides_send_is_three_messages(world: World) -> None:
    """As when the platform heard no answer of the monolith, and its customer has moved to the inbox meanwhile."""
    paid = order(5)
    await asyncio.gather(*(getattr(world.senders, channel)(paid, text_of(paid)) for channel in CHANNELS))
    await delivery(world.senders)(Event(5))  # type: ignore[arg-type]
    assert world.kept() == {channel: {key_of(paid, channel)} for channel in CHANNELS}
    assert [sink.offered.total() for sink in world.sinks.values()] == [2, 2, 2]


# The story


async def test_a_short_telling_comes_true(tmp_path: Path) -> None:
    told = io.StringIO()
    tell = Narrator(Console(file=told, width=80, highlight=False))
    played = await story.play(tell, tmp_path, stages="shadow 100%", enough=20)
    acknowledged = played.platform.tally.acknowledged
    assert len(acknowledged) == played.platform.sent
    for channel, sink in played.cast.sinks.items():
        assert set(sink.kept) == {f"{event}.{channel}" for event in acknowledged}
    text = told.getvalue()
    assert "SIGKILL" in text
    assert "nothing lost, nothing twice" in text
    assert "All of it happened" in text
    assert [line for line in text.splitlines() if len(line) > 80 and not line.startswith("   rollout ")] == []
