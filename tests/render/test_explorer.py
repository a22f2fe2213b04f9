"""What differs, side by side: marked where it differs, named where it was redacted, and the same on every report."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.report import Report
from rollout.testing import ManualClock, memory_backend, sample_batch, sample_mismatch, sample_policy, sample_trial
from rollout.usecases import reporting
from rollout_render.explorer import pairs, places
from rollout_render.sides import Side, sides

SECRET = {"type": "string", "hash": "a41f2b7a90e1d344", "length": 24}


def marked(side: Side) -> list[str]:
    return [text for text, differs in side.parts if differs]


def test_what_differs_between_two_texts_is_marked_and_the_rest_is_not() -> None:
    ours, theirs = sides("EUR 12.00", "USD 12.00")
    assert str(ours.html) == "<mark>EUR</mark> 12.00"
    assert str(theirs.html) == "<mark>USD</mark> 12.00"
    assert not ours.redacted


def test_what_differs_far_inside_a_long_text_is_still_seen() -> None:
    ours, _ = sides(f"{'a' * 500}X{'b' * 500}", f"{'a' * 500}Y{'b' * 500}")
    shown = "".join(text for text, _ in ours.parts)
    assert marked(ours) == ["X"]
    assert shown.startswith("…a")
    assert len(shown) < 100


def test_a_redacted_side_says_so_and_marks_which_of_its_facts_differ() -> None:
    ours, theirs = sides(SECRET, {**SECRET, "hash": "09bc2b7a90e1d344"})
    assert (ours.redacted, theirs.redacted) == (True, True)
    assert marked(ours) == ["#a41f2b7a"]
    assert "".join(text for text, _ in ours.parts) == "string, 24 characters, #a41f2b7a"


@pytest.mark.parametrize("nothing", [{"type": "missing"}, {"type": "null"}, None])
def test_nothing_is_not_redacted(nothing: Any) -> None:
    ours, theirs = sides(nothing, SECRET)
    assert (ours.redacted, theirs.redacted) == (False, True)


def test_one_side_in_clear_is_shown_beside_a_redacted_one() -> None:
    ours, theirs = sides("open", SECRET)
    assert marked(ours) == ["open"]
    assert theirs.redacted


@given(st.text(), st.text())
def test_only_escaped_and_bounded_text_comes_out(ours: str, theirs: str) -> None:
    for side in sides(ours, theirs):
        plain = str(side.html).replace("<mark>", "").replace("</mark>", "")
        assert not any(sign in plain for sign in "<>\x1b\u202e\n")
        assert sum(len(text) for text, _ in side.parts) <= 250


# Stored pairs


def difference(path: str, control: str = "a", kind: str = "value") -> dict[str, Any]:
    return {"path": path, "kind": kind, "branch": "orders", "control": control, "candidate": "b"}


def trial_id(number: int) -> str:
    return f"{number:032x}"


async def report_of(*stored: int, named: tuple[int, ...], later: tuple[int, ...] = ()) -> Report:
    """A report of one path. ``stored``: trials that can be looked at; ``named``: those that the path names first."""
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(), "test")
    differs = [difference("$.orders[*].total"), difference("$.orders[*].state")]
    trials = [sample_trial(number, outcome="mismatched", differences=differs) for number in stored]
    await backend.ledger.append(sample_batch(*trials))
    for some in (named, later):
        count = sample_mismatch("$.orders[*].total", 3, trials=[trial_id(number) for number in some])
        await backend.ledger.append(sample_batch(count))
    return await reporting.report(backend, "profile")


def shown(report: Report) -> list[str]:
    return [example.trial for example in report.examples]


async def test_the_examples_of_a_path_are_its_first_trials_however_many_come_later() -> None:
    before = await report_of(1, 2, 3, named=(1, 2, 3))
    after = await report_of(1, 2, 3, 4, 5, 6, named=(1, 2, 3), later=(4, 5, 6))
    assert shown(before) == shown(after) == [trial_id(1), trial_id(2)]


async def test_a_trial_that_is_gone_makes_room_for_the_next() -> None:
    assert shown(await report_of(2, 3, named=(1, 2, 3))) == [trial_id(2), trial_id(3)]


async def test_beside_a_path_stands_just_its_own_difference_and_below_all_of_the_pair() -> None:
    report = await report_of(1, named=(1,))
    (place,) = places(report)
    (kind,) = place.kinds
    assert place.name == "$.orders[*].total"
    assert [one.difference.path for one in kind.seen] == ["$.orders[*].total"]
    (whole,) = pairs(report)
    assert [one.path for one in whole.differences] == ["$.orders[*].total", "$.orders[*].state"]


async def test_without_a_stored_trial_the_first_difference_that_was_seen_stands_there() -> None:
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(), "test")
    await backend.ledger.append(sample_batch(sample_mismatch("$.a", 3, example=difference("$.a", "old"))))
    (place,) = places(await reporting.report(backend, "profile"))
    ((seen,),) = (kind.seen for kind in place.kinds)
    assert seen.trial is None
    assert marked(seen.difference.control) == ["old"]
