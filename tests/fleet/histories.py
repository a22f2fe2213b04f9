"""Lives the histories of seeds, and says what broke in them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.fleet.fleet import Fleet
from tests.fleet.sqlite import in_sqlite

#: Errors of ours that the product survives, and logs.
OURS: Final = frozenset(("batch_dropped", "judge_failed", "notifier_failed", "tick_failed", "writer_failed"))
_MOST_SHOWN: Final = 3


def hold(seeds: Iterable[int]) -> None:
    """Live the histories of these seeds in memory. ``AssertionError`` names what broke, and how to see it again."""
    fleets = (lived(Fleet(seed)) for seed in seeds)
    letters = [letter(fleet) for fleet in fleets if fleet.chronicle.broken]
    assert not letters, "\n".join([f"{len(letters)} histories broke", *letters[:_MOST_SHOWN]])


def hold_in_sqlite(seed: int, folder: Path) -> None:
    """The same of one seed, over a file of SQLite in that folder."""
    fleet = lived_in_sqlite(seed, folder)
    assert not fleet.chronicle.broken, letter(fleet, "--sqlite")


def lived(fleet: Fleet) -> Fleet:
    """A fleet in memory, after its history."""
    with _listening(fleet):
        _run(fleet.live())
    return fleet


def lived_in_sqlite(seed: int, folder: Path) -> Fleet:
    """The fleet of a seed over a file of SQLite, after its history."""
    fleet = Fleet(seed, partial(in_sqlite, folder / f"fleet-{seed}.db"))
    with _listening(fleet):
        asyncio.run(fleet.live())
    return fleet


def letter(fleet: Fleet, *options: str) -> str:
    """What broke, and how to see it again."""
    found = "\n".join(f"  - {what}" for what in fleet.chronicle.broken)
    replay = " ".join(["python -m tests.fleet", str(fleet.seed), *options])
    return f"The history of seed {fleet.seed} broke at {fleet.timeline.now:.3f} s:\n{found}\nStep by step: {replay}"


def _run(history: Coroutine[Any, Any, None]) -> None:
    """A coroutine that waits for nothing real. What it leaves is searched for garbage by whoever comes next."""
    searches = gc.isenabled()
    gc.disable()
    try:
        while True:
            history.send(None)
    except StopIteration:
        return
    finally:
        if searches:
            gc.enable()


class _Ours(logging.Handler):
    """Errors of ours, however well they were survived, break the history."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(logging.ERROR)
        self._fleet = fleet

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if getattr(record, "event", "") in OURS and error is not None:  # of the database's, only the words are logged
            self._fleet.chronicle.breaks("nothing_of_ours_fails", f"{record.getMessage()}: {error!r}")


@contextmanager
def _listening(fleet: Fleet) -> Iterator[None]:
    """What the product logs is heard by the history, and by nobody else."""
    log = logging.getLogger("rollout")
    level, spreads, ours = log.level, log.propagate, _Ours(fleet)
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(ours)
    try:
        yield
    finally:
        log.removeHandler(ours)
        log.setLevel(level)
        log.propagate = spreads
