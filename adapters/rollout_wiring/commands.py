"""What the command line needs of the adapters: a database opened for one verb, spec files, the schema, the demo.

Adapters are imported where they are used: ``rollout --help`` should not wait for a database driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rollout.domain.checkup import Diagnosis, Fault
from rollout.domain.state import Policy
from rollout.errors import DatabaseError, RolloutError, SchemaError, SpecError
from rollout.ports import Backend
from rollout.usecases.doctor import doctor
from rollout.usecases.steer import Steered
from rollout_demo import examples
from rollout_wiring.embed import SystemClock, notifier_of

if TYPE_CHECKING:
    from rollout_notify import Target
    from rollout_spec import Spec

DEMOS = ("shop", *examples.EXAMPLES)  # what `rollout demo` knows

_DRAIN_S = 5.0  # what a controller that ends gives its messages

T = TypeVar("T")
Verb = Callable[[Backend], Awaitable[T]]
Steering = Callable[[Backend, str], Awaitable[Steered]]  # the second argument: who does it


def run(url: str, verb: Verb[T]) -> T:
    """Open the database, run one verb over it, close it. Never creates a database: only ``db upgrade`` does."""
    return go(_with_backend(url, verb))


def go(work: Coroutine[Any, Any, T]) -> T:
    """The command line's one ``asyncio.run``."""
    return asyncio.run(work)


async def _with_backend(url: str, verb: Verb[T]) -> T:
    from rollout_sql import open_backend

    backend = await open_backend(url, create=False)
    try:
        return await verb(backend)
    finally:
        await backend.close()


# The spec file


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file that was written."""

    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChecked:
    """A spec file without mistakes. ``registered``: whether it was held against what a database knows, too."""

    file: str
    rollouts: Sequence[str]
    registered: bool


def checked(path: Path, url: str) -> SpecChecked:
    """Read a spec, and hold it against the registered rollouts where there is a database; ``SpecError`` lists every
    mistake."""
    from rollout_spec import read_spec

    spec = read_spec(path)
    try:
        policies = run(url, _policies)
    except DatabaseError:
        return SpecChecked(file=str(path), rollouts=tuple(spec.rollouts), registered=False)
    _refuse(spec, policies)
    return SpecChecked(file=str(path), rollouts=tuple(spec.rollouts), registered=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one rollout. ``fields``: what the spec sets; empty after a reset."""

    rollout: str
    version: int
    fields: Sequence[str]


def apply(url: str, path: Path, *, reset: bool, actor: str, reason: str) -> Sequence[Applied]:
    """Put the fields of a spec file on top of what the code declares, or (``reset``) take them all away again."""
    from rollout_spec import read_spec

    spec = read_spec(path)

    async def verb(backend: Backend) -> Sequence[Applied]:
        policies = await _policies(backend)
        _refuse(spec, policies)
        done = []
        for name in spec.rollouts:
            fields = None if reset else spec.fields(name)
            policy = await backend.state.apply(name, fields, spec.origin, actor, reason)
            done.append(Applied(rollout=name, version=policy.version, fields=sorted(fields or ())))
        return done

    return run(url, verb)


def example(url: str) -> str:
    """A commented spec file: of what is in force, where there is a database; else of a sample."""
    from rollout_spec import example

    try:
        policies = run(url, _policies)
    except DatabaseError:
        policies = {}
    return example(policies or None)


def schema_of_spec() -> dict[str, Any]:
    from rollout_spec import json_schema

    return json_schema()


def _refuse(spec: Spec, policies: dict[str, Policy]) -> None:
    if problems := spec.check_against(policies):
        raise SpecError(spec.path, problems)


async def _policies(backend: Backend) -> dict[str, Policy]:
    return dict((await backend.state.load()).policies)


