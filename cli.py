"""The command line: doors, not rooms. Each command parses, calls one use case, renders, and exits with a named code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rollout.usecases import explaining, look, reporting, steer
from rollout_render import deliver, document, emit, explained, live, screens
from rollout_render.doors import (
    HELP,
    Doors,
    Duration,
    Exit,
    Output,
    RampShare,
    action,
    ask_first,
    branch_name,
    changing,
    confirmed,
    database,
    named,
    process_name,
    reading,
    reason_for,
    rollout_name,
    since,
    stay,
    watching,
)
from rollout_render.progress import busy
from rollout_wiring import commands, groups, notifying, page, planning, shell, whatif
from rollout_wiring.commands import Steering, Verb, run

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(
    cls=Doors,
    context_settings={**HELP, "obj": shell.registered},
    sections={
        "See": "status show check history diff cost report serve",
        "Steer": "promote rollback pause resume reset approve flag",
        "Look ahead": "plan simulate whatif",
        "Set up": "demo init apply config db controller notify dashboards doctor",
        "Keep house": "audit purge completion schema",
    },
    epilog="Tab completes names and options: rollout completion --help. What --output json prints: rollout schema.",
)
@click.version_option(package_name="rollout-kit", prog_name="rollout")
def main() -> None:
    """Move a monolithic handler to a fan-out of branches, step by step."""


# What is: nothing here changes anything.


@main.command()
@rollout_name(required=False)
@watching()
@reading(look.status)
@click.pass_context
def status(ctx: click.Context, name: str | None, watch: bool, every_s: float, url: str, output: str) -> None:
    """Where every rollout stands. Exits 0 when healthy, 3 when a gate holds something, 4 when something is rolled back.

    With --watch it follows the database until Ctrl-C: a screen on a terminal, a line for each change elsewhere.
    """
    if watch:
        stay("status", output)
        _follow(url, lambda backend: look.status(backend, name), live.STATUS, every_s)
        return
    seen = run(url, lambda backend: look.status(backend, name))
    emit(seen, output, screens.status)
    ctx.exit(Exit.of(seen.word))


@main.command()
@rollout_name()
@watching()
@reading(look.show)
def show(name: str, watch: bool, every_s: float, url: str, output: str) -> None:
    """One rollout: gates, evidence, what differs, what is dropped.

    With --watch it follows the database until Ctrl-C: a screen on a terminal, a line for each change elsewhere.
    """
    if watch:
        stay("show NAME", output)
        _follow(url, lambda backend: look.show(backend, name), live.SHOW, every_s)
        return
    emit(run(url, lambda backend: look.show(backend, name)), output, screens.show)


@main.command()
@rollout_name()
@branch_name()
@named("--explain", "EXPLAIN", is_flag=True, help="Tell how each gate comes to it, number by number.")
@reading(steer.check, explaining.explain)
@click.pass_context
def check(ctx: click.Context, name: str, branch: str | None, explain: bool, url: str, output: str) -> None:
    """Judge now and change nothing: what would be decided, and why.

    Of a branch, or of all. Exits 3 when it would hold, 4 when it would roll back; what is completed is not held. With
    --explain: what each gate saw of both sides, its evidence against the boundary, its weight, what is missing; and
    what all gates together promise.
    """
    if explain:
        told = run(url, lambda backend: explaining.explain(backend, name, branch))
        emit(told, output, explained.explained)
        ctx.exit(Exit.of_decided((unit.mode, unit.action) for unit in told.units))
    judged = run(url, lambda backend: steer.check(backend, name, branch))
    emit(judged, output, screens.check)
    ctx.exit(Exit.of_decided((one.mode, one.verdict.action) for one in judged))


@main.command()
@rollout_name()
@branch_name()
@action()
@named("--limit", "LIMIT", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The newest so many.")
@reading(look.history)
def history(name: str, branch: str | None, action: str | None, limit: int, url: str, output: str) -> None:
    """Every decision: who, when, from, to, why, and the findings. Newest first.

    With a branch: what moved it. Why was it rolled back? rollout history NAME BRANCH --action rollback
    """
    found = run(url, lambda backend: look.history(backend, name, limit, branch=branch, action=action))
    emit(found, output, screens.history)


@main.command()
@rollout_name()
@named(
    "--format",
    "FORMAT",
    "--output",
    "-o",
    "form",
    cls=Output,
    answers=[reporting.report],
    type=click.Choice(["text", "json", "html", "markdown"]),
    default="text",
    help="How it is written; markdown is for a pull request.",
)
@named("--out", "OUT", type=FILE, help="Write it to this file instead of printing it.")
@since()
@database()
def report(name: str, form: str, out: Path | None, since: float | None, url: str) -> None:
    """The whole report, as text, JSON, Markdown or one HTML file.

    Verdict, gates, evidence, funnel, what differs, latency, a typical call, cohorts, cost, errors, decisions, policy,
    completeness. JSON has stable keys (schema 4); HTML needs nothing else, not even JavaScript; Markdown fits into a
    comment.
    """
    with busy(f"reading what was recorded of {name} …"):
        made = document(run(url, lambda backend: reporting.report(backend, name, since=since)), form)
    deliver(made, out)


@main.command()
@rollout_name()
@named("--path", "PATH", "at", metavar="PATH", help='Only this path, as "$.orders[*].total".')
@named("--limit", "LIMIT", type=click.IntRange(1, 500), default=20, show_default=True, help="At most so many paths.")
@reading(reporting.diff)
def diff(name: str, at: str | None, limit: int, url: str, output: str) -> None:
    """What differs between control and candidate, by path. With noise beside it, and stored pairs, redacted."""
    emit(run(url, lambda backend: reporting.diff(backend, name, at, limit)), output, screens.diff)


@main.command()
@rollout_name()
@reading(reporting.cost)
def cost(name: str, url: str, output: str) -> None:
    """What each side costs per call, and a month at full traffic. At the rate observed; unknown prices are told."""
    with busy(f"reading what was recorded of {name} …"):
        found = run(url, lambda backend: reporting.cost(backend, name))
    emit(found, output, screens.cost)


@main.command()
@named(
    "--file",
    "FILE",
    "-f",
    "spec",
    type=FILE,
    default="rollout.toml",
    show_default=True,
    help="The spec file beside it.",
)
@reading(commands.diagnose)
@click.pass_context
def doctor(ctx: click.Context, spec: Path, url: str, output: str) -> None:
    """Find what is wrong with a set-up, and say what to do. Exits 1 if anything is."""
    with busy("looking at everything …"):
        found = commands.diagnose(url, spec)
    emit(found, output, screens.doctor)
    ctx.exit(Exit.failure if found.faults else Exit.ok)


# What changes: each with a reason for the audit.


@main.command()
@rollout_name()
@branch_name()
@named("--to", "TO", type=RampShare(), help='The share to enter, as "25%". Default: the next step of the ramp.')
@named("--force", "FORCE", is_flag=True, help="Skip gates and soak; never flags. Needs a reason.")
@confirmed()
@changing(steer.promote)
def promote(name: str, branch: str | None, to: float | None, force: bool, yes: bool, reason: str, **who: Any) -> None:
    """One step up: a branch, or every active one (all or none). Refused while a gate is not through."""
    if force:
        reason = reason_for("Skipping the gates", reason)
        ask_first(f"Promote {name}{f'/{branch}' if branch else ''} without its gates?", yes=yes)
    _steer(
        who, lambda backend, actor: steer.promote(backend, name, branch, to=to, force=force, reason=reason, actor=actor)
    )


@main.command()
@rollout_name()
@branch_name()
@changing(steer.rollback)
def rollback(name: str, branch: str | None, reason: str, **who: Any) -> None:
    """Back to control at once, with what comes after it.

    A branch, or all of them; every process hears of it within a second.
    """
    _steer(who, lambda backend, actor: steer.rollback(backend, name, branch, reason=reason, actor=actor))


@main.command()
@rollout_name()
@branch_name()
@changing(steer.pause)
def pause(name: str, branch: str | None, reason: str, **who: Any) -> None:
    """Stay where it is: no promotion until it is resumed. A breach still rolls back."""
    _steer(who, lambda backend, actor: steer.pause(backend, name, branch, reason=reason, actor=actor))


@main.command()
@rollout_name()
@branch_name()
@changing(steer.resume)
def resume(name: str, branch: str | None, reason: str, **who: Any) -> None:
    """Go on after a pause; after a rollback, begin again in shadow."""
    _steer(who, lambda backend, actor: steer.resume(backend, name, branch, reason=reason, actor=actor))


@main.command()
@rollout_name()
@branch_name()
@confirmed()
@changing(steer.reset)
def reset(name: str, branch: str | None, yes: bool, reason: str, **who: Any) -> None:
    """Begin again in shadow with new evidence, from wherever it is."""
    reason = reason_for("A reset", reason)
    ask_first(f"Take {name}{f'/{branch}' if branch else ''} back to shadow and begin again?", yes=yes)
    _steer(who, lambda backend, actor: steer.reset(backend, name, branch, reason=reason, actor=actor))


@main.command()
@rollout_name()
@branch_name()
@changing(steer.approve)
def approve(name: str, branch: str | None, reason: str, **who: Any) -> None:
    """Let a branch enter a step that asks for a person.

    The last gate: refused before the others are through, and a regression after it still blocks the step.
    """
    _steer(who, lambda backend, actor: steer.approve(backend, name, branch, reason=reason, actor=actor))


@main.command()
@named("--tick", "TICK", "tick_s", type=Duration(), default="1s", show_default=True, help="Between two decisions.")
@named("--process", "PROCESS", default=process_name, help="Its name in the lease and the audit (default: host:pid).")
@notifying.targets("notify-")
@database()
def controller(tick_s: float, process: str, url: str, **notify: Any) -> None:
    """Decide in a process of its own, until SIGTERM or Ctrl-C. Of several, one leads; the others wait.

    It tells people of every transition, and of every approval that is waited for: see rollout notify test.
    """
    told = notifying.targets_of(**notify)
    commands.control(url, tick_s=tick_s, process=process, told=lambda text: click.echo(text, err=True), notify=told)


@main.command()
@click.argument("name", default="shop", type=click.Choice(commands.DEMOS))
@named("--serve", "SERVE", is_flag=True, help="Stay up afterwards, to be played with.")
@named("--database-url", "DEMO_DATABASE_URL", "url", metavar="URL", help="Record it there. Default: a file of its own.")
@named("--report", "REPORT", "out", type=FILE, help="Where the report goes. Default: report.html.")
@click.pass_context
def demo(ctx: click.Context, name: str, serve: bool, url: str | None, out: Path | None) -> None:
    """A handler gets a fan-out, ramps up, breaks and rolls back.

    All by itself, in one minute, with real processes; exits 1 if any of it did not happen. The options are the shop's;
    the other names are smaller examples of half a minute each.
    """
    if name == "shop":
        ctx.exit(commands.demo(serve=serve, database_url=url, report=out or Path("report.html")))
    if serve or url or out:
        raise click.UsageError("--serve, --database-url and --report are for the shop. Leave them out, or the name.")
    ctx.exit(commands.play_example(name))


def _follow(url: str, verb: Verb[live.T], view: live.View[live.T], every_s: float) -> None:
    """Show what a verb answers, again and again."""
    run(url, lambda backend: live.watch(lambda: verb(backend), backend.state.changes, view, every_s=every_s))


def _steer(who: dict[str, Any], verb: Steering) -> None:
    """Run one change and tell what moved."""
    emit(run(who["url"], lambda backend: verb(backend, who["actor"])), who["output"], screens.moved)


for command in (
    planning.plan,
    planning.simulate,
    whatif.whatif,
    groups.init,
    groups.apply,
    groups.config,
    groups.flag,
    groups.db,
    groups.dashboards,
    groups.purge,
    groups.audit,
    notifying.notify,
    shell.completion,
    shell.schema,
    page.serve,
):
    main.add_command(command)
