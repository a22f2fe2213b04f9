"""The command line about itself: completion for shells, and the schemas of what commands print."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from rollout.domain.state import Snapshot
from rollout.ports import Backend
from rollout_render import emit
from rollout_render.doors import Output
from rollout_render.schema import schema_of
from rollout_wiring.commands import run

PATIENCE_S: Final = 1.0  # for the names of a database, while somebody waits at a half-written line


def registered(url: str) -> Snapshot | None:
    """What is registered in a database, for a completion; None where it cannot be told, whyever.

    Where it cannot be told in time, this ends the process: a thread that waits for a name server or a dead disk cannot
    be cut, and a completion has nothing else to do.
    """
    found: list[Snapshot] = []

    def ask() -> None:
        with suppress(Exception):
            found.append(run(url, _load))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    if asking.is_alive():
        os._exit(0)
    return found[0] if found else None


async def _load(backend: Backend) -> Snapshot:
    return await backend.state.load()


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """What makes a shell complete commands, options and names.

    The names of rollouts, branches, flags and the shares of ramps are those of the database.

    \b
    bash   echo 'eval "$(rollout completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(rollout completion zsh)"' >> ~/.zshrc     (after compinit)
    fish   rollout completion fish > ~/.config/fish/completions/rollout.fish

    Names come from --database-url on the line, or ROLLOUT_DATABASE_URL; a database that does not answer within a second
    is left in peace.
    """
    made = get_completion_class(shell)
    assert made is not None  # of these three there is one
    click.echo(made(click.get_current_context().find_root().command, {}, "rollout", "_ROLLOUT_COMPLETE").source())


class Words(click.ParamType[str]):
    """The words of a command, one after the other."""

    name = "command"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        said = ctx.params.get(param.name or "") or ()
        paths = [path for path, _ in answering(ctx.find_root().command) if path[: len(said)] == said]
        return [
            CompletionItem(word)
            for word in dict.fromkeys(path[len(said)] for path in paths if len(path) > len(said))
            if word.startswith(incomplete)
        ]


@click.command()
@click.argument("words", metavar="[COMMAND]...", type=Words(), nargs=-1)
def schema(words: tuple[str, ...]) -> None:
    """The JSON Schema of what a command prints with --output json.

    As in: rollout schema config show. Without a command: of all of them, by command.
    """
    known = {
        path: schema_of(option.shapes, f"rollout {' '.join(path)}")
        for path, option in answering(click.get_current_context().find_root().command)
        if words in ((), path)
    }
    if not known:
        raise click.UsageError(f'"{" ".join(words)}" prints no JSON. See those that do: rollout schema')
    found: Any = known[words] if words else {" ".join(path): one for path, one in known.items()}
    emit(found, "json", str)


def answering(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Output]]:
    """Every command that can print JSON, as its words and the option that asks for it."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from answering(below, (*path, name))
    for option in command.params:
        if isinstance(option, Output):
            yield path, option
