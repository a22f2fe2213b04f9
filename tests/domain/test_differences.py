"""Differences: typed, per place, bounded."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollout.domain.differences import (
    MAX_DEPTH,
    Difference,
    Kind,
    Rules,
    TooMuch,
    close,
    differences,
    exactly,
    walk,
)
from rollout.domain.paths import HEADERS, MISSING, Path

NAN, INF = math.nan, math.inf
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(["", "a", "b", "1"])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=15,
)
FLAT = st.lists(SCALARS, max_size=8)
NO_ARRAYS = st.recursive(
    SCALARS, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=9
)


def found(control: object, candidate: object, **rules: Any) -> list[tuple[str, str]]:
    return [(d.text, str(d.kind)) for d in diff(control, candidate, **rules)]


def diff(
    control: object,
    candidate: object,
    *,
    unordered: Mapping[str, str | None] | None = None,
    tolerance: Mapping[str, float] | None = None,
    limit: int = 100,
) -> list[Difference]:
    return differences(
        control,
        candidate,
        unordered={Path.parse(path): key for path, key in (unordered or {}).items()},
        tolerance={Path.parse(path): by for path, by in (tolerance or {}).items()},
        limit=limit,
    )


def same(a: object, b: object) -> bool:
    """The definition of equality, written as plainly as it can be."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (a != a and b != b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(
    ("control", "candidate", "expected"),
    [
        ({"a": 1}, {}, [("$.a", "missing")]),
        ({}, {"a": 1}, [("$.a", "extra")]),
        ({"a": None}, {"a": 1}, [("$.a", "type")]),
        ({"a": None}, {}, [("$.a", "missing")]),
        ({"a": 1}, {"a": "1"}, [("$.a", "type")]),
        (1, 1.0, []),
        (1, True, [("$", "type")]),
        ([0], [False], [("$[0]", "type")]),
        ({"a": {"b": 1.0}}, {"a": {"b": True}}, [("$.a.b", "type")]),
        (NAN, float("nan"), []),
        (NAN, 1.0, [("$", "value")]),
        (INF, INF, []),
        (INF, -INF, [("$", "value")]),
        (INF, 1e308, [("$", "value")]),
        (0.0, -0.0, []),
        (2**53 + 1, float(2**53), [("$", "value")]),
        ([1, 2, 3], [3, 2, 1], [("$", "order")]),
        ({"t": ["x", "a", "b"]}, {"t": ["x", "b", "a"]}, [("$.t", "order")]),
        ([1, 1, 2], [1, 2, 2], [("$[1]", "value")]),
        ([1, 2, 3], [1, 9, 2, 3], [("$[1]", "extra")]),
        ([1, 2, 3], [2, 3], [("$[0]", "missing")]),
        ([1, 2, 3, 4], [9, 1, 2, 3], [("$[0]", "extra"), ("$[3]", "missing")]),
        ([], [1], [("$[0]", "extra")]),
        ({}, [], [("$", "type")]),
        ((1, 2), [1, 2], []),
        ({1: "x"}, {"1": "x"}, []),
        ({"a": Decimal(1)}, {"a": 1}, [("$.a", "type")]),
        ([{"id": 1, "p": 5}], [{"id": 1, "p": 6}], [("$[0].p", "value")]),
    ],
)
def test_each_difference_has_its_kind_and_its_place(
    control: object, candidate: object, expected: list[tuple[str, str]]
) -> None:
    assert found(control, candidate) == expected


def test_a_difference_carries_both_sides_and_nothing_where_nothing_is() -> None:
    [one] = diff({"a": [1]}, {})
    assert one == Difference(("a",), Kind.missing, [1], MISSING)
    assert one.starred == "$.a"
    assert Difference((HEADERS, "location"), Kind.value, "/a", "/b").text == "headers.location"


@given(JSON)
def test_a_value_does_not_differ_from_itself_or_its_copy(value: object) -> None:
    assert diff(value, value) == []
    assert diff(value, copy.deepcopy(value)) == []
    assert diff(value, json.loads(json.dumps(value))) == []


