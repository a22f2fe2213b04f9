"""A signed webhook as the originator of a fan-out: verified, stored, acknowledged at once, and delivered after.

The answer is 202 once the event is in the inbox's database and not before; 200 for one that came before (a replay, or
a sender that did not hear the first answer), which is not run again; 503 with Retry-After where it cannot be stored or
verified now, so that the sender tries again; and 401, 413 or 400, without a word, for anything else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import ClientError, hdrs, web

from rollout.domain.inbox import Stored, is_short_text, payload_of
from rollout.domain.paths import MISSING, Path
from rollout.engine.inbox import COUNTED, Deliver, InboxOptions, InboxWorker
from rollout.engine.timers import clock_of
from rollout.errors import DatabaseError, DeclarationError, SchemaError
from rollout.ports import Inbox, InboxEvent
from rollout_webhook.declared import Declared
from rollout_webhook.refusals import Refusals
from rollout_webhook.streams import read_at_most
from rollout_webhook.verifying import REASONS, KeysMissing, Refusal, Verified, Verifier

RETRY_AFTER_S: Final = 10  # what a sender is asked to wait
_READ_S: Final = 10.0  # what a body may take to arrive
_STORE_S: Final = 10.0  # what storing it may take
_OPEN_AGAIN_S: Final = 1.0  # between two tries to open the inbox

#: What a webhook counts: requests by their end, then what its worker counts.
COUNTS: Final = (
    *("stored", "known", "full", "away", "keys_missing"),
    *(f"refused:{reason}" for reason in REASONS),
    *COUNTED,
)

log = logging.getLogger("rollout.webhook")


def webhook(
    app: web.Application,
    path: str,
    name: str,
    *,
    verify: Verifier,
    deliver: Deliver,
    inbox: Callable[[], Awaitable[Inbox]],
    event_id: str | None = None,
    key: str = "$.sub",
    max_body: int = 64 * 1024,
    most: int = 10_000,
    drain_s: float = 5.0,
    options: InboxOptions | None = None,
    wall: Callable[[], float] = time.time,
) -> Webhook:
    """Serve ``POST path`` as a webhook, and deliver its events while ``app`` runs. Before ``rollout_aiohttp.setup``.

    * ``name``: of the webhook; its events are stored under it. ``verify``: ``Jwks(…)`` or ``Hmac(…)``.
    * ``deliver``: an async function of an ``Event``; what it raises is tried again. At least once: it passes
      ``event.idempotency_key(step)`` on, and calls ``await event.finish(step)`` for what need not be done again.
    * ``inbox``: what opens the inbox at start, ``rollout_wiring.inbox.inbox("postgresql://…")``. Several processes may
      share one. A database that is away is tried again in the background; until then the answer is 503.
    * ``event_id``: a path into what is signed that tells events apart, such as ``"$.event_id"``: a text or an integer.
      Default: ``jti`` of a token; of an HMAC its ``id_header``, or the hash of what is signed.
    * ``key``: a path to who the event belongs to, which is ``event.key``. Default ``"$.sub"``; ``""`` if there is none.
    * ``max_body``: bytes of a body, 1 to 16 MiB. Default 64 KiB. ``most``: bodies kept at a time, of waiting and dead
      events. Default 10 000; above that the answer is 503. Together they bound what is kept.
    * ``drain_s``: what a shutdown waits for deliveries under way. Default 5 seconds; then they are cut and given back.
    * ``options``: ``InboxOptions``. ``wall``: the clock for signatures, epoch seconds.

    A body is kept, as it was signed and in clear, until its event is done; then it is emptied. The dead keep theirs
    until they expire. Ids stay for ``options.ttl_s``.

    Raises ``DeclarationError`` with every mistake.
    """
    declared = Declared(
        path=path,
        name=name,
        verify=verify,
        deliver=deliver,
        inbox=inbox,
        event_id=event_id,
        key=key,
        max_body=max_body,
        most=most,
        drain_s=drain_s,
        options=options or InboxOptions(),
        wall=wall,
    )
    if problems := list(declared.problems()):
        raise DeclarationError(problems)
    made = Webhook(declared)
    app.router.add_post(path, made.receive)
    app.cleanup_ctx.append(made.live)
    return made


class Webhook:
    """A webhook of a running application. ``counts``: since the start, by the words of ``COUNTS``. ``inbox``: to look
    at and revive what is dead; None until it is open.
    """

    def __init__(self, declared: Declared) -> None:
        self.name = declared.name
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.inbox: Inbox | None = None
        self._declared = declared
        self._worker: InboxWorker | None = None
        self._id_path = None if declared.event_id is None else Path.parse(declared.event_id)
        self._key_path = Path.parse(declared.key)
        self._refusals: Refusals | None = None

    # ---- one request

    async def receive(self, request: web.Request) -> web.Response:
        """The handler."""
        try:
            body = await self._read(request)
            verified = await self._declared.verify.verify(request.headers, body, self._declared.wall())
            event = self._event(verified)
        except Refusal as refusal:
            return self._refused(refusal.reason)
        except KeysMissing:
            return self._later("keys_missing")
        return await self._store(event)

    async def _read(self, request: web.Request) -> bytes:
        most = self._declared.max_body
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise Refusal("broken")  # what is signed is what was sent, and a small body may unpack to a large one
        if (request.content_length or 0) > most:
            raise Refusal("size")
        try:
            async with asyncio.timeout(_READ_S):
                body = await read_at_most(request.content, most)
        except (TimeoutError, ClientError, web.RequestPayloadError) as error:
            raise Refusal("broken") from error
        if body is None:
            raise Refusal("size")
        return body

    def _event(self, verified: Verified) -> InboxEvent:
        try:
            payload = payload_of(verified.body)
        except ValueError as error:
            raise Refusal("payload") from error
        event_id = verified.id if self._id_path is None else _text_at(self._id_path, payload)
        if event_id is None or not is_short_text(event_id):
            raise Refusal("id")
        return InboxEvent(webhook=self.name, id=event_id, body=verified.body)

    async def _store(self, event: InboxEvent) -> web.Response:
        if self.inbox is None:
            return self._later("away")
        try:
            async with asyncio.timeout(_STORE_S):
                stored = await self.inbox.put(event, self._declared.most)
        except (DatabaseError, TimeoutError) as error:
            log.error("webhook %s cannot store an event: %s", self.name, error, extra={"event": "inbox_away"})
            return self._later("away")
        if stored is Stored.full:
            return self._later("full")
        self.counts["stored" if stored is Stored.new else "known"] += 1
        if stored is Stored.new and self._worker is not None:
            self._worker.wake()
        return web.Response(status=202 if stored is Stored.new else 200)

    def _refused(self, reason: str) -> web.Response:
        if self._refusals is None:
            self._refusals = Refusals(self.name, self.counts, clock_of(asyncio.get_running_loop()))
        self._refusals.note(reason)
        return web.Response(status=REASONS[reason])

    def _later(self, why: str) -> web.Response:
        self.counts[why] += 1
        return web.Response(status=503, headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_S)})

    # ---- as long as the application runs

    async def live(self, _: web.Application) -> AsyncIterator[None]:
        """The cleanup context: opens the inbox, delivers, and stops in order."""
        opening = asyncio.create_task(self._begin_later()) if not await self._begun() else None
        yield
        if opening is not None:
            opening.cancel()
            await asyncio.wait({opening})
        if self._worker is not None:
            await self._worker.stop(self._declared.drain_s)
        await self._declared.verify.close()
        if self.inbox is not None:
            await self.inbox.close()

    async def _begun(self) -> bool:
        """Whether the inbox could be opened. ``SchemaError`` is raised: waiting does not make a schema newer."""
        try:
            await self._begin()
        except SchemaError:
            raise
        except DatabaseError as error:
            words = "webhook %s waits for the database and answers 503: %s"
            log.error(words, self.name, error, extra={"event": "inbox_missing"})
            return False
        return True

    async def _begin_later(self) -> None:
        while self.inbox is None:
            await asyncio.sleep(_OPEN_AGAIN_S)
            try:
                await self._begin()
            except SchemaError as error:  # it may be upgraded while we run
                log.error("webhook %s answers 503: %s", self.name, error, extra={"event": "schema_refused"})
            except DatabaseError as error:
                log.debug("the database is still missing: %s", error)
            except Exception:
                log.exception("webhook %s could not begin; tried again", self.name, extra={"event": "inbox_failed"})

    async def _begin(self) -> None:
        self.inbox = await self._declared.inbox()
        self._worker = InboxWorker(
            self.inbox,
            self.name,
            self._declared.deliver,
            holder=f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}",
            options=self._declared.options,
            key=self._key_of,
            counts=self.counts,
        )
        self._worker.start()

    def _key_of(self, payload: Mapping[str, Any]) -> str:
        return _text_at(self._key_path, payload) or ""


def _text_at(path: Path, payload: Mapping[str, Any]) -> str | None:
    """The text or integer at a path; None for anything else."""
    value = path.get(payload, MISSING)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
