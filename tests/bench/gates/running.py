"""Many runs over the cores there are, and tables of what came of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import mean, median
from typing import TypeVar

from rich.console import Console
from rich.table import Table

#: Below 1: a preview with fewer runs, whose figures may miss the bounds by chance.
SCALE = float(os.environ.get("ROLLOUT_BENCH_SCALE", "1"))
WIDTH = 150

Kind = TypeVar("Kind", bound=Hashable)
Result = TypeVar("Result")


def scaled(runs: int) -> int:
    """So many; fewer in a preview."""
    return max(10, round(runs * SCALE))


def each(work: Callable[[tuple[Kind, int]], Result], runs: Mapping[Kind, int]) -> dict[Kind, list[Result]]:
    """What ``work`` returns for every kind, and for every number below its runs.

    Both travel to other processes, so ``work`` is a function of a module, and everything random comes from the kind and
    the number.
    """
    cores = os.cpu_count() or 1
    jobs = [(kind, number) for kind, some in runs.items() for number in range(scaled(some))]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        results = pool.map(work, jobs, chunksize=max(1, len(jobs) // (20 * cores)))
        found: dict[Kind, list[Result]] = {kind: [] for kind in runs}
        for (kind, _), result in zip(jobs, results, strict=True):
            found[kind].append(result)
    return found


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share ``q`` of them does not exceed, about."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


#: The columns of ``over``.
OVER = ("at best", "median calls", "mean", "median", "p90")


def over(best: float, ratios: Sequence[float]) -> tuple[str, ...]:
    """Calls at best; and what it took, as a multiple of that."""
    calls = (f"{best:,.0f}", f"{median(ratios) * best:,.0f}")
    return (*calls, *(f"{value:.2f}" for value in (mean(ratios), median(ratios), quantile(ratios, 0.9))))


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH)
    console.print()
    console.print(table)