@given(JSON, JSON)
@settings(max_examples=400)
def test_there_are_differences_exactly_where_values_are_not_equal(control: object, candidate: object) -> None:
    assert (diff(control, candidate) == []) == same(control, candidate)
    assert (diff(control, candidate) == []) == (diff(candidate, control) == [])


@given(JSON, JSON)
def test_what_is_called_exactly_equal_is_equal(control: object, candidate: object) -> None:
    assert not exactly(control, candidate) or same(control, candidate)


@given(JSON)
def test_exact_equality_sees_equal_values_that_hold_no_nan(value: object) -> None:
    assert exactly(value, json.loads(json.dumps(value))) or "NaN" in json.dumps(value)


@given(NO_ARRAYS, NO_ARRAYS)
def test_the_two_sides_swapped_swap_missing_and_extra(control: object, candidate: object) -> None:
    turned = {Kind.missing: Kind.extra, Kind.extra: Kind.missing}
    there = {(d.path, d.kind, repr(d.control)) for d in diff(control, candidate)}
    back = {(d.path, turned.get(d.kind, d.kind), repr(d.candidate)) for d in diff(candidate, control)}
    assert there == back


@given(JSON, JSON)
def test_every_path_leads_to_the_values_it_carries(control: object, candidate: object) -> None:
    for one in diff(control, candidate):
        path = Path.parse(one.text)
        if one.control is not MISSING:
            assert path.get(control) is one.control
        if one.kind is Kind.extra:
            assert path.get(candidate) is one.candidate


@given(JSON, JSON, st.integers(0, 5))
@example([None], [[], None, [], []], 2)  # longer by more than is listed
def test_no_more_differences_than_the_limit(control: object, candidate: object, limit: int) -> None:
    everything = diff(control, candidate, limit=1000)
    assert [d.text for d in diff(control, candidate, limit=limit)] == [d.text for d in everything[:limit]]


@given(st.lists(st.integers(), unique=True, max_size=30), st.data())
def test_an_inserted_element_is_one_difference(values: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values)))
    longer = [*values[:place], "new", *values[place:]]
    assert found(values, longer) == [(f"$[{place}]", "extra")]
    assert found(longer, values) == [(f"$[{place}]", "missing")]


