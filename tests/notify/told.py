"""What the tests of notifications share: decisions as an audit holds them, and a receiver that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from rollout.domain.gates import Finding, Grade
from rollout.domain.state import Decision, Trigger
from rollout_notify import Target, Webhook
from rollout_notify.client import NotTaken

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECRET = "a secret of sixteen bytes or more"
AT = 1_767_614_400.25
HOOK = Webhook("https://ops.example/rollouts", secret=SECRET)


def sealed(number: int = 42, **changes: Any) -> Decision:
    """A rollback as the audit holds it."""
    fields: dict[str, Any] = {
        "rollout": "profile",
        "action": "rollback",
        "actor": "host-1",
        "trigger": Trigger.controller,
        "reason": "errors: 3.1% of 400 calls failed, of control's 0.2%",
        "moves": ({"branch": "orders", "from": "25%", "to": "shadow, rolled back"},),
        "findings": (
            Finding(gate="latency p95", unit="orders", grade=Grade.passed, observed=0.11, limit=0.2, n=400, at=AT),
            Finding(
                gate="errors",
                unit="orders",
                grade=Grade.breach,
                observed=0.031,
                limit=0.01,
                baseline=0.002,
                n=400,
                why="3.1% of 400 calls failed, of control's 0.2%",
                unit_name="%",
                at=AT,
                log_e=float("inf"),
            ),
        ),
        "policy_version": 3,
        **changes,
    }
    return Decision(**fields).sealed(number=number, at=AT, previous="")


@dataclass
class Receiver:
    """Counts what comes, and answers as ``answer`` says."""

    answer: Answer
    seen: list[tuple[web.BaseRequest, bytes]] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request, await request.read()))
        return await self.answer(request)


async def taken(_: web.Request) -> web.Response:
    return web.Response(status=204)


async def hanging(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody waits for ever")


@asynccontextmanager
async def receiving(answer: Answer = taken) -> AsyncIterator[tuple[Receiver, str]]:
    """A server on loopback, and its address, with a token in it that must be shown nowhere."""
    receiver = Receiver(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.receive)
    async with TestServer(app) as server:
        yield receiver, str(server.make_url("/services/token"))


@dataclass
class Script:
    """``Posts`` that answer by a list: None takes the message, an error is raised, a number hangs for so many seconds.
    What comes after the list is taken. ``posted``: (seconds on the loop's clock, target, number).
    """

    answers: list[float | Exception | None] = field(default_factory=list)
    posted: list[tuple[float, str, int]] = field(default_factory=list)
    closed: bool = False

    async def post(self, target: Target, decision: Decision, body: bytes) -> None:
        self.posted.append((asyncio.get_running_loop().time(), target.name, decision.number))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            await asyncio.sleep(answer)

    async def close(self) -> None:
        self.closed = True

    @property
    def numbers(self) -> list[int]:
        return [number for _, _, number in self.posted]


def unavailable(**headers: str) -> NotTaken:
    return NotTaken("it answered 503", transient=True, headers=headers)


def forbidden() -> NotTaken:
    return NotTaken("it answered 403", transient=False)
