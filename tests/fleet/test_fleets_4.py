"""Histories 600 to 799: no invariant breaks. (In several files, so that several workers share them.)"""

import pytest

from tests.fleet.histories import hold


@pytest.mark.parametrize("first", range(600, 800, 20))
def test_no_invariant_breaks(first: int) -> None:
    hold(range(first, first + 20))