@given(FLAT, st.data())
def test_a_permutation_is_at_most_one_difference_of_order(values: list[object], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    assert found(values, shuffled) == ([] if same(values, shuffled) else [("$", "order")])


# ---- unordered ----


@given(st.lists(JSON, max_size=8), st.data())
def test_an_unordered_array_equals_its_permutations(values: list[object], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    assert found({"t": values}, {"t": copy.deepcopy(shuffled)}, unordered={"$.t": None}) == []


@given(FLAT, FLAT)
def test_unordered_arrays_differ_by_what_does_not_cancel_out(a: list[object], b: list[object]) -> None:
    rest_b = list(b)
    missing = 0
    for value in a:
        twin = next((i for i, other in enumerate(rest_b) if same(value, other)), None)
        if twin is None:
            missing += 1
        else:
            del rest_b[twin]
    kinds = [kind for _, kind in found(a, b, unordered={"$": None})]
    assert kinds == ["missing"] * missing + ["extra"] * len(rest_b)


def test_unordered_objects_that_are_left_over_are_looked_into() -> None:
    control = [{"id": 1, "p": 1}, {"id": 2, "p": 2}]
    candidate = [{"id": 2, "p": 3}, {"id": 1, "p": 1}]
    assert found(control, candidate, unordered={"$": None}) == [("$[1].p", "value")]


def test_an_unordered_array_inside_an_unordered_array() -> None:
    rules = {"$.a": None, "$.a[*].t": None}
    control = {"a": [{"t": [1, 2]}, {"t": []}, {"t": {}}]}
    assert found(control, {"a": [{"t": {}}, {"t": []}, {"t": [2, 1]}]}, unordered=rules) == []
    assert found(control, {"a": [{"t": []}, {"t": []}, {"t": [2, 1]}]}, unordered=rules) == [("$.a[2].t", "type")]


def test_elements_with_a_key_meet_by_it() -> None:
    control = [{"id": 1, "p": 1}, {"id": 2, "p": 2}, {"id": 3}]
    candidate = [{"id": 4}, {"id": 2, "p": 9}, {"id": 1, "p": 1}]
    assert found(control, candidate, unordered={"$": "id"}) == [
        ("$[1].p", "value"),
        ("$[2]", "missing"),
        ("$[0]", "extra"),
    ]


def test_a_key_is_typed() -> None:
    assert found([{"id": 1}], [{"id": "1"}], unordered={"$": "id"}) == [("$[0]", "missing"), ("$[0]", "extra")]
    assert found([{"id": 1}], [{"id": 1.0}], unordered={"$": "id"}) == []


def test_elements_without_a_clear_key_are_compared_as_a_multiset() -> None:
    control = [{"id": 1, "p": 1}, {"id": 1, "p": 2}, "x", {"q": 1}]
    assert found(control, list(reversed(control)), unordered={"$": "id"}) == []
    assert found(control, control[1:], unordered={"$": "id"}) == [("$[0]", "missing")]


@given(st.lists(st.dictionaries(st.sampled_from(["id", "p"]), SCALARS), max_size=6), st.data())
def test_keyed_arrays_equal_their_permutations(values: list[object], data: st.DataObject) -> None:
    assert found(values, data.draw(st.permutations(values)), unordered={"$": "id"}) == []


# ---- tolerance ----


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "expected"),
    [
        (1.0, 1.1, None, False),
        (1.0, 1.0, None, True),
        (1.0, 1.01, 0.01, True),
        (1000, 1010, 0.01, True),
        (1000, 1011, 0.01, False),
        (0.0, 0.01, 0.01, True),
        (0.0, 0.02, 0.01, False),
        (NAN, NAN, 1.0, True),
        (NAN, 1.0, 1.0, False),
        (INF, INF, 1.0, True),
        (INF, 1e300, 1.0, False),
        (10**400, 10**400 + 1, 0.5, False),
        (10**400, 1.0, 0.5, False),
        (1, 1, 0.0, True),
    ],
)
def test_closeness_is_absolute_below_one_and_relative_above(
    a: float, b: float, tolerance: float | None, expected: bool
) -> None:
    assert close(a, b, tolerance) is expected
    assert close(b, a, tolerance) is expected


def test_a_tolerance_applies_to_numbers_at_its_path_only() -> None:
    rules = {"$.s[*].x": 0.1}
    assert found({"s": [{"x": 1.0}, {"x": 2}]}, {"s": [{"x": 1.05}, {"x": 2.1}]}, tolerance=rules) == []
    assert found({"s": [{"y": 1.0}]}, {"s": [{"y": 1.05}]}, tolerance=rules) == [("$.s[0].y", "value")]
    assert found({"s": [{"x": 1}]}, {"s": [{"x": True}]}, tolerance=rules) == [("$.s[0].x", "type")]


def test_a_tolerance_holds_in_unordered_and_in_shifted_arrays() -> None:
    control = [{"n": "a", "x": 1.0}, {"n": "a", "x": 2.0}, {"n": "b", "x": 3.0}]
    candidate = [{"n": "b", "x": 3.0001}, {"n": "a", "x": 2.0001}, {"n": "a", "x": 1.0001}]
    rules = {"$[*].x": 0.001}
    assert found(control, candidate, unordered={"$": None}, tolerance=rules) == []
    assert found(control, candidate, tolerance=rules) == [("$", "order")]
    assert found(control, [{"n": "c"}, *control], tolerance=rules) == [("$[0]", "extra")]


def test_where_several_rules_name_one_place_the_first_declared_is_used() -> None:
    assert found({"x": 1.0}, {"x": 1.5}, tolerance={"$.x": 1.0, "$..x": 0.0}) == []
    assert found({"x": 1.0}, {"x": 1.5}, tolerance={"$..x": 0.0, "$.x": 1.0}) == [("$.x", "value")]


# ---- ignored, and where the values stand ----


def rules(*ignore: str) -> Rules:
    return Rules([Path.parse(path) for path in ignore])


