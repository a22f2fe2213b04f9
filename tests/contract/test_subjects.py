"""Subjects: each key is scored once a stage, by its earliest call, whichever process saw it first."""

from itertools import permutations
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.domain.evidence import Figures, Subject, score
from rollout.domain.histogram import Histogram
from rollout.ports import Ledger
from rollout.testing import sample_batch, sample_block, sample_subject

ALICE, BOB = "00000000000a11ce", "0000000000000b0b"


async def scored(
    ledger: Ledger, now: int, *, entry: int = 1, rollout: str = "profile"
) -> dict[int, tuple[Figures, Figures]]:
    """The scored figures of arms A and B by second, of the last ten seconds."""
    found = await ledger.closed_blocks(rollout, "orders", entry, 1, now - 10, now)
    return {block.second: (block.scored_a, block.scored_b) for block in found}


async def seconds_with_calls(ledger: Ledger, now: int, *, entry: int = 1, rollout: str = "profile") -> None:
    await ledger.append(
        sample_batch(*(sample_block(now - back, "A", entry=entry, rollout=rollout) for back in range(10)))
    )


async def test_a_subject_is_scored_in_the_second_of_its_start(ledger: Ledger, now: int) -> None:
    await seconds_with_calls(ledger, now)
    await ledger.append(sample_batch(sample_subject(ALICE, now - 4 + 0.9, "B", latency=700)))
    figures = await scored(ledger, now)
    _, b = figures.pop(now - 4)
    assert b.counts == {"calls": 1}
    assert b.histograms["latency"] == Histogram({700: 1})
    assert not any(a or b for a, b in figures.values())


async def test_a_bad_subject_is_counted_bad_and_has_no_latency(ledger: Ledger, now: int) -> None:
    await seconds_with_calls(ledger, now)
    await ledger.append(
        sample_batch(
            sample_subject(ALICE, now - 4, "A", bad=True), sample_subject(BOB, now - 4 + 0.5, "A", latency=300)
        )
    )
    a, b = (await scored(ledger, now))[now - 4]
    assert (a["calls"], a["bad"]) == (2, 1)
    assert a.histograms["latency"] == Histogram({300: 1})
    assert not b


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_earliest_start_wins_in_any_order_of_arrival(
    ledger: Ledger, now: int, order: tuple[int, ...]
) -> None:
    await seconds_with_calls(ledger, now)
    seen = [
        sample_subject(ALICE, now - 6 + 0.25, "B", bad=True),
        sample_subject(ALICE, now - 6 + 0.5, "B", latency=100),
        sample_subject(ALICE, now - 2, "B", latency=200),
    ]
    for number in order:
        await ledger.append(sample_batch(seen[number], process=f"p{number}"))
    figures = await scored(ledger, now)
    _, b = figures.pop(now - 6)
    assert (b["calls"], b["bad"]) == (1, 1)
    assert not any(a or b for a, b in figures.values())


async def test_a_key_that_comes_twice_in_one_batch_is_scored_once(ledger: Ledger, now: int) -> None:
    await seconds_with_calls(ledger, now)
    await ledger.append(
        sample_batch(sample_subject(ALICE, now - 3, "B", latency=200), sample_subject(ALICE, now - 5, "B", latency=100))
    )
    figures = await scored(ledger, now)
    assert figures[now - 5][1].histograms["latency"] == Histogram({100: 1})
    assert not figures[now - 3][1]


async def test_a_key_is_scored_anew_in_each_entry_of_a_stage(ledger: Ledger, now: int) -> None:
    for entry in (1, 2):
        await seconds_with_calls(ledger, now, entry=entry)
        await ledger.append(sample_batch(sample_subject(ALICE, now - entry, "B", entry=entry)))
    for entry in (1, 2):
        figures = await scored(ledger, now, entry=entry)
        assert [second for second, (_, b) in figures.items() if b] == [now - entry]


async def test_units_and_rollouts_score_a_key_apart(ledger: Ledger, now: int) -> None:
    await seconds_with_calls(ledger, now)
    await ledger.append(
        sample_batch(
            sample_subject(ALICE, now - 4, "B"),
            sample_subject(ALICE, now - 5, "A", unit="tickets"),
            sample_subject(ALICE, now - 6, "A", rollout="search"),
        )
    )
    figures = await scored(ledger, now)
    assert [second for second, (a, b) in figures.items() if a or b] == [now - 4]


SIGHTINGS = st.lists(
    st.tuples(st.sampled_from([ALICE, BOB, "c", "d"]), st.integers(0, 9_000), st.booleans(), st.integers(0, 1_200)),
    unique_by=lambda sighting: sighting[1],
    max_size=20,
)


@given(sightings=SIGHTINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_key_is_scored_once_by_its_earliest_call(
    ledger: Ledger, now: int, sightings: list[tuple[str, int, bool, int]]
) -> None:
    rollout = uuid4().hex
    await seconds_with_calls(ledger, now, rollout=rollout)
    subjects: list[Subject] = [
        sample_subject(key, now - 9 + ms / 1000, "B", rollout=rollout, bad=bad, latency=latency)
        for key, ms, bad, latency in sightings
    ]
    for subject in subjects:
        await ledger.append(sample_batch(subject))

    earliest: dict[str, Subject] = {}
    for subject in sorted(subjects, key=lambda one: one.started_at):
        earliest.setdefault(subject.key_hash, subject)
    expected = {now - back: Figures() for back in range(10)}
    for subject in earliest.values():
        figures = expected[int(subject.started_at)]
        score(figures, subject.arm, subject.marks, subject.latency, subject.cost, subject.control_cost)
    assert {second: b for second, (_, b) in (await scored(ledger, now, rollout=rollout)).items()} == expected
