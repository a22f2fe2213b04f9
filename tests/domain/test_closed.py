"""Closed blocks, put together of figures and subjects."""

import random

from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.closed import ClosedBlocks
from rollout.domain.evidence import Arm, Figures, marks_of
from rollout.domain.histogram import Histogram

BAD = marks_of("bad")


def test_figures_of_several_processes_add_up_by_second_and_arm() -> None:
    found = ClosedBlocks()
    found.add(8, "B", Figures({"calls": 1}))
    found.add(7, "A", Figures({"calls": 2}, {"latency": Histogram({500: 2})}))
    found.add(7, "A", Figures({"calls": 3, "bad": 1}, {"latency": Histogram({500: 1, 501: 1})}))
    found.add(7, "P", Figures({"pairs": 4}))
    first, second = found.by_time()
    assert (first.second, second.second) == (7, 8)
    assert first.a == Figures({"calls": 5, "bad": 1}, {"latency": Histogram({500: 3, 501: 1})})
    assert first.pairs == Figures({"pairs": 4})
    assert second.b == Figures({"calls": 1})
    assert not any((first.b, second.a, second.pairs, first.scored_a, first.scored_b, first.scored_p))


def test_what_is_added_is_copied() -> None:
    found, given_ = ClosedBlocks(), Figures({"calls": 1}, {"latency": Histogram({500: 1})})
    found.add(7, "A", given_)
    found.add(7, "A", given_)
    assert given_ == Figures({"calls": 1}, {"latency": Histogram({500: 1})})


def test_a_subject_is_scored_under_its_marks_and_buckets() -> None:
    found = ClosedBlocks()
    found.score(7, "B", marks_of("ran", "costed"), 500, 3, -1, 2)
    found.score(7, "B", BAD, -1, -1, -1)
    (block,) = found.by_time()
    assert block.scored_b.counts == {"calls": 3, "ran": 2, "costed": 2, "bad": 1}
    assert block.scored_b.histograms == {"latency": Histogram({500: 2}), "cost": Histogram({3: 2})}
    assert not any((block.a, block.b, block.pairs, block.scored_a, block.scored_p))


def test_a_pair_is_scored_as_a_pair() -> None:
    found = ClosedBlocks()
    found.score(7, "P", marks_of("compared", "mismatched"), -1, -1, 9)
    (block,) = found.by_time()
    assert block.scored_p.counts == {"pairs": 1, "compared": 1, "mismatched": 1}
    assert block.scored_p.histograms == {"control_cost": Histogram({9: 1})}


def test_calls_without_a_key_are_scored_one_by_one_beside_the_keys() -> None:
    found = ClosedBlocks()
    single = {"calls": 5, "bad": 2, "single:calls": 4, "single:bad": 1}
    latencies = {"latency": Histogram({500: 3}), "single:latency": Histogram({500: 2, 600: 1})}
    found.add(7, "A", Figures(single, latencies))
    found.score(7, "A", 0, 500, -1, -1)
    found.add(7, "A", Figures({"single:calls": 1}))
    (block,) = found.by_time()
    assert block.scored_a == Figures({"calls": 6, "bad": 1}, {"latency": Histogram({500: 3, 600: 1})})
    assert block.a["calls"] == 5


def test_singles_of_each_arm_are_scored_in_that_arm() -> None:
    found = ClosedBlocks()
    for arm, name in (("A", "single:calls"), ("B", "single:calls"), ("P", "single:pairs")):
        found.add(7, arm, Figures({name: 1}))  # type: ignore[arg-type]
    (block,) = found.by_time()
    assert block.scored_a == block.scored_b == Figures({"calls": 1})
    assert block.scored_p == Figures({"pairs": 1})


def test_a_second_may_be_known_by_its_subjects_alone() -> None:
    found = ClosedBlocks()
    found.score(9, "A", 0, 500, -1, -1)
    (block,) = found.by_time()
    assert (block.second, block.scored_a["calls"], bool(block.a)) == (9, 1, False)


PARTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["A", "B", "P"]),
        st.sampled_from(["calls", "single:calls", "subject"]),
        st.integers(1, 3),
    ),
    max_size=12,
)


@given(parts=PARTS, seed=st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order(parts: list[tuple[int, Arm, str, int]], seed: random.Random) -> None:
    def put_together() -> object:
        found = ClosedBlocks()
        for second, arm, kind, count in parts:
            if kind == "subject":
                found.score(second, arm, BAD, 500, -1, -1, count)
            else:
                found.add(second, arm, Figures({kind: count}))
        return found.by_time()

    before = put_together()
    seed.shuffle(parts)
    assert put_together() == before
