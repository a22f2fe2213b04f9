"""A ramp that changes under branches that stand on it."""

import pytest

from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchState
from rollout.errors import Refused
from rollout.ports import Backend
from rollout.testing import sample_change, sample_policy

SHORT = Ramp.parse("shadow 25% 100%")


async def standing_at_5_percent(backend: Backend) -> BranchState:
    await backend.state.register(sample_policy(branches=("orders", "tickets")), "app")
    for stage, share in ((1, 0.01), (2, 0.05)):
        orders = await orders_of(backend)
        await backend.state.transition(sample_change(orders, stage=stage, share=share, entry=orders.entry + 1))
    return await orders_of(backend)


async def orders_of(backend: Backend) -> BranchState:
    return (await backend.state.load()).states["profile"]["orders"]


async def test_a_spec_whose_ramp_lacks_the_share_of_a_branch_is_refused_and_changes_nothing(backend: Backend) -> None:
    before = await standing_at_5_percent(backend)
    snapshot = await backend.state.load()
    with pytest.raises(Refused, match=r'profile/orders stands at 5%, which the ramp "shadow 25% 100%" does not have'):
        await backend.state.apply("profile", {"ramp": SHORT}, "spec", "ann")
    after = await backend.state.load()
    assert (after.revision, after.policies, await orders_of(backend)) == (snapshot.revision, snapshot.policies, before)


async def test_a_spec_whose_ramp_has_the_share_at_another_stage_moves_the_index_and_not_the_branch(
    backend: Backend,
) -> None:
    before = await standing_at_5_percent(backend)
    await backend.state.apply("profile", {"ramp": Ramp.parse("shadow 5% 100%")}, "spec", "ann")
    after = await orders_of(backend)
    assert (after.stage, after.share, after.entry, after.entered_at) == (1, 0.05, before.entry, before.entered_at)
    assert (await backend.state.decisions(limit=1))[0].moves == ()


async def test_code_whose_ramp_lacks_the_share_takes_the_branch_to_the_next_share_below_and_says_so(
    backend: Backend,
) -> None:
    before = await standing_at_5_percent(backend)
    await backend.state.register(sample_policy(branches=("orders", "tickets"), ramp=SHORT), "app")
    after = await orders_of(backend)
    assert (after.stage, after.share, after.entry) == (0, 0.0, before.entry + 1)
    decision = (await backend.state.decisions(limit=1))[0]
    assert decision.action == "register"
    assert decision.moves == ({"branch": "orders", "from": "5% active", "to": "shadow active"},)


async def test_a_branch_that_the_code_dropped_and_takes_up_again_stands_where_it_stood(backend: Backend) -> None:
    before = await standing_at_5_percent(backend)
    await backend.state.register(sample_policy(branches=("tickets",)), "app")
    effective = await backend.state.register(sample_policy(branches=("orders", "tickets")), "app")
    assert [branch.name for branch in effective.branches] == ["orders", "tickets"]
    assert await orders_of(backend) == before
