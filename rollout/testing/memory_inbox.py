"""The inbox in memory, with faults on request."""

from __future__ import annotations

from dataclasses import dataclass, field

from rollout.domain.inbox import MOST_STEPS, Stored
from rollout.errors import Fenced
from rollout.ports import Clock, DeadEvent, InboxCounts, InboxEvent, LeasedEvent
from rollout.testing.doubles import SystemClock
from rollout.testing.faults import Faults, suffers


@dataclass(slots=True)
class _Row:
    webhook: str
    id: str
    body: bytes
    received_at: float
    due_at: float
    state: str = "waiting"
    done: set[str] = field(default_factory=set)
    attempt: int = 0
    epoch: int = 0
    holder: str = ""
    ended_at: float = 0.0
    error: str = ""

    def end(self, state: str, error: str, now: float) -> None:
        self.state, self.holder, self.error, self.ended_at = state, "", error, now

    def wait(self, due_at: float) -> None:
        self.holder, self.due_at = "", due_at


class MemoryInbox:
    """An ``Inbox``; the docstrings of the port hold. ``clock`` is the database's clock, the real time by default.
    ``faults``: those of a ``MemoryBackend`` that it shall share. Nothing awaits inside a change, so each is atomic.
    """

    def __init__(self, clock: Clock | None = None, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.closed = False
        self._clock = clock or SystemClock()
        self._rows: dict[tuple[str, str], _Row] = {}

    def fail_with(self, error: BaseException, *, only: tuple[str, ...] = (), done_first: bool = False) -> None:
        """From now on every method (or those named) raises ``error``, with ``done_first`` after its work."""
        self.faults.fail_with(error, only, done_first)

    def heal(self) -> None:
        self.faults.heal()

    def body(self, webhook: str, event_id: str) -> bytes | None:
        """What is stored of an event now; None where nothing is known of it."""
        row = self._rows.get((webhook, event_id))
        return None if row is None else row.body

    @suffers
    async def put(self, event: InboxEvent, most: int) -> Stored:
        if (event.webhook, event.id) in self._rows:
            return Stored.known
        if sum(row.state != "done" for row in self._of(event.webhook)) >= most:
            return Stored.full
        now = self._clock.wall()
        self._rows[event.webhook, event.id] = _Row(event.webhook, event.id, event.body, now, now)
        return Stored.new

    @suffers
    async def take(self, webhook: str, holder: str, most: int, lease_s: float) -> list[LeasedEvent]:
        now = self._clock.wall()
        due = sorted(
            (row for row in self._of(webhook) if row.state == "waiting" and row.due_at <= now),
            key=lambda row: row.due_at,
        )[:most]
        for row in due:
            row.attempt += 1
            row.epoch += 1
            row.holder, row.due_at = holder, now + lease_s
        return [_leased(row) for row in sorted(due, key=lambda row: (row.received_at, row.id))]

    @suffers
    async def renew(self, event: LeasedEvent, lease_s: float) -> None:
        self._held(event).due_at = self._clock.wall() + lease_s

    @suffers
    async def finish(self, event: LeasedEvent, step: str) -> None:
        row = self._held(event)
        if step not in row.done and len(row.done) >= MOST_STEPS:
            raise ValueError(f'event "{event.id}" has {MOST_STEPS} finished steps already; name fewer of them')
        row.done.add(step)

    @suffers
    async def complete(self, event: LeasedEvent) -> None:
        row = self._held(event)
        row.end("done", "", self._clock.wall())
        row.body = b""

    @suffers
    async def postpone(self, event: LeasedEvent, wait_s: float, error: str) -> None:
        row = self._held(event)
        row.error = error
        row.wait(self._clock.wall() + wait_s)

    @suffers
    async def bury(self, event: LeasedEvent, error: str) -> None:
        self._held(event).end("dead", error, self._clock.wall())

    @suffers
    async def give_back(self, event: LeasedEvent) -> None:
        row = self._held(event)
        row.attempt -= 1
        row.wait(self._clock.wall())

    @suffers
    async def revive(self, webhook: str, event_id: str) -> bool:
        row = self._rows.get((webhook, event_id))
        if row is None or row.state != "dead":
            return False
        row.state, row.attempt, row.due_at = "waiting", 0, self._clock.wall()
        return True

    @suffers
    async def counts(self, webhook: str) -> InboxCounts:
        waiting = [row for row in self._of(webhook) if row.state == "waiting"]
        under_way = sum(row.holder != "" for row in waiting)
        return InboxCounts(
            waiting=len(waiting) - under_way,
            under_way=under_way,
            dead=sum(row.state == "dead" for row in self._of(webhook)),
            oldest_at=min((row.received_at for row in waiting), default=None),
        )

    @suffers
    async def dead(self, webhook: str, limit: int = 50) -> list[DeadEvent]:
        dead = [row for row in self._of(webhook) if row.state == "dead"]
        return [_dead(row) for row in sorted(dead, key=lambda row: (-row.ended_at, row.id))[:limit]]

    @suffers
    async def expire(self, webhook: str, ttl_s: float) -> int:
        before = self._clock.wall() - ttl_s
        old = [row for row in self._of(webhook) if row.state != "waiting" and row.received_at < before]
        for row in old:
            del self._rows[row.webhook, row.id]
        return len(old)

    async def close(self) -> None:
        self.closed = True

    def _of(self, webhook: str) -> list[_Row]:
        return [row for row in self._rows.values() if row.webhook == webhook]

    def _held(self, event: LeasedEvent) -> _Row:
        row = self._rows.get((event.webhook, event.id))
        if row is None or (row.holder, row.epoch, row.state) != (event.holder, event.epoch, "waiting"):
            raise Fenced(f'{event.holder} does not hold event "{event.id}" any more: nothing was written.')
        return row


def _leased(row: _Row) -> LeasedEvent:
    return LeasedEvent(
        webhook=row.webhook,
        id=row.id,
        body=row.body,
        received_at=row.received_at,
        attempt=row.attempt,
        done=frozenset(row.done),
        holder=row.holder,
        epoch=row.epoch,
    )


def _dead(row: _Row) -> DeadEvent:
    return DeadEvent(
        id=row.id,
        received_at=row.received_at,
        died_at=row.ended_at,
        attempts=row.attempt,
        done=frozenset(row.done),
        error=row.error,
    )
