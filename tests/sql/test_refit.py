"""Where a branch stands when its ramp changes under it."""

from dataclasses import replace

from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState, Mode
from rollout_sql.refit import lowered, moved_to

NEW = Ramp.parse("shadow 5% 25% 100%")


def state(stage: int, share: float, mode: Mode = Mode.active) -> BranchState:
    return BranchState(rollout="profile", branch="orders", stage=stage, share=share, mode=mode, entered_at=5.0)


def test_a_share_at_the_same_stage_stays_untouched() -> None:
    before = state(1, 0.05)
    assert moved_to(NEW, before) is before


def test_a_share_at_another_stage_keeps_its_soak_clock() -> None:
    after = moved_to(NEW, state(3, 0.25))
    assert after is not None
    assert (after.stage, after.share, after.entered_at, after.entry) == (2, 0.25, 5.0, 1)
    assert after.version == 2


def test_a_share_that_the_ramp_lacks_fits_nowhere() -> None:
    assert moved_to(NEW, state(1, 0.01)) is None


def test_shadow_fits_every_ramp_and_a_rolled_back_branch_beyond_its_end_is_in_shadow() -> None:
    assert moved_to(NEW, state(0, 0.0)) is not None
    after = moved_to(NEW, state(5, 0.0, Mode.rolled_back))
    assert after is not None
    assert (after.stage, after.mode) == (0, Mode.rolled_back)


def test_lowered_is_the_next_share_below_entered_anew() -> None:
    after = lowered(NEW, state(3, 0.5))
    assert (after.stage, after.share, after.entry) == (2, 0.25, 2)


def test_lowered_begins_a_new_account() -> None:
    before = replace(state(3, 0.5), entry=4, account=2, earlier=0.25)
    after = lowered(NEW, before)
    assert (after.entry, after.account, after.earlier) == (5, 5, 0.0)


def test_another_stage_of_the_same_share_keeps_its_account() -> None:
    before = replace(state(3, 0.25), entry=4, account=2, earlier=0.05)
    after = moved_to(NEW, before)
    assert after is not None
    assert (after.account, after.earlier) == (2, 0.05)


def test_a_completed_branch_that_is_lowered_is_active_again() -> None:
    assert lowered(Ramp.parse("shadow 50%"), state(5, 1.0, Mode.completed)).mode is Mode.active


def test_below_the_lowest_share_is_shadow() -> None:
    after = lowered(NEW, state(1, 0.01))
    assert (after.stage, after.share, after.shadow) == (0, 0.0, True)
