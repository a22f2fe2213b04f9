"""Events of webhooks: stored once, taken by one, finished step by step, tried again, given up, forgotten in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import select

from rollout.domain.inbox import MOST_STEPS, Stored
from rollout.errors import DatabaseError, Fenced
from rollout.ports import Backend, Inbox, InboxCounts, InboxEvent, LeasedEvent
from rollout.testing import MemoryBackend
from rollout.testing.memory_inbox import MemoryInbox
from rollout_sql import open_inbox
from rollout_sql.inbox import SqlInbox
from rollout_sql.inbox_table import inbox as table
from tests.contract.places import Place, Postgres, Sqlite

OpenInbox = Callable[[], Awaitable[Inbox]]
BODY = b'{"user": {"id": "u-1", "mail": "ann@example.com"}}'


@pytest.fixture
async def open_one(place: Place, backend: Backend) -> AsyncIterator[OpenInbox]:
    """Opens the inbox of one more process on the same database; all are closed at the end."""
    opened: list[Inbox] = []
    memory = MemoryInbox(faults=backend.faults) if isinstance(backend, MemoryBackend) else None

    async def one_more() -> Inbox:
        match place:
            case Sqlite():
                opened.append(await open_inbox(f"sqlite:///{place._file}"))
            case Postgres():
                opened.append(await open_inbox(place._url))
            case _:
                assert memory is not None
                opened.append(memory)
        return opened[-1]

    yield one_more
    for inbox in opened:
        await inbox.close()


@pytest.fixture
async def inbox(open_one: OpenInbox) -> Inbox:
    return await open_one()


def event(event_id: str = "e-1", webhook: str = "users", body: bytes = BODY) -> InboxEvent:
    return InboxEvent(webhook=webhook, id=event_id, body=body)


async def take_one(inbox: Inbox, holder: str = "a", lease_s: float = 30.0) -> LeasedEvent:
    (taken,) = await inbox.take("users", holder, 10, lease_s)
    return taken


# Stored once


async def test_an_event_comes_back_as_it_was_put(inbox: Inbox) -> None:
    assert await inbox.put(event("jti/ü:1", body=b'{"\x00": "\xc3\xa9"}'), 10) is Stored.new
    taken = await take_one(inbox)
    assert (taken.webhook, taken.id, taken.body) == ("users", "jti/ü:1", b'{"\x00": "\xc3\xa9"}')
    assert (taken.attempt, taken.done, taken.holder) == (1, frozenset(), "a")


async def test_the_time_of_receipt_is_the_database_s(inbox: Inbox, backend: Backend) -> None:
    before = await backend.state.now()
    await inbox.put(event(), 10)
    assert before - 0.01 <= (await take_one(inbox)).received_at <= await backend.state.now() + 0.01


async def test_the_same_id_is_stored_once(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    assert await inbox.put(event(body=b'{"other": 1}'), 10) is Stored.known
    assert (await take_one(inbox)).body == BODY


async def test_the_same_id_of_another_webhook_is_another_event(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    assert await inbox.put(event(webhook="orders"), 10) is Stored.new
    assert (await take_one(inbox)).webhook == "users"


async def test_of_a_hundred_at_once_with_one_id_one_is_new(inbox: Inbox, open_one: OpenInbox) -> None:
    other = await open_one()
    puts = await asyncio.gather(*(place.put(event(), 10) for _ in range(50) for place in (inbox, other)))
    assert sorted(puts) == [*[Stored.known] * 99, Stored.new]
    assert len(await inbox.take("users", "a", 10, 30)) == 1


async def test_a_full_inbox_stores_no_more_but_still_knows_what_it_has(inbox: Inbox) -> None:
    assert [await inbox.put(event(f"e-{n}"), 2) for n in range(3)] == [Stored.new, Stored.new, Stored.full]
    assert await inbox.put(event("e-0"), 2) is Stored.known
    assert (await inbox.counts("users")).waiting == 2


async def test_the_dead_fill_an_inbox_and_the_done_do_not(inbox: Inbox) -> None:
    await inbox.put(event("e-0"), 10)
    await inbox.bury(await take_one(inbox), "ValueError")
    assert await inbox.put(event("e-1"), 1) is Stored.full
    assert await inbox.put(event("e-1"), 2) is Stored.new
    await inbox.complete(await take_one(inbox))
    assert await inbox.put(event("e-2"), 2) is Stored.new


# Taken by one


async def test_what_is_taken_is_not_taken_again_while_its_lease_lasts(inbox: Inbox, open_one: OpenInbox) -> None:
    await inbox.put(event(), 10)
    await take_one(inbox)
    assert await (await open_one()).take("users", "b", 10, 30) == []


async def test_two_that_take_at_the_same_time_share_what_is_there(inbox: Inbox, open_one: OpenInbox) -> None:
    other = await open_one()
    for n in range(20):
        await inbox.put(event(f"e-{n}"), 100)
    takes = await asyncio.gather(
        *(place.take("users", holder, 3, 30) for _ in range(5) for holder, place in (("a", inbox), ("b", other)))
    )
    taken = [one.id for some in takes for one in some]
    rest = [one.id for one in await inbox.take("users", "a", 100, 30)]  # what one skipped because the other had it
    assert len(taken) == len(set(taken))
    assert sorted([*taken, *rest]) == sorted(f"e-{n}" for n in range(20))


async def test_no_more_are_taken_than_asked_for_and_those_due_first(inbox: Inbox) -> None:
    for n in range(5):
        await inbox.put(event(f"e-{n}"), 100)
        await asyncio.sleep(0.002)  # the clock of SQLite has milliseconds
    assert [one.id for one in await inbox.take("users", "a", 2, 30)] == ["e-0", "e-1"]


async def test_an_event_whose_lease_ran_out_goes_to_another_as_its_next_attempt(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    late = await take_one(inbox, "a", 0.05)
    await asyncio.sleep(0.1)
    again = await take_one(inbox, "b")
    assert (again.attempt, again.body) == (2, BODY)
    assert again.epoch > late.epoch


async def test_a_renewed_lease_lasts_longer(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox, lease_s=0.05)
    await inbox.renew(taken, 30)
    await asyncio.sleep(0.1)
    assert await inbox.take("users", "b", 10, 30) == []


LATE: dict[str, Callable[[Inbox, LeasedEvent], Awaitable[None]]] = {
    "renew": lambda inbox, late: inbox.renew(late, 30),
    "finish": lambda inbox, late: inbox.finish(late, "mail"),
    "complete": lambda inbox, late: inbox.complete(late),
    "postpone": lambda inbox, late: inbox.postpone(late, 0, "ValueError"),
    "bury": lambda inbox, late: inbox.bury(late, "ValueError"),
    "give_back": lambda inbox, late: inbox.give_back(late),
}


@pytest.mark.parametrize("method", LATE)
@pytest.mark.parametrize("holder", ["a", "b"])
async def test_a_late_holder_changes_nothing(inbox: Inbox, method: str, holder: str) -> None:
    await inbox.put(event(), 10)
    late = await take_one(inbox, "a", 0.0)
    held = await take_one(inbox, holder)  # by another, or by the same a second time
    with pytest.raises(Fenced):
        await LATE[method](inbox, late)
    await inbox.finish(held, "push")
    await inbox.give_back(held)
    again = await take_one(inbox)
    assert (again.attempt, again.done) == (held.attempt, frozenset({"push"}))


@pytest.mark.parametrize("method", LATE)
async def test_what_has_ended_cannot_be_changed(inbox: Inbox, method: str) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    await inbox.complete(taken)
    with pytest.raises(Fenced):
        await LATE[method](inbox, taken)


# Steps


async def test_finished_steps_are_there_in_the_next_attempt(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    await inbox.finish(taken, "mail")
    await inbox.finish(taken, "push")
    await inbox.finish(taken, "mail")
    await inbox.postpone(taken, 0, "ValueError")
    assert (await take_one(inbox)).done == frozenset({"mail", "push"})


async def test_steps_that_finish_at_the_same_time_are_all_kept(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    await asyncio.gather(*(inbox.finish(taken, f"s-{n}") for n in range(10)))
    await inbox.give_back(taken)
    assert (await take_one(inbox)).done == frozenset(f"s-{n}" for n in range(10))


async def test_steps_without_end_are_refused() -> None:
    inbox = MemoryInbox()
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    for n in range(MOST_STEPS):
        await inbox.finish(taken, f"s-{n}")
    await inbox.finish(taken, "s-0")
    with pytest.raises(ValueError, match="1000 finished steps"):
        await inbox.finish(taken, "one more")


# Ends


async def test_what_is_done_is_not_taken_again_and_its_id_still_known(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    await inbox.complete(await take_one(inbox))
    assert await inbox.take("users", "a", 10, 30) == []
    assert await inbox.put(event(), 10) is Stored.known


async def test_the_body_is_kept_until_the_event_is_done_and_then_emptied(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    assert await stored_body(inbox) == BODY
    await inbox.bury(taken, "ValueError")
    assert await stored_body(inbox) == BODY
    await inbox.revive("users", "e-1")
    await inbox.complete(await take_one(inbox))
    assert await stored_body(inbox) == b""


async def stored_body(inbox: Inbox) -> bytes | None:
    """What the database holds of ``e-1``, which nobody can take."""
    if isinstance(inbox, MemoryInbox):
        return inbox.body("users", "e-1")
    assert isinstance(inbox, SqlInbox)
    async with inbox._db.reading() as connection:
        return bytes((await connection.execute(select(table.c.body).where(table.c.id == "e-1"))).scalar_one())


async def test_what_is_postponed_is_due_after_its_wait(inbox: Inbox) -> None:
    for event_id in ("later", "now"):
        await inbox.put(event(event_id), 10)
    later, now = sorted(await inbox.take("users", "a", 10, 30), key=lambda one: one.id)
    await inbox.postpone(later, 60, "ValueError")
    await inbox.postpone(now, 0, "ValueError")
    again = await take_one(inbox)
    assert (again.id, again.attempt) == ("now", 2)


async def test_an_attempt_that_was_given_back_does_not_count(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    await inbox.give_back(await take_one(inbox))
    assert (await take_one(inbox)).attempt == 1


async def test_the_dead_are_shown_with_why_and_how_far_they_came(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    await inbox.finish(taken, "mail")
    await inbox.bury(taken, "ValueError")
    (dead,) = await inbox.dead("users")
    assert (dead.id, dead.attempts, dead.done, dead.error) == ("e-1", 1, frozenset({"mail"}), "ValueError")
    assert dead.received_at == taken.received_at <= dead.died_at
    assert await inbox.take("users", "a", 10, 30) == []


async def test_the_latest_dead_come_first_and_no_more_than_asked_for(inbox: Inbox) -> None:
    for n in range(3):
        await inbox.put(event(f"e-{n}"), 10)
        await inbox.bury(await take_one(inbox), "ValueError")
        await asyncio.sleep(0.002)
    assert [dead.id for dead in await inbox.dead("users", limit=2)] == ["e-2", "e-1"]


async def test_a_dead_one_that_is_revived_begins_again_where_its_steps_ended(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    await inbox.finish(taken, "mail")
    await inbox.bury(taken, "ValueError")
    assert await inbox.revive("users", "e-1")
    again = await take_one(inbox)
    assert (again.attempt, again.done, again.body) == (1, frozenset({"mail"}), BODY)
    assert await inbox.dead("users") == []


async def test_only_the_dead_can_be_revived(inbox: Inbox) -> None:
    await inbox.put(event(), 10)
    assert not await inbox.revive("users", "e-1")
    assert not await inbox.revive("users", "nobody")
    await inbox.complete(await take_one(inbox))
    assert not await inbox.revive("users", "e-1")


async def test_the_counts_tell_what_waits_is_under_way_and_is_dead(inbox: Inbox) -> None:
    assert await inbox.counts("users") == InboxCounts()
    for n in range(6):
        await inbox.put(event(f"e-{n}"), 10)
    first, second, third = await inbox.take("users", "a", 3, 30)
    await inbox.complete(first)
    await inbox.bury(second, "ValueError")
    counts = await inbox.counts("users")
    assert (counts.waiting, counts.under_way, counts.dead) == (3, 1, 1)
    assert counts.oldest_at == third.received_at


async def test_what_ended_is_forgotten_after_its_time_and_what_waits_never(inbox: Inbox) -> None:
    for n in range(4):
        await inbox.put(event(f"e-{n}"), 10)
    first, second, third, _ = await inbox.take("users", "a", 10, 30)
    await inbox.complete(first)
    await inbox.bury(second, "ValueError")
    await inbox.postpone(third, 60, "ValueError")
    assert await inbox.expire("users", 60) == 0
    await asyncio.sleep(0.01)
    assert await inbox.expire("orders", 0.005) == 0
    assert await inbox.expire("users", 0.005) == 2
    assert await inbox.put(event(first.id), 10) is Stored.new
    assert await inbox.put(event(third.id), 10) is Stored.known


# The database is away


async def test_every_method_raises_database_error_while_the_database_is_away(inbox: Inbox, place: Place) -> None:
    await inbox.put(event(), 10)
    taken = await take_one(inbox)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        **{name: lambda method=method: method(inbox, taken) for name, method in LATE.items()},  # type: ignore[misc]
        "put": lambda: inbox.put(event("e-2"), 10),
        "take": lambda: inbox.take("users", "a", 10, 30),
        "revive": lambda: inbox.revive("users", "e-1"),
        "counts": lambda: inbox.counts("users"),
        "dead": lambda: inbox.dead("users"),
        "expire": lambda: inbox.expire("users", 0),
    }
    await asyncio.to_thread(place.take_away)
    raised: dict[str, object] = {}
    for name, call in calls.items():
        try:
            await call()
        except Exception as error:
            raised[name] = isinstance(error, DatabaseError)
        else:
            raised[name] = False
    await asyncio.to_thread(place.bring_back)
    assert raised == dict.fromkeys(calls, True)
