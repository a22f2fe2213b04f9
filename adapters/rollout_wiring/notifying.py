"""Who is told: the options that name targets, and the command that tries them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollout.domain.durations import duration_text
from rollout_render import say
from rollout_render.doors import Doors, Exit, Late, named, options, output, whoami
from rollout_wiring.commands import go

if TYPE_CHECKING:
    from rollout_notify import Target, Tried

F = TypeVar("F", bound=Callable[..., Any])


def targets(prefix: str = "") -> Callable[[F], F]:
    """The options that name targets, ``--PREFIXwebhook`` and so on; their variables are the same everywhere."""
    return options(
        named(
            f"--{prefix}webhook",
            "NOTIFY_WEBHOOK",
            "webhook",
            metavar="URL",
            help="Where signed JSON is posted to. Redirects are not followed.",
        ),
        named(
            f"--{prefix}secret",
            "NOTIFY_SECRET",
            "secret",
            metavar="TEXT",
            help="What it is signed with, 16 bytes or more. Better in the variable: lists of processes show options.",
        ),
        named(
            f"--{prefix}slack",
            "NOTIFY_SLACK",
            "slack",
            metavar="URL",
            help="An incoming webhook of Slack, or of what takes its payloads.",
        ),
    )


def targets_of(webhook: str | None, secret: str | None, slack: str | None) -> list[Target]:
    """The targets that were named. A usage error lists every mistake."""
    from rollout_notify import Slack, Webhook, problems_of

    found: list[Target] = []
    if webhook is not None:
        found.append(Webhook(webhook, secret=secret or ""))
    if slack is not None:
        found.append(Slack(slack))
    if problems := problems_of(found):
        variables = "ROLLOUT_NOTIFY_WEBHOOK, ROLLOUT_NOTIFY_SECRET, ROLLOUT_NOTIFY_SLACK"
        raise click.UsageError("\n".join([*map(str, problems), f"(the options, or {variables})"]))
    return found


@click.group(cls=Doors)
def notify() -> None:
    """Who is told of transitions and of waiting approvals."""


@notify.command("test")
@targets()
@output(Late(lambda: _answer()))
@click.pass_context
def notify_test(ctx: click.Context, webhook: str | None, secret: str | None, slack: str | None, output: str) -> None:
    """Send a test message to every target, once, and say what happened. Exits 1 unless all of them took it."""
    from rollout_notify import probe, try_targets

    told = targets_of(webhook, secret, slack)
    if not told:
        raise click.UsageError("Say whom to tell: --webhook URL (with --secret) or --slack URL.")
    tried = go(try_targets(told, probe(whoami())))
    say("\n".join(map(_line, tried)), output, tried)
    ctx.exit(Exit.ok if all(one.delivered for one in tried) else Exit.failure)


def _answer() -> Any:
    from rollout_notify import Tried

    return Sequence[Tried]


def _line(one: Tried) -> str:
    where = f"{one.target} ({one.place})"
    if one.delivered:
        return f"{where}: delivered, in {duration_text(one.seconds)}"
    remedy = "It may go better in a while." if one.transient else "Check the address, and what the receiver expects."
    return f"{where}: not delivered: {one.why}. {remedy}"
