"""Subjects: each key is scored once a stage, by its earliest call, whichever process saw it first."""

from itertools import permutations
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.domain.evidence import Figures, Subject, UnitBlock, marks_of, score
from rollout.domain.histogram import Histogram
from rollout.ports import Backend, GateCheckpoint, Ledger, StateStore
from rollout.testing import sample_batch, sample_block, sample_change, sample_policy, sample_subject
from tests.contract.places import OpenBackend
from tests.support.spans import closed_blocks

ALICE, BOB = "00000000000a11ce", "0000000000000b0b"


async def scored(
    ledger: Ledger, now: int, *, entry: int = 1, rollout: str = "profile"
) -> dict[int, tuple[Figures, Figures]]:
    """The scored figures of arms A and B by second, of the last ten seconds."""
    found = await closed_blocks(ledger, rollout, "orders", entry, 1, now - 10, now)
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


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.999])
async def test_a_span_has_the_subjects_of_its_seconds_and_no_others(ledger: Ledger, now: int, fraction: float) -> None:
    await ledger.append(sample_batch(*(sample_subject(f"{back}", now - back + fraction) for back in range(6))))
    found = await closed_blocks(ledger, "profile", "orders", 1, 1, now - 4, now - 2)
    assert [now - block.second for block in found] == [3, 2]


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


async def test_a_key_is_scored_anew_under_each_version_of_the_policy(ledger: Ledger, now: int) -> None:
    for version in (1, 2):
        await ledger.append(sample_batch(sample_subject(ALICE, now - version, "B", version=version)))
    for version in (1, 2):
        (block,) = await closed_blocks(ledger, "profile", "orders", 1, version, now - 10, now)
        assert (block.second, block.scored_b["calls"]) == (now - version, 1)


async def test_a_key_is_scored_once_in_each_arm(ledger: Ledger, now: int) -> None:
    """Its calls are in A or B, and some of them are pairs too."""
    for arm in ("A", "P", "B"):
        for second in (now - 3, now - 4):
            await ledger.append(sample_batch(sample_subject(ALICE, second, arm, marks=marks_of("compared"))))
    (block,) = await closed_blocks(ledger, "profile", "orders", 1, 1, now - 10, now)
    assert block.second == now - 4
    assert block.scored_a.counts == block.scored_b.counts == {"calls": 1, "compared": 1}
    assert block.scored_p.counts == {"pairs": 1, "compared": 1}


async def test_every_mark_and_bucket_of_a_subject_comes_back(ledger: Ledger, now: int) -> None:
    subject = sample_subject(
        ALICE, now - 1, "P", latency=-1, marks=marks_of("control_costed", "would_fall_back"), cost=7, control_cost=9
    )
    twin = sample_subject(BOB, now - 0.5, "P", latency=-1, marks=subject.marks, cost=7, control_cost=9)
    await ledger.append(sample_batch(subject, twin))
    (block,) = await closed_blocks(ledger, "profile", "orders", 1, 1, now - 10, now)
    assert block.scored_p.counts == {"pairs": 2, "would_fall_back": 2, "control_costed": 2}
    assert block.scored_p.histograms == {"cost": Histogram({7: 2}), "control_cost": Histogram({9: 2})}


async def test_of_several_processes_that_saw_a_key_the_earliest_start_counts(
    backend: Backend, open_backend: OpenBackend, now: int
) -> None:
    processes = [backend, await open_backend(), await open_backend()]
    for number, process in enumerate(processes):
        subject = sample_subject(ALICE, now - 3 - number, "B", latency=100 * number)
        await process.ledger.append(sample_batch(subject, process=f"p{number}"))
    blocks = [await closed_blocks(process.ledger, "profile", "orders", 1, 1, now - 10, now) for process in processes]
    assert blocks[0] == blocks[1] == blocks[2]
    ((second, latencies),) = [(block.second, block.scored_b.histograms["latency"]) for block in blocks[0]]
    assert (second, latencies) == (now - 5, Histogram({200: 1}))


async def test_a_subject_is_scored_even_where_nothing_else_was_counted(ledger: Ledger, now: int) -> None:
    """Blocks are written apart from subjects, and may be dropped when a database was away for long."""
    await ledger.append(sample_batch(sample_subject(ALICE, now - 4 + 0.5, "A")))
    assert await closed_blocks(ledger, "profile", "orders", 1, 1, now - 10, now) == [
        UnitBlock(now - 4, scored_a=Figures({"calls": 1}, {"latency": Histogram({500: 1})}))
    ]


