"""The commands that keep house: the spec file, flags, the database, the audit, data that must go, dashboards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rollout.domain.durations import duration_text
from rollout.domain.state import FlagOverride
from rollout.errors import RolloutError
from rollout.usecases import look, steer
from rollout_render import emit, say, screens
from rollout_render.clean import to_json
from rollout_render.doors import (
    Doors,
    Duration,
    Exit,
    ask_first,
    changing,
    confirmed,
    flag_name,
    named,
    output,
    reading,
    reason_for,
    rollout_name,
)
from rollout_render.progress import busy
from rollout_render.registered import ROLLOUT
from rollout_wiring import commands
from rollout_wiring import dashboards as shipped_dashboards
from rollout_wiring.commands import run

SPEC = click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="rollout.toml")


@click.command()
@SPEC
@confirmed()
@reading(commands.Written)
def init(file: Path, yes: bool, url: str, output: str) -> None:
    """Write a commented spec file that changes nothing yet. Default: rollout.toml."""
    if file.exists():
        ask_first(f"{file} exists. Overwrite it?", yes=yes)
    try:
        file.write_text(commands.example(url), encoding="utf-8")
    except OSError as error:
        raise RolloutError(f"{file} cannot be written: {error.strerror}. Name another file.") from error
    told = f"Wrote {file}. Check it: rollout config check {file}\nPut it in force: rollout apply {file} --reason …"
    say(told, output, commands.Written(file=str(file)))


@click.command()
@SPEC
@named("--reset", "RESET", is_flag=True, help="Take the fields of the spec away again: the code's are in force.")
@confirmed()
@changing(commands.apply)
def apply(file: Path, reset: bool, yes: bool, reason: str, actor: str, url: str, output: str) -> None:
    """Put a spec file on top of what the code declares. It becomes a new version of the policy."""
    if reset:
        reason = reason_for("Taking a spec away", reason)
        ask_first(f"Take away what {file} set?", yes=yes)
    done = commands.apply(url, file, reset=reset, actor=actor, reason=reason)
    lines = [
        f"{one.rollout}: policy v{one.version}, {', '.join(one.fields) or 'the fields of the code'}" for one in done
    ]
    say("\n".join(lines) or f"{file} names no rollout: nothing was changed.", output, done)


@click.group(cls=Doors)
def config() -> None:
    """The spec file: check, schema, and what is in force."""


@config.command("check")
@SPEC
@reading(commands.checked)
def config_check(file: Path, url: str, output: str) -> None:
    """Find every mistake in a spec file, each with its line; against the registered rollouts where there is a
    database."""
    found = commands.checked(file, url)
    against = "and against the registered rollouts" if found.registered else "(no database to hold it against)"
    say(f"{file} is right: {len(found.rollouts)} rollouts, checked by itself {against}.", output, found)


@config.command("schema")
def config_schema() -> None:
    """The JSON Schema of the spec file, for editors."""
    emit(commands.schema_of_spec(), "json", str)


@config.command("show")
@rollout_name()
@reading(look.policy)
def config_show(name: str, url: str, output: str) -> None:
    """The policy in force, field by field, and where each comes from: code, default, or a spec file."""
    emit(run(url, lambda backend: look.policy(backend, name)), output, screens.policy)


@click.group(cls=Doors)
def flag() -> None:
    """Flags set by hand, for everybody or for one key."""


@flag.command("set")
@flag_name()
@click.argument("value", type=click.Choice(["off", "shadow", "auto", "on"]))
@named("--key", "KEY", help="Only for this targeting key (a named tester). Default: everybody.")
@changing(FlagOverride)
def flag_set(flag: str, value: str, key: str | None, reason: str, **who: Any) -> None:
    """Say what calls may do at most: rollout flag set profile on --key alice --reason "first tester"."""
    reason = reason_for("Setting a flag", reason)
    set_ = run(
        who["url"], lambda backend: steer.set_flag(backend, flag, value, key=key, reason=reason, actor=who["actor"])
    )
    say(f"{flag} is {value} for {key or 'everybody'}", who["output"], set_)


@flag.command("list")
@reading(steer.list_flags)
def flag_list(url: str, output: str) -> None:
    """Every flag set by hand, with who set it and why."""
    emit(run(url, steer.list_flags), output, screens.flags)


@flag.command("clear")
@flag_name()
@named("--key", "KEY", help="Only the one of this key. Default: the one for everybody.")
@changing(commands.Cleared)
def flag_clear(flag: str, key: str | None, reason: str, actor: str, url: str, output: str) -> None:
    """Take a flag set by hand away; its provider answers again."""
    reason = reason_for("Clearing a flag", reason)
    was = run(url, lambda backend: steer.clear_flag(backend, flag, key=key, actor=actor, reason=reason))
    whose = f"{flag} for {key or 'everybody'}"
    told = f"{whose} is cleared" if was else f"{whose} was not set: nothing to clear"
    say(told, output, commands.Cleared(cleared=was))


@click.group(cls=Doors)
def db() -> None:
    """The database's schema: the only commands that may create one."""


