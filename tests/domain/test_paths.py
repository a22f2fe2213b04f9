"""Paths: read, written, matched, followed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.paths import (
    HEADERS,
    MISSING,
    ROOT,
    STATUS,
    Concrete,
    Path,
    PathError,
    concrete_text,
    starred_text,
)

NAMES = st.text(max_size=6) | st.sampled_from(["a", "b", "first name", "0", "ключ", '"', "\\", "\ud800", "\n"])
CONCRETE = st.lists(NAMES | st.integers(0, 9), max_size=5).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
PLAIN = st.lists(st.sampled_from("abc") | st.integers(0, 2), max_size=4).map(
    lambda steps: Path.parse(concrete_text(tuple(steps)))
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("$", "$"),
        ("$.a", "$.a"),
        ("$['a'].b", "$.a.b"),
        ("$[\"x y\"]['it\\'s']", '$["x y"]["it\'s"]'),
        ("$[ 0 ][*]", "$[0][*]"),
        ("$.a['x y'][0][*]..name", '$.a["x y"][0][*]..name'),
        ('$..["x y"]', '$..["x y"]'),
        ("status", "status"),
        ("headers.Content-Type", "headers.content-type"),
        ('headers["x-id"]', "headers.x-id"),
        ("error.message", "error.message"),
    ],
)
def test_a_path_is_read_and_written_in_one_canonical_way(text: str, normal: str) -> None:
    assert Path.parse(text).normal() == normal
    assert Path.parse(normal) == Path.parse(text)
    assert hash(Path.parse(normal)) == hash(Path.parse(text))


@pytest.mark.parametrize(
    ("text", "position", "remedy"),
    [
        ("", "position 0", '"$'),
        ("orders", "position 0", '"$.orders"'),
        (".orders", "position 0", '"$.orders"'),
        ("$orders", "position 1", ".name"),
        ("$.a.", "position 3", "a name must follow the dot"),
        ("$.a[-1]", "position 3", "[*]"),
        ("$.a[1:2]", "position 3", "slices"),
        ("$.a[?(@.x)]", "position 3", "filters"),
        ("$.*", "position 1", "[*]"),
        ("$.a[b]", "position 3", '["name"]'),
        ("$.a['b'", "position 3", '"]"'),
        ("$.x-y", "position 3", '["x"]'),
        ("status.code", "position 6", '"status"'),
        ("headers.a.b", "headers.a.b", "headers.NAME"),
        ("error.code", "position 5", "error.message"),
    ],
)
def test_a_mistake_names_the_path_the_position_and_the_remedy(text: str, position: str, remedy: str) -> None:
    with pytest.raises(PathError) as caught:
        Path.parse(text)
    assert text in str(caught.value)
    assert position in str(caught.value)
    assert remedy in str(caught.value)


@given(st.text(alphabet="$.[]*'\"\\ab0-: statuheder", max_size=20))
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    try:
        path = Path.parse(text)
    except PathError:
        return
    assert Path.parse(path.normal()) == path


@given(CONCRETE)
def test_the_text_of_a_concrete_path_reads_back_and_matches_it(concrete: Concrete) -> None:
    path = Path.parse(concrete_text(concrete))
    assert path.is_plain
    assert path.steps == concrete
    assert path.matches(concrete)
    assert path.covers((*concrete, "below", 3))
    assert not path.matches((*concrete, "below"))
    assert Path.parse(starred_text(concrete)).matches(concrete)
    assert path.starred() == starred_text(concrete)


@pytest.mark.parametrize(
    ("pattern", "concrete", "matches", "covers"),
    [
        ("$", (), True, True),
        ("$", ("a", 0), False, True),
        ("$.a", ("a", "b"), False, True),
        ("$.a.b", ("a",), False, False),
        ("$.a[*].b", ("a", 7, "b"), True, True),
        ("$.users[*]", ("users", "alice"), True, True),
        ("$[0]", ("0",), False, False),
        ('$["0"]', (0,), False, False),
        ("$..at", ("at",), True, True),
        ("$..at", ("a", 0, "b", "at"), True, True),
        ("$..at", ("a", "at", "zone"), False, True),
        ("$..a..b", ("b", "a", "x", "b"), True, True),
        ("$.a..b[0]", ("a", "c", "b", 1), False, False),
        ("status", (STATUS,), True, True),
        ("status", ("status",), False, False),
        ("$.status", (STATUS,), False, False),
        ("headers", (HEADERS, "location"), False, True),
        ("headers.Location", (HEADERS, "location"), True, True),
        ("headers[*]", (HEADERS, "location"), True, True),
        ("$", (STATUS,), False, False),
        ("$..location", (HEADERS, "location"), False, False),
    ],
)
def test_a_pattern_matches_and_covers(pattern: str, concrete: Concrete, matches: bool, covers: bool) -> None:
    path = Path.parse(pattern)
    assert path.matches(concrete) is matches
    assert path.covers(concrete) is covers


@given(CONCRETE, CONCRETE)
def test_covering_is_matching_a_prefix(pattern: Concrete, concrete: Concrete) -> None:
    path = Path.parse(starred_text(pattern))
    assert path.covers(concrete) == any(path.matches(concrete[:n]) for n in range(len(concrete) + 1))


def test_many_deep_steps_do_not_explode() -> None:
    path = Path.parse("$" + "..a" * 40 + "..z")
    assert not path.matches(("a",) * 2000)


def test_beside_the_body_is_not_in_it() -> None:
    assert concrete_text((STATUS,)) == "status"
    assert concrete_text(("status",)) == "$.status"
    assert concrete_text((HEADERS, "location")) == "headers.location"
    assert (HEADERS, "location") == ("headers", "location")


def test_get_follows_names_and_indexes() -> None:
    value = {"a": [{"b": 1}], "n": None}
    assert Path.parse("$.a[0].b").get(value) == 1
    assert Path.parse("$.n").get(value) is None
    assert Path.parse("$.n.x").get(value) is MISSING
    assert Path.parse("$.a[1]").get(value, 5) == 5
    assert Path.parse("$.a.b").get(value) is MISSING
    assert ROOT.get(value) is value


@pytest.mark.parametrize("text", ["$.a[*]", "$..a", "status", "headers.location"])
def test_only_a_plain_path_is_followed(text: str) -> None:
    with pytest.raises(PathError, match="names more than one place"):
        Path.parse(text).get({})
    with pytest.raises(PathError, match="names more than one place"):
        Path.parse(text).put({}, 1)


@given(JSON, PLAIN, JSON)
def test_what_was_put_is_got_and_nothing_given_is_changed(value: Any, path: Path, part: Any) -> None:
    before = copy.deepcopy(value)
    try:
        laid = path.put(value, part)
    except PathError:
        return
    finally:
        assert value == before
    assert path.get(laid) is part
    assert path.put(laid, path.get(value)) == value or path.get(value) is MISSING


def test_what_lies_beside_the_path_is_shared() -> None:
    value: Any = {"a": {"b": [1], "c": {}}, "d": [2]}
    laid = Path.parse("$.a.b").put(value, [3])
    assert laid == {"a": {"b": [3], "c": {}}, "d": [2]}
    assert laid["d"] is value["d"]
    assert laid["a"]["c"] is value["a"]["c"]
    assert list(laid["a"]) == ["b", "c"]


def test_missing_objects_on_the_way_are_created() -> None:
    assert Path.parse("$.a.b.c").put({}, 1) == {"a": {"b": {"c": 1}}}
    assert Path.parse("$.a[1]").put({"a": [0]}, 1) == {"a": [0, 1]}


@pytest.mark.parametrize(
    ("path", "value", "stands"),
    [
        ("$.a.b", {"a": 1}, "a number"),
        ("$.a.b", {"a": None}, "null"),
        ("$.a.b", {"a": "x"}, "a string"),
        ("$.a.b", {"a": True}, "a boolean"),
        ("$.a.b", {"a": [1]}, "an array"),
        ("$.a[0]", {"a": {}}, "an object"),
        ("$.a[0]", {}, "nothing"),
        ("$.a[3]", {"a": [1]}, "an array of 1"),
        ("$.a", None, "null"),
    ],
)
def test_what_stands_in_the_way_is_named(path: str, value: Any, stands: str) -> None:
    with pytest.raises(PathError, match="cannot lay a part") as caught:
        Path.parse(path).put(value, 1)
    assert path in str(caught.value)
    assert f"stands {stands}" in str(caught.value)
