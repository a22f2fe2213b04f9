"""Bodies: a kind and a value for whatever bytes come."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.bodies import EMPTY, BodyKind, kind_of, parse, repeats_a_name, same_content_type, summary

TYPES = st.sampled_from(
    [
        "",
        "application/json",
        "application/problem+json",
        "application/json; charset=latin-1",
        "application/x-www-form-urlencoded",
        "text/plain; charset=utf-16",
        "text/html",
        "text/plain; charset=nonsense",
        "multipart/form-data; boundary=x",
        "image/png",
        ";;;=",
    ]
)


@pytest.mark.parametrize(
    ("content_type", "kind", "charset"),
    [
        ("application/json", "json", ""),
        ("Application/JSON; Charset=UTF-8", "json", "utf-8"),
        ("application/vnd.api+json", "json", ""),
        ("application/x-www-form-urlencoded", "form", ""),
        ('text/html; charset="ISO-8859-1"', "html", "iso-8859-1"),
        ("application/xhtml+xml", "html", ""),
        ("text/csv", "text", ""),
        ("image/svg+xml", "text", ""),
        ("application/x-ndjson", "text", ""),
        ("multipart/mixed; boundary=a", "binary", ""),
        ("application/octet-stream", "binary", ""),
        ("", "binary", ""),
    ],
)
def test_the_content_type_tells_the_kind_and_the_charset(content_type: str, kind: str, charset: str) -> None:
    assert kind_of(content_type) == (BodyKind(kind), charset)


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
        ("application/json", b"\xef\xbb\xbf[1]", [1]),
        ("application/json", "[1]".encode("utf-16"), [1]),
        ("application/json; charset=latin-1", '"é"'.encode("latin-1"), "é"),
        ("application/json", b'{"a": 1, "a": 2}', {"a": 2}),
        ("application/json", b"-Infinity", -math.inf),
        ("application/x-www-form-urlencoded", b"a=1&b=&a=%C3%A9", {"a": ["1", "é"], "b": [""]}),
        ("text/plain", b"a\r\nb\n", "a\r\nb\n"),
        ("text/plain; charset=cp1252", b"\x80", "€"),
        ("text/html", b"<p>", "<p>"),
    ],
)
def test_a_body_that_is_what_it_says_becomes_a_value(content_type: str, body: bytes, value: object) -> None:
    parsed = parse(content_type, body)
    assert parsed.value == value
    assert (parsed.readable, parsed.problem) == (True, None)


@pytest.mark.parametrize(
    ("content_type", "body", "problem"),
    [
        ("application/json", b"<html>", "is not JSON: Expecting value at character 0"),
        ("application/json", b'{"a": "\xff"}', "is not utf-8 at byte 7"),
        ("application/json", b'"\xed\xa0\x80"', "is not utf-8"),
        ("application/json", b"[" * 100_000, "nested too deeply"),
        ("application/json", b"9" * 5_000, "too many digits"),
        ("text/plain; charset=utf-16", b"abc", "is not utf-16"),
        ("text/plain; charset=nonsense", b"abc", "unknown charset"),
        ("text/plain; charset=zlib", b"abc", "unknown charset"),
        ("text/plain; charset=punycode", b"abc", "unknown charset"),
        ("text/plain; charset=" + "x" * 1000, b"abc", "unknown charset"),
        ("application/x-www-form-urlencoded", b"a=%ff", "is not utf-8"),
        ("application/x-www-form-urlencoded", b"a=1&" * 10_001, "too many fields"),
    ],
)
def test_a_body_that_is_not_what_it_says_has_a_problem_and_no_value(
    content_type: str, body: bytes, problem: str
) -> None:
    parsed = parse(content_type, body)
    assert problem in (parsed.problem or "")
    assert not parsed.readable
    assert parsed.value == summary(body)


def test_an_empty_body_is_neither_null_nor_a_mistake() -> None:
    assert parse("application/json", b"") is EMPTY
    assert parse("application/json", b"null") != EMPTY


def test_bytes_are_shown_by_length_and_digest() -> None:
    assert parse("image/png", b"abc").value == {"length": 3, "sha256": sha256(b"abc").hexdigest()}


@given(TYPES, st.binary(max_size=60))
def test_whatever_the_bytes_there_is_an_outcome(content_type: str, body: bytes) -> None:
    parsed = parse(content_type, body)
    assert parsed.readable == (parsed.problem is None)


@given(st.text(max_size=40))
def test_whatever_the_content_type_there_is_a_kind(content_type: str) -> None:
    assert parse(content_type, b"x").kind in BodyKind
    assert same_content_type(content_type, content_type)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_json_makes_the_round_trip(value: Any) -> None:
    assert parse("application/json", json.dumps(value).encode()).value == value


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"a": 1, "a": 1}', True), (b'[{"b": {"a": 1, "a": 2}}]', True), (b'{"a": {"a": 1}}', False), (b"{", False)],
)
def test_repeated_names_are_found_on_request(body: bytes, expected: bool) -> None:
    assert repeats_a_name(body) is expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("application/json", "application/json; charset=utf-8", True),
        ("Text/HTML;charset=utf-8", 'text/html; charset="UTF-8"', True),
        ("text/html", "text/html; charset=latin-1", False),
        ("text/html", "text/plain", False),
        ("multipart/mixed; boundary=a", "multipart/mixed; boundary=A", False),
        (None, None, True),
        (None, "text/html", False),
    ],
)
def test_content_types_are_equal_by_meaning(a: str | None, b: str | None, expected: bool) -> None:
    assert same_content_type(a, b) is expected
    assert same_content_type(b, a) is expected
