"""Figures add up, in any order, and survive JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.evidence import Figures
from rollout.domain.histogram import Histogram

FIGURES = st.builds(
    Figures,
    st.dictionaries(st.sampled_from(["calls", "bad", "cost_nano", "error:ValueError"]), st.integers(0, 2**53)),
    st.dictionaries(
        st.sampled_from(["latency", "run"]),
        st.dictionaries(st.integers(0, 1_200), st.integers(0, 10**6), max_size=5).map(Histogram),
    ),
)


def merged(*all_figures: Figures) -> Figures:
    total = Figures()
    for figures in all_figures:
        total.merge(figures)
    return total


@given(FIGURES, FIGURES)
def test_it_does_not_matter_which_is_merged_into_which(one: Figures, other: Figures) -> None:
    assert merged(one, other) == merged(other, one)


@given(FIGURES, FIGURES, FIGURES)
def test_it_does_not_matter_which_are_merged_first(a: Figures, b: Figures, c: Figures) -> None:
    assert merged(merged(a, b), c) == merged(a, merged(b, c))


@given(FIGURES)
def test_nothing_added_changes_nothing(figures: Figures) -> None:
    assert merged(figures, Figures()) == figures == merged(Figures(), figures)


@given(FIGURES)
def test_they_survive_json(figures: Figures) -> None:
    assert Figures.from_json(json.loads(json.dumps(figures.to_json()))) == figures


@given(FIGURES, FIGURES)
def test_merging_leaves_the_other_as_it_was(one: Figures, other: Figures) -> None:
    before = json.dumps(other.to_json())
    total = merged(other)
    total.merge(one)
    total.observe("latency", 0.1)
    assert json.dumps(other.to_json()) == before


def test_what_is_absent_is_0_or_empty() -> None:
    figures = Figures()
    assert figures["calls"] == 0
    assert figures.histogram("latency").total == 0
    assert figures == Figures()


def test_figures_of_zeros_are_empty() -> None:
    figures = Figures({"bad": 0}, {"latency": Histogram({5: 0})})
    assert not figures
    assert figures == Figures()


def test_counts_and_observations_are_something() -> None:
    counted, observed = Figures(), Figures()
    counted.add("calls", 2)
    observed.observe("latency", 0.1)
    assert counted["calls"] == 2
    assert counted
    assert observed
    assert counted != observed


def test_counts_that_begin_alike_are_listed_largest_first() -> None:
    figures = Figures({"error:B": 2, "error:A": 2, "error:C": 9, "outcome:error": 13})
    assert list(figures.starting("error:").items()) == [("C", 9), ("A", 2), ("B", 2)]
