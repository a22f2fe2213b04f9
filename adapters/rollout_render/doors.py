"""What every command of the command line shares: exit codes, how an error is told, and the options with their
variables."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from types import FunctionType
from typing import Any, TypeVar, get_type_hints

import click
from click.shell_completion import CompletionItem

from rollout.domain.changes import DECIDED
from rollout.domain.durations import duration_text, seconds, share_of
from rollout.domain.standing import Word
from rollout.domain.state import Mode
from rollout.errors import RolloutError, UnknownName
from rollout_render.clean import clean_block
from rollout_render.registered import BRANCH, FLAG, ROLLOUT, SHARE

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_URL = "sqlite:///rollout.db"
HELP = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ROLLOUT", "max_content_width": 100}


class Exit(IntEnum):
    """The exit codes. ``holding`` and ``rolled_back`` are of ``status``, ``check`` and ``promote``."""

    ok = 0
    failure = 1
    usage = 2
    holding = 3
    rolled_back = 4
    interrupted = 130

    @classmethod
    def of_decided(cls, decided: Iterable[tuple[Mode, str]]) -> Exit:
        """Of what ``check`` would decide of each unit in its mode: a rollback, a hold or pause, or a step. What is
        completed is not held back from anything."""
        found = {action for mode, action in decided if (mode, action) != (Mode.completed, "hold")}
        if found & {"rollback", "stop_shadow"}:
            return cls.rolled_back
        return cls.holding if found & {"hold", "pause"} else cls.ok

    @classmethod
    def of(cls, word: Word) -> Exit:
        """Of how a rollout stands: only what gates hold, or did not decide in time, or rolled back is not ``ok``."""
        found = {Word.holding: cls.holding, Word.undecided: cls.holding, Word.rolled_back: cls.rolled_back}
        return found.get(word, cls.ok)


class Doors(click.Group):
    """A group whose commands tell errors of the toolkit as one block on stderr, never as a traceback. ``sections``: its
    commands in the help, by heading; without any, all of them by name."""

    def __init__(self, *args: Any, sections: Mapping[str, str] | None = None, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.sections = {heading: names.split() for heading, names in (sections or {}).items()}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.sections:
            super().format_commands(ctx, formatter)
            return
        room = formatter.width - 4 - max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(room)) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RolloutError as error:
            click.echo(f"Error: {clean_block(error)}", err=True)
            ctx.exit(Exit.usage if isinstance(error, UnknownName) else Exit.failure)
        except (KeyboardInterrupt, asyncio.CancelledError):
            ctx.exit(Exit.interrupted)
        except BrokenPipeError:
            # The reader (`head`, a pager) has left: say nothing, and keep the interpreter from saying it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(Exit.ok)


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown in the help in this order."""

    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def named(name: str, variable: str, *more: str, **rest: Any) -> Callable[[F], F]:
    """An option with its environment variable, which the help shows."""
    return click.option(name, *more, envvar=f"ROLLOUT_{variable}", show_envvar=True, **rest)


def database() -> Callable[[F], F]:
    return named(
        "--database-url",
        "DATABASE_URL",
        "url",
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help="The database of the rollouts: sqlite:///FILE or postgresql://…",
    )


@dataclass(frozen=True, slots=True)
class Late:
    """A type of an adapter that not every command should wait for."""

    imported: Callable[[], Any]


class Output(click.Option):
    """An option that asks for JSON, and knows of what: ``answers`` are types, or verbs that return them."""

    def __init__(self, *names: Any, answers: Sequence[Any], **rest: Any) -> None:
        super().__init__(*names, **rest)
        self._answers = answers

    @property
    def shapes(self) -> list[Any]:
        """The types of what may be printed."""
        return [_type_of(answer) for answer in self._answers]


def _type_of(answer: Any) -> Any:
    if isinstance(answer, Late):
        return answer.imported()
    return get_type_hints(answer)["return"] if isinstance(answer, FunctionType) else answer


def output(*answers: Any) -> Callable[[F], F]:
    """``answers``: see ``Output``; ``rollout schema`` describes them."""
    return named(
        "--output",
        "OUTPUT",
        "-o",
        cls=Output,
        answers=answers,
        type=click.Choice(["table", "json"]),
        default="table",
        help="A table for people, JSON for programs.",
    )