# The database


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The revision of the schema that a database is at (None: it has none of our tables), and the one that this version
    needs."""

    current: str | None
    needed: str

    @property
    def fits(self) -> bool:
        return self.current == self.needed


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesChecked:
    """How the tables differ from those of this version, a line each; none: they are equal."""

    differences: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeSql:
    """All statements of an upgrade from nothing, as text."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Whether a flag was set by hand, and is not any more."""

    cleared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How many trials were deleted."""

    deleted: int


def upgrade(url: str) -> Revision:
    from rollout_sql import schema

    return Revision(current=go(schema.upgrade(url)), needed=schema.known()[-1])


def current(url: str) -> Revision:
    from rollout_sql import schema

    return Revision(current=go(schema.current(url)), needed=schema.known()[-1])


def check(url: str) -> TablesChecked:
    from rollout_sql import schema

    return TablesChecked(differences=go(schema.check(url)))


def sql(url: str) -> UpgradeSql:
    from rollout_sql import schema

    return UpgradeSql(sql=go(schema.sql(url)))


def diagnose(url: str, path: Path) -> Diagnosis:
    """Everything that is wrong with a set-up; also what keeps the database from being opened at all."""
    try:
        fields = _fields(path)
    except SpecError as error:
        fields, faults = None, [_fault("spec_file", "The spec file is wrong.", error, f"rollout config check {path}")]
    else:
        faults = []
    try:
        found = run(url, lambda backend: doctor(backend, time.time, fields))
    except SchemaError as error:
        return _unopened(url, [_fault("schema", "The database has another version's schema.", error), *faults])
    except DatabaseError as error:
        return _unopened(url, [_fault("database", "The database cannot be used.", error), *faults])
    return Diagnosis(database=found.database, checked=found.checked, faults=(*faults, *found.faults))


def _fields(path: Path) -> dict[str, dict[str, Any]] | None:
    from rollout_spec import read_spec

    if not path.exists():
        return None
    spec = read_spec(path)
    return {name: spec.fields(name) for name in spec.rollouts}


def _unopened(url: str, faults: Sequence[Fault]) -> Diagnosis:
    from rollout_sql import masked

    return Diagnosis(database=masked(url), checked=("database", "schema"), faults=tuple(faults))


def _fault(name: str, what: str, error: RolloutError, remedy: str = "") -> Fault:
    """A fault of an error's message, whose last sentence says what to do."""
    evidence, dot, last = str(error).rpartition(". ")
    if remedy or not dot:
        return Fault(name=name, rollout="", what=what, evidence=str(error), remedy=remedy or "Read the message.")
    return Fault(name=name, rollout="", what=what, evidence=evidence, remedy=last)


# What stays


def control(
    url: str, *, tick_s: float, process: str, told: Callable[[str], None], notify: Sequence[Target] = ()
) -> None:
    """A controller as a process of its own, until SIGTERM or Ctrl-C; it gives its lease back at the end.

    Before that it goes on deciding for as long as people are still being told, 5 seconds at most.
    """
    from rollout.engine.controller import Controller

    async def verb(backend: Backend) -> None:
        notifier = notifier_of(notify)
        clock, ended = SystemClock(), asyncio.Event()
        controller = Controller(backend.state, backend.ledger, clock, holder=process, notifier=notifier, tick_s=tick_s)
        ticking = asyncio.ensure_future(controller.run())
        ticking.add_done_callback(lambda _: ended.set())
        for ending in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(ending, ended.set)
        told(f"controller {process} on {backend.url}, a look every {tick_s:g} s; Ctrl-C ends it")
        await ended.wait()
        if notifier is not None:
            await notifier.drain(_DRAIN_S)
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        await controller.stop()

    run(url, verb)


def demo(*, serve: bool, database_url: str | None, report: Path) -> int:
    """Run the demo; its exit code says whether everything happened that should."""
    from rollout_demo.main import run as play

    return play(serve=serve, database_url=database_url, report=report)


def play_example(name: str) -> int:
    """Run a small example; its exit code says whether everything happened that should."""
    return examples.run(name)
