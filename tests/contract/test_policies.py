"""What the code declares, what a spec puts on top, and which of both is in force."""

import asyncio

import pytest

from rollout.domain.gates import GateSpec
from rollout.domain.ramp import Ramp
from rollout.domain.state import SETTABLE, Mode
from rollout.errors import UnknownName
from rollout.ports import Backend, StateStore
from rollout.testing import sample_change, sample_policy
from tests.contract.places import OpenBackend

RAMP = Ramp.parse("shadow 10% 100%", soak="1h", bake="2h", approve="100%", freeze=["Fri 16:00 - Mon 08:00"])
GATES = (GateSpec(kind="latency", q=0.99, worse_by=0.2), GateSpec(kind="cost", at_most=10_000_000))


async def test_the_first_registration_is_version_1_and_comes_back_as_it_was_declared(state: StateStore) -> None:
    declared = sample_policy(
        branches=("orders", "tickets"),
        join="replace",
        ramp=RAMP,
        gates=GATES,
        latency_s=1.5,
        tokens=4_000,
        nano=50_000_000,
        nano_per_day=5_000_000_000,
        settle_s=1.6,
        sample=0.5,
        flag="profile-fanout",
        keyed=True,
        revision="r7",
        routes=("/profile/{id}",),
    )

    stored = await state.register(declared, "app")

    assert stored.version == 1
    assert stored.to_dict() == declared.to_dict()
    assert stored == (await state.load()).policies["profile"]


async def test_a_registration_is_dated_by_the_database(state: StateStore) -> None:
    before = await state.now()
    stored = await state.register(sample_policy(), "app")
    assert before <= stored.registered_at <= await state.now()


async def test_registering_the_same_again_changes_nothing(state: StateStore) -> None:
    first = await state.register(sample_policy(), "app")
    revision, decisions = await state.revision(), await state.decisions()

    again = await state.register(sample_policy(), "another process")

    assert again == first
    assert await state.revision() == revision
    assert await state.decisions() == decisions
    assert await state.policy_versions("profile") == [first]


