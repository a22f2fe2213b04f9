"""A breaker at work in the engine: who gets through, and which ends count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout import Branch, Breaker, Call, FanOut, FanOutFailed, Hedge, Retry
from rollout.domain.breaker import Circuit, State
from tests.support.trials import giving, rollout_of, running

pytestmark = pytest.mark.looptime

CALLS = 10_000


class Service:
    """What a branch asks: it fails while it is ``down``. ``asked``: how often."""

    def __init__(self, *, down: bool = True, takes_s: float = 0.1) -> None:
        self.down = down
        self.takes_s = takes_s
        self.asked = 0

    async def __call__(self, call: Call) -> Any:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        if self.down:
            raise ConnectionError
        return 1


def fan_out_of(service: Any, **declared: Any) -> FanOut:
    breaker = Breaker(minimum=1, window=10, open_s=30.0, probes=5)
    return FanOut("one", [Branch("a", service, **{"breaker": breaker, "max_concurrency": CALLS, **declared})])


def circuit_of(fan_out: FanOut) -> Circuit:
    circuit = fan_out._of_loop().live["a"].circuit
    assert circuit is not None
    return circuit


async def outcome(fan_out: FanOut) -> str:
    """How the branch ended in one call."""
    try:
        return (await fan_out.run()).runs["a"].outcome
    except FanOutFailed as failure:
        return str(failure.runs["a"].outcome)


async def outcomes(fan_out: FanOut, count: int) -> dict[str, int]:
    found = await asyncio.gather(*(outcome(fan_out) for _ in range(count)))
    return {name: found.count(name) for name in sorted(set(found))}


async def opened(fan_out: FanOut) -> None:
    """Let the breaker open, and rest."""
    await outcome(fan_out)
    assert circuit_of(fan_out).state is State.open
    await asyncio.sleep(30)


async def test_an_open_breaker_asks_the_service_nothing() -> None:
    service = Service()
    fan_out = fan_out_of(service)
    assert await outcomes(fan_out, 1) == {"error": 1}
    assert await outcomes(fan_out, 100) == {"short_circuited": 100}
    assert service.asked == 1


@pytest.mark.parametrize("down", [True, False])
async def test_half_open_lets_exactly_the_probes_through_of_ten_thousand_calls_at_once(down: bool) -> None:
    service = Service()
    fan_out = fan_out_of(service)
    await opened(fan_out)
    service.asked, service.down = 0, down
    assert await outcomes(fan_out, CALLS) == {"error" if down else "ok": 5, "short_circuited": CALLS - 5}
    assert service.asked == 5
    assert circuit_of(fan_out).state is (State.open if down else State.closed)


async def test_a_probe_that_its_caller_gave_up_gives_its_permit_back() -> None:
    service = Service()
    fan_out = fan_out_of(service)
    await opened(fan_out)
    service.asked, service.down = 0, False
    probes = [asyncio.create_task(fan_out.run()) for _ in range(5)]
    await asyncio.sleep(0.01)
    for probe in probes[:2]:
        probe.cancel()
    await asyncio.sleep(0)
    assert await outcomes(fan_out, 100) == {"ok": 2, "short_circuited": 98}
    assert service.asked == 7
    await asyncio.gather(*probes, return_exceptions=True)
    assert circuit_of(fan_out).state is State.closed


async def test_late_results_of_another_generation_change_nothing() -> None:
    service = Service(down=False, takes_s=6.0)
    fan_out = fan_out_of(service, breaker=Breaker(minimum=1, open_s=5.0, probes=2))
    late = [asyncio.create_task(outcome(fan_out)) for _ in range(20)]  # would close it, if they counted
    await asyncio.sleep(0.001)
    service.takes_s, service.down = 0.0, True
    assert await outcome(fan_out) == "error"
    assert circuit_of(fan_out).state is State.open
    await asyncio.sleep(5.5)
    service.takes_s, service.down = 2.0, False
    probe = asyncio.create_task(outcome(fan_out))
    assert await asyncio.gather(*late) == ["ok"] * 20
    circuit = circuit_of(fan_out)
    assert (circuit.state, circuit.generation, circuit.stale) == (State.half_open, 3, 20)
    assert await probe == "ok"
    assert circuit_of(fan_out).state is State.half_open  # one of two


async def test_a_hard_timeout_is_a_failure_and_a_caller_that_goes_away_is_nothing() -> None:
    slow = fan_out_of(Service(takes_s=9), hard_timeout_s=0.5)
    assert await outcomes(slow, 1) == {"hard_timeout": 1}
    assert circuit_of(slow).state is State.open

    left = fan_out_of(Service(takes_s=9))
    task = asyncio.create_task(left.run())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert circuit_of(left).state is State.closed


async def test_a_run_that_was_softened_is_slow() -> None:
    late = Branch("a", giving(1, after_s=9), required=False, soft_timeout_s=0.1, breaker=Breaker(minimum=1))
    fan_out = FanOut("late", [late, Branch("b", giving(2))])
    assert (await fan_out.run()).value == {"b": 2}
    assert circuit_of(fan_out).state is State.open


async def test_a_breaker_that_only_observes_refuses_nothing_and_counts() -> None:
    service = Service()
    fan_out = fan_out_of(service, breaker=Breaker(minimum=1, observe=True))
    assert await outcomes(fan_out, 1) == {"error": 1}
    assert await outcomes(fan_out, 100) == {"error": 100}
    assert circuit_of(fan_out).would_refuse == 100


@pytest.mark.parametrize("guard", [{"retry": Retry(attempts=3)}, {"hedge": Hedge(after_s=0.01)}], ids=str)
async def test_a_probe_is_one_attempt_neither_tried_again_nor_hedged(guard: dict[str, Any]) -> None:
    service = Service()
    fan_out = fan_out_of(service, **guard)
    await outcome(fan_out)
    service.asked = 0
    await asyncio.sleep(30)
    assert (await outcomes(fan_out, 100))["short_circuited"] == 95
    assert service.asked == 5


async def test_nothing_is_tried_again_where_the_breaker_has_opened_meanwhile() -> None:
    service = Service()
    fan_out = fan_out_of(service, retry=Retry(attempts=3), breaker=Breaker(minimum=3, window=3, open_s=30.0))
    assert await outcomes(fan_out, 3) == {"error": 3}
    assert circuit_of(fan_out).state is State.open
    before = service.asked
    assert await outcomes(fan_out, 5) == {"short_circuited": 5}
    assert service.asked == before <= 9


async def test_shadow_trips_a_breaker_of_its_own() -> None:
    down = [True]

    async def run(call: Call) -> Any:
        if call.is_shadow and down[0]:
            raise ConnectionError
        return 9

    branch = Branch("a", run, part="$.a", breaker=Breaker(minimum=1))
    async with running(rollout_of(branch)) as world:
        for _ in range(3):
            await world.get()
            await world.settled()
        shadow, live = world.runtime.shadow_stations["a"].circuit, world.runtime.live_stations["a"].circuit
        assert shadow is not None
        assert live is not None
        assert (shadow.state, shadow.refused) == (State.open, 2)
        world.stand(a=1.0, shadow=False)
        assert (await world.get()).json()["a"] == 9
        assert (live.state, live.refused) == (State.closed, 0)
