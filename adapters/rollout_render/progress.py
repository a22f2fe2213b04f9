"""What tells somebody at a terminal that work goes on, where it takes more than a second: a bar, or a sign of life.

On stderr, and gone when the work is done. Nothing where nobody looks: in a pipe, a file, a terminal without a cursor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Final

from rollout_render.clean import clean
from rollout_render.terminal import cell, console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.status import Status

SOON_S: Final = 1.0  # what is done before needs no sign


@contextmanager
def progress(what: str, total: int, *, after_s: float = SOON_S) -> Iterator[Callable[[int], None]]:
    """A bar, to be told how many of ``total`` are done."""
    screen = console(stderr=True)
    if not _looked_at(screen):
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=screen, transient=True)
    task = shown.add_task(clean(what, 60), total=total)
    with _late(shown, after_s):
        yield lambda done: shown.update(task, completed=done)


@contextmanager
def busy(what: str, *, after_s: float = SOON_S) -> Iterator[None]:
    """A sign of life, for work of which nobody knows how much is left."""
    screen = console(stderr=True)
    if not _looked_at(screen):
        yield
        return
    with _late(screen.status(cell(what, limit=60)), after_s):
        yield


def _looked_at(screen: Console) -> bool:
    return screen.is_terminal and not screen.is_dumb_terminal and sys.stdout.isatty()


@contextmanager
def _late(shown: Progress | Status, after_s: float) -> Iterator[None]:
    waiting = Timer(after_s, shown.start)
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()
        waiting.join()  # or it might begin after it was stopped
        shown.stop()
