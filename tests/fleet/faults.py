"""What goes wrong in a history. Each fault happens to the process of one slot, or to all, lasts, and is healed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.fleet import people

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

Fault = Callable[["Fleet", int, float], Coroutine[Any, Any, None]]
HEALTHY, BAD = 0.02, 0.7  # shares of calls in which the candidate fails


# The network and the database


async def slow(fleet: Fleet, slot: int, lasts: float) -> None:
    """Every trip to the database takes up to seconds."""
    wire = fleet.processes[fleet.leading(slot)].wire
    wire.slow_s = fleet.dice.uniform(0.2, 2.0)
    await fleet.wait(lasts)
    wire.heal()


async def lossy(fleet: Fleet, slot: int, lasts: float) -> None:
    """Calls fail, half of the writes after they happened."""
    wire = fleet.processes[slot].wire
    wire.loses = fleet.dice.uniform(0.2, 0.6)
    await fleet.wait(lasts)
    wire.heal()


async def cut_off(fleet: Fleet, slot: int, lasts: float) -> None:
    """One process does not reach the database."""
    wire = fleet.processes[slot].wire
    wire.down = True
    await fleet.wait(lasts)
    wire.heal()


async def outage(fleet: Fleet, _: int, lasts: float) -> None:
    """Nobody reaches the database."""
    fleet.outage.on = True
    await fleet.wait(lasts)
    fleet.outage.on = False


async def deaf(fleet: Fleet, slot: int, lasts: float) -> None:
    """One process hears of no change."""
    process = fleet.processes[slot]
    process.deaf = True
    await fleet.wait(lasts)
    process.deaf = False


# Clocks


async def clock_set(fleet: Fleet, slot: int, _: float) -> None:
    """Somebody sets the wall clock of one process."""
    fleet.processes[slot].clock.step(fleet.dice.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0)))


async def database_clock_set(fleet: Fleet, _: int, lasts: float) -> None:
    """Somebody sets the database's clock."""
    seconds = fleet.dice.choice((-5.0, -1.0, 1.0, 5.0))
    fleet.clock.step(seconds)
    fleet.chronicle.say(f"the database's clock is set by {seconds:g} s")
    await fleet.wait(min(lasts, 12.0))  # that is how long processes may take to learn of it


# The life of processes


async def restarted(fleet: Fleet, slot: int, lasts: float) -> None:
    """A process ends, in good order or not, and another takes its place."""
    if fleet.dice.random() < 0.5:
        await fleet.processes[slot].stop()
    else:
        fleet.processes[slot].kill()
    await fleet.wait(min(lasts, 3.0))
    fleet.begin(slot)


async def killed_in_a_tick(fleet: Fleet, slot: int, lasts: float) -> None:
    """The one that leads is killed while it decides. What it sent last may still arrive."""
    slot = fleet.leading(slot)
    process = fleet.processes[slot]

    def kill() -> None:
        process.kill()
        for write in process.wire.flying.values():
            if fleet.dice.random() < 0.5:
                fleet.timeline.spawn("a write of the dead", fleet.haunted(write), 3 * fleet.dice.random())

    if await fleet.in_a_tick(process, kill):
        await fleet.wait(min(lasts, 3.0))
        fleet.begin(slot)


async def cancelled_in_a_tick(fleet: Fleet, slot: int, _: float) -> None:
    """The controller that leads is cancelled while it decides."""
    process = fleet.processes[fleet.leading(slot)]
    await fleet.in_a_tick(process, process.cancel_tick)


async def frozen(fleet: Fleet, slot: int, lasts: float) -> None:
    """The one that leads stands still while it decides, for longer than its lease lasts maybe, and goes on."""
    process = fleet.processes[fleet.leading(slot)]
    if await fleet.in_a_tick(process, lambda: process.freeze(fleet.left(lasts))):
        await fleet.wait(fleet.left(lasts))


async def deployed(fleet: Fleet, slot: int, lasts: float) -> None:
    """New code, one process after the other."""
    fleet.declared = replace(fleet.declared, revision=f"{fleet.declared.revision}+")
    for one in range(len(fleet.processes)):
        await fleet.processes[one].stop()
        fleet.begin(one)
        await fleet.wait(min(lasts / 4, 2.0))


# People, and the truth


async def steered(fleet: Fleet, _: int, lasts: float) -> None:
    """Somebody moves a branch by hand, or several times."""
    for _ in range(fleet.dice.choice((1, 1, 2, 3))):
        await fleet.steer(fleet.dice.choice(people.ACTS), fleet.dice.choice(fleet.graph).name)
        await fleet.wait(min(lasts / 3, 2.0) * fleet.dice.random())


async def raced(fleet: Fleet, slot: int, lasts: float) -> None:
    """Somebody keeps moving a branch while the one that leads, slowly, decides on it; it may have turned bad."""
    wire = fleet.processes[fleet.leading(slot)].wire
    wire.slow_s = fleet.dice.uniform(0.1, 0.6)
    branch = fleet.dice.choice(fleet.graph)
    if fleet.dice.random() < 0.7:
        fleet.turn(branch.unit, BAD)
    end = fleet.timeline.now + lasts
    while fleet.timeline.now < end:
        await fleet.steer(fleet.dice.choice(people.STEPS), branch.name)
        await fleet.wait(0.7 * fleet.dice.random())
    fleet.turn(branch.unit, HEALTHY)
    wire.heal()


async def policy_applied(fleet: Fleet, _: int, __: float) -> None:
    """Somebody applies a spec: another soak, a freeze, an approval, or a ramp that is moved by hand."""
    dice, ramp = fleet.dice, fleet.declared.ramp
    begin = fleet.clock.wall() + dice.uniform(-2.0, 2.0)
    window = " - ".join(
        datetime.fromtimestamp(round(at), UTC).isoformat() for at in (begin, begin + dice.uniform(10.0, 30.0))
    )
    changed = dice.choice(
        (
            replace(ramp, soak_s=dice.uniform(2.0, 20.0)),
            replace(ramp, freeze=(window,)),
            replace(ramp, freeze=(window,)),
            replace(ramp, approve=ramp.stages[1:2]),
            replace(ramp, auto=False),
            ramp,
        )
    )
    await fleet.apply(changed)


async def flag_closed(fleet: Fleet, _: int, lasts: float) -> None:
    """Somebody keeps everybody away for a while."""
    await fleet.steer(people.close_flag, "")
    await fleet.wait(lasts)
    await fleet.steer(people.open_flag, "")


async def turns_bad(fleet: Fleet, _: int, lasts: float) -> None:
    """A branch fails, until it is mended."""
    unit = fleet.dice.choice(fleet.units)
    fleet.turn(unit, BAD)
    await fleet.wait(lasts)
    fleet.turn(unit, HEALTHY)


async def silence(fleet: Fleet, _: int, lasts: float) -> None:
    """Nobody calls."""
    fleet.traffic.flows = False
    await fleet.wait(lasts)
    fleet.traffic.flows = True


FAULTS: tuple[Fault, ...] = (
    slow,
    lossy,
    lossy,
    cut_off,
    outage,
    deaf,
    clock_set,
    database_clock_set,
    restarted,
    killed_in_a_tick,
    killed_in_a_tick,
    cancelled_in_a_tick,
    frozen,
    frozen,
    deployed,
    steered,
    raced,
    raced,
    policy_applied,
    policy_applied,
    flag_closed,
    turns_bad,
    turns_bad,
    silence,
)