def test_what_is_ignored_is_counted_once_for_each_place() -> None:
    seen = walk({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"x": 2}, "b": 2}, rules("$.a", "$.b"))
    assert (seen.differences, seen.ignored) == ((), 2)
    assert walk({"a": [NAN]}, {"a": [float("nan")]}, rules("$.a")).ignored == 0


def test_what_is_ignored_uses_up_no_limit() -> None:
    control = {"a": list(range(500)), "z": 1}
    candidate = {"a": [n + 0.5 for n in range(500)], "z": 2}
    seen = walk(control, candidate, rules("$.a[*]"), limit=10)
    assert [d.text for d in seen.differences] == ["$.z"]
    assert (seen.ignored, seen.truncated) == (500, False)


def test_what_is_ignored_inside_elements_does_not_spoil_their_alignment() -> None:
    control = [{"id": n, "at": n} for n in range(20)]
    candidate = [{"id": n, "at": -n - 1} for n in [99, *range(20)]]
    assert [d.text for d in walk(control, candidate, rules("$[*].at")).differences] == ["$[0]"]
    swapped = [candidate[2], candidate[1], *candidate[3:]]
    assert [d.kind for d in walk(control, swapped, rules("$..at")).differences] == [Kind.order]


def test_a_value_below_the_root_is_compared_by_the_rules_of_its_place() -> None:
    seen = walk({"at": 1, "n": 1}, {"at": 2, "n": 2}, rules("$.orders.at"), at=("orders",))
    assert ([d.text for d in seen.differences], seen.ignored) == (["$.orders.n"], 1)


def test_a_missing_or_extra_ignored_place_is_ignored() -> None:
    assert walk({"a": 1}, {"b": 1}, rules("$.a", "$.b")) == walk({"b": 1}, {"a": 1}, rules("$.a", "$.b"))
    assert walk([1, 2], [1], rules("$[1]")).ignored == 1


# ---- bounds ----


def nested(depth: int, leaf: object) -> object:
    value = leaf
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_values_nested_to_the_limit_are_compared() -> None:
    assert [d.kind for d in diff(nested(MAX_DEPTH, 1), nested(MAX_DEPTH, 2))] == [Kind.value]


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 10_000])
def test_values_nested_too_deeply_are_refused(depth: int) -> None:
    with pytest.raises(TooMuch, match="nested deeper"):
        diff(nested(depth, 1), nested(depth, 2))


def test_a_value_that_contains_itself_is_refused() -> None:
    a: list[Any] = [1]
    a.append(a)
    b: list[Any] = [1]
    b.append(b)
    with pytest.raises(TooMuch):
        diff(a, b)


def test_values_that_are_too_large_are_refused_in_bounded_time() -> None:
    control = [[n, [n]] for n in range(400_000)]
    candidate = [[n, [n, 0]] for n in range(400_000)]
    with pytest.raises(TooMuch, match="too large"):
        diff(control, candidate, unordered={"$": None})


@pytest.mark.parametrize(
    "pair",
    [
        (list(range(10_000)), list(range(5_000, 15_000))),
        ([{"n": n} for n in range(10_000)], [{"n": -n} for n in range(10_000)]),
        ([n * (2**61 - 1) for n in range(10_000)], [n * (2**61 - 1) for n in range(1, 10_001)]),
        ([1.0 + n / 1e9 for n in range(10_000)], [1.5 + n / 1e9 for n in range(10_000)]),
    ],
)
def test_large_arrays_take_no_quadratic_time(pair: tuple[list[object], list[object]]) -> None:
    control, candidate = pair
    started = time.process_time()
    diff(control, candidate, unordered={"$": None}, tolerance={"$[*]": 1e-9})
    diff(control, candidate, unordered={"$": "n"})
    diff(control, candidate)
    assert time.process_time() - started < 5.0


def test_a_foreign_object_that_cannot_be_compared_is_different() -> None:
    class Moody:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not today")

        __hash__ = None  # type: ignore[assignment]

    assert found([Moody()], [Moody()]) == [("$[0]", "value")]
