"""One process of the fleet: it counts its calls, writes what it counted, hears what was decided, and may decide."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final, cast

from rollout.domain.flags import Ceiling
from rollout.domain.state import Decision, Policy, Snapshot
from rollout.engine.controller import Controller
from rollout.engine.recorder import Recorder
from rollout.errors import DatabaseError
from rollout.ports import Backend
from tests.fleet.chronicle import Chronicle
from tests.fleet.clocks import ProcessClock
from tests.fleet.counting import Counting, Standing
from tests.fleet.timeline import Strand, Timeline, until
from tests.fleet.wire import Outage, Wire

_RECORD_S: Final = 0.05  # from the settle time of a second until it is written
_AGAIN_S: Final = 0.25
_HEAR_S: Final = 0.5  # from a decision, at most
_CLOCK_S: Final = 10.0
_CALLS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class World:
    """What all processes share."""

    timeline: Timeline
    backend: Backend
    chronicle: Chronicle
    outage: Outage
    dice: Random
    bad: dict[str, float]  # unit → share of calls in which its candidate fails, truly
    traffic: Traffic


@dataclass(slots=True)
class Traffic:
    """``calls_s``: the mean of each process, a second, while it ``flows``."""

    calls_s: float
    flows: bool = True


@dataclass(slots=True)
class Doom:
    """What is to happen to a process while it decides: after so many steps, or (0 steps) when it sends a decision."""

    steps: int
    happen: Callable[[], None]
    happened: bool = False

    def is_due(self, wire: Wire) -> bool:
        if self.steps == 0:
            return "transition" in wire.flying
        self.steps -= 1
        return self.steps == 0


class Process:
    """See the module. ``who``: of this process alone; ``holder``: its name as a leader, which the next may share.

    ``deaf``: hears of no change. ``doom``: what is to happen in a tick of its controller, and when.
    """

    def __init__(self, who: str, holder: str, declared: Policy, clock: ProcessClock, world: World) -> None:
        self.who = who
        self.holder = holder
        self.clock = clock
        self.declared = declared
        self.deaf = False
        self.over = False
        self.in_tick = False
        self.doom: Doom | None = None
        self.wire = Wire(who, world.backend, world.timeline, world.chronicle, world.outage, world.dice)
        self.counting = Counting(who, clock, world.dice)
        self.standing: Standing | None = None
        self.heard = -1  # how many changes there were when it asked last
        self.controller: Controller | None = None
        self.recorder: Recorder | None = None
        self.strands: list[Strand] = []
        self.ticking: Strand | None = None
        self._world = world
        self._revision = -1
        self._controllers = 0
        self._hearing = False
        self._frozen_until = 0.0
        self._began_tick = 0.0
        self._spawn("begins", self._begin(), world.dice.random())

    # Its strands

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, object], after_s: float) -> Strand:
        strand = self._world.timeline.spawn(f"{self.who} {name}", coroutine, after_s)
        strand.held_until = self._frozen_until
        self.strands.append(strand)
        return strand

    def _wait(self, seconds: float) -> Awaitable[None]:
        return until(self._world.timeline.now + seconds)

    async def _begin(self) -> None:
        """As a process of the product begins: register, load; again until the database is there."""
        stores: Any = self.wire
        while self.standing is None:
            try:
                await stores.register(self.declared, self.who)
                changes = self._world.chronicle.changes
                self.hear(await stores.load())
                self.heard = changes
            except DatabaseError:
                await self._wait(2.0)
        self.notify()  # of what was decided meanwhile
        self.recorder = Recorder(stores, process=self.who, seal=self.counting.seal)
        for name, work in (
            ("serves", self._serve()),
            ("keeps time", self._keep_time()),
            ("records", self._record()),
        ):
            self._spawn(name, work, self._world.dice.random())
        self.control()

    def control(self) -> None:
        """Begin to tick, with a controller that knows nothing yet."""
        stores: Any = self.wire
        self.in_tick = False
        self._controllers += 1
        teller = _Notifier(f"{self.who}/{self._controllers}", self._world.chronicle)
        self.controller = Controller(
            stores, stores, self.clock, self.holder, notifier=teller, sleep=self._between_ticks
        )
        self.ticking = self._spawn("ticks", self.controller.run(), self._world.dice.random())
        self.ticking.before = self._fate

    async def _between_ticks(self, seconds: float) -> None:
        self.in_tick = False
        self._world.chronicle.hold("ticked", (self, self._began_tick))
        await self._wait(seconds)
        self.in_tick, self._began_tick = True, self._world.timeline.now

    def _fate(self) -> None:
        """What was to happen at this step of a tick happens."""
        doom = self.doom
        if doom is not None and self.in_tick and doom.is_due(self.wire):
            self.doom, doom.happened = None, True
            doom.happen()

    async def _serve(self) -> None:
        random, world = self._world.dice.random, self._world
        while True:
            await self._wait(_CALLS_S)
            mean = world.traffic.calls_s * _CALLS_S
            assert self.standing is not None
            count = int(mean * 2 * random() + random())
            if count and world.traffic.flows:
                self.counting.calls(count, self.standing, [world.bad[plan.name] for plan in self.standing.plans])

    def notify(self) -> None:
        """Something was decided: it hears of that a moment later."""
        if not self.over and not self._hearing and self.standing is not None:
            self._hearing = True
            self._spawn("hears", self._hear(), _HEAR_S * self._world.dice.random())

    async def _hear(self) -> None:
        """Load until nothing is newer than what was loaded, however long that takes."""
        stores: Any = self.wire
        while self.heard < (changes := self._world.chronicle.changes):
            if not self.deaf:
                with suppress(DatabaseError):
                    self.hear(await stores.load())
                    self.heard = changes
                    continue
            await self._wait(_AGAIN_S)
        self._hearing = False

    async def _keep_time(self) -> None:
        stores: Any = self.wire
        while True:
            asked = self.clock.monotonic()
            try:
                now = await stores.now()
            except DatabaseError:
                pass
            else:
                self._tell_time(now - self.clock.monotonic(), now - asked)
            await self._wait(_CLOCK_S)

    async def _record(self) -> None:
        """Write each second soon after its settle time; where that failed, try again, ever more slowly."""
        assert self.recorder is not None
        delay = _AGAIN_S / 2
        while True:
            if await self.recorder.write_all():
                delay = _AGAIN_S / 2
                sealed = self.clock.monotonic() + self.counting.offset - self.declared.settle_s - _RECORD_S
                await self._wait(1.0 - sealed % 1.0)
            else:
                delay = min(5.0, delay * 2)
                await self._wait(delay)

    # What it knows

    def hear(self, snapshot: Snapshot) -> None:
        """Work from a snapshot from the next call on; what was counted of other code is of version 0."""
        policy = snapshot.policies.get(self.declared.rollout)
        if snapshot.revision < self._revision or policy is None:
            return
        self._revision = snapshot.revision
        self._tell_time(snapshot.now - self.clock.monotonic())
        closed = {flag.flag: flag.value for flag in snapshot.flags if flag.key is None}
        found = closed.get(policy.flag, "auto")
        ceiling: Ceiling = "off" if found == "off" else "shadow" if found == "shadow" else "auto"
        version = policy.version if policy.revision == self.declared.revision else 0
        self.standing = Standing(policy, snapshot.states[policy.rollout], [ceiling for _ in policy.units()], version)

    def _tell_time(self, least: float, most: float = float("inf")) -> None:
        self.counting.offset = min(most, max(least, self.counting.offset))

    # Its end

    def cancel_tick(self) -> None:
        """Its controller is cancelled where it stands, and another begins in its place."""
        if self.ticking is not None:
            self.ticking.cancel()
            self.control()

    def kill(self) -> None:
        """It is gone, with everything that it did not write."""
        self.over = True
        for strand in self.strands:
            strand.cut()

    async def stop(self) -> None:
        """It ends in good order: what was counted is written, the lease handed back."""
        if self.over:
            return
        self.over = True
        for strand in self.strands:
            strand.cut()
        if self.recorder is not None:
            self.recorder.blocks.extend(self.counting.seal(everything=True)[0])
            await self.recorder.write_all()
        lease, stores = self._world.chronicle.lease, cast(Any, self.wire)
        if lease is not None and lease.holder == self.holder:
            with suppress(DatabaseError):  # then it runs out by itself
                await stores.release(lease)

    def freeze(self, seconds: float) -> None:
        """Nothing of it runs for so long; then it goes on where it stood."""
        self._frozen_until = self._world.timeline.now + seconds
        for strand in self.strands:
            strand.held_until = self._frozen_until


class _Notifier:
    """Tells the chronicle, at once, which controller told it."""

    def __init__(self, who: str, chronicle: Chronicle) -> None:
        self._who = who
        self._chronicle = chronicle

    async def tell(self, decision: Decision) -> None:
        self._chronicle.tell(self._who, decision)

    def unsettled(self) -> int | None:
        return None

    def counts(self) -> Mapping[tuple[str, str], int]:
        return {}

    async def drain(self, within_s: float) -> None:
        """Nothing waits."""
