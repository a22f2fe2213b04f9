"""A fleet in virtual time: some processes, one database, people, and a truth that none of them knows.

``Fleet(seed, place)`` draws everything from its seed; ``await live()`` is one history: ``FAULTY_S`` seconds in which
things go wrong, then ``QUIET_S`` seconds in which nothing does and the fleet must find its feet. What broke is in
``chronicle.broken``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from rollout import gates
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, Decision, Mode, Policy, Snapshot
from rollout.errors import DatabaseError, RolloutError
from rollout.ports import Backend
from rollout.testing import memory_backend, sample_policy
from tests.fleet import people
from tests.fleet.chronicle import Chronicle, Laws
from tests.fleet.clocks import DatabaseClock, ProcessClock
from tests.fleet.faults import BAD, FAULTS, HEALTHY, Fault
from tests.fleet.invariants import LAWS, LONG_S
from tests.fleet.process import Doom, Process, Traffic, World
from tests.fleet.timeline import Timeline, until
from tests.fleet.wire import Outage, Wire

ROLLOUT: Final = "profile"
FAULTY_S: Final = 166.0
QUIET_S: Final = 36.0
_WELL_S: Final = 3.0  # after a fault, until everything is asked of the fleet again
_MANY: Final = 0.3  # share of live calls from which on a bad branch is found as quickly as the invariant asks

RAMPS: Final = ("shadow 25% 50% 100%", "shadow 50% 100%", "shadow 20% 60% 100%")
_ORDERS: Final = (BranchPolicy(name="orders", unit="orders", salt="orders"),)
GRAPHS: Final = (
    _ORDERS,
    _ORDERS,
    (
        BranchPolicy(name="tickets", unit="tickets", salt="tickets"),
        BranchPolicy(name="summary", unit="summary", salt="summary", after=("tickets",)),
    ),
    (BranchPolicy(name="a", unit="a+b", salt="a+b"), BranchPolicy(name="b", unit="a+b", salt="a+b")),
)

#: The gates of a history: some that judge, and one that only counts what was folded (see ``invariants.folded_in``).
GATES: Final = (
    (
        gates.fallbacks(mode="threshold", at_most=0.2, window=8, minimum=10),
        gates.errors(mode="threshold", worse_by=0.95, window=LONG_S, minimum=1),
    ),
    (gates.errors(), gates.fallbacks(mode="threshold", at_most=0.99, window=LONG_S, minimum=1)),
    (gates.fallbacks(at_most=0.3), gates.errors(mode="threshold", worse_by=0.95, window=LONG_S, minimum=1)),
)


Open = Callable[[DatabaseClock], Awaitable[Backend]]


async def in_memory(clock: DatabaseClock) -> Backend:
    return memory_backend(clock)


class Fleet:
    """See the module."""

    def __init__(self, seed: int, open_backend: Open = in_memory, laws: Laws = LAWS) -> None:
        self.seed = seed
        self._open = open_backend
        self.dice = dice = Random(seed)
        timeline = Timeline()
        self.clock = DatabaseClock(timeline)
        self.chronicle = Chronicle(timeline, self.clock, laws)
        self.graph = dice.choice(GRAPHS)
        self.declared = self._declared()
        self.units = list(self.declared.units())
        self.timeline = timeline
        self.outage = Outage()
        self.bad = dict.fromkeys(self.units, HEALTHY)
        self.traffic = Traffic(dice.uniform(2.5, 4.0))
        self.processes: list[Process] = []
        self.suffering: list[str] = []
        self.well_since = 0.0
        self.quiet = False
        self.suffered: list[str] = []
        self.exposed: dict[str, tuple[tuple[int, int], float]] = {}  # unit → ((version, entry), seconds bad and live)
        self._begun = 0

    def _declared(self) -> Policy:
        dice = self.dice
        keyed = dice.random() < 0.3
        return sample_policy(
            ROLLOUT,
            branches=self.graph,
            ramp=Ramp.parse(dice.choice(RAMPS), soak=dice.uniform(4.0, 15.0), harm=0.25),
            gates=dice.choice(GATES),
            settle_s=0.5,
            sticky=keyed,
            keyed=keyed,
            revision="1",
        )

    # One history

    async def live(self) -> None:
        """From the first start to the end of the quiet time, or until something breaks."""
        timeline, dice = self.timeline, self.dice
        backend = await self._open(self.clock)
        self.world = World(timeline, backend, self.chronicle, self.outage, dice, self.bad, self.traffic)
        self.ann = Wire(people.ANN, backend, timeline, self.chronicle, self.outage, dice)
        self.processes = [self._process(slot) for slot in range(dice.choice((3, 3, 3, 4)))]
        timeline.spawn("watches", self._watch())
        timeline.spawn("is on call", self._be_on_call())
        for _ in range(dice.randint(7, 14)):
            timeline.spawn("fault", self._suffer(dice.choice(FAULTS)), dice.uniform(8.0, FAULTY_S - 20.0))
        await timeline.run(FAULTY_S, self.chronicle.broken)
        timeline.spawn("heals", self._heal())
        await timeline.run(FAULTY_S + QUIET_S, self.chronicle.broken)
        if not self.chronicle.broken:
            self.chronicle.hold("ended", await Ending.of(self))
        timeline.close()
        await backend.close()

    async def _suffer(self, fault: Fault) -> None:
        slot, lasts = self.dice.randrange(len(self.processes)), self.dice.uniform(2.0, 25.0)
        lasts = self.left(lasts)
        self.suffered.append(fault.__name__)
        self.suffering.append(fault.__name__)
        self.chronicle.say(f"fault: {fault.__name__} (slot {slot}, {lasts:.1f} s)")
        await fault(self, slot, lasts)
        self.suffering.remove(fault.__name__)
        self.well_since = self.timeline.now

    async def _be_on_call(self) -> None:
        """Somebody sees to it that the ramp goes on: whatever stands still begins again sooner or later."""
        while not self.quiet:
            await self.wait(self.dice.uniform(5.0, 20.0))
            branch = self.dice.choice(self.graph).name
            state = self.chronicle.states.get(branch)
            if state is not None and state.mode is not Mode.active:
                await self.steer(people.reset if state.mode is Mode.completed else people.resume, branch)

    async def _watch(self) -> None:
        while True:
            await self.wait(1.0)
            for unit in self.units:
                self._expose(unit)
            self.chronicle.hold("second", self)

    def _expose(self, unit: str) -> None:
        """Count the seconds for which a unit is bad and live and everything is there to find it. Where few calls are
        live, it takes as much longer to see as many.
        """
        state = next(state for name, state in self.chronicle.states.items() if self.unit_of(name) == unit)
        stage = (self.chronicle.policies[-1].version, state.entry)
        harmful = self.bad[unit] > HEALTHY and state.live and self.well and self.chronicle.closed_at is None
        known, seconds = self.exposed.get(unit, (stage, 0.0))
        self.exposed[unit] = (stage, seconds + min(1.0, state.share / _MANY) if harmful and stage == known else 0.0)

    async def _heal(self) -> None:
        """Nothing is wrong any more; and the truth of the quiet time is drawn."""
        self.quiet = True
        self.chronicle.say("quiet")
        for slot, process in enumerate(self.processes):
            if process.over:
                self.begin(slot)
        for unit in self.units:
            self.turn(unit, self.dice.choice((HEALTHY, HEALTHY, BAD)))
        backend = self.ann.as_backend()
        await people.attempt(people.open_flag, backend, ROLLOUT, "", self.dice)
        await self.apply(self.declared.ramp)
        self.well_since = self.timeline.now

    # What faults do

    def left(self, seconds: float) -> float:
        """So many seconds, or fewer where things would still be wrong in the quiet time."""
        return min(seconds, FAULTY_S - 2.0 - self.timeline.now)

    async def wait(self, seconds: float) -> None:
        await until(self.timeline.now + max(0.0, seconds))

    @property
    def harmed(self) -> bool:
        """Whether a branch is bad now."""
        return max(self.bad.values()) > HEALTHY

    @property
    def well(self) -> bool:
        """Whether nothing has been wrong for a while."""
        return not self.suffering and self.timeline.now >= self.well_since + _WELL_S

    def turn(self, unit: str, bad: float) -> None:
        """The truth of a unit changes."""
        if bad != self.bad[unit]:
            self.bad[unit] = bad
            self.chronicle.say(f"{unit} {'turns bad' if bad > HEALTHY else 'is good again'}")

    def unit_of(self, branch: str) -> str:
        return next(one.unit for one in self.graph if one.name == branch)

    def begin(self, slot: int) -> None:
        """A new process in the place of another."""
        self.processes[slot].kill()
        self.processes[slot] = self._process(slot)

    def _process(self, slot: int) -> Process:
        dice = self.dice
        self._begun += 1
        who = f"p{slot}.{self._begun}"
        holder = dice.choice((f"p{slot}", who))  # with the same name, as in a container, or with its own
        clock = ProcessClock(self.timeline, dice.uniform(-3600.0, 3600.0), dice.uniform(-2e-4, 2e-4))
        self.chronicle.say(f"{who} begins as {holder}")
        process = Process(who, holder, self.declared, clock, self.world)
        self.chronicle.listeners.append(process.notify)
        return process

    def leading(self, otherwise: int) -> int:
        """The slot that leads; another where nobody does."""
        lease = self.chronicle.lease
        holders = [process.holder for process in self.processes]
        return holders.index(lease.holder) if lease and lease.holder in holders else otherwise

    async def in_a_tick(self, process: Process, happen: Callable[[], None]) -> bool:
        """Have something happen at some step of a tick, or when a decision is sent; whether it did, in time."""
        steps = self.dice.choice((0, self.dice.randint(1, 24)))
        process.doom = doom = Doom(steps, happen)
        for _ in range(30):
            await self.wait(0.5)
            if process.doom is not doom or process.over or self.timeline.now > FAULTY_S - 8.0:
                break
        process.doom = None
        return doom.happened

    async def haunted(self, write: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """A write arrives whose sender is dead."""
        with suppress(RolloutError):
            await write()
            self.chronicle.say("a write of the dead arrived")

    async def steer(self, act: people.Act, branch: str) -> None:
        came = await people.attempt(act, self.ann.as_backend(), ROLLOUT, branch, self.dice)
        self.chronicle.say(f"ann: {act.__name__} {branch}: {came}")

    async def apply(self, ramp: Ramp) -> None:
        with suppress(DatabaseError):
            await self.ann.apply(ROLLOUT, {"ramp": ramp.to_dict()}, "spec rollout.toml", people.ANN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the database holds at the end. ``decisions``: the oldest first."""

    fleet: Fleet
    decisions: list[Decision]
    snapshot: Snapshot
    late: int

    @classmethod
    async def of(cls, fleet: Fleet) -> Ending:
        backend = fleet.world.backend
        decisions = await backend.state.decisions(limit=100_000)
        return cls(
            fleet=fleet,
            decisions=decisions[::-1],
            snapshot=await backend.state.load(),
            late=await backend.ledger.late(ROLLOUT),
        )
