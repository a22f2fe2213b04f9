"""Drawings of the report: nothing leaves its frame, whatever was measured."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.report_values import BranchSpan, Waterfall
from rollout_render import svg
from rollout_render.typical import falls

SECONDS = st.floats(-1e4, 1e4)
CURVES = st.lists(st.tuples(SECONDS, st.floats(0.001, 1.0)), min_size=1, max_size=40, unique_by=lambda point: point[0])


@given(CURVES, st.lists(SECONDS, min_size=3, max_size=3))
def test_a_distribution_around_zero_stays_in_its_frame_and_shows_where_zero_is(
    curve: list[tuple[float, float]], quantiles: list[float]
) -> None:
    drawn = svg.deviation(sorted(curve), sorted(quantiles), "difference")
    for path in re.findall(r' d="([^"]*)"', drawn):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        assert all(-0.1 <= number <= 1000.1 for number in numbers)
    places = [float(place) for place in re.findall(r'(?:cx|x1|x2)="(-?[\d.]+)%"', drawn)]
    assert all(0 <= place <= 100 for place in places)
    assert "as long as control" in drawn
    assert "nan" not in drawn


def test_calls_that_all_took_as_long_are_a_drawing_too() -> None:
    assert "nan" not in svg.deviation([(0.0, 1.0)], [0.0, 0.0, 0.0], "difference")


@given(st.floats(-1, 2), st.floats(-1, 2), st.floats(-1, 2))
def test_a_span_stays_in_its_bar_and_can_be_seen(begin: float, end: float, tail: float) -> None:
    drawn = svg.span(begin, end, tail)
    assert all(0 <= float(place) <= 100 for place in re.findall(r'(?:x|x1|x2)="(-?[\d.]+)%"', drawn))
    (width,) = re.findall(r'class="fill [^>]*width="([\d.]+)%"', drawn)
    assert 0.4 <= float(width) <= 100


def test_lanes_stand_to_one_scale_with_control_above_and_the_path_marked() -> None:
    branches = tuple(
        BranchSpan(branch=name, runs=9, ran=1.0, begin_s=begin, end_s=end, end_p95_s=0.4, critical=critical)
        for name, begin, end, critical in (("a", 0.0, 0.1, 1.0), ("b", 0.1, 0.2, 1.0), ("c", 0.0, 0.05, 0.0))
    )
    found = Waterfall(
        mode="live", trials=9, control_p50_s=0.2, end_p50_s=0.2, end_p95_s=0.4, path=("a", "b"), path_share=1.0,
        branches=branches,
    )  # fmt: skip
    (fall,) = falls([found])
    assert [(lane.name, lane.on_path, lane.begin, lane.end) for lane in fall.lanes] == [
        ("control", False, "0", "200 ms"), ("a", True, "0", "100 ms"), ("b", True, "100 ms", "200 ms"),
        ("c", False, "0", "50 ms"),
    ]  # fmt: skip
    bars = [re.findall(r'class="fill (\w+)" x="([\d.]+)%" width="([\d.]+)%"', lane.drawing)[0] for lane in fall.lanes]
    assert bars == [
        ("control", "0.00", "50.00"), ("critical", "0.00", "25.00"), ("critical", "25.00", "25.00"),
        ("candidate", "0.00", "12.50"),
    ]  # fmt: skip
