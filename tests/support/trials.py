"""The engine without a web framework: requests and responses of plain values, served as the middleware serves them.

    async with running(rollout, live={"orders": 0.5}) as world:
        response = await world.get(key="alice")
        await world.settled()
        (trial,) = await world.trials()

Meant for virtual time (``looptime``), in which the database's clock follows the loop's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from rollout import Branch, Compare, Reply, Rollout, Shadow
from rollout.domain.call import Call, CallData
from rollout.domain.codec import STANDARD, Codec
from rollout.domain.evidence import Block, Figures
from rollout.engine.process import Engine, Options
from rollout.engine.runtime import Runtime
from rollout.engine.trial import Trial
from rollout.ports import Backend, FlagSource, Tracing, TrialRecord
from rollout.testing import FakeFlags, FixedDice, MemoryBackend, memory_backend

JSON = (("Content-Type", "application/json; charset=utf-8"),)


class Request(CallData):
    """A request. ``skip``: why it cannot be shadowed, if anything; ``pace_s``: seconds until its body has come."""

    def __init__(self, body: bytes = b"", *, skip: str | None = None, pace_s: float = 0.0, **fields: Any) -> None:
        super().__init__(**fields)
        self.body = body
        self.skip = skip
        self.pace_s = pace_s


@dataclass
class Response:
    """A response of the pretended framework. ``streamed``: it cannot be copied."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = JSON
    streamed: bool = False

    def json(self) -> Any:
        return json.loads(self.body)


