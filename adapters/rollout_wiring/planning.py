"""The commands that look ahead: ``plan`` and ``simulate``."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import click

from rollout.domain.durations import share_of
from rollout.domain.simulation.truth import Drift, Outage, excess_of, per_second
from rollout.usecases import planning
from rollout.usecases.planning import Outlook, Planned, Setting, Wanted
from rollout_render import emit
from rollout_render import planning as screens
from rollout_render.doors import Duration, Exit, RampShare, Share, branch_name, named, options, reading, rollout_name
from rollout_render.progress import busy, progress
from rollout_wiring.commands import run

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Read(click.ParamType[T], Generic[T]):
    """Text that a function reads, and refuses with a ``ValueError``."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if not isinstance(value, str):
            found: T = value  # a default, or read before
            return found
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Outages(Read[Outage]):
    """One outage; of several in the variable each ends with a semicolon, for there are blanks in them."""

    envvar_list_splitter = ";"


class Stage(RampShare):
    """A stage of a ramp: ``shadow``, ``25%`` or ``0.25``."""

    name = "stage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return 0.0 if value == "shadow" else super().convert(value, param, ctx)


def _rate_or_same(text: str) -> float | None:
    return None if text.strip().lower() == "same" else share_of(text)


def supposing() -> Callable[[F], F]:
    """What both commands can be told of the traffic and the ramp."""
    recorded = "Default: what was recorded in the last day of calls"
    return options(
        named(
            "--traffic",
            "TRAFFIC",
            type=Read("rate", per_second),
            metavar="RATE",
            help=f'Calls, as "100/s" or "5/h". {recorded}.',
        ),
        named("--errors", "ERRORS", type=Share(), help=f"How many of control's calls fail. {recorded}, or 0.1%."),
        named("--mismatches", "MISMATCHES", type=Share(), help=f"How many replies differ. {recorded}, or none."),
        named(
            "--sticky",
            "STICKY",
            "users",
            type=click.IntRange(min=1),
            metavar="USERS",
            help="So many callers, who come back and keep their bucket. Default: somebody else each time.",
        ),
        named("--ramp", "RAMP", metavar="STAGES", help='Another ramp, as "shadow 25% 50% 100%".'),
        named("--harm", "HARM", type=Share(), help="Another harm budget: how many of all calls a step may harm."),
    )


@click.command()
@rollout_name()
@branch_name()
@named("--within", "WITHIN", type=Duration(), help='The time there is, as "7d": which ramp fits, if this does not?')
@supposing()
@named("--from", "FROM", "start", type=Stage(), metavar="STAGE", help="Begin at its entry. Default: where it stands.")
@reading(planning.look_ahead, planning.plan)
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    name: str,
    branch: str | None,
    within: float | None,
    url: str,
    output: str,
    **supposed: Any,
) -> None:
    """How long until 100 %, from where each branch stands.

    With BRANCH step by step, with what each step would let through, and (if it does not fit --within) what would. Of
    healthy branches; from the gates in force, on average. Exits 3 when the last stage is never reached, not in time, or
    not before a person resumes a branch.
    """
    found = _outlook(url, name, within, supposed) if branch is None else _plan(url, name, branch, within, supposed)
    if isinstance(found, Outlook):
        emit(found, output, screens.outlook)
    else:
        emit(found, output, screens.planned)
    ctx.exit(Exit.holding if found.left_s is None or found.in_time is False else Exit.ok)


@click.command()
@rollout_name()
@branch_name()
@supposing()
@named(
    "--worse-errors",
    "WORSE_ERRORS",
    type=Read("share", _rate_or_same),
    metavar="SHARE",
    help='How many of the candidate\'s calls fail, as "2%"; "same" as control\'s (the default).',
)
@named(
    "--latency",
    "LATENCY",
    "slower",
    type=Read("change", partial(excess_of, more="slower", less="faster")),
    default=0.0,
    metavar="CHANGE",
    help='Of the candidate: "20% slower", "10% faster". Default: the same.',
)
@named(
    "--cost",
    "COST",
    "dearer",
    type=Read("change", partial(excess_of, more="dearer", less="cheaper")),
    metavar="CHANGE",
    help='Of the candidate: "30% dearer", "10% cheaper". Default: as recorded, or within the limit.',
)
@named(
    "--drift",
    "DRIFT",
    type=Read("drift", Drift.parse),
    metavar="DRIFT",
    help='Control\'s errors change: "0.5%..3%" (in a day) or "0.5%..3% over 2h".',
)
@named(
    "--outage",
    "OUTAGE",
    "outages",
    multiple=True,
    type=Outages("outage", Outage.parse),
    metavar="OUTAGE",
    help='Both sides fail: "30%@10m for 5m". May be given more than once (in the variable: with ; between).',
)
@named(
    "--from", "FROM", "start", type=Stage(), default=0.0, metavar="STAGE", help="Begin at its entry. Default: shadow."
)
@named("--runs", "RUNS", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many ramps.")
@named("--seed", "SEED", type=click.IntRange(min=0), help="The same seed, the same ramps. Default: another each time.")
@reading(planning.simulate)
def simulate(
    name: str, branch: str | None, runs: int, seed: int | None, url: str, output: str, **supposed: Any
) -> None:
    """Replay the ramp many times, against a truth of your choice.

    In virtual time. Prints how often it completes, is rolled back (and why), or stays undecided. With the gates and the
    ramp in force, and the same judgement as the controller's.
    """
    if supposed["drift"] is not None and supposed["errors"] is not None:
        raise click.UsageError("--drift says how many of control's calls fail. Leave --errors out.")
    at = _setting(url, name, branch, Wanted(**supposed))
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    with progress(f"ramps of {name}", runs) as done:
        found = planning.simulate(at, runs=runs, seed=seed, dice=random.Random, done=done)
    emit(found, output, screens.simulated)


def _outlook(url: str, name: str, within: float | None, supposed: dict[str, Any]) -> Outlook:
    units = run(url, lambda backend: planning.settings(backend, name, wanted=Wanted(**supposed)))
    with busy(f"planning {name} …"):
        return planning.look_ahead(units, within)


def _plan(url: str, name: str, branch: str, within: float | None, supposed: dict[str, Any]) -> Planned:
    at = _setting(url, name, branch, Wanted(**supposed))
    with busy(f"planning {name} …"):
        return planning.plan(at, within)


def _setting(url: str, name: str, branch: str | None, wanted: Wanted) -> Setting:
    return run(url, lambda backend: planning.setting(backend, name, branch, wanted=wanted))
