"""A webhook in an application: what is answered, what is stored, what runs, and what a shutdown leaves behind."""

import asyncio
import hmac
import json
import logging
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from rollout.errors import DatabaseError, DeclarationError, SchemaError
from rollout.testing import ManualClock
from rollout.testing.memory_inbox import MemoryInbox
from rollout_webhook import Event, Hmac, InboxOptions, Jwks, Redelivery, Webhook, webhook
from rollout_webhook.receiving import COUNTS
from rollout_webhook.refusals import Refusals
from rollout_wiring.inbox import inbox as inbox_at
from tests.webhook.platform import ISSUER, NOW, Platform, rsa_key, running_platform, token

SECRET = b"a secret of many bytes"


class Site:
    """An application with a webhook, served; ``got``: the events that were delivered."""

    def __init__(self, hook: Webhook, client: TestClient[web.Request, web.Application], got: list[Event]) -> None:
        self.hook = hook
        self.client = client
        self.got = got
        self.more = asyncio.Event()

    async def post(self, body: bytes, **headers: str) -> ClientResponse:
        return await self.client.post("/hooks/identity", data=body, headers=headers)

    async def status(self, body: bytes, **headers: str) -> int:
        reply = await self.post(body, **headers)
        assert await reply.read() == b""
        return reply.status

    async def delivered(self, count: int) -> list[Event]:
        """Waits until so many events were delivered."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self.more.clear()
                await self.more.wait()
        return self.got


@asynccontextmanager
async def serving(
    verify: Any,
    *,
    inbox: MemoryInbox | None = None,
    opener: Callable[[], Awaitable[Any]] | None = None,
    deliver: Callable[[Event], Awaitable[Any]] | None = None,
    **options: Any,
) -> AsyncIterator[Site]:
    app = web.Application()
    store = inbox or MemoryInbox()

    async def open_memory() -> MemoryInbox:
        return store

    async def delivering(event: Event) -> None:
        if deliver is not None:
            await deliver(event)
        served.got.append(event)
        served.more.set()

    options = {"wall": lambda: NOW, **options}
    hook = webhook(
        app,
        "/hooks/identity",
        "user-created",
        verify=verify,
        deliver=delivering,
        inbox=opener or open_memory,
        **options,
    )
    async with TestClient(TestServer(app)) as client:
        served = Site(hook, client, [])
        yield served
    left = [task for task in asyncio.all_tasks() if (task.get_name() or "").startswith("rollout-")]
    assert not left


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with running_platform() as running:
        yield running


@pytest.fixture
async def site(platform: Platform) -> AsyncIterator[Site]:
    async with serving(Jwks(platform.url, audience="shop", issuer=ISSUER)) as made:
        yield made


def signed(body: bytes, at: int = int(NOW)) -> dict[str, str]:
    digest = hmac.digest(SECRET, f"{at}.".encode() + body, "sha256")
    return {"X-Timestamp": str(at), "X-Signature": digest.hex()}


# Accepted


async def test_a_signed_event_is_acknowledged_and_delivered(site: Site) -> None:
    assert await site.status(token()) == 202
    (event,) = await site.delivered(1)
    assert (event.id, event.name, event.key, event.attempt) == ("e-1", "user-created", "u-1", 1)
    assert event.payload["user"] == {"id": "u-1", "email": "ann@example.com"}
    assert json.loads(event.body) == event.payload
    assert site.hook.counts["stored"] == 1


async def test_a_signed_body_is_acknowledged_and_delivered() -> None:
    body = b'{"id": 7, "user": {"id": "u-1"}}'
    async with serving(Hmac(SECRET), event_id="$.id", key="$.user.id") as site:
        assert await site.status(body, **signed(body)) == 202
        (event,) = await site.delivered(1)
        assert (event.id, event.key, event.body) == ("7", "u-1", body)


async def test_it_is_acknowledged_before_it_is_delivered() -> None:
    async def for_ever(_: Event) -> None:
        await asyncio.sleep(1e6)

    async with serving(Hmac(SECRET), deliver=for_ever, drain_s=0.0) as site:
        assert await site.status(b"{}", **signed(b"{}")) == 202


async def test_it_is_not_acknowledged_before_it_is_stored() -> None:
    inbox = MemoryInbox()
    async with serving(Hmac(SECRET), inbox=inbox) as site:
        inbox.faults.hang(("put",))
        answer = asyncio.create_task(site.status(b"{}", **signed(b"{}")))
        done, _ = await asyncio.wait({answer}, timeout=0.1)
        assert not done
        inbox.heal()
        assert await answer == 202


# Replayed


async def test_a_replay_is_acknowledged_and_not_run(site: Site) -> None:
    assert [await site.status(token()) for _ in range(3)] == [202, 200, 200]
    assert await site.status(token("e-2")) == 202
    assert sorted(event.id for event in await site.delivered(2)) == ["e-1", "e-2"]
    assert site.hook.counts["known"] == 2


async def test_the_same_event_signed_anew_is_a_replay_too(site: Site) -> None:
    assert await site.status(token()) == 202
    assert await site.status(token(now=NOW + 30)) == 200
    assert len(await site.delivered(1)) == 1


async def test_of_a_hundred_duplicates_at_once_one_runs(tmp_path: Path, platform: Platform) -> None:
    verify = Jwks(platform.url, audience="shop", issuer=ISSUER)
    async with serving(verify, opener=inbox_at(f"sqlite:///{tmp_path / 'rollout.db'}")) as site:
        answers = await asyncio.gather(*(site.status(token()) for _ in range(100)))
        assert sorted(answers) == [*[200] * 99, 202]
        await site.status(token("last"))
        assert sorted(event.id for event in await site.delivered(2)) == ["e-1", "last"]


# Refused


BAD_TOKENS: dict[str, Callable[[], bytes]] = {
    "signature": lambda: token(key=rsa_key("somebody else")),
    "key": lambda: token(kid="k-2"),
    "algorithm": lambda: token(alg="RS512"),
    "audience": lambda: token(aud="another shop"),
    "issuer": lambda: token(iss="https://evil.example"),
    "age": lambda: token(exp=int(NOW) - 100),
    "type": lambda: token(typ="JWT"),
    "malformed": lambda: b"hello",
}


@pytest.mark.parametrize("why", BAD_TOKENS)
async def test_a_bad_token_is_refused_without_a_word_counted_and_nothing_runs(site: Site, why: str) -> None:
    assert await site.status(BAD_TOKENS[why]()) == 401
    assert site.hook.counts[f"refused:{why}"] == 1
    assert await site.status(token("good")) == 202
    assert [event.id for event in await site.delivered(1)] == ["good"]


@pytest.mark.parametrize("why", ["header", "signature", "age"])
async def test_a_bad_hmac_is_refused_without_a_word_counted_and_nothing_runs(why: str) -> None:
    headers = {"header": {}, "signature": signed(b"other"), "age": signed(b"{}", int(NOW) - 301)}[why]
    async with serving(Hmac(SECRET)) as site:
        assert await site.status(b"{}", **headers) == 401
        assert site.hook.counts[f"refused:{why}"] == 1
        assert await site.hook.inbox.take("user-created", "t", 10, 1) == []  # type: ignore[union-attr]


async def test_a_refused_event_can_still_come_rightly_signed(site: Site) -> None:
    assert await site.status(token(key=rsa_key("somebody else"))) == 401
    assert await site.status(token()) == 202


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit_is_413_and_never_read_whole(chunked: bool) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1
            yield b"x" * 1_000
            await asyncio.sleep(0)

    async with serving(Hmac(SECRET), max_body=2_000) as site:
        assert await site.status(b"x" * 2_000, **signed(b"x" * 2_000)) == 400
        if chunked:
            try:
                reply = await site.client.post("/hooks/identity", data=chunks())
                assert reply.status == 413
            except (ClientError, OSError):  # the server hung up while we were still talking
                assert sent < 10_000
        else:
            assert await site.status(b"x" * 2_001) == 413
        assert site.hook.counts["refused:size"] == 1


async def test_a_compressed_body_is_refused_before_it_is_unpacked() -> None:
    async with serving(Hmac(SECRET)) as site:
        body = zlib.compress(b"{}")
        assert await site.status(body, **signed(b"{}"), **{"Content-Encoding": "deflate"}) == 400
        assert site.hook.counts["refused:broken"] == 1


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_webhook.receiving._READ_S", 0.01)
    async with serving(Hmac(SECRET)) as site:
        reader, writer = await asyncio.open_connection(site.client.host, site.client.port)
        writer.write(b"POST /hooks/identity HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()
        assert site.hook.counts["refused:broken"] == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"name=ann", b"7"])
async def test_a_signed_body_that_is_no_object_is_400(body: bytes) -> None:
    async with serving(Hmac(SECRET)) as site:
        assert await site.status(body, **signed(body)) == 400
        assert site.hook.counts["refused:payload"] == 1


@pytest.mark.parametrize("event_id", [None, "", "a" * 201, "a\0b", True, 1.5, {"id": 1}])
async def test_a_signed_event_without_a_proper_id_is_400(event_id: Any) -> None:
    body = json.dumps({"id": event_id}).encode()
    async with serving(Hmac(SECRET), event_id="$.id") as site:
        assert await site.status(body, **signed(body)) == 400
        assert site.hook.counts["refused:id"] == 1


async def test_a_token_without_jti_is_400_unless_its_id_is_elsewhere(platform: Platform) -> None:
    async with serving(Jwks(platform.url, audience="shop", issuer=ISSUER)) as site:
        assert await site.status(token(None)) == 400
    async with serving(Jwks(platform.url, audience="shop", issuer=ISSUER), event_id="$.number") as site:
        assert await site.status(token(None, number="k-7")) == 202
        assert [event.id for event in await site.delivered(1)] == ["k-7"]


async def test_a_refusal_is_logged_without_what_was_sent(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rollout.webhook")
    bad = token(key=rsa_key("somebody else"))
    await site.status(bad)
    assert "webhook user-created refused a request: signature" in [record.getMessage() for record in caplog.records]
    assert not any(part in caplog.text for part in ("ann@example.com", *bad.decode().split(".")))


def test_refusals_are_counted_each_and_logged_once_a_second_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    clock, counts = ManualClock(), Counter[str]()
    refusals = Refusals("users", counts, clock.monotonic)
    for reason in ("age", "age", "key", "age"):
        refusals.note(reason)
    clock.advance(1)
    refusals.note("age")
    assert counts == {"refused:age": 4, "refused:key": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "webhook users refused a request: age",
        "webhook users refused a request: key",
        "webhook users refused a request: age (and 2 more since the last line)",
    ]


async def test_other_methods_are_not_served(site: Site) -> None:
    assert (await site.client.get("/hooks/identity")).status == 405


# Later


async def test_while_the_database_is_away_the_sender_is_asked_to_try_again() -> None:
    inbox = MemoryInbox()
    async with serving(Hmac(SECRET), inbox=inbox) as site:
        inbox.fail_with(DatabaseError("gone"))
        reply = await site.post(b"{}", **signed(b"{}"))
        assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
        inbox.heal()
        assert await site.status(b"{}", **signed(b"{}")) == 202
        assert len(await site.delivered(1)) == 1
        assert site.hook.counts["away"] == 1


async def test_an_event_whose_acknowledgement_was_lost_runs_once() -> None:
    inbox = MemoryInbox()
    async with serving(Hmac(SECRET), inbox=inbox) as site:
        inbox.fail_with(DatabaseError("gone"), only=("put",), done_first=True)
        assert await site.status(b"{}", **signed(b"{}")) == 503
        inbox.heal()
        assert await site.status(b"{}", **signed(b"{}")) == 200
        assert len(await site.delivered(1)) == 1


async def test_a_full_inbox_asks_to_try_again() -> None:
    async def failing(_: Event) -> None:
        raise ValueError

    never = InboxOptions(redelivery=Redelivery(attempts=1))
    async with serving(Hmac(SECRET), most=1, deliver=failing, options=never) as site:
        assert await site.status(b"{}", **signed(b"{}")) == 202
        assert await site.status(b'{"a": 1}', **signed(b'{"a": 1}')) == 503
        assert site.hook.counts["full"] == 1


async def test_without_keys_the_sender_is_asked_to_try_again(platform: Platform, site: Site) -> None:
    platform.answer = web.Response(status=500)
    assert await site.status(token()) == 503
    assert site.hook.counts["keys_missing"] == 1


async def test_a_database_that_is_away_at_start_is_opened_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_webhook.receiving._OPEN_AGAIN_S", 0.01)
    inbox, tries = MemoryInbox(), 0

    async def opener() -> MemoryInbox:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise DatabaseError("gone")
        opened.set()
        return inbox

    opened = asyncio.Event()
    async with serving(Hmac(SECRET), opener=opener) as site:
        assert await site.status(b"{}", **signed(b"{}")) == 503
        await opened.wait()
        assert await site.status(b"{}", **signed(b"{}")) == 202
        assert len(await site.delivered(1)) == 1
    assert inbox.closed


async def test_a_database_that_never_comes_holds_no_shutdown_up() -> None:
    async def opener() -> MemoryInbox:
        raise DatabaseError("gone")

    async with serving(Hmac(SECRET), opener=opener) as site:
        assert await site.status(b"{}", **signed(b"{}")) == 503


async def test_a_schema_of_another_version_keeps_the_application_from_starting() -> None:
    async def opener() -> MemoryInbox:
        raise SchemaError("Run: rollout db upgrade")

    app = web.Application()
    webhook(app, "/hooks", "users", verify=Hmac(SECRET), deliver=_deliver, inbox=opener)
    with pytest.raises(SchemaError, match="rollout db upgrade"):
        await web.AppRunner(app).setup()


# Start and stop


async def test_what_one_process_acknowledged_another_delivers_after_its_end(tmp_path: Path) -> None:
    database = inbox_at(f"sqlite:///{tmp_path / 'rollout.db'}")

    async def for_ever(event: Event) -> None:
        await event.finish("mail")
        begun.set()
        await asyncio.sleep(1e6)

    begun = asyncio.Event()
    async with serving(Hmac(SECRET), opener=database, deliver=for_ever, drain_s=0.0) as site:
        assert await site.status(b"{}", **signed(b"{}")) == 202
        await begun.wait()
    assert site.hook.counts["shutdown"] == 1
    async with serving(Hmac(SECRET), opener=database) as site:
        (event,) = await site.delivered(1)
        assert (event.attempt, event.done) == (1, frozenset({"mail"}))


async def test_a_shutdown_lets_what_is_under_way_end() -> None:
    async def slow(_: Event) -> None:
        begun.set()
        await asyncio.sleep(0.05)

    begun = asyncio.Event()
    async with serving(Hmac(SECRET), deliver=slow) as site:
        await site.status(b"{}", **signed(b"{}"))
        await begun.wait()
    assert site.hook.counts["delivered"] == 1


async def test_everything_counted_is_there_from_the_start(site: Site) -> None:
    assert dict(site.hook.counts) == dict.fromkeys(COUNTS, 0)


# Declared wrongly


async def _deliver(_: Event) -> None:
    """A delivery."""


async def _open() -> MemoryInbox:
    return MemoryInbox()


def mistakes(**changes: Any) -> list[str]:
    app = web.Application()
    given = {"path": "/hooks", "name": "users", "verify": Hmac(SECRET), "deliver": _deliver, "inbox": _open, **changes}
    path, name = given.pop("path"), given.pop("name")
    try:
        webhook(app, path, name, **given)
    except DeclarationError as error:
        assert not list(app.router.routes())
        return [str(problem) for problem in error.problems]
    return []


def test_a_good_declaration_is_accepted() -> None:
    assert mistakes() == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"path": "hooks"}, "the path is 'hooks'"),
        ({"path": None}, "the path is None"),
        ({"name": "with space"}, "the name is 'with space'"),
        ({"verify": None}, "verify is None"),
        ({"verify": Hmac(b"short")}, "less than 16 bytes"),
        ({"deliver": print}, "deliver is <built-in function print>"),
        ({"deliver": None}, "deliver is None"),
        ({"inbox": MemoryInbox()}, "inbox is "),
        ({"event_id": "id"}, "id"),
        ({"event_id": "$.ids[*]"}, "may name several places"),
        ({"key": "$..id"}, "may name several places"),
        ({"key": 7}, "7 is not a path"),
        ({"max_body": 0}, "max_body is 0"),
        ({"max_body": 2**30}, "max_body is 1073741824"),
        ({"most": 1.5}, "most is 1.5"),
        ({"drain_s": -1}, "drain_s is -1"),
        ({"drain_s": float("nan")}, "drain_s is nan"),
        ({"options": InboxOptions(concurrency=0)}, "options.concurrency is 0"),
        ({"options": InboxOptions(timeout_s=0)}, "options.timeout_s is 0"),
        ({"options": InboxOptions(lease_s=0.5)}, "options.lease_s is 0.5"),
        ({"options": InboxOptions(poll_s=0)}, "options.poll_s is 0"),
        ({"options": InboxOptions(ttl_s=float("inf"))}, "options.ttl_s is inf"),
        ({"options": InboxOptions(redelivery=Redelivery(attempts=0))}, "redelivery: attempts is 0"),
        ({"options": InboxOptions(ttl_s=600.0)}, "could be replayed for 600"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], named: str) -> None:
    (mistake,) = mistakes(**changes)
    assert named in mistake


def test_an_address_that_cannot_be_a_database_is_refused_at_once() -> None:
    with pytest.raises(DatabaseError, match="mysql"):
        inbox_at("mysql://localhost/shop")


def test_all_mistakes_are_reported_at_once() -> None:
    assert len(mistakes(name="", path="", most=0, deliver=None, verify=Hmac(b""))) == 5


def test_an_async_object_and_a_partial_can_deliver() -> None:
    class Sender:
        async def __call__(self, event: Event) -> None:
            """A delivery."""

    assert mistakes(deliver=Sender()) == []
    assert mistakes(deliver=partial(_deliver)) == []
