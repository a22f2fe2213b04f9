"""Where the evidence of a stage begins."""

from __future__ import annotations

from dataclasses import replace

from rollout import gates
from rollout.domain.judgement import Case
from rollout.domain.state import BranchState
from rollout.engine.judging import Evidence
from rollout.testing import sample_policy


def test_who_goes_on_into_a_stage_and_who_begins_there_agree_after_the_clock_was_set_back() -> None:
    """The version was registered at second 26; then the clock was set back, and at second 23 the stage was entered."""
    policy = replace(sample_policy(branches=("orders",), gates=(gates.errors(),)), version=3, registered_at=26.3)
    first = BranchState(rollout=policy.rollout, branch="orders", stage=1, share=0.5, entry=6, entered_at=26.4)
    then = replace(first, stage=2, share=1.0, entry=7, entered_at=23.4)
    at_first, at_last = (
        Case(policy=policy, unit="orders", states={"orders": state}, flags=(), now=state.entered_at)
        for state in (first, then)
    )

    followed = Evidence(at_first, None)
    assert followed.follow(at_last)
    assert followed.closed == Evidence(at_last, None).closed == 25
