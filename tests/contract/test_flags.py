"""Flag overrides, the snapshot, and the installation's secret."""

import asyncio

from rollout.domain.state import FlagOverride
from rollout.ports import Backend, StateStore
from rollout.testing import sample_policy
from tests.contract.places import OpenBackend


def override(value: str = "on", key: str | None = "alice", flag: str = "profile") -> FlagOverride:
    return FlagOverride(flag=flag, value=value, key=key, reason="tester", actor="ann")


async def flags(state: StateStore) -> dict[tuple[str, str | None], str]:
    return {(one.flag, one.key): one.value for one in (await state.load()).flags}


async def test_an_empty_database_has_decided_nothing(state: StateStore) -> None:
    snapshot = await state.load()
    assert (dict(snapshot.policies), dict(snapshot.states), list(snapshot.flags)) == ({}, {}, [])
    assert snapshot.revision == await state.revision()


async def test_a_snapshot_tells_the_time_of_the_database(state: StateStore) -> None:
    before = await state.now()
    assert before <= (await state.load()).now <= await state.now()


async def test_a_flag_that_was_set_is_in_the_snapshot_with_who_and_why_and_when(state: StateStore) -> None:
    before = await state.now()
    await state.set_flag(override())
    (stored,) = (await state.load()).flags
    assert (stored.flag, stored.value, stored.key) == ("profile", "on", "alice")
    assert (stored.reason, stored.actor) == ("tester", "ann")
    assert before <= stored.at <= await state.now()


async def test_a_flag_is_set_for_one_key_or_for_everybody(state: StateStore) -> None:
    await state.set_flag(override("on", "alice"))
    await state.set_flag(override("off", None))
    await state.set_flag(override("shadow", None, flag="search"))
    assert await flags(state) == {
        ("profile", "alice"): "on",
        ("profile", None): "off",
        ("search", None): "shadow",
    }


async def test_setting_a_flag_again_replaces_it(state: StateStore) -> None:
    for key in ("alice", None):
        await state.set_flag(override("on", key))
        await state.set_flag(override("off", key))
    assert await flags(state) == {("profile", "alice"): "off", ("profile", None): "off"}


async def test_clearing_a_flag_takes_just_that_one_away(state: StateStore) -> None:
    await state.set_flag(override("on", "alice"))
    await state.set_flag(override("off", None))
    assert await state.clear_flag("profile", None, "ann", "done") is True
    assert await flags(state) == {("profile", "alice"): "on"}
    assert await state.clear_flag("profile", "alice", "ann", "done") is True
    assert await flags(state) == {}


async def test_clearing_a_flag_that_is_not_set_says_so_and_changes_nothing(state: StateStore) -> None:
    await state.set_flag(override("on", "alice"))
    revision = await state.revision()
    assert await state.clear_flag("profile", None, "ann", "done") is False
    assert await state.revision() == revision


async def test_setting_and_clearing_a_flag_raise_the_revision(state: StateStore) -> None:
    before = await state.revision()
    await state.set_flag(override())
    after_set = await state.revision()
    await state.clear_flag("profile", "alice", "ann", "done")
    assert before < after_set < await state.revision()


async def test_flags_are_in_the_audit_with_their_reason(state: StateStore) -> None:
    await state.register(sample_policy(flag="profile-fanout"), "app")
    await state.set_flag(override(flag="profile-fanout"))
    decision = (await state.decisions("profile"))[0]
    assert (decision.action, decision.actor) == ("flag", "ann")
    assert "tester" in decision.reason


async def test_the_secret_is_32_bytes_and_stays_the_same(backend: Backend, open_backend: OpenBackend) -> None:
    other = await open_backend()
    secrets = await asyncio.gather(backend.state.secret(), other.state.secret(), backend.state.secret())
    assert len(set(secrets)) == 1
    assert len(secrets[0]) == 32
    assert await (await open_backend()).state.secret() == secrets[0]


async def test_what_one_process_decides_another_reads(backend: Backend, open_backend: OpenBackend) -> None:
    await backend.state.register(sample_policy(), "app")
    await backend.state.set_flag(override())
    theirs, ours = await (await open_backend()).state.load(), await backend.state.load()
    assert (theirs.policies, theirs.states, theirs.flags) == (ours.policies, ours.states, ours.flags)