def reading(*answers: Any) -> Callable[[F], F]:
    """The options of a command that shows something. ``answers``: see ``Output``."""
    return options(database(), output(*answers))


def changing(*answers: Any, reason: str = "Why; goes into the audit.") -> Callable[[F], F]:
    """The options of a command that changes something. ``answers``: see ``Output``."""
    return options(
        named("--reason", "REASON", default="", metavar="TEXT", help=reason),
        named(
            "--actor",
            "ACTOR",
            default=whoami,
            metavar="NAME",
            help="Who does it (default: user@host); goes into the audit.",
        ),
        reading(*answers),
    )


def confirmed() -> Callable[[F], F]:
    return named("--yes", "YES", "-y", is_flag=True, help="Do not ask for confirmation.")


def flag_name() -> Callable[[F], F]:
    return click.argument("flag", type=FLAG, metavar="FLAG")


class Share(click.ParamType[float]):
    """A share of calls: ``25%`` or ``0.25``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return share_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class RampShare(Share):
    """A share of the ramp, which a shell completes from the database."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return SHARE.shell_complete(ctx, param, incomplete)


class Since(click.ParamType[float]):
    """A time in the past, as epoch seconds: ``2h`` (ago), or ``2026-11-20T12:00`` (UTC unless it says otherwise)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return time.time() - seconds(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f'"{value}" is no time; write for example "2h" (ago) or "2026-11-20T12:00" (UTC)', param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Duration(click.ParamType[float]):
    """A span in seconds: ``90s``, ``10m``, ``7d``; not below ``least``."""

    name = "duration"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            span = seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if span < self._least:
            self.fail(f'"{value}" is too short; give {duration_text(self._least)} or more', param, ctx)
        return span


def watching() -> Callable[[F], F]:
    """The options of a command that can stay."""
    return options(
        named("--watch", "WATCH", "-w", is_flag=True, help="Stay, and show every change, until Ctrl-C."),
        named(
            "--interval",
            "INTERVAL",
            "every_s",
            type=Duration(least=0.1),
            default="1s",
            show_default=True,
            help="With --watch: look again after that long, if nothing changed before.",
        ),
    )


def stay(command: str, output: str) -> None:
    """What stays is for people: refuse to do it as JSON."""
    if output == "json":
        raise click.UsageError(
            f"--watch is for people. For programs: rollout {command} --output json, as often as needed."
        )


def since() -> Callable[[F], F]:
    return named(
        "--since", "SINCE", type=Since(), help='Only from then on: "2h" (ago) or a time in UTC. Default: the start.'
    )


def rollout_name(**rest: Any) -> Callable[[F], F]:
    metavar = "[NAME]" if rest.get("required") is False else "NAME"
    return click.argument("name", type=ROLLOUT, metavar=metavar, **rest)


def branch_name() -> Callable[[F], F]:
    return click.argument("branch", type=BRANCH, metavar="[BRANCH]", required=False)


def action() -> Callable[[F], F]:
    return named("--action", "ACTION", type=click.Choice(DECIDED), help="Only decisions of this kind.")


def whoami() -> str:
    """``user@host``, as far as this machine knows it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}" if hasattr(os, "getuid") else "somebody"
    return f"{user}@{socket.gethostname()}"


def process_name() -> str:
    """``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def on_a_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_first(question: str, *, yes: bool) -> None:
    """Ask before something dangerous; where nobody can answer, ``--yes`` must have been given."""
    if yes:
        return
    if not on_a_terminal():
        raise click.UsageError(f"{question} Nobody can be asked here: add --yes.")
    click.confirm(question, abort=True, err=True)


def reason_for(what: str, reason: str) -> str:
    """The reason of something dangerous: as given, asked for on a terminal, else a usage error."""
    if reason.strip():
        return reason.strip()
    if not on_a_terminal():
        raise click.UsageError(f'{what} needs a reason for the audit: add --reason "…".')
    return str(click.prompt("Reason", err=True)).strip()