async def test_calls_without_a_key_are_scored_too(ledger: Ledger, now: int) -> None:
    figures = Figures({"calls": 5, "single:calls": 2, "single:bad": 1}, {"single:latency": Histogram({500: 1, 700: 1})})
    for process in ("p1", "p2"):
        await ledger.append(sample_batch(sample_block(now - 4, "B", figures, process=process)))
    await ledger.append(sample_batch(sample_subject(ALICE, now - 4, "B")))
    (block,) = await closed_blocks(ledger, "profile", "orders", 1, 1, now - 10, now)
    assert block.b["calls"] == 10
    assert block.scored_b == Figures({"calls": 5, "bad": 2}, {"latency": Histogram({500: 3, 700: 2})})


# Late ones


async def fold_until(state: StateStore, second: int) -> None:
    """As the controller does after a tick."""
    await state.save_checkpoints([GateCheckpoint("profile", "orders", 1, 1, second, {})], None)


async def test_a_subject_that_comes_after_its_second_was_closed_is_not_scored(
    ledger: Ledger, state: StateStore, now: int
) -> None:
    await fold_until(state, now - 5)
    await ledger.append(sample_batch(sample_subject(ALICE, now - 5 + 0.9), sample_subject(BOB, now - 4)))
    figures = await scored(ledger, now)
    assert {second: b["calls"] for second, (_, b) in figures.items()} == {now - 4: 1}


async def test_what_was_read_of_closed_seconds_never_changes(ledger: Ledger, state: StateStore, now: int) -> None:
    """An earlier call of a key that was scored comes late: it is not scored again, nor taken back."""
    await ledger.append(sample_batch(sample_subject(ALICE, now - 6, latency=100)))
    before = await scored(ledger, now)
    await fold_until(state, now - 5)
    await ledger.append(sample_batch(sample_subject(ALICE, now - 8, latency=200)))
    assert await scored(ledger, now) == before


async def test_a_key_whose_first_call_came_late_is_scored_by_its_next(
    ledger: Ledger, state: StateStore, now: int
) -> None:
    await fold_until(state, now - 5)
    late, in_time = sample_subject(ALICE, now - 8, latency=200), sample_subject(ALICE, now - 3, latency=100)
    await ledger.append(sample_batch(in_time, late))
    ((second, (_, b)),) = (await scored(ledger, now)).items()
    assert (second, b.histograms["latency"]) == (now - 3, Histogram({100: 1}))


async def test_a_subject_of_a_later_entry_than_what_was_closed_is_not_late(
    ledger: Ledger, state: StateStore, now: int
) -> None:
    await fold_until(state, now)
    await ledger.append(sample_batch(sample_subject(ALICE, now - 3, entry=2)))
    assert list(await scored(ledger, now, entry=2)) == [now - 3]


# How long they are kept


async def test_a_key_is_kept_for_as_long_as_its_stage_lasts(ledger: Ledger, state: StateStore, now: int) -> None:
    """A stage may take longer than trials are kept, and a key that was forgotten would be scored again."""
    policy = await state.register(sample_policy(ttl_s=2.0), "app")
    await ledger.append(sample_batch(sample_subject(ALICE, now - 9, version=policy.version)))

    done = await ledger.maintain({"profile": policy})

    assert done["subjects_dropped"] == 0
    await ledger.append(sample_batch(sample_subject(ALICE, now - 3, version=policy.version)))
    assert list(await scored(ledger, now)) == [now - 9]


async def test_keys_of_stages_that_are_over_go_when_they_expire(ledger: Ledger, state: StateStore, now: int) -> None:
    policy = await state.register(sample_policy(ttl_s=60.0), "app")
    (orders,) = (await state.load()).states["profile"].values()
    await state.transition(sample_change(orders, entry=2))
    old = [
        sample_subject(ALICE, now - 90, entry=1),
        sample_subject(ALICE, now - 90, entry=2, version=0),
        sample_subject(ALICE, now - 90, unit="gone"),
    ]
    kept = [
        sample_subject(ALICE, now - 90, entry=2),
        sample_subject(BOB, now - 30, entry=1),
        sample_subject(ALICE, now - 90, rollout="search"),
    ]
    await ledger.append(sample_batch(*old, *kept))

    assert (await ledger.maintain({"profile": policy}))["subjects_dropped"] == len(old)

    async def is_kept(one: Subject) -> bool:
        second = int(one.started_at)
        return bool(await closed_blocks(ledger, one.rollout, one.unit, one.entry, one.version, second - 1, second))

    assert [await is_kept(one) for one in old] == [False] * 3
    assert [await is_kept(one) for one in kept] == [True] * 3


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


# Whatever comes

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
