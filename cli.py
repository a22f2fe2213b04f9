"""The command line: doors, not rooms. Each command parses, calls one use case, renders, and exits with a named code."""

from __future__ import annotations

from typing import Any

import click

from rollout.usecases import look
from rollout_render import emit, screens
from rollout_render.doors import HELP, Doors, Exit, reading, rollout_name
from rollout_wiring.commands import run


@click.group(cls=Doors, context_settings=HELP)
@click.version_option(package_name="rollout-kit", prog_name="rollout")
def main() -> None:
    """Move a monolithic handler to a fan-out of branches, step by step."""


@main.command()
@rollout_name(required=False)
@reading()
@click.pass_context
def status(ctx: click.Context, name: str | None, url: str, output: str) -> None:
    """Where every rollout stands. Exits 0 when healthy, 3 when a gate holds something, 4 when something is rolled
    back."""
    seen = run(url, lambda backend: look.status(backend, name))
    emit(seen, output, screens.status)
    ctx.exit(Exit.of(seen.word))


@main.command()
@rollout_name()
@reading()
def show(name: str, **options: Any) -> None:
    """One rollout in detail: branches, gates, the funnel, what differs, the newest decisions."""
    emit(run(options["url"], lambda backend: look.show(backend, name)), options["output"], screens.show)
