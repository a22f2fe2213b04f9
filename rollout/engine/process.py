"""All rollouts of one process: starts them on one database, hears of every change, and stops in the right order.

start   the database is opened, the declarations are registered, the views are made; then recorder, watcher, controller
stop    shadows first (no new ones, a short grace), then every second is sealed and written, then people are told what
        waits, then lease and database, each within a bound

A database that cannot be reached does not keep the application from starting: control answers every call, and the
engine tries again until the database is there. A schema of the wrong version does: that is a mistake of the deployment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from rollout.definition import Rollout
from rollout.domain.breaker import State
from rollout.domain.budget import utc_day
from rollout.domain.codec import STANDARD, Codec
from rollout.domain.durations import percent
from rollout.domain.evidence import Block, Figures, Subject
from rollout.domain.flags import NO_ANSWER
from rollout.domain.redaction import Redactor
from rollout.domain.state import Snapshot
from rollout.engine.declared import policy_of
from rollout.engine.recorder import Recorder
from rollout.engine.runs import reasons_of
from rollout.engine.runtime import Runtime
from rollout.engine.second import SPENT
from rollout.engine.shadow import LagMeter
from rollout.engine.timers import Timers, clock_of
from rollout.errors import DatabaseError, SchemaError
from rollout.ports import Backend, FlagSource, Host, MetricsSnapshot, Notifier, Tracing, TrialRecord

log = logging.getLogger("rollout")


class Leading(Protocol):
    """A controller, as the process sees it."""

    @property
    def leader(self) -> bool: ...
    @property
    def last_success_at(self) -> float | None: ...
    @property
    def transitions(self) -> Mapping[tuple[str, str, str, str], int]: ...
    @property
    def rollbacks(self) -> Mapping[tuple[str, str, str], int]: ...

    @property
    def fenced(self) -> int: ...

    def evidence(self) -> dict[tuple[str, str, str, str], float]: ...

    async def run(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a process takes part. ``drain_s``: the longest that a stop may take for shadows, and again for the
    recorder.
    """

    process: str = ""
    drain_s: float = 5.0
    grace_s: float = 0.5
    retry_s: float = 2.0
    record_every_s: float = 0.2
    clock_s: float = 10.0
    queue: int = 20_000
    queue_bytes: int = 32 * 2**20


