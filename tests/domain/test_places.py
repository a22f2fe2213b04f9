"""Which keys of a stage are scored: chosen by their hash, never by arm, time or outcome."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.places import HASHES, MOST, has_place, newcomers, shares_places, under_way
from rollout.domain.state import BranchPolicy, BranchState
from rollout.testing import sample_policy

HASH = st.integers(0, HASHES - 1).map(lambda number: f"{number:016x}")


def below(share: float) -> str:
    """The highest hash below a share of all."""
    return f"{int(HASHES * share) - 1:016x}"


@pytest.mark.parametrize(
    ("taken", "share"),
    [(0, 1.0), (99_999, 1.0), (100_000, 0.5), (149_999, 0.5), (150_000, 0.25), (199_999, 2.0**-17)],
)
def test_half_of_the_places_that_are_left_go_to_half_of_the_keys(taken: int, share: float) -> None:
    assert has_place(below(share), taken)
    assert share == 1.0 or not has_place(f"{int(below(share), 16) + 1:016x}", taken)


def test_a_stage_that_is_full_takes_nobody() -> None:
    assert not has_place("0" * 16, MOST)
    assert not has_place("0" * 16, MOST + 1)


@given(hashes=st.sets(HASH), taken=st.integers(0, 100), most=st.integers(1, 64))
def test_there_are_never_more_keys_than_places(hashes: set[str], taken: int, most: int) -> None:
    assert len(newcomers(hashes, taken, most)) <= max(0, most - taken)


@given(hashes=st.sets(HASH), taken=st.integers(0, 64), seed=st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_arrival(hashes: set[str], taken: int, seed: random.Random) -> None:
    shuffled = sorted(hashes)
    seed.shuffle(shuffled)
    assert newcomers(shuffled, taken, 64) == newcomers(sorted(hashes), taken, 64)


@given(hashes=st.sets(HASH), taken=st.integers(0, 64))
def test_no_key_is_taken_before_one_of_a_lower_hash(hashes: set[str], taken: int) -> None:
    chosen = newcomers(hashes, taken, 64)
    assert chosen == sorted(hashes)[: len(chosen)]


@given(key_hash=HASH, taken=st.integers(0, 63))
def test_a_key_for_which_there_is_no_place_has_none_later(key_hash: str, taken: int) -> None:
    """Or it would be scored by a call that is not its first."""
    assert has_place(key_hash, taken, 64) or not has_place(key_hash, taken + 1, 64)


def test_arms_share_their_places_and_pairs_have_their_own() -> None:
    assert shares_places("A") == shares_places("B") == ("A", "B")
    assert shares_places("P") == ("P",)


def state(branch: str, entry: int) -> BranchState:
    return BranchState(rollout="profile", branch=branch, entry=entry)


def test_under_way_is_the_stage_that_each_unit_stands_in_under_the_newest_version() -> None:
    group = [BranchPolicy(name=name, unit="all", salt="s") for name in ("a", "b")]
    policy = sample_policy(branches=[*group, "tickets", "unborn"], version=7)
    states = {"a": state("a", 3), "b": state("b", 4), "tickets": state("tickets", 2), "gone": state("gone", 9)}
    assert under_way(policy, states) == {("all", 7, 4), ("tickets", 7, 2)}
