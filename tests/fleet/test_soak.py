"""Many more histories, on every core."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import pytest

from tests.fleet.histories import hold, hold_in_sqlite

Item = TypeVar("Item")

pytestmark = pytest.mark.soak


def test_ten_thousand_histories_in_memory() -> None:
    on_every_core(hold, [range(first, first + 50) for first in range(1_000, 11_000, 50)])


def test_two_hundred_histories_in_sqlite(tmp_path: Path) -> None:
    on_every_core(partial(hold_in_sqlite, folder=tmp_path), range(4, 204))


def on_every_core(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for _ in pool.map(work, items):
            pass