@db.command("upgrade")
@reading(commands.upgrade)
def db_upgrade(url: str, output: str) -> None:
    """Bring the schema up to date, and create an SQLite file if there is none. Safe to run twice, and beside the
    application."""
    with busy("bringing the schema up to date …"):
        found = commands.upgrade(url)
    say(f"at revision {found.current}", output, found)


@db.command("current")
@reading(commands.current)
@click.pass_context
def db_current(ctx: click.Context, url: str, output: str) -> None:
    """The revision the database is at. Exits 1 if this version of the toolkit needs another one."""
    found = commands.current(url)
    words = f"at revision {found.current}" if found.current else "no schema of the toolkit"
    say(f"{words}{'' if found.fits else f'; this version needs {found.needed}'}", output, found)
    ctx.exit(Exit.ok if found.fits else Exit.failure)


@db.command("check")
@reading(commands.check)
@click.pass_context
def db_check(ctx: click.Context, url: str, output: str) -> None:
    """Hold the tables against those of this version. Exits 1 if they differ."""
    with busy("holding the tables against the model …"):
        found = commands.check(url)
    say("\n".join(found.differences) or "the tables are those of this version", output, found)
    ctx.exit(Exit.failure if found.differences else Exit.ok)


@db.command("sql")
@reading(commands.sql)
def db_sql(url: str, output: str) -> None:
    """Print the SQL of a whole upgrade, for somebody who wants to read or run it by hand."""
    found = commands.sql(url)
    click.echo(to_json(found) if output == "json" else found.sql)


@click.command()
@named("--rollout", "ROLLOUT", "name", type=ROLLOUT, help="Only trials of this rollout.")
@named("--older-than", "OLDER_THAN", type=Duration(), help='Only older than this, as "30d".')
@named("--key", "KEY", help="Only those of this targeting key: everything stored of one person.")
@confirmed()
@reading(commands.Purged)
def purge(name: str | None, older_than: float | None, key: str | None, yes: bool, url: str, output: str) -> None:
    """Delete stored trials by rollout, age or key.

    What is given must all hold. Counts and decisions name nobody, and stay.
    """
    if name is None and older_than is None and key is None:
        raise click.UsageError("Say what: --rollout NAME, --older-than 30d or --key KEY.")
    of = f" of {name}" if name else ""
    age = f" older than {duration_text(older_than)}" if older_than is not None else ""
    whose = f" of the key {key}" if key else ""
    ask_first(f"Delete all trials{of}{age}{whose}?", yes=yes)
    with busy("deleting trials …"):
        gone = run(url, lambda backend: steer.purge(backend, rollout=name, older_than=older_than, key=key))
    say(f"{gone} trials deleted", output, commands.Purged(deleted=gone))


@click.group(cls=Doors)
def audit() -> None:
    """The record of everything decided."""


@audit.command("verify")
@rollout_name(required=False)
@reading(look.audit)
@click.pass_context
def audit_verify(ctx: click.Context, name: str | None, url: str, output: str) -> None:
    """Follow the hash chain of the decisions from the first on. Exits 1 where it breaks."""
    with busy("following the chain of decisions …"):
        found = run(url, lambda backend: look.audit(backend, name))
    emit(found, output, screens.audit)
    ctx.exit(Exit.failure if found.breaks else Exit.ok)


@click.group(cls=Doors)
def dashboards() -> None:
    """Grafana dashboards, Prometheus rules and alerts to export."""


@dashboards.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@named("--force", "FORCE", is_flag=True, help="Overwrite files there that differ from what ships.")
@named("--runbooks", "RUNBOOKS", metavar="URL", help="Where alerts link to: your copy of the README beside them.")
@output(shipped_dashboards.export)
def dashboards_export(folder: Path, force: bool, runbooks: str | None, output: str) -> None:
    """Write dashboards, their provisioning, rules and alerts into a folder. Its README says how to load them.

    Writes nothing if a file there differs, and names it; with --force it is overwritten.
    """
    done = shipped_dashboards.export(folder, runbooks=runbooks, force=force)
    kept = f", {len(done.unchanged)} were there already" if done.unchanged else ""
    say(f"Wrote {len(done.written)} files to {folder}{kept}. How to load them: {folder / 'README.md'}", output, done)
