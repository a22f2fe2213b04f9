"""Comparisons: four outcomes, never two-valued, and no hook that gets out."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.call import Reply
from rollout.domain.comparison import LIMIT, MATCHED, UNSET, Comparator, Compare, Comparison, Outcome
from rollout.domain.differences import Kind
from rollout.domain.html import html
from rollout.domain.paths import MISSING, Path, PathError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
PLAIN = Comparator(Compare())


def reply(value: object = None, status: int = 200, **headers: str) -> Reply:
    return Reply.json(value, status, {name.replace("_", "-"): text for name, text in headers.items()})


def raw(body: bytes, content_type: str = "application/json", status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": content_type}, body)


def told(comparison: Comparison) -> tuple[str, list[tuple[str, str]]]:
    return str(comparison.outcome), [(d.text, str(d.kind)) for d in comparison.differences]


# ---- values ----


@given(JSON)
def test_a_value_matches_itself_and_its_copy(value: object) -> None:
    rules = Compare(ignore=["$.a"], unordered={"$.b": None}, tolerance={"$..c": 0.1})
    for comparator in (PLAIN, Comparator(rules)):
        assert comparator.values(value, value) is MATCHED
        assert comparator.values(value, json.loads(json.dumps(value))).outcome is Outcome.matched


@given(JSON, JSON, st.sampled_from(["$", "$.a", "$[*]", "$..b", "$.c[0]"]))
def test_the_outcome_follows_from_what_counts_and_what_was_ignored(a: object, b: object, path: str) -> None:
    comparison = Comparator(Compare(ignore=[path])).values(a, b)
    plain = PLAIN.values(a, b)
    assert (comparison.outcome is Outcome.matched) == (plain.outcome is Outcome.matched)
    assert (comparison.outcome is Outcome.mismatched) == bool(comparison.differences)
    assert (comparison.outcome is Outcome.ignored) == (not comparison.differences and comparison.ignored > 0)
    assert not any(Path.parse(path).covers(one.path) for one in comparison.differences)


def test_one_difference_that_counts_outweighs_everything_ignored() -> None:
    comparator = Comparator(Compare(ignore=["$.at", "$..id"]))
    comparison = comparator.values({"at": 1, "x": {"id": 1}, "n": 1}, {"at": 2, "x": {"id": 2}, "n": 2})
    assert told(comparison) == ("mismatched", [("$.n", "value")])
    assert comparison.ignored == 2
    assert comparator.values({"at": 1}, {"at": 2}).outcome is Outcome.ignored


def test_a_number_that_equals_a_boolean_is_seen_on_the_fast_path() -> None:
    assert told(PLAIN.values({"a": [{"b": 1}]}, {"a": [{"b": True}]})) == ("mismatched", [("$.a[0].b", "type")])


def test_more_differences_than_the_limit_are_said_to_be_more() -> None:
    comparison = PLAIN.values(dict.fromkeys(map(str, range(500)), 1), {})
    assert len(comparison.differences) == LIMIT
    assert "more than 100" in comparison.reason


def test_what_is_nested_too_deeply_is_incomparable_and_does_not_crash() -> None:
    a: Any = 1
    b: Any = 2
    for _ in range(10_000):
        a, b = [a], [b]
    comparison = PLAIN.values(a, b)
    assert comparison.outcome is Outcome.incomparable
    assert "nested deeper" in comparison.reason
    assert Comparator(Compare(ignore=["$"])).values(a, b).outcome is Outcome.ignored


def test_a_mistaken_compare_is_refused_with_every_mistake() -> None:
    with pytest.raises(ValueError, match=r"(?s)ignore.*tolerance"):
        Comparator(Compare(ignore=["a"], tolerance={"$": -1}))


# ---- replies ----


def test_identical_bytes_match_unparsed() -> None:
    assert PLAIN.replies(raw(b"{broken"), raw(b"{broken")) is MATCHED
    assert PLAIN.replies(raw(b"\xff\xfe", "image/png"), raw(b"\xff\xfe", "image/png")) is MATCHED


def test_values_that_are_given_are_compared_and_the_bodies_not_looked_at() -> None:
    control, candidate = raw(b"ignored"), raw(b"not looked at")
    assert PLAIN.replies(control, candidate, control_value=[1], candidate_value=[1]) is MATCHED
    comparison = PLAIN.replies(control, candidate, control_value=[1], candidate_value=[None])
    assert told(comparison) == ("mismatched", [("$[0]", "type")])
    assert told(PLAIN.replies(control, raw(b"[2]"), control_value=[1])) == ("mismatched", [("$[0]", "value")])
    assert PLAIN.replies(raw(b"null"), raw(b" null"), control_value=None).outcome is Outcome.matched


@pytest.mark.parametrize(
    ("control", "candidate", "expected"),
    [
        (reply({"a": 1, "b": 2}), raw(b'{"b":2, "a":1.0}'), []),
        (reply({"a": 1}), reply({"a": 1}, 201), [("status", "value")]),
        (reply({"a": 1}), reply({"a": 2}, 201), [("status", "value"), ("$.a", "value")]),
        (reply({"a": 1}), reply({"error": "no"}, 500), [("status", "value")]),
        (Reply.redirect("/a"), Reply.redirect("/b"), [("headers.location", "value")]),
        (Reply.redirect("/a"), Reply(302), [("headers.location", "missing")]),
        (reply([]), raw(b"[]", "text/html"), [("headers.content-type", "value")]),
        (reply([]), raw(b"<p>", "text/html"), [("headers.content-type", "value"), ("$", "type")]),
        (
            raw(b"a=1&b=2", "application/x-www-form-urlencoded"),
            raw(b"b=2&a=1", "application/x-www-form-urlencoded"),
            [],
        ),
        (
            raw(b"a=1&a=2", "application/x-www-form-urlencoded"),
            raw(b"a=2&a=1", "application/x-www-form-urlencoded"),
            [("$.a", "order")],
        ),
        (raw(b"a\n", "text/plain"), raw(b"a\r\n", "text/plain"), [("$", "value")]),
        (raw(b"<p>a", "text/html"), raw(b"<p >a", "text/html"), [("$", "value")]),
        (raw(b"\x00", "image/png"), raw(b"\x01", "image/png"), [("$", "value")]),
        (raw(b""), raw(b"null"), [("$", "type")]),
        (raw(b"NaN"), raw(b" NaN"), []),
    ],
)
def test_replies_differ_by_status_headers_and_body(
    control: Reply, candidate: Reply, expected: list[tuple[str, str]]
) -> None:
    comparison = PLAIN.replies(control, candidate)
    assert told(comparison) == ("mismatched" if expected else "matched", expected)


def test_only_the_headers_that_are_named_are_compared_in_any_case() -> None:
    comparator = Comparator(Compare(headers=["x-total", "Set-Cookie"]))
    control = Reply(200, [("X-Total", "1"), ("X-Other", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=1")])
    candidate = Reply(200, [("x-TOTAL", "2"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    comparison = comparator.replies(control, candidate)
    assert [d.text for d in comparison.differences] == ["headers.x-total", "headers.set-cookie"]


def test_status_and_headers_can_be_ignored_by_path() -> None:
    comparator = Comparator(Compare(ignore=["status", "headers.Location"]))
    comparison = comparator.replies(reply(1, 200, Location="/a"), reply(1, 500, Location="/b"))
    assert (comparison.outcome, comparison.ignored) == (Outcome.ignored, 2)
    assert comparator.replies(reply(1, 200), reply(2, 500)).outcome is Outcome.mismatched
    assert Comparator(Compare(status=False)).replies(reply(1), reply(1, 404)) is MATCHED


def test_a_body_field_called_status_is_not_the_status() -> None:
    assert told(PLAIN.replies(reply({"status": 1}), reply({"status": 2}))) == ("mismatched", [("$.status", "value")])
    comparator = Comparator(Compare(ignore=["status"]))
    assert comparator.replies(reply({"status": 1}), reply({"status": 2})).outcome is Outcome.mismatched


def test_an_unreadable_control_cannot_be_compared_and_says_why() -> None:
    comparison = PLAIN.replies(raw(b"<oops>"), raw(b"{}"))
    assert comparison.outcome is Outcome.incomparable
    assert comparison.reason == "control's body is not JSON: Expecting value at character 0"
    assert PLAIN.replies(raw(b"<oops>"), raw(b"<ooops>")).outcome is Outcome.incomparable
    assert PLAIN.replies(raw(b"<oops>"), raw(b"<ooops>", status=204)).outcome is Outcome.mismatched


def test_an_unreadable_candidate_is_a_mismatch_and_never_dropped() -> None:
    comparison = PLAIN.replies(raw(b"{}"), raw(b"<oops>"))
    assert told(comparison) == ("mismatched", [("$", "type")])
    assert "the candidate's body is not JSON" in comparison.reason


def test_an_ignored_body_is_not_read() -> None:
    assert Comparator(Compare(ignore=["$"])).replies(raw(b"<a>"), raw(b"<b>")).outcome is Outcome.ignored


def test_a_name_that_occurs_twice_is_remarked_where_bodies_differ() -> None:
    comparison = PLAIN.replies(raw(b'{"a": 1, "a": 2}'), raw(b'{"a": 3}'))
    assert told(comparison) == ("mismatched", [("$.a", "value")])
    assert "control's body has a name twice" in comparison.reason
    assert PLAIN.replies(raw(b'{"a": 1, "a": 2}'), raw(b'{"a": 2}')).outcome is Outcome.matched


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from(["", "application/json", "text/html", "x/y"]))
def test_whatever_the_bodies_there_is_an_outcome(a: bytes, b: bytes, content_type: str) -> None:
    there = PLAIN.replies(raw(a, content_type), raw(b, content_type))
    back = PLAIN.replies(raw(b, content_type), raw(a, content_type))
    assert (there.outcome is Outcome.matched) == (back.outcome is Outcome.matched)
    assert (there is MATCHED) or a != b


# ---- hooks ----


def test_a_view_is_compared_instead_of_the_body() -> None:
    comparator = Comparator(Compare(view=html(ignore=["script"]), ignore=['$..["@nonce"]']))
    control = raw(b"<p nonce=1>a<script>1</script>", "text/html")
    assert comparator.replies(control, raw(b"<p nonce=1>a<script>2</script></p>", "text/html")) is MATCHED
    assert comparator.replies(control, raw(b"<p nonce=2>a", "text/html")).outcome is Outcome.ignored
    comparison = comparator.replies(control, raw(b"<p nonce=1>b", "text/html"))
    assert told(comparison) == ("mismatched", [('$.p[0]["#text"][0]', "value")])


def test_a_view_sees_what_is_not_compared_otherwise() -> None:
    comparator = Comparator(Compare(view=lambda reply: reply.headers.get("ETag")))
    assert comparator.replies(reply(1, ETag="a"), reply(1, ETag="b")).outcome is Outcome.mismatched


def test_a_view_that_raises_on_control_leaves_nothing_to_compare_with() -> None:
    comparator = Comparator(Compare(view=lambda reply: reply.json_value()["secret"]))
    comparison = comparator.replies(reply({"x": "hunter2"}), reply({"secret": 1}))
    assert (comparison.outcome, comparison.hooks) == (Outcome.incomparable, ("view",))
    assert comparison.reason == "view raised KeyError on control's reply"


def test_a_view_that_raises_on_the_candidate_only_is_a_mismatch() -> None:
    comparator = Comparator(Compare(view=lambda reply: reply.json_value()["a"]))
    comparison = comparator.replies(reply({"a": 1}), reply({}))
    assert (*told(comparison), comparison.hooks) == ("mismatched", [("$", "type")], ("view",))


def test_a_rule_of_ones_own_decides_where_values_are_not_identical() -> None:
    asked: list[object] = []

    def about(a: Any, b: Any) -> bool:
        asked.append((a, b))
        return bool(abs(a["n"] - b["n"]) < 2)

    comparator = Comparator(Compare(equal=about, ignore=["$.at"]))
    assert comparator.values({"n": 1}, {"n": 1}) is MATCHED
    assert asked == []
    assert comparator.values({"n": 1}, {"n": 2}) is MATCHED
    assert told(comparator.values({"n": 1}, {"n": 9})) == ("mismatched", [("$.n", "value")])
    assert comparator.values({"n": 1, "at": 1}, {"n": 1, "at": 2}) is MATCHED
    strict = Comparator(Compare(equal=lambda a, b: False, ignore=["$.at"], tolerance={"$.n": 1}))
    assert strict.values({"at": 1}, {"at": 2}).outcome is Outcome.ignored
    assert told(strict.values({"n": 1}, {"n": 1.5})) == ("mismatched", [("$", "value")])


def test_a_rule_that_raises_is_named_and_skipped() -> None:
    comparator = Comparator(Compare(equal=lambda a, b: 1 / 0 > 0))
    comparison = comparator.values([1], [2])
    assert told(comparison) == ("mismatched", [("$[0]", "value")])
    assert (comparison.hooks, comparison.reason) == (("equal",), "equal raised ZeroDivisionError")


def test_a_rule_that_raises_over_values_that_match_is_still_named() -> None:
    comparator = Comparator(Compare(equal=lambda a, b: 1 / 0 > 0, tolerance={"$": 1}))
    comparison = comparator.values(1.0, 1.5)
    assert (comparison.outcome, comparison.hooks) == (Outcome.matched, ("equal",))


def test_a_rule_that_must_be_awaited_is_not_taken_for_true() -> None:
    async def later() -> bool:
        return True

    comparison = Comparator(Compare(equal=lambda a, b: later())).values(1, 2)  # type: ignore[arg-type, return-value]
    assert (comparison.outcome, comparison.hooks) == (Outcome.mismatched, ("equal",))


# ---- errors ----


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("control", "candidate", "expected"),
    [
        (None, None, []),
        (ValueError("a"), ValueError("a"), []),
        (ValueError("a"), ValueError("b"), [("error.message", "value")]),
        (ValueError("a"), TypeError("a"), [("error.class", "value")]),
        (ValueError("a"), None, [("error.class", "missing")]),
        (None, ValueError("a"), [("error.class", "extra")]),
        (Odd(), Odd(), []),
        (Odd(), type("Odd", (Exception,), {"__module__": "elsewhere"})(""), [("error.class", "value")]),
    ],
)
def test_errors_match_by_class_and_message(
    control: BaseException | None, candidate: BaseException | None, expected: list[tuple[str, str]]
) -> None:
    assert told(PLAIN.errors(control, candidate)) == ("mismatched" if expected else "matched", expected)


def test_error_messages_can_be_ignored() -> None:
    comparator = Comparator(Compare(ignore=["error.message"]))
    assert comparator.errors(ValueError("a"), ValueError("b")).outcome is Outcome.ignored


# ---- parts and branches ----

PARTS = {"orders": "$.orders", "open": "$.orders.open", "top": "$.tickets[0]"}
BRANCHED = Comparator(Compare(ignore=["$.orders.at"]), PARTS)


def test_a_part_is_compared_with_what_stands_at_its_path() -> None:
    control = {"orders": {"n": 1, "at": 1}, "tickets": [{"id": 1}]}
    assert BRANCHED.part("orders", control, {"at": 1, "n": 1}) is MATCHED
    assert BRANCHED.part("orders", control, {"n": 1, "at": 2}).outcome is Outcome.ignored
    assert told(BRANCHED.part("orders", control, {"n": 2, "at": 2})) == ("mismatched", [("$.orders.n", "value")])
    assert told(BRANCHED.part("top", control, {"id": 2})) == ("mismatched", [("$.tickets[0].id", "value")])
    assert told(BRANCHED.part("open", control, 5)) == ("mismatched", [("$.orders.open", "extra")])
    assert BRANCHED.part("open", control, 5).differences[0].control is MISSING


def test_a_part_that_has_nothing_to_be_compared_with_says_why() -> None:
    assert "no part=" in BRANCHED.part("other", {}, 1).reason
    assert BRANCHED.part("other", {}, 1).outcome is Outcome.incomparable
    assert BRANCHED.part("orders", UNSET, 1).outcome is Outcome.incomparable


def test_an_ignored_part_that_control_lacks_is_ignored() -> None:
    comparator = Comparator(Compare(ignore=["$.a"]), {"a": "$.a"})
    assert comparator.part("a", {}, 1).outcome is Outcome.ignored


def test_a_part_path_of_many_places_is_refused() -> None:
    with pytest.raises(PathError, match="more than one place"):
        Comparator(Compare(), {"a": "$.a[*]"})


def test_differences_belong_to_the_innermost_branch_or_to_the_rollout() -> None:
    control = {"orders": {"n": 1, "open": 1}, "tickets": [1, 1], "name": "a"}
    candidate = {"orders": {"n": 2, "open": 2}, "tickets": [2, 2], "name": "b"}
    found = BRANCHED.replies(reply(control), reply(candidate, 201)).by_branch(BRANCHED.parts)
    assert {branch: [d.text for d in some] for branch, some in found.items()} == {
        "": ["status", "$.tickets[1]", "$.name"],
        "orders": ["$.orders.n"],
        "open": ["$.orders.open"],
        "top": ["$.tickets[0]"],
    }
    assert list(BRANCHED.values({}, []).by_branch(BRANCHED.parts)) == [""]
    assert MATCHED.by_branch(BRANCHED.parts) == {}


@given(JSON, JSON)
def test_no_difference_is_lost_between_the_branches(a: object, b: object) -> None:
    comparison = PLAIN.values({"orders": a}, {"orders": b})
    shared = comparison.by_branch(BRANCHED.parts)
    assert sum(len(some) for some in shared.values()) == len(comparison.differences)


@given(JSON, JSON)
def test_an_overlaid_part_differs_where_the_branch_alone_differs(mine: object, part: object) -> None:
    control = {"orders": mine, "name": "x"}
    before = copy.deepcopy(control)
    whole = BRANCHED.values(control, Path.parse("$.orders").put(control, part))
    alone = BRANCHED.part("orders", control, part)
    assert [(d.text, d.kind) for d in whole.differences] == [(d.text, d.kind) for d in alone.differences]
    assert whole.outcome is alone.outcome
    assert repr(control) == repr(before)


# ---- mistakes of a declaration ----


async def _later(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        ({"ignore": ["orders"]}, '"$.orders"'),
        ({"ignore": "$.a"}, "is not a list"),
        ({"ignore": [1]}, "not a path"),
        ({"unordered": ["$.a"]}, "is not a mapping"),
        ({"unordered": {"$.a": 1}}, "name of a field"),
        ({"unordered": {"$.a": "$.id"}}, "name of a field"),
        ({"unordered": {"headers.x": None}}, "not in the body"),
        ({"tolerance": {"$.a": -0.1}}, "from 0 up"),
        ({"tolerance": {"$.a": math.nan}}, "from 0 up"),
        ({"tolerance": {"$.a": True}}, "from 0 up"),
        ({"tolerance": {"a": 1}}, '"$.a"'),
        ({"tolerance": 0.1}, "is not a mapping"),
        ({"view": "html"}, "cannot be called"),
        ({"view": _later}, "is async"),
        ({"equal": _later}, "is async"),
        ({"headers": "Location"}, "is not a list"),
        ({"headers": ["Location:"]}, "not the name of a header"),
        ({"status": 1}, "True"),
    ],
)
def test_each_mistake_is_reported_with_its_remedy(mistake: Mapping[str, Any], expected: str) -> None:
    [problem] = Compare(**mistake).problems()
    assert expected in problem


def test_all_mistakes_are_reported_at_once() -> None:
    compare = Compare(ignore=["a", "$.b", "c"], tolerance={"$": -1}, headers=[""], view=5)  # type: ignore[arg-type]
    assert len(compare.problems()) == 5
    assert Compare().problems() == []


def test_kinds_of_difference_are_words() -> None:
    assert [str(kind) for kind in Kind] == ["missing", "extra", "type", "value", "order"]
