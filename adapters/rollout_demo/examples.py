"""The examples: ``rollout demo NAME``, each a small program that begins as a monolith and ends as a fan-out.

To add one: a package with a ``story`` module whose ``play(tell, folder)`` raises ``Unmet`` where something that it
promises does not happen, and a line in ``EXAMPLES``.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rollout_demo.narrator import Narrator

Play = Callable[["Narrator", Path], Coroutine[Any, Any, object]]


def _in(package: str) -> Play:
    """The ``play`` of a package's story, imported when it is played: the names alone must cost nothing."""

    async def play(tell: Narrator, folder: Path) -> object:
        return await import_module(f"rollout_demo.{package}.story").play(tell, folder)

    return play


#: Name → ``async (narrator, an empty folder for its database) -> anything``.
EXAMPLES: Final[Mapping[str, Play]] = {
    "enrichment": _in("enrichment"),
    "models": _in("models"),
    "notification": _in("notification"),
    "search": _in("search"),
}


def run(name: str) -> int:
    """Play an example in a fresh temporary folder. 0 when all of it happened, 1 when not, 130 at Ctrl-C."""
    from rollout import RolloutError
    from rollout_demo.audit import Unmet
    from rollout_demo.lines import ChildFailed
    from rollout_demo.narrator import Narrator

    tell = Narrator()
    folder = Path(tempfile.mkdtemp(prefix=f"rollout-{name}-"))
    try:
        asyncio.run(EXAMPLES[name](tell, folder))
    except KeyboardInterrupt:
        tell.stopped()
        return 130
    except (Unmet, ChildFailed, RolloutError) as error:
        tell.failed(str(error), folder)
        return 1
    return 0
