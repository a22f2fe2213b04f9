"""Whole histories over a real database, whose locks and transactions are its own."""

from pathlib import Path

import pytest

from tests.fleet.histories import hold_in_sqlite


@pytest.mark.parametrize("seed", range(4))
def test_no_invariant_breaks(seed: int, tmp_path: Path) -> None:
    hold_in_sqlite(seed, tmp_path)