class HttpError(Exception):
    """What a handler of the pretended framework raises to answer."""

    def __init__(self, status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class PlainHost:
    """The pretended framework."""

    def source(self, native: Request) -> Request:
        return native

    def skip_reason(self, native: Request, max_body: int) -> str | None:
        return native.skip or ("too_large" if len(native.body) > max_body else None)

    def has_body(self, native: Request) -> bool:
        return bool(native.body)

    async def read_body(self, native: Request, max_body: int) -> bytes | None:
        if native.pace_s:
            await asyncio.sleep(native.pace_s)
        return native.body

    def keep(self, source: Any, *, whole: bool = True) -> None:
        pass

    def reply_of(self, response: Response) -> Reply | None:
        return None if response.streamed else Reply(response.status, response.headers, response.body)

    def reply_of_error(self, error: BaseException) -> Reply | None:
        if isinstance(error, HttpError):
            return Reply(error.status, error.headers, error.body, raised=True)
        return None

    def response_of(self, reply: Reply, control: Any | None) -> Any:
        headers = tuple(reply.headers.items_)
        if reply.raised:
            return HttpError(reply.status, reply.body, headers)
        return Response(reply.body, reply.status, headers)

    async def run_again(self, handler: Any, call: Call) -> Reply:
        try:
            made = self.reply_of(await handler(call))
        except HttpError as error:
            return Reply(error.status, error.headers, error.body, raised=True)
        assert made is not None
        return made


class LoopClock:
    """A database's clock that runs with the loop's."""

    WALL = 1_767_614_400.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.WALL + asyncio.get_running_loop().time()


def answering(value: Any, *, after_s: float = 0.0, status: int = 200) -> Callable[[Any], Awaitable[Response]]:
    """A control that answers a JSON value after some seconds."""

    async def control(_: Any) -> Response:
        if after_s:
            await asyncio.sleep(after_s)
        return Response(json.dumps(value).encode(), status)

    return control


def giving(part: Any, *, after_s: float = 0.0) -> Callable[[Call], Awaitable[Any]]:
    """A branch that returns a part, the very object, or raises it where it is an exception, after some seconds."""

    async def run(_: Call) -> Any:
        if after_s:
            await asyncio.sleep(after_s)
        if isinstance(part, BaseException):
            raise part
        return part

    return run


def rollout_of(*branches: Branch, control: Any = None, **declared: Any) -> Rollout:
    """A rollout called ``profile``, keyed by ``X-User-Id``, whose control answers what three branches ``a``, ``b``
    and ``c`` give.
    """
    return Rollout(
        "profile",
        control=control or answering({"a": 1, "b": 2, "c": 3}),
        branches=branches or (Branch("a", giving(1), part="$.a"),),
        **{"key": by_user, "shadow": Shadow(noise=0.0), "compare": Compare(), **declared},
    )


def by_user(call: Call) -> str | None:
    return call.headers.get("X-User-Id")


@dataclass
class World:
    """A rollout that runs."""

    engine: Engine
    runtime: Runtime
    backend: MemoryBackend
    flags: Any
    dice: Any
    control: Any

    def stand(self, *, shadow: bool = True, **shares: float) -> None:
        """From the next call on, branches are live for these shares; the others in shadow, or nothing at all."""
        assert self.engine.snapshot is not None
        policy = self.engine.snapshot.policies[self.runtime.name]
        states = self.engine.snapshot.states[self.runtime.name]
        moved = {
            name: replace(state, share=shares.get(name, 0.0), stage=int(name in shares), entry=1, shadow=shadow)
            for name, state in states.items()
        }
        self.runtime.decide(policy, moved)

    async def serve(self, request: Request) -> Any:
        """What the middleware does with a request."""
        runtime = self.runtime
        if not runtime.active:
            return await self.control(request)
        started = runtime.time()
        admitted = runtime.admit(request, started)
        if isinstance(admitted, Trial):
            return await admitted.serve(self.control)
        assert admitted is not None
        try:
            response = await self.control(request)
        except BaseException as error:
            runtime.count_error(admitted, started, error)
            raise
        runtime.count(admitted, started, response)
        return response

    async def get(self, key: str | None = "alice", **fields: Any) -> Any:
        """The response to a GET of a user. Raises what the user's connection would get."""
        headers = {**({} if key is None else {"X-User-Id": key}), **fields.pop("headers", {})}
        return await self.serve(Request(headers=headers, path="/profile/7", route="/profile/{id}", **fields))

    async def settled(self) -> None:
        """Every shadow has ended. (A step of virtual time is no waiting.)"""
        while len(self.runtime.lane) or self.runtime.lane.running:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def trials(self) -> list[TrialRecord]:
        """What was recorded so far, oldest first."""
        await self.settled()
        assert self.engine.recorder is not None
        assert await self.engine.recorder.write_all()
        return (await self.backend.ledger.trials(self.runtime.name, limit=10_000))[::-1]

    def sealed(self) -> dict[tuple[str, str], Figures]:
        """Everything counted, sealed now: figures by unit and arm (``("", "*")``: the rollout)."""
        blocks, _ = self.runtime.tally.seal(everything=True)
        return added_up(blocks)

    @property
    def funnel(self) -> Figures:
        """The totals of the rollout so far."""
        return self.runtime.figures()

    @property
    def held(self) -> int:
        """Slots of bulkheads that are taken."""
        return sum(station.inflight for station in self.runtime.stations())


def added_up(blocks: Sequence[Block]) -> dict[tuple[str, str], Figures]:
    """Figures by unit and arm."""
    found: dict[tuple[str, str], Figures] = {}
    for block in blocks:
        found.setdefault((block.key.unit, block.key.arm), Figures()).merge(block.figures)
    return found


@asynccontextmanager
async def running(
    rollout: Rollout,
    *,
    live: Mapping[str, float] | None = None,
    shadow: bool = True,
    flags: FlagSource | None = None,
    dice: Callable[[], float] | None = None,
    codec: Codec = STANDARD,
    process: str = "p1",
    backend: MemoryBackend | None = None,
    host: Any = None,
    tracing: Tracing | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A rollout in an engine on a database in memory, without a controller. Everything must be let go of at the end."""
    memory = backend or memory_backend(LoopClock())
    memory.state._secret = b"of every test alike" * 2  # type: ignore[attr-defined]  # so that hashes can be compared
    flags = flags or FakeFlags()
    dice = dice or FixedDice(seed=7)

    async def open_backend(_: str) -> Backend:
        return memory

    engine = Engine(
        [rollout],
        host=host or PlainHost(),
        open_backend=open_backend,
        flags=flags,
        dice=dice,
        codec=codec,
        tracing=tracing,
        options=Options(process=process, **{"record_every_s": 3600.0, **options}),
    )
    await engine.start()
    world = World(engine, engine.runtimes[rollout.name], memory, flags, dice, rollout.control)
    if live is not None or not shadow:
        world.stand(shadow=shadow, **(live or {}))
    before = asyncio.all_tasks()
    try:
        yield world
    finally:
        await engine.stop()
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left, f"left running: {left}"


async def nothing_left(world: World) -> None:
    """No slot, no timer, no waiting trial is left of the calls so far, once their shadows have ended."""
    await world.settled()
    assert world.held == 0
    assert world.engine._timers is not None
    assert {timeout: len(lane) for timeout, lane in world.engine._timers._lanes.items() if len(lane)} == {}
    assert (len(world.runtime.lane), world.runtime.lane.running, world.runtime.lane.bytes) == (0, 0, 0)