class Engine:
    """See the module."""

    def __init__(
        self,
        rollouts: Sequence[Rollout],
        *,
        host: Host,
        open_backend: Callable[[str], Awaitable[Backend]],
        flags: FlagSource,
        controller: Callable[[Backend, str], Leading] | None = None,
        notifier: Notifier | None = None,
        tracing: Tracing | None = None,
        heard: Sequence[Callable[[Snapshot], None]] = (),
        closing: Sequence[Callable[[], None]] = (),
        routes: Mapping[str, tuple[str, ...]] | None = None,
        dice: Callable[[], float] = random.random,
        codec: Codec = STANDARD,
        options: Options = Options(),
    ) -> None:
        """``open_backend`` is given the process's name; ``notifier``: that of the controller; ``heard`` are told of
        every snapshot, ``closing`` called at the end of a stop; ``routes``: patterns by rollout; ``tracing``: who makes
        spans of calls, None: nobody.
        """
        self.rollouts = tuple(rollouts)
        self.options = options
        self.process = options.process
        self.runtimes: dict[str, Runtime] = {}
        self.snapshot: Snapshot | None = None
        self.backend: Backend | None = None
        self.recorder: Recorder | None = None
        self.controller: Leading | None = None
        self.ready = asyncio.Event()
        self._host = host
        self._open = open_backend
        self.flags = flags
        self._make_controller = controller
        self._notifier = notifier
        self._tracing = tracing
        self._heard = list(heard)
        self._closers = tuple(closing)
        self._routes = routes or {}
        self._dice = dice
        self._codec = codec
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._made_by = os.getpid()
        self._timers: Timers | None = None
        self._lag: LagMeter | None = None
        self._started: list[Callable[[dict[str, Runtime]], None]] = []

    # ---- start

    def started(self, tell: Callable[[dict[str, Runtime]], None]) -> None:
        """Have ``tell`` called with the runtimes, by rollout, as soon as the engine has begun."""
        self._started.append(tell)

    def listen(self, listener: Callable[[Snapshot], None]) -> None:
        """Have ``listener`` told of every snapshot from now on, and of the newest one at once if there is one."""
        self._heard.append(listener)
        if self.snapshot is not None:
            listener(self.snapshot)

    async def start(self) -> None:
        """Open, register, begin. Raises ``SchemaError``; an unreachable database is tried again in the background."""
        self.process = self._name()
        try:
            await self._begin()
        except SchemaError:
            raise
        except DatabaseError as error:
            log.error("rollouts wait for the database, control answers: %s", error, extra={"event": "database_missing"})
            self._spawn(self._begin_later(), "rollout-start")

    def _name(self) -> str:
        """Of this process alone, for its name is whose lease it is: workers forked after ``setup`` have one each."""
        if not self.options.process:
            return f"{socket.gethostname()}-{os.getpid()}"
        return self.options.process if os.getpid() == self._made_by else f"{self.options.process}-{os.getpid()}"

    async def _begin_later(self) -> None:
        while not self._closing:
            await asyncio.sleep(self.options.retry_s)
            try:
                await self._begin()
                return
            except SchemaError as error:  # it may be upgraded while we run
                log.error("rollouts wait, control answers: %s", error, extra={"event": "schema_refused"})
            except DatabaseError as error:
                log.debug("the database is still missing: %s", error)
            except Exception:
                log.exception("rollouts could not begin; tried again", extra={"event": "start_failed"})

    async def _begin(self) -> None:
        backend = self.backend
        if backend is None:
            backend = self.backend = await self._open(self.process)
        for rollout in self.rollouts:
            await backend.state.register(policy_of(rollout, self._routes.get(rollout.name, ())), actor=self.process)
        secret = await backend.state.secret()
        snapshot = await backend.state.load()
        loop = asyncio.get_running_loop()
        self.recorder = Recorder(
            backend.ledger,
            process=self.process,
            most=self.options.queue,
            max_bytes=self.options.queue_bytes,
            every_s=self.options.record_every_s,
            seal=self._seal,
            wrote=self._wrote,
            dropped=self._dropped,
            expand=self._expand,
        )
        self._timers = Timers(loop)
        self._lag = LagMeter(loop)
        self.runtimes = {
            rollout.name: self._runtime(rollout, secret, self.recorder, self._timers) for rollout in self.rollouts
        }
        self._lag.lanes = [runtime.lane for runtime in self.runtimes.values()]
        self.hear(snapshot)
        for tell in self._started:
            tell(self.runtimes)
        self._lag.start()
        self._spawn(self.recorder.run(), "rollout-recorder")
        self._spawn(self._watch(), "rollout-watcher")
        self._spawn(self._keep_time(), "rollout-clock")
        if self._make_controller is not None:
            self.controller = self._make_controller(backend, self.process)
            self._spawn(self.controller.run(), "rollout-controller")
        self.ready.set()

    def _runtime(self, rollout: Rollout, secret: bytes, recorder: Recorder, timers: Timers) -> Runtime:
        def redactor_failed(error: BaseException) -> None:
            runtime.hook_failed("redact", error)

        runtime = Runtime(
            rollout,
            host=self._host,
            flags=self.flags,
            recorder=recorder,
            timers=timers,
            loop=asyncio.get_running_loop(),
            dice=self._dice,
            process=self.process,
            codec=self._codec,
            tracing=self._tracing,
            redactor=Redactor(secret, rollout.store.clear, redact=rollout.store.redact, on_failure=redactor_failed),
        )
        return runtime

    def _spawn(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    # ---- every change

    def hear(self, snapshot: Snapshot) -> None:
        """Work from a new snapshot, from the next call on."""
        if self.snapshot is not None and snapshot.revision < self.snapshot.revision:
            return
        self.snapshot = snapshot
        self._tell_time(snapshot.now - clock_of(asyncio.get_running_loop())())
        for listener in self._heard:
            listener(snapshot)
        for name, runtime in self.runtimes.items():
            policy = snapshot.policies.get(name)
            if policy is not None:
                runtime.decide(policy, snapshot.states.get(name, {}))

    def _tell_time(self, least: float, most: float = float("inf")) -> None:
        """Count by the database's clock from now on: what is to be added to the loop's lies between these."""
        for runtime in self.runtimes.values():
            runtime.tally.offset = min(most, max(least, runtime.tally.offset))

    async def _keep_time(self) -> None:
        """Read the database's clock now and then: one that was set, or a machine that slept, would make every block
        late, and the gates blind.
        """
        assert self.backend is not None
        clock = clock_of(asyncio.get_running_loop())
        while not self._closing:
            asked = clock()
            try:
                now = await self.backend.state.now()
            except DatabaseError as error:
                log.debug("the database's clock cannot be read: %s", error)
            else:
                self._tell_time(now - clock(), now - asked)
            await self._learn_spending()
            await asyncio.sleep(self.options.clock_s)

    async def _learn_spending(self) -> None:
        """What all processes spent in shadow today, this one before its last start included: they share the budget."""
        assert self.backend is not None
        for name, runtime in self.runtimes.items():
            daily = runtime.fan_outs.daily
            if daily is None:
                continue
            now = runtime.fan_outs.wall()
            day = utc_day(now)
            since = now - now % 86_400.0
            try:
                totals = await self.backend.ledger.totals(name, since=since)
            except DatabaseError as error:
                log.debug("what was spent today cannot be read: %s", error)
                continue
            spent: dict[str, int] = {}
            for total in totals:
                for branch, nano in total.figures.starting(SPENT).items():
                    spent[branch] = spent.get(branch, 0) + nano
            daily.learn(day, spent)

    async def _watch(self) -> None:
        """Load whenever something changed. Whatever fails here is tried again, and what changed meanwhile is loaded
        first: a deaf process would not hear of a rollback.
        """
        assert self.backend is not None
        state = self.backend.state
        while not self._closing:
            try:
                changes = state.changes()
                missed = await state.load()
                if self.snapshot is None or missed.revision != self.snapshot.revision:
                    self.hear(missed)
                async for _ in changes:
                    self.hear(await state.load())
            except DatabaseError as error:
                log.debug("no changes can be heard: %s", error)
            except Exception:
                log.exception("the watcher failed and goes on", extra={"event": "watcher_failed"})
            await asyncio.sleep(0.25)

    # ---- counting, for the recorder

    def _seal(self) -> tuple[list[Block], list[Subject]]:
        blocks: list[Block] = []
        subjects: list[Subject] = []
        for runtime in self.runtimes.values():
            own, keys = runtime.tally.seal(everything=self._closing)
            blocks += own
            subjects += keys
        return blocks, subjects

    def _expand(self, row: tuple[Any, ...]) -> TrialRecord:
        return self.runtimes[row[0]].expand(row)

    def _wrote(self, rollout: str, trials: int) -> None:
        self._count(rollout, "stored", trials)

    def _dropped(self, rollout: str, reason: str, trials: int) -> None:
        self._count(rollout, f"dropped:{reason}", trials)

    def _count(self, rollout: str, name: str, count: int) -> None:
        runtime = self.runtimes.get(rollout)
        if runtime is not None and runtime.view is not None and not self._closing:
            runtime.view.second(int(runtime.time() + runtime.tally.offset)).funnel.add(name, count)
        elif runtime is not None:
            runtime.tally.totals.add(name, count)

    # ---- stop

    async def stop(self) -> None:
        """Stop, within the bounds of ``options``. Shadows that are not finished end as ``shutdown``."""
        for runtime in self.runtimes.values():
            runtime.active = False
        if self._lag is not None:
            self._lag.stop()
        await asyncio.gather(*(runtime.lane.close(self.options.grace_s) for runtime in self.runtimes.values()))
        await self._let_go()
        self._closing = True
        leading = [task for task in self._tasks if task.get_name() == "rollout-controller"]
        await self._cancel([task for task in self._tasks if task not in leading])
        if self.recorder is not None:
            await self._bounded("write what waits", self.recorder.drain(self.options.drain_s))
        if self._notifier is not None:  # while the controller still decides: a receiver that hangs delays no rollback
            await self._bounded("tell people what waits", self._notifier.drain(self.options.drain_s))
        if self.controller is not None:
            await self._bounded("hand the lease back", self.controller.stop())
        await self._cancel(leading)
        self._tasks.clear()
        if self._timers is not None:
            self._timers.close()
        if self.backend is not None:
            await self._bounded("close the database", self.backend.close())
        for close in self._closers:
            close()

    async def _let_go(self) -> None:
        """Wait, for one grace more, until what was cut has let go of what it held: the pools are closed next."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.options.grace_s
        stations = [station for runtime in self.runtimes.values() for station in runtime.stations()]
        await asyncio.sleep(0)
        while any(station.inflight for station in stations) and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _cancel(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self.options.drain_s)

    async def _bounded(self, what: str, work: Awaitable[Any]) -> None:
        """A step of the stop: it takes ``drain_s`` at most, and if it fails the next one comes all the same."""
        try:
            async with asyncio.timeout(self.options.drain_s + 1.0):
                await work
        except TimeoutError:
            log.warning("no time was left to %s", what, extra={"event": "stop_timeout"})
        except Exception as error:
            log.error("could not %s: %s", what, error, extra={"event": "stop_failed"})

    # ---- scrape

    def metrics(self) -> MetricsSnapshot:
        """Everything that was counted since the start."""
        shot = MetricsSnapshot(version=installed_version())
        if self.snapshot is not None:
            shot.states = {name: self.snapshot.states.get(name, {}) for name in self.runtimes}
        for rollout in self.rollouts:
            _declare(shot, rollout)
        for name, runtime in self.runtimes.items():
            self._measure(shot, name, runtime)
        recorder = self.recorder
        if recorder is not None:
            shot.queue_length["trials"] = len(recorder.trials)
            shot.queue_capacity["trials"] = recorder.trials.most
            shot.dropped[("trials", "queue_full")] = recorder.trials.dropped
            shot.dropped[("blocks", "queue_full")] = recorder.blocks_dropped
            shot.dropped[("subjects", "queue_full")] = recorder.subjects_dropped
            shot.written, shot.write_failures = recorder.written, recorder.failures
        if self.controller is not None:
            shot.leader, shot.last_tick_at = self.controller.leader, self.controller.last_success_at
            shot.fenced_writes = self.controller.fenced
            shot.transitions, shot.rollbacks = dict(self.controller.transitions), dict(self.controller.rollbacks)
            if self.controller.leader:
                shot.evidence = self.controller.evidence()
        if self._notifier is not None:
            shot.notifications = dict(self._notifier.counts())
        shot.flags = {
            answer: 0
            for rollout in self.rollouts
            for flag in (rollout.flag_key, *(branch.flag for branch in rollout.branches if branch.flag))
            for answer in ((flag, "auto", "default"), *((flag, "off", reason) for reason in NO_ANSWER))
        }
        shot.flags |= getattr(self.flags, "evaluations", {})
        return shot

    def _measure(self, shot: MetricsSnapshot, name: str, runtime: Runtime) -> None:
        shot.rollouts[name] = runtime.figures()
        runs = runtime.tally.runs_so_far()
        for stations in (runtime.live_stations, runtime.shadow_stations):
            for station in stations.values():
                figures = runs.get((station.name, station.mode), Figures())
                shot.branches[(name, station.name, station.mode)].merge(figures)
                shot.orphans[(name, station.name, station.mode)] = station.orphans
                if station.circuit is not None:
                    shot.breakers[(name, station.name, station.mode)] = station.circuit.state
                inflight = shot.inflight.get((name, station.name), 0)
                shot.inflight[(name, station.name)] = inflight + station.inflight
        for (branch, outcome), count in runtime.all_comparisons().items():
            shot.comparisons[(name, branch, outcome)] = count
        for method, count in runtime.side_effects.items():
            shot.side_effects_blocked[(name, method)] = count
        shot.queue_length[f"shadow:{name}"] = len(runtime.lane)
        shot.queue_capacity[f"shadow:{name}"] = runtime.lane.limits.queue
        if runtime.view is not None:
            policy = runtime.view.policy
            shot.gates[name] = tuple(gate.name for gate in policy.gates)
            shot.stages[name] = tuple(percent(share) for share in policy.ramp.stages if share > 0)


def _declare(shot: MetricsSnapshot, rollout: Rollout) -> None:
    """Everything that is declared, as it is before anything is counted: also while the database is missing."""
    shot.rollouts[rollout.name] = Figures()
    for mode in ("live", "shadow"):
        for branch in rollout.branches:
            reasons = dict.fromkeys(reasons_of(rollout, branch, mode), 0)
            shot.branches[(rollout.name, branch.name, mode)] = Figures(reasons)
            shot.inflight[(rollout.name, branch.name)] = 0
            shot.orphans[(rollout.name, branch.name, mode)] = 0
            if branch.breaker is not None:
                shot.breakers[(rollout.name, branch.name, mode)] = State.closed
    shot.gates[rollout.name] = tuple(gate.name for gate in rollout.gates)
    shot.stages[rollout.name] = tuple(percent(share) for share in rollout.ramp.stages if share > 0)


def installed_version() -> str:
    """The version of the distribution, or ``"0"`` in a checkout that was not installed."""
    try:
        return version("rollout-kit")
    except PackageNotFoundError:
        return "0"
