"""Where a branch stands when its ramp changes under it. Pure."""

from __future__ import annotations

from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState, Mode


def moved_to(ramp: Ramp, state: BranchState) -> BranchState | None:
    """The state with the index of its share in ``ramp``: the very same object if that fits already. None if the ramp
    does not have the share. One that is not live stands at its stage, or in shadow if the ramp has become shorter.
    """
    if state.share == 0:
        return state if state.stage <= ramp.last else state.moved(stage=0)
    if state.share not in ramp.stages:
        return None
    stage = list(ramp.stages).index(state.share)
    return state if stage == state.stage else state.moved(stage=stage)


def lowered(ramp: Ramp, state: BranchState) -> BranchState:
    """The state at the highest share of ``ramp`` below its own, a stage entered anew with a new account."""
    stage = max(index for index, share in enumerate(ramp.stages) if share < state.share)
    mode = Mode.active if state.mode is Mode.completed else state.mode
    entry = state.entry + 1
    return state.moved(
        stage=stage,
        share=ramp.share(stage),
        mode=mode,
        entry=entry,
        account=entry,
        earlier=0.0,
        shadow=state.shadow or stage == 0,
    )
