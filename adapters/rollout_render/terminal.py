"""The terminal: a console that is plain where nobody looks at it, and tables whose cells are always clean text.

Text from the database never goes through rich's markup: each cell is a ``Text`` of its own, so ``[red]`` in a reason is
six characters. Colours obey NO_COLOR and are left out where stdout is not a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollout.domain.gates import Finding, Grade
from rollout.domain.standing import Word
from rollout_render.clean import clean

# Legible on black and on white: each has a contrast of more than 3.5 with both.
GOOD, WARN, BAD, DATA = "green4", "dark_orange3", "red3", "deep_sky_blue3"
STYLES = {
    Word.completed: GOOD,
    Word.ready: GOOD,
    Word.soaking: DATA,
    Word.frozen: WARN,
    Word.waiting: WARN,
    Word.paused: WARN,
    Word.undecided: f"bold {WARN}",
    Word.holding: f"bold {WARN}",
    Word.rolled_back: f"bold {BAD}",
}
GRADES = {
    Grade.passed: ("pass", GOOD),
    Grade.doubt: ("too little", WARN),
    Grade.error: ("cannot judge", f"bold {WARN}"),
    Grade.breach: ("breach", f"bold {BAD}"),
}
Cell = str | Text


def console(*, stderr: bool = False) -> Console:
    """A console on stdout (or stderr). Piped: plain, and wide, so that nothing is cut; ``COLUMNS`` sets the width."""
    file = sys.stderr if stderr else sys.stdout
    piped = not file.isatty()
    width = 160 if piped and "COLUMNS" not in os.environ else None
    return Console(file=file, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def cell(text: object, style: str = "", *, limit: int = 500) -> Text:
    """Clean text in one style."""
    return Text(clean(text, limit), style=style)


def word(value: Word) -> Text:
    return Text(value.text, style=STYLES[value])


def grade(found: Finding) -> Text:
    """The grade of a finding in a word; that nothing was seen is not told as a pass."""
    text, style = ("no data", "dim") if unseen(found) else GRADES[found.grade]
    return Text(text, style=style)


def unseen(found: Finding) -> bool:
    """Whether a gate lets pass what it has not seen, as it does at the last stage, where no step is left."""
    return found.grade is Grade.passed and not found.n


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Iterable[str] = (), stretch: str = ""
) -> Table:
    """A table without walls. ``right``: the columns of numbers. ``stretch``: the column that takes the room and
    wraps."""
    made = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", expand=False, padding=(0, 1)
    )
    numbers = set(right)
    for name in columns:
        wraps = name == stretch
        made.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold",
            no_wrap=not wraps,
            ratio=1 if wraps else None,
            min_width=10 if wraps else None,
        )
    for row in rows:
        made.add_row(*(item if isinstance(item, Text) else cell(item) for item in row))
    return made


def title(text: str, note: str = "") -> Text:
    """A heading with a quiet note after it."""
    line = Text(clean(text), style="bold")
    return line.append(f"  {clean(note)}", style="not bold dim") if note else line
