"""The audit's chain: whole, or the first row that is not."""

from dataclasses import replace
from typing import Any

import pytest

from rollout.domain.audit import verify
from rollout.domain.gates import Finding, Grade
from rollout.domain.state import Decision
from rollout.testing import memory_backend, sample_decision


async def written(*rollouts: str) -> list[Decision]:
    state = memory_backend().state
    return [await state.record(sample_decision(rollout, reason=f"{n}")) for n, rollout in enumerate(rollouts)]


def told(decisions: list[Decision], *, complete: bool = True) -> list[tuple[str, int, str]]:
    return [(one.rollout, one.number, one.kind) for one in verify(decisions, complete=complete)]


async def test_an_audit_that_nobody_touched_is_whole() -> None:
    assert verify(await written("profile", "search", "profile", "profile")) == []
    assert verify([]) == []


@pytest.mark.parametrize("field", ["reason", "actor", "action", "policy_version", "at", "findings", "moves"])
async def test_an_altered_field_is_found_in_its_row(field: str) -> None:
    decisions = await written("profile", "profile", "profile")
    finding = Finding(gate="errors", unit="orders", grade=Grade.passed)
    values: dict[str, Any] = {"policy_version": 99, "at": 1.0, "findings": (finding,), "moves": ({"branch": "orders"},)}
    decisions[1] = replace(decisions[1], **{field: values.get(field, "else")})
    assert told(decisions) == [("profile", 2, "hash")]


async def test_a_row_that_was_altered_and_sealed_again_breaks_the_next() -> None:
    decisions = await written("profile", "profile", "profile")
    forged = replace(decisions[1], reason="it was somebody else")
    decisions[1] = forged.sealed(number=2, at=forged.at, previous=forged.previous)
    assert told(decisions) == [("profile", 3, "previous")]


async def test_a_removed_row_is_a_gap_and_breaks_its_own_chain() -> None:
    decisions = await written("profile", "search", "profile", "search")
    del decisions[1]
    assert told(decisions) == [("profile", 3, "gap"), ("search", 4, "previous")]


async def test_a_removed_first_row_is_found() -> None:
    decisions = await written("profile", "profile")
    assert told(decisions[1:]) == [("profile", 2, "gap"), ("profile", 2, "previous")]


async def test_the_last_row_of_one_rollout_is_missed_by_its_number() -> None:
    decisions = await written("profile", "search", "profile")
    del decisions[1]
    assert told(decisions) == [("profile", 3, "gap")]


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1, 1]])
async def test_rows_that_were_moved_or_doubled_are_found(order: list[int]) -> None:
    decisions = await written("profile", "profile", "profile")
    assert "gap" in {kind for _, _, kind in told([decisions[n] for n in order])}


async def test_the_rows_of_one_rollout_have_gaps_between_their_numbers() -> None:
    decisions = [one for one in await written("profile", "search", "profile") if one.rollout == "profile"]
    assert verify(decisions, complete=False) == []
    assert told(decisions[::-1], complete=False) != []


async def test_a_break_is_one_sentence_for_people() -> None:
    decisions = await written("profile", "profile")
    decisions[1] = replace(decisions[1], reason="else")
    (found,) = verify(decisions)
    assert str(found).startswith("decision 2 (profile): its content has the hash ")


async def test_content_that_could_never_have_been_sealed_is_a_break() -> None:
    decisions = await written("profile")
    decisions[0] = replace(decisions[0], at=float("nan"))
    assert told(decisions) == [("profile", 1, "hash")]
