"""Healthy branches climb their ramps by themselves, over real HTTP and on a real database, and a broken one does not.

Two hundred of them: ``tests/bench/test_real_ramps.py``.
"""

from __future__ import annotations

from pathlib import Path

from tests.ramps.climb import climb
from tests.ramps.handlers import Handlers


async def test_healthy_branches_reach_the_end_of_their_ramps_and_a_broken_one_is_rolled_back(tmp_path: Path) -> None:
    handlers = Handlers(database=f"sqlite:///{tmp_path / 'rollout.db'}", healthy=4, broken=1, keyed=True, harm=0.05)
    *healthy, broken = await climb(handlers, per_s=60.0, within_s=60.0)
    assert [end.told for end in healthy] == ["100%, completed"] * 4
    assert broken.told == "shadow, rolled back"
    assert broken.state.cause == "errors"
