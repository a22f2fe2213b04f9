"""Ceilings: the branch's flag, capped by the rollout's."""

from __future__ import annotations

from itertools import product

import pytest

from rollout.domain.flags import CEILINGS, ceiling
from rollout.ports import FlagAnswer


@pytest.mark.parametrize(("rollout", "branch"), [*product(CEILINGS, CEILINGS)])
def test_a_branch_is_capped_by_its_rollout(rollout: str, branch: str) -> None:
    found = ceiling(FlagAnswer(rollout), FlagAnswer(branch))
    assert CEILINGS.index(found) == min(CEILINGS.index(rollout), CEILINGS.index(branch))


@pytest.mark.parametrize("rollout", CEILINGS)
def test_a_branch_without_a_flag_inherits(rollout: str) -> None:
    assert ceiling(FlagAnswer(rollout)) == rollout
    assert ceiling(FlagAnswer(rollout), FlagAnswer("off", "not_found", found=False)) == rollout


def test_a_word_that_is_no_ceiling_is_off() -> None:
    assert ceiling(FlagAnswer("ON")) == "off"
    assert ceiling(FlagAnswer("on"), FlagAnswer("yes")) == "off"


def test_a_rollout_that_the_source_does_not_know_may_do_what_the_answer_says() -> None:
    assert ceiling(FlagAnswer("off", "not_found", found=False), FlagAnswer("on")) == "off"
