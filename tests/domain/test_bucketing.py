"""Buckets: uniform, independent between salts, the same for ever."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.domain.bucketing import BUCKETS, bucket, bucket_bytes, salted

SHARES = (0.0001, 0.01, 0.05, 0.25, 0.5, 1.0)


def chi_square(observed: list[int]) -> float:
    """How far counts lie from an even spread; if they are even, about ``n − 1 ± √(2(n − 1))``."""
    expected = sum(observed) / len(observed)
    return sum((count - expected) ** 2 / expected for count in observed)


def keys_of(seed: int, count: int) -> list[str]:
    """Keys as people have them: numbers in a row, mail addresses, random hex."""
    dice = random.Random(seed)
    kinds: list[Callable[[int], str]] = [
        str,
        "user{}@shop.example".format,
        lambda number: f"{dice.getrandbits(128):032x}",
    ]
    return [kinds[seed % 3](number) for number in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_keys_spread_evenly_over_the_buckets(seed: int) -> None:
    counts = Counter(bucket(f"profile/{seed}", key) // 100 for key in keys_of(seed, 50_000))
    assert chi_square([counts[cell] for cell in range(100)]) < 99 + 4 * (2 * 99) ** 0.5


@pytest.mark.parametrize("salts", [("profile/orders", "profile/tickets"), ("a", "b"), ("1", "11"), ("", " ")])
def test_the_bucket_under_one_salt_tells_nothing_of_that_under_another(salts: tuple[str, str]) -> None:
    cells = Counter(tuple(bucket(salt, key) // 1_000 for salt in salts) for key in keys_of(1, 50_000))
    observed = [cells[one, other] for one in range(10) for other in range(10)]
    assert chi_square(observed) < 99 + 4 * (2 * 99) ** 0.5


@settings(deadline=None)
@given(st.text(), st.text())
def test_every_key_has_one_bucket_within_range(salt: str, key: str) -> None:
    assert 0 <= bucket(salt, key) < BUCKETS
    assert bucket(salt, key) == bucket(salt, key) == bucket_bytes(salted(salt), key.encode("utf-8", "surrogatepass"))


def test_a_key_with_a_lone_surrogate_has_a_bucket_too() -> None:
    assert bucket("profile/orders", "caf\udce9") != bucket("profile/orders", "café")


@settings(deadline=None)
@given(st.text(), st.text())
def test_raising_a_share_only_adds_keys(salt: str, key: str) -> None:
    live = [bucket(salt, key) < round(share * BUCKETS) for share in SHARES]
    assert all(earlier <= later for earlier, later in pairwise(live))
    assert live[-1]


def test_salt_and_key_cannot_pose_as_another_pair() -> None:
    assert bucket("ab", "c") != bucket("a", "bc")


def test_known_buckets_never_move() -> None:
    known = {
        ("profile/orders", "alice"): 4936,
        ("profile/orders", "bob"): 7785,
        ("profile/tickets", "alice"): 3625,
        ("", ""): 2814,
    }
    assert {pair: bucket(*pair) for pair in known} == known
