"""The check of the audit: numbers run through all rollouts, chains through each."""

from dataclasses import replace

import pytest

from rollout.domain.state import Decision
from rollout.errors import UnknownName
from rollout.ports import Backend
from rollout.testing import memory_backend, sample_decision, sample_policy
from rollout.usecases import look


async def decided() -> Backend:
    """Two rollouts, whose decisions take turns."""
    backend = memory_backend()
    for rollout in ("profile", "search"):
        await backend.state.register(sample_policy(rollout), "app")
    for n in range(600):
        await backend.state.record(sample_decision(("profile", "search")[n % 2], reason=f"{n}"))
    return backend


@pytest.mark.parametrize(("name", "decisions", "rollouts"), [(None, 602, 2), ("profile", 301, 1), ("search", 301, 1)])
async def test_an_audit_of_several_rollouts_is_whole(name: str | None, decisions: int, rollouts: int) -> None:
    found = await look.audit(await decided(), name)
    assert (found.breaks, found.decisions, found.rollouts) == ((), decisions, rollouts)


@pytest.mark.parametrize(("name", "numbers"), [(None, [7]), ("profile", [7]), ("search", [])])
async def test_an_altered_decision_is_found_in_its_own_rollout(
    monkeypatch: pytest.MonkeyPatch, name: str | None, numbers: list[int]
) -> None:
    backend = await decided()
    read = backend.state.decisions

    async def altered(rollout: str | None = None, limit: int = 50, before: int | None = None) -> list[Decision]:
        found = await read(rollout, limit, before)
        return [replace(one, reason="it was somebody else") if one.number == 7 else one for one in found]

    monkeypatch.setattr(backend.state, "decisions", altered)
    assert [broken.number for broken in (await look.audit(backend, name)).breaks] == numbers


async def test_an_unknown_rollout_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match='Did you mean "profile"'):
        await look.audit(await decided(), "profil")