async def test_registering_something_else_makes_a_new_version(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    revision = await state.revision()

    changed = await state.register(sample_policy(latency_s=2.0), "app")

    assert (changed.version, changed.latency_s) == (2, 2.0)
    assert await state.revision() > revision


async def test_the_process_that_started_last_wins_even_with_older_code(state: StateStore) -> None:
    for revision in ("old", "new", "old"):
        await state.register(sample_policy(revision=revision), "app")
    in_force = (await state.load()).policies["profile"]
    assert (in_force.version, in_force.revision) == (3, "old")


async def test_every_version_is_kept_newest_first(state: StateStore) -> None:
    for revision in ("a", "b", "c"):
        await state.register(sample_policy(revision=revision), "app")
    versions = await state.policy_versions("profile")
    assert [(one.version, one.revision) for one in versions] == [(3, "c"), (2, "b"), (1, "a")]


async def test_a_rollout_nobody_registered_has_no_versions(state: StateStore) -> None:
    assert await state.policy_versions("nothing") == []


async def test_a_new_version_is_in_the_audit(state: StateStore) -> None:
    await state.register(sample_policy(), "app on host-1")
    (decision,) = await state.decisions("profile")
    assert (decision.action, decision.trigger, decision.actor) == ("register", "start", "app on host-1")
    assert decision.policy_version == 1


async def test_rollouts_do_not_share_versions(state: StateStore) -> None:
    await state.register(sample_policy("profile"), "app")
    assert (await state.register(sample_policy("search"), "app")).version == 1
    assert set((await state.load()).policies) == {"profile", "search"}


async def test_new_branches_begin_in_shadow(state: StateStore) -> None:
    before = await state.now()
    await state.register(sample_policy(branches=("orders", "tickets")), "app")
    states = (await state.load()).states["profile"]
    assert set(states) == {"orders", "tickets"}
    for branch in states.values():
        assert (branch.stage, branch.share, branch.shadow, branch.mode) == (0, 0.0, True, Mode.active)
        assert (branch.entry, branch.version) == (1, 1)
        assert before <= branch.entered_at <= await state.now()


async def test_a_branch_that_comes_later_begins_in_shadow_and_moves_no_other(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    orders = (await state.load()).states["profile"]["orders"]
    (moved,) = await state.transition(sample_change(orders))

    await state.register(sample_policy(branches=("orders", "tickets")), "app")

    states = (await state.load()).states["profile"]
    assert states["orders"] == moved
    assert states["tickets"].share == 0.0


async def test_two_processes_that_start_together_make_one_version(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    policies = await asyncio.gather(
        backend.state.register(sample_policy(), "one"), other.state.register(sample_policy(), "two")
    )
    assert [policy.version for policy in policies] == [1, 1]
    assert len(await backend.state.policy_versions("profile")) == 1


# What a spec puts on top


async def test_applied_fields_lie_on_top_of_the_code(state: StateStore) -> None:
    await state.register(sample_policy(), "app")

    applied = await state.apply("profile", {"ramp": RAMP.to_dict(), "shadow.sample": 0.25}, "spec rollout.toml", "ann")

    assert (applied.version, applied.ramp, applied.sample) == (2, RAMP, 0.25)
    assert applied == (await state.load()).policies["profile"]


async def test_every_settable_field_can_be_applied(state: StateStore) -> None:
    await state.register(sample_policy(nano_per_day=7), "app")
    fields = {
        "ramp": RAMP.to_dict(),
        "gates": [gate.to_dict() for gate in GATES],
        "budget.latency_s": 20.0,
        "budget.tokens": 4_000,
        "budget.usd": "0.05",
        "prices": {"small": ["0.15", "0.60", None]},
        "shadow.sample": 0.1,
        "shadow.noise": 0.2,
        "shadow.reverse": 0.3,
        "shadow.usd_per_day": None,
        "store.sample": 0.4,
        "store.ttl_s": 3_600.0,
    }

    policy = await state.apply("profile", fields, "spec rollout.toml", "ann")

    assert (policy.ramp, tuple(policy.gates), policy.latency_s) == (RAMP, GATES, 20.0)
    assert (policy.sample, policy.noise, policy.reverse) == (0.1, 0.2, 0.3)
    assert (policy.tokens, policy.nano, policy.nano_per_day) == (4_000, 50_000_000, None)
    assert policy.prices == {"small": ("0.15", "0.60", None)}
    assert (policy.store_sample, policy.ttl_s) == (0.4, 3_600.0)
    assert policy == (await state.load()).policies["profile"]
    assert set(fields) == set(SETTABLE)


async def test_a_larger_budget_lengthens_the_settle_time(state: StateStore) -> None:
    await state.register(sample_policy(latency_s=1.0, settle_s=10.1), "app")
    policy = await state.apply("profile", {"budget.latency_s": 30.0}, "spec rollout.toml", "ann")
    assert policy.settle_s > 30.0


async def test_applied_fields_stay_on_top_of_new_code(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    await state.apply("profile", {"shadow.sample": 0.25}, "spec rollout.toml", "ann")

    registered = await state.register(sample_policy(latency_s=2.0, sample=0.75), "app")

    assert (registered.latency_s, registered.sample) == (2.0, 0.25)


async def test_a_second_spec_adds_to_the_first(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    await state.apply("profile", {"shadow.sample": 0.25, "shadow.noise": 0.5}, "spec a.toml", "ann")
    policy = await state.apply("profile", {"shadow.noise": 0.75}, "spec b.toml", "ann")
    assert (policy.sample, policy.noise) == (0.25, 0.75)
    assert (policy.origins["shadow.sample"], policy.origins["shadow.noise"]) == ("spec a.toml", "spec b.toml")


async def test_registering_the_same_code_after_an_apply_makes_no_version(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    applied = await state.apply("profile", {"shadow.sample": 0.25}, "spec rollout.toml", "ann")
    assert await state.register(sample_policy(), "app restarted") == applied


async def test_a_reset_leaves_what_the_code_declares(state: StateStore) -> None:
    declared = await state.register(sample_policy(), "app")
    await state.apply("profile", {"shadow.sample": 0.25}, "spec rollout.toml", "ann")

    reset = await state.apply("profile", None, "reset", "ann")

    assert reset.version == 3
    assert reset.to_dict() == declared.to_dict()


async def test_each_field_knows_where_it_came_from(state: StateStore) -> None:
    await state.register(sample_policy(origins={"ramp": "default", "shadow.sample": "code"}), "app")
    applied = await state.apply("profile", {"ramp": RAMP.to_dict()}, "spec rollout.toml", "ann")
    assert dict(applied.origins) == {"ramp": "spec rollout.toml", "shadow.sample": "code"}


async def test_an_apply_is_in_the_audit_with_its_reason(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    await state.apply("profile", {"shadow.sample": 0.25}, "spec rollout.toml", "ann", "too much load")
    decision = (await state.decisions("profile"))[0]
    assert (decision.action, decision.actor, decision.trigger) == ("apply", "ann", "person")
    assert "too much load" in decision.reason
    assert decision.policy_version == 2


async def test_a_field_that_no_spec_may_set_is_refused_and_nothing_is_written(state: StateStore) -> None:
    await state.register(sample_policy(), "app")
    with pytest.raises(UnknownName, match=r'Did you mean "shadow\.sample"'):
        await state.apply("profile", {"shadow.noise": 0.5, "shadow.samples": 0.25}, "spec rollout.toml", "ann")
    assert len(await state.policy_versions("profile")) == 1
    assert (await state.load()).policies["profile"].noise == 0.01


async def test_processes_that_start_together_with_different_code_make_one_version_each(
    backend: Backend, open_backend: OpenBackend
) -> None:
    other = await open_backend()
    policies = await asyncio.gather(
        *(one.state.register(sample_policy(revision=r), "app") for one, r in ((backend, "a"), (other, "b"))),
    )
    assert sorted(policy.version for policy in policies) == [1, 2]
    assert len((await backend.state.load()).states["profile"]) == 1


async def test_applying_to_an_unknown_rollout_names_the_nearest(state: StateStore) -> None:
    await state.register(sample_policy("profile"), "app")
    with pytest.raises(UnknownName, match='Did you mean "profile"'):
        await state.apply("profil", {"shadow.sample": 0.25}, "spec rollout.toml", "ann")
    assert len(await state.decisions()) == 1
