"""Trials: what is stored of a call, how it is found again, and how it goes away."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from rollout.ports import Ledger, RunRecord, TrialRecord
from rollout.testing import sample_batch, sample_block, sample_subject, sample_trial
from tests.support.spans import closed_blocks

ALICE, BOB = "00000000000a11ce", "0000000000000b0b"


def plain(trial: TrialRecord | None) -> Any:
    return json.loads(json.dumps(asdict(trial))) if trial else None


def numbers(trials: list[TrialRecord]) -> list[int]:
    return [int(trial.id, 16) for trial in trials]


def difference(path: str, kind: str = "value") -> dict[str, Any]:
    return {"path": path, "kind": kind, "branch": "orders", "control": "#a1", "candidate": None}


FULL = sample_trial(
    77,
    at=1_767_614_400.123456,
    mode="live",
    outcome="mismatched",
    version=3,
    control_status=None,
    control_s=None,
    candidate_status=503,
    candidate_s=0.123456789,
    reason="status",
    control_error="ConnectionResetError: ☂",
    candidate_error="Unavailable: try later",
    labels={"plan": "free ☂", "beta": "True"},
    differences=[difference("$.orders[*].price"), {**difference("$.x", "type"), "control": {"deep": [1, 2.5, True]}}],
    runs=[
        RunRecord("tickets", "shadow", "hard_timeout", 0.4, error="BranchTimeout", cost_nano=None),
        RunRecord("orders", "live", "ok", 0.05, 2, 120, 40, 0, "gpt-x", confidence=0.93),
        RunRecord("summary", "shadow", "skipped", None, 0, reason="confident"),
    ],
)


async def test_a_trial_comes_back_as_it_was_written(ledger: Ledger) -> None:
    await ledger.append(sample_batch(FULL))
    assert plain(await ledger.trial(FULL.id)) == plain(FULL)
    assert [plain(trial) for trial in await ledger.trials("profile")] == [plain(FULL)]


async def test_a_cost_of_zero_is_not_an_unknown_cost(ledger: Ledger) -> None:
    await ledger.append(sample_batch(FULL))
    stored = await ledger.trial(FULL.id)
    assert stored is not None
    assert {run.branch: run.cost_nano for run in stored.runs} == {"orders": 0, "tickets": None, "summary": None}


async def test_a_trial_that_is_not_there_is_none(ledger: Ledger) -> None:
    assert await ledger.trial("0" * 32) is None
    assert await ledger.trials("profile") == []
    assert await ledger.stored("profile") == (0, None, None)


async def test_a_trial_that_comes_in_two_batches_is_stored_once(ledger: Ledger) -> None:
    for _ in range(2):
        await ledger.append(sample_batch(FULL, sample_trial(78)))
    assert numbers(await ledger.trials("profile")) == [78, 77]
    stored = await ledger.trial(FULL.id)
    assert stored is not None
    assert len(stored.runs) == 3


async def test_what_the_caller_does_to_a_trial_afterwards_is_not_stored(ledger: Ledger) -> None:
    trial = sample_trial(1, differences=[difference("$.a")])
    await ledger.append(sample_batch(trial))
    trial.outcome = "mismatched"
    trial.differences[0]["path"] = "$.changed"  # type: ignore[index]
    stored = await ledger.trial(trial.id)
    assert stored is not None
    assert (stored.outcome, stored.differences[0]["path"]) == ("matched", "$.a")


@pytest.mark.parametrize(
    "text", ["a\x00b", "\ud800 alone", "'; DROP TABLE rollout_trials; --", "%s :name {x}", "x" * 9_999]
)
async def test_no_text_stops_a_batch(ledger: Ledger, now: int, text: str) -> None:
    """Texts come from the replies and errors of others; one that a database refuses would hold up all batches."""
    odd = sample_trial(
        1,
        labels={text: text},
        route=text,
        reason=text,
        candidate_error=text,
        differences=[{**difference("$.a"), "control": text, "path": f"$.{text}"}],
        runs=[RunRecord("orders", "shadow", "error", 0.1, error=text, model=text)],
    )
    await ledger.append(sample_batch(odd, sample_trial(2), sample_block(now, "A", {"calls": 1, f"error:{text}": 1})))
    assert numbers(await ledger.trials("profile")) == [2, 1]
    (total,) = await ledger.totals("profile")
    assert total.figures["calls"] == 1


# Finding them


async def test_trials_come_newest_first_in_pages(ledger: Ledger) -> None:
    await ledger.append(sample_batch(*(sample_trial(n) for n in (3, 1, 2, 5, 4))))
    first = await ledger.trials("profile", limit=2)
    second = await ledger.trials("profile", limit=2, before=first[-1].id)
    third = await ledger.trials("profile", limit=2, before=second[-1].id)
    assert [numbers(page) for page in (first, second, third)] == [[5, 4], [3, 2], [1]]


async def test_trials_of_one_outcome(ledger: Ledger) -> None:
    outcomes = ["matched", "ignored", "mismatched", "incomparable", "mismatched"]
    await ledger.append(sample_batch(*(sample_trial(n, outcome=outcome) for n, outcome in enumerate(outcomes, 1))))
    assert numbers(await ledger.trials("profile", outcome="mismatched")) == [5, 3]
    assert numbers(await ledger.trials("profile", outcome="mismatched", limit=1)) == [5]
    assert await ledger.trials("profile", limit=0) == []
    assert await ledger.trials("profile", outcome="lost") == []


async def test_trials_that_differ_at_a_path(ledger: Ledger) -> None:
    await ledger.append(
        sample_batch(
            sample_trial(1, outcome="mismatched", differences=[difference("$.a"), difference('$["b c"]')]),
            sample_trial(2, outcome="mismatched", differences=[difference("$.a.b")]),
            sample_trial(3, outcome="ignored", differences=[difference("$.a")]),
            sample_trial(4),
        )
    )
    assert numbers(await ledger.trials("profile", path="$.a")) == [3, 1]
    assert numbers(await ledger.trials("profile", path='$["b c"]')) == [1]
    assert numbers(await ledger.trials("profile", path="$.a", outcome="mismatched")) == [1]
    assert numbers(await ledger.trials("profile", path="$.a", before=f"{3:032x}")) == [1]
    assert await ledger.trials("profile", path="$.%") == []


async def test_rollouts_do_not_see_the_trials_of_each_other(ledger: Ledger) -> None:
    await ledger.append(sample_batch(sample_trial(1), sample_trial(2, "search")))
    assert numbers(await ledger.trials("profile")) == [1]
    assert await ledger.stored("search") == (1, 1_767_614_400.0, 1_767_614_400.0)


async def test_how_many_are_stored_and_how_old_they_are(ledger: Ledger) -> None:
    await ledger.append(sample_batch(*(sample_trial(n, at=at) for n, at in enumerate((300.0, 100.5, 200.0), 1))))
    assert await ledger.stored("profile") == (3, 100.5, 300.0)


async def test_trials_can_be_asked_for_by_name_and_come_oldest_first(ledger: Ledger) -> None:
    await ledger.append(sample_batch(FULL, *(sample_trial(n) for n in (3, 1, 2))))
    found = await ledger.trials_of([f"{n:032x}" for n in (77, 2, 9, 1)])
    assert numbers(found) == [1, 2, 77]
    assert plain(found[-1]) == plain(FULL)
    assert await ledger.trials_of([]) == []


async def test_the_newest_can_be_read_without_what_differs(ledger: Ledger) -> None:
    await ledger.append(sample_batch(FULL, *(sample_trial(n) for n in range(78, 330)), sample_trial(400, "search")))
    assert numbers(await ledger.sample("profile", 3)) == [329, 328, 327]
    *_, oldest = every = await ledger.sample("profile", 1_000)
    assert numbers(every) == [*range(329, 76, -1)]
    assert plain(oldest) == {**plain(FULL), "differences": []}
    assert await ledger.sample("profile", 0) == []


async def test_the_newest_can_be_read_from_a_time_on(ledger: Ledger) -> None:
    await ledger.append(sample_batch(*(sample_trial(n, at=100.0 * n) for n in range(1, 6))))
    assert numbers(await ledger.sample("profile", 10, since=300.0)) == [5, 4, 3]
    assert numbers(await ledger.sample("profile", 2, since=300.0)) == [5, 4]


# Going away


async def fill(ledger: Ledger, now: int) -> None:
    await ledger.append(
        sample_batch(
            sample_trial(1, at=100.0, key_hash=ALICE),
            sample_trial(2, at=200.0, key_hash=BOB),
            sample_trial(3, at=300.0, key_hash=ALICE),
            sample_trial(4, "search", at=100.0, key_hash=ALICE),
            sample_subject(ALICE, now - 2.0, "B"),
            sample_subject(BOB, now - 2.0, "B"),
            sample_block(now - 2, "B", {"calls": 2}),
        )
    )


async def left(ledger: Ledger) -> list[int]:
    return numbers([*await ledger.trials("profile"), *await ledger.trials("search")])


async def scored(ledger: Ledger, now: int) -> int:
    (block,) = await closed_blocks(ledger, "profile", "orders", 1, 1, now - 5, now)
    return block.scored_b["calls"]


async def test_purge_by_age_takes_what_is_older(ledger: Ledger, now: int) -> None:
    await fill(ledger, now)
    assert await ledger.purge(older_than=200.0) == 2
    assert await left(ledger) == [3, 2]


async def test_purge_by_age_of_one_rollout_leaves_the_others(ledger: Ledger, now: int) -> None:
    await fill(ledger, now)
    assert await ledger.purge(rollout="profile", older_than=250.0) == 2
    assert await left(ledger) == [3, 4]


async def test_purge_by_key_takes_trials_and_subjects_of_that_key(ledger: Ledger, now: int) -> None:
    await fill(ledger, now)
    assert await scored(ledger, now) == 2
    assert await ledger.purge(key_hash=ALICE) == 3
    assert await left(ledger) == [2]
    assert await scored(ledger, now) == 1


async def test_purge_by_key_and_age_takes_only_what_is_both(ledger: Ledger, now: int) -> None:
    await fill(ledger, now)
    assert await ledger.purge(key_hash=ALICE, older_than=200.0) == 2
    assert await left(ledger) == [3, 2]
    assert await scored(ledger, now) == 2


async def test_purge_of_a_rollout_takes_all_of_it_but_the_counts(ledger: Ledger, now: int) -> None:
    await fill(ledger, now)
    assert await ledger.purge(rollout="profile") == 3
    assert await left(ledger) == [4]
    assert [one.figures["calls"] for one in await ledger.totals("profile")] == [2]


async def test_purge_takes_the_runs_with_their_trials(ledger: Ledger) -> None:
    await ledger.append(sample_batch(FULL))
    await ledger.purge(rollout="profile")
    await ledger.append(sample_batch(sample_trial(77, runs=[])))
    stored = await ledger.trial(FULL.id)
    assert stored is not None
    assert list(stored.runs) == []


async def test_purge_of_nothing_takes_nothing(ledger: Ledger, now: int) -> None:
    await fill(ledger, now)
    assert await ledger.purge(older_than=1.0) == 0
    assert await ledger.purge(key_hash="f" * 16) == 0
    assert await left(ledger) == [3, 2, 1, 4]
