"""Mismatches: counted by branch, path and kind, bounded, with an example and a sample of trials."""

import pytest

from rollout.ports import Ledger, MismatchCount
from rollout.testing import sample_batch, sample_mismatch

OTHER = "(other)"
EXAMPLE = {"path": "$.orders", "kind": "value", "branch": "orders", "control": "#a1", "candidate": "#b2"}


def counts(found: list[MismatchCount]) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {(one.branch, one.path, one.kind): (one.count, one.noise) for one in found}


async def test_mismatches_add_up_over_batches(ledger: Ledger) -> None:
    for count, noise in ((3, 0), (0, 2), (4, 1)):
        await ledger.append(sample_batch(sample_mismatch("$.orders", count, noise=noise)))
    (found,) = await ledger.mismatches("profile")
    assert (found.rollout, found.branch, found.path, found.kind) == ("profile", "orders", "$.orders", "value")
    assert (found.count, found.noise) == (7, 3)


async def test_mismatches_of_one_batch_add_up_too(ledger: Ledger) -> None:
    await ledger.append(sample_batch(sample_mismatch("$.orders", 3), sample_mismatch("$.orders", 4)))
    assert [one.count for one in await ledger.mismatches("profile")] == [7]


@pytest.mark.parametrize("text", ["$.a\x00b", "$.\ud800", "$." + "x" * 9_999, "$.%' OR 1=1 --"])
async def test_no_path_stops_a_batch(ledger: Ledger, text: str) -> None:
    example = {**EXAMPLE, "path": text, "control": text}
    for _ in range(2):
        await ledger.append(sample_batch(sample_mismatch(text, 1, example=example), sample_mismatch("$.b", 2)))
    assert sorted(one.count for one in await ledger.mismatches("profile")) == [2, 4]


async def test_branch_path_kind_and_rollout_are_counted_apart(ledger: Ledger) -> None:
    await ledger.append(
        sample_batch(
            sample_mismatch("$.orders", 1),
            sample_mismatch("$.orders", 2, kind="type"),
            sample_mismatch("$.orders", 3, branch=""),
            sample_mismatch("$.tickets", 4),
            sample_mismatch("$.orders", 5, rollout="search"),
        )
    )
    assert counts(await ledger.mismatches("profile")) == {
        ("orders", "$.orders", "value"): (1, 0),
        ("orders", "$.orders", "type"): (2, 0),
        ("", "$.orders", "value"): (3, 0),
        ("orders", "$.tickets", "value"): (4, 0),
    }


async def test_the_most_frequent_come_first_and_limit_cuts(ledger: Ledger) -> None:
    await ledger.append(sample_batch(*(sample_mismatch(f"$.p{n}", n) for n in (2, 5, 1, 4, 3))))
    assert [one.count for one in await ledger.mismatches("profile")] == [5, 4, 3, 2, 1]
    assert [one.count for one in await ledger.mismatches("profile", limit=2)] == [5, 4]


async def test_one_path_can_be_asked_for(ledger: Ledger) -> None:
    await ledger.append(
        sample_batch(sample_mismatch("$.a", 1), sample_mismatch("$.a", 2, kind="missing"), sample_mismatch("$.b", 3))
    )
    assert [one.kind for one in await ledger.mismatches("profile", "$.a")] == ["missing", "value"]
    assert await ledger.mismatches("profile", "$.nothing") == []


async def test_a_path_knows_when_it_differed_first_and_last(ledger: Ledger) -> None:
    for first, last in ((200.0, 250.0), (100.0, 120.0), (220.0, 300.5)):
        await ledger.append(sample_batch(sample_mismatch(first_at=first, last_at=last)))
    (found,) = await ledger.mismatches("profile")
    assert (found.first_at, found.last_at) == (100.0, 300.5)


async def test_a_path_keeps_an_example(ledger: Ledger) -> None:
    await ledger.append(sample_batch(sample_mismatch()))
    assert (await ledger.mismatches("profile"))[0].example is None
    await ledger.append(sample_batch(sample_mismatch(example=EXAMPLE)))
    await ledger.append(sample_batch(sample_mismatch()))
    assert (await ledger.mismatches("profile"))[0].example == EXAMPLE


async def test_the_sample_of_trials_is_bounded_and_stays_the_same(ledger: Ledger) -> None:
    ids = [f"{n:032x}" for n in range(60)]
    for start in range(0, 30, 3):
        await ledger.append(sample_batch(sample_mismatch(trials=ids[start : start + 3])))
    (found,) = await ledger.mismatches("profile")
    sample = found.trials
    assert 1 <= len(sample) <= 20
    assert len(set(sample)) == len(sample)
    assert set(sample) <= set(ids)

    for start in range(30, 60, 3):
        await ledger.append(sample_batch(sample_mismatch(trials=ids[start : start + 3])))

    assert (await ledger.mismatches("profile"))[0].trials == sample


async def test_above_500_paths_the_rest_count_as_other(ledger: Ledger) -> None:
    for start in range(0, 700, 100):
        await ledger.append(sample_batch(*(sample_mismatch(f"$.p{n}", 2) for n in range(start, start + 100))))

    found = await ledger.mismatches("profile", limit=1_000)

    paths = {one.path for one in found}
    assert len(paths - {OTHER}) <= 500
    assert len(paths - {OTHER}) >= 499
    assert sum(one.count for one in found) == 1_400
    assert sum(one.count for one in found if one.path == OTHER) >= 400


async def test_above_500_paths_of_one_batch_the_rest_count_as_other(ledger: Ledger) -> None:
    await ledger.append(sample_batch(*(sample_mismatch(f"$.p{n}", 2) for n in range(700))))
    found = await ledger.mismatches("profile", limit=1_000)
    assert len({one.path for one in found} - {OTHER}) <= 500
    assert sum(one.count for one in found) == 1_400


async def test_a_path_that_is_known_still_counts_under_its_name_when_all_places_are_taken(ledger: Ledger) -> None:
    await ledger.append(sample_batch(sample_mismatch("$.known", 1)))
    await ledger.append(sample_batch(*(sample_mismatch(f"$.p{n}", 1) for n in range(600))))
    await ledger.append(sample_batch(sample_mismatch("$.known", 5)))
    assert [one.count for one in await ledger.mismatches("profile", "$.known")] == [6]


async def test_the_bound_of_one_rollout_does_not_touch_another(ledger: Ledger) -> None:
    await ledger.append(sample_batch(*(sample_mismatch(f"$.p{n}", 1) for n in range(600))))
    await ledger.append(sample_batch(sample_mismatch("$.mine", 1, rollout="search")))
    assert [one.path for one in await ledger.mismatches("search")] == ["$.mine"]
