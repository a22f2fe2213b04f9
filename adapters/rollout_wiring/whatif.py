"""The command that asks the records: ``whatif``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from rollout.domain.durations import seconds, share_of
from rollout.domain.whatif.setting import Setting
from rollout.usecases import whatif as asking
from rollout_render import deliver, emit
from rollout_render import whatif as screens
from rollout_render.doors import named, reading, rollout_name, since
from rollout_render.progress import progress
from rollout_render.registered import BRANCH
from rollout_wiring.commands import run

T = TypeVar("T")
FILE = click.Path(dir_okay=False, path_type=Path)


class OfBranch(click.ParamType[tuple[str, T]], Generic[T]):
    """``BRANCH=VALUE``. ``read`` takes the value, and refuses it with a ``ValueError``."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, T]:
        branch, equals, text = str(value).partition("=")
        if not branch or not equals:
            self.fail(
                f'"{value}" names no branch and value; write for example "tickets={_EXAMPLES[self.name]}"', param, ctx
            )
        try:
            return branch, self._read(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_EXAMPLES = {"timeout": "200ms", "confidence": "0.8"}
TIMEOUT = OfBranch("timeout", seconds)


@click.command()
@rollout_name()
@named(
    "--soft-timeout",
    "SOFT_TIMEOUT",
    "soft",
    type=TIMEOUT,
    multiple=True,
    metavar="BRANCH=TIME",
    help="Go on without an optional branch after that long, as tickets=200ms.",
)
@named(
    "--hard-timeout",
    "HARD_TIMEOUT",
    "hard",
    type=TIMEOUT,
    multiple=True,
    metavar="BRANCH=TIME",
    help="Cut a branch after that long.",
)
@named(
    "--drop",
    "DROP",
    type=BRANCH,
    multiple=True,
    metavar="BRANCH",
    help="Go without a branch, and what comes after it.",
)
@named(
    "--confidence",
    "CONFIDENCE",
    type=OfBranch("confidence", share_of),
    multiple=True,
    metavar="BRANCH=SHARE",
    help="Ask a second opinion only where the first is less sure, as summary=0.8.",
)
@named("--live", "LIVE", is_flag=True, help="As users would have it once live, not as a shadow is measured.")
@named(
    "--most",
    "MOST",
    type=click.IntRange(1, 200_000),
    default=asking.MOST,
    show_default=True,
    help="Read at most so many trials, the newest.",
)
@named("--html", "HTML", "page", type=FILE, help="Write all of it to this file, as one page with its drawings.")
@since()
@reading(asking.whatif)
def whatif(
    name: str,
    soft: tuple[tuple[str, float], ...],
    hard: tuple[tuple[str, float], ...],
    drop: tuple[str, ...],
    confidence: tuple[tuple[str, float], ...],
    live: bool,
    most: int,
    page: Path | None,
    since: float | None,
    url: str,
    output: str,
) -> None:
    """What another setting would have made of the recorded calls.

    Other timeouts, fewer branches, another threshold. Replays each call of the shadow: latency, completeness, tokens,
    dollars, mismatches, with intervals of 95 %, beside what is in force; and which soft timeouts are worth having. What
    the records cannot tell is "unknown", with what to record to know it.
    """
    setting = Setting(
        soft_s=_once("--soft-timeout", soft),
        hard_s=_once("--hard-timeout", hard),
        dropped=frozenset(drop),
        confidence=_once("--confidence", confidence),
        live=live,
    )
    with progress(f"what-if {name}", 100) as done:
        found = run(
            url,
            lambda backend: asking.whatif(
                backend,
                name,
                setting,
                clock=time.perf_counter,
                since=since,
                most=most,
                progress=lambda share: done(round(100 * share)),
            ),
        )
    emit(found, output, screens.whatif)
    if page is not None:
        from rollout_render.whatif_page import html_whatif

        deliver(html_whatif(found), page)


def _once(option: str, pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The values by branch; none may have two."""
    found: dict[str, float] = {}
    for branch, value in pairs:
        if branch in found:
            raise click.UsageError(f"{option} names {branch} twice. Say it once.")
        found[branch] = value
    return found
