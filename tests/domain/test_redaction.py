"""Redaction: a secret planted anywhere survives nowhere."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.differences import Difference, Kind, differences
from rollout.domain.paths import ERROR, HEADERS, MISSING, STATUS, Concrete, Path, PathError
from rollout.domain.redaction import MAX_EXAMPLE, MAX_HASHED_TEXT, MAX_PATH, MAX_TEXT, Redactor, example

SECRET = b"an installation's own secret"
R = Redactor(SECRET)

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
MARKERS = st.uuids().map(str) | st.emails() | st.from_regex(r"sk_live_[a-zA-Z0-9]{8}[0-9]{4}", fullmatch=True)
PATHS = st.lists(st.sampled_from(["a", "b c", "orders"]) | TEXT | st.integers(0, 9), max_size=4).map(tuple)


@st.composite
def planted(draw: st.DrawFn) -> tuple[str, Any]:
    """A marker, and a value that holds it somewhere: as a value, in a text, as a name."""
    marker = draw(MARKERS)
    inner: Any = draw(
        st.sampled_from([marker, f"before {marker} after", {marker: 1}, {"a": {marker: [marker]}}, (marker, 1)])
    )
    for _ in range(draw(st.integers(0, 4))):
        wrap = draw(st.sampled_from(["list", "object", "beside"]))
        if wrap == "list":
            inner = [*draw(st.lists(JSON, max_size=2)), inner]
        elif wrap == "object":
            inner = {**draw(st.dictionaries(TEXT, JSON, max_size=2)), draw(TEXT): inner}
        else:
            inner = {marker: inner, "x": draw(JSON)}
    return marker, inner


def text_of(output: object) -> str:
    return json.dumps(output, ensure_ascii=False)


# ---- nothing leaks ----


@given(planted(), PATHS)
def test_a_planted_secret_survives_in_no_value(secret: tuple[str, Any], path: Concrete) -> None:
    marker, value = secret
    for redactor in (R, Redactor(SECRET, ["$.elsewhere", "$[*].elsewhere", "headers.etag"])):
        assert marker not in text_of(redactor.value(path, value))
        assert marker not in text_of(redactor.hashed(value))


@given(planted(), planted(), JSON, PATHS)
def test_a_planted_secret_survives_in_no_example(
    one: tuple[str, Any], two: tuple[str, Any], other: Any, path: Concrete
) -> None:
    for control, candidate in ((one[1], two[1]), (one[1], other), (other, two[1])):
        for difference in differences({"p": control}, {"p": candidate}):
            output = text_of(example(difference, R))
            assert one[0] not in output
            assert two[0] not in output
    for kind in Kind:
        output = text_of(example(Difference((*path, one[0]), kind, one[1], MISSING), R))
        assert one[0] not in output


@given(MARKERS, st.sampled_from(["Authorization", "X-Trace", "Cookie", "Location"]))
def test_a_planted_secret_survives_in_no_header(marker: str, name: str) -> None:
    assert marker not in text_of(R.headers([(name, marker), (f"x-{marker}", "1"), (marker, marker)]))
    assert marker not in text_of(R.value((HEADERS, name.lower()), marker))
    assert marker not in text_of(example(Difference((HEADERS, "location"), Kind.value, marker, f"/{marker}"), R))


@given(MARKERS)
def test_a_planted_secret_survives_in_no_error_key_or_path(marker: str) -> None:
    odd = type(marker, (Exception,), {})
    assert marker not in text_of([R.error(ValueError(f"for {marker}")), R.error(odd(marker)), R.key(marker)])
    assert marker not in R.stored_path(("users", marker, 0, marker))
    assert marker not in text_of(R.value((ERROR, "class"), marker))
    assert marker not in text_of(R.value((ERROR, "message"), marker))


@given(planted())
def test_a_planted_secret_beside_something_clear_survives_nowhere(secret: tuple[str, Any]) -> None:
    marker, value = secret
    redactor = Redactor(SECRET, ["$.n", "$.items[*].n", "$..deep"])
    whole = {"n": 1, "items": [{"n": 2, "x": value}, {marker: value}], marker: {"deep": 3, "y": value}}
    output = redactor.value((), whole)
    assert marker not in text_of(output)
    assert isinstance(output, dict)
    assert output["shown"]["n"] == 1
    assert output["shown"]["items"]["shown"][0]["shown"]["n"] == 2


# ---- what is left says something ----


@given(JSON, JSON)
def test_equal_values_have_equal_hashes_and_others_have_not(a: Any, b: Any) -> None:
    same = differences(a, b) == []
    assert (R.hashed(a) == R.hashed(b)) == same or (same and "hash" not in R.hashed(a))


def test_a_value_is_shown_by_its_type_and_size() -> None:
    assert R.value((), None) == {"type": "null"}
    assert R.value((), MISSING) == {"type": "missing"}
    assert R.value((), object()) == {"type": "other"}
    text = R.value((), "hello")
    assert isinstance(text, dict)
    assert (text["type"], text["length"], len(text["hash"])) == ("string", 5, 16)
    assert R.value((), 1) == R.value((), 1.0)
    assert R.value((), 1) != R.value((), True)
    assert set(R.hashed([1, 2])) == {"type", "size", "hash"}
    assert R.hashed({"a": 1, "b": 2}) == R.hashed({"b": 2, "a": 1})


def test_hashes_depend_on_the_secret_of_the_installation() -> None:
    other = Redactor(b"some other installation's secret")
    assert R.key("alice") == Redactor(SECRET).key("alice")
    assert R.key("alice") != other.key("alice")
    assert R.value((), "alice") != other.value((), "alice")
    assert R.key("alice") != dict(R.hashed("alice"))["hash"]


def test_a_secret_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="16 or more"):
        Redactor(b"short")


@given(JSON, PATHS)
def test_every_output_is_json_and_bounded(value: Any, path: Concrete) -> None:
    for redactor in (R, Redactor(SECRET, ["$"]), Redactor(SECRET, ["$..a", "$[*]"])):
        output = text_of(redactor.value(path, value))
        assert json.loads(output, parse_constant=pytest.fail) is not MISSING
        shown = example(Difference(path, Kind.value, value, [value] * 100), redactor)
        output = json.dumps(shown, allow_nan=False)
        assert len(output) <= MAX_EXAMPLE + 500
        assert "\\u0000" not in output
        output.encode("utf-8")


# ---- what is named is kept ----


def test_only_what_is_named_is_kept_in_clear() -> None:
    redactor = Redactor(SECRET, ["$.status", "$.items[*].price", "headers.etag", "error.message"])
    assert redactor.value(("status",), "paid") == "paid"
    assert redactor.value(("items", 3, "price"), 9.5) == 9.5
    assert redactor.value(("items", 3), {"price": 9.5, "name": "Alice"}) == {
        **R.hashed({"price": 9.5, "name": "Alice"}),
        "shown": {"price": 9.5},
    }
    assert redactor.headers([("ETag", "abc"), ("X-Other", "abc")]) == [("etag", "abc"), ("x-other", R.hashed("abc"))]
    assert redactor.error(ValueError("no such order")) == ("ValueError", "no such order")
    assert redactor.value((STATUS,), 500) == 500
    assert redactor.value((ERROR, "class"), "app.errors.NoSuchOrder") == "app.errors.NoSuchOrder"


def test_what_is_clear_is_made_safe_to_store() -> None:
    redactor = Redactor(SECRET, ["$"])
    assert redactor.value((), "a\0b\ud800") == "a\ufffdb?"
    assert redactor.value((), "x" * 1000) == "x" * MAX_TEXT + "…"
    assert redactor.value((), math.nan) == "nan"
    assert redactor.value((), [1, {"a": None}]) == [1, {"a": None}]
    assert redactor.value((), 10**5000) == R.hashed(10**5000)
    many = redactor.value((), list(range(1000)))
    assert isinstance(many, dict)
    assert many["size"] == 1000


def test_names_that_speak_of_secrets_stay_hidden_unless_they_are_spelled_out() -> None:
    user = {"name": "a", "password": "b", "accessToken": {"id": "c"}}
    assert Redactor(SECRET, ["$.user"]).value(("user",), user) == {
        "name": "a",
        "password": R.hashed("b"),
        "accessToken": R.hashed({"id": "c"}),
    }
    spelled = Redactor(SECRET, ["$.user", "$.user.accessToken.id"])
    assert spelled.value(("user", "accessToken", "id"), "c") == "c"


def test_denied_headers_are_denied_even_if_they_are_named() -> None:
    redactor = Redactor(SECRET, ["headers.authorization", "headers[*]"], frozenset({"X-Mine"}))
    for name in ("Authorization", "Cookie", "X-MINE", "X-Client-Secret", "My-Session-Id", "Idempotency-Key"):
        assert redactor.headers([(name, "v")]) == [(name.lower(), {"type": "denied"})]
    assert redactor.headers([("Accept", "v")]) == [("accept", "v")]
    assert R.headers([("Set-Cookie", "v")]) == [("set-cookie", {"type": "denied"})]


def test_mistaken_paths_are_reported_all_at_once() -> None:
    with pytest.raises(PathError) as caught:
        Redactor(SECRET, ["a", "$.b", "c"])
    assert '"$.a"' in str(caught.value)
    assert '"$.c"' in str(caught.value)


# ---- paths ----


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ((), "$"),
        (("items", 3, "unit_price"), "$.items[*].unit_price"),
        (("users", "alice@example.org", "age"), "$.users[*].age"),
        (("users", "b6a7c1f0-1b1c-4a51-9d0e-000000000000"), "$.users[*]"),
        (("by_id", "1234567"), "$.by_id[*]"),
        (("by_hash", "deadbeefcafe"), "$.by_hash[*]"),
        (("keys", "aXbYcZdWeVfU"), "$.keys[*]"),
        (("x" * 41,), "$[*]"),
        (("customerBillingAddressLine2",), "$.customerBillingAddressLine2"),
        (("größe", "sha256"), '$["größe"].sha256'),
        (("a\0", "b\ud800"), "$[*][*]"),
        (("html", "p", 0, "#text", 0), '$.html.p[*]["#text"][*]'),
        (("p", 0, "@data-id"), '$.p[*]["@data-id"]'),
        ((STATUS,), "status"),
        ((HEADERS, "content-type"), "headers.content-type"),
        ((ERROR, "message"), "error.message"),
    ],
)
def test_a_stored_path_keeps_words_and_hides_data(path: Concrete, stored: str) -> None:
    assert R.stored_path(path) == stored
    assert Path.parse(stored).matches(path)


def test_a_name_that_the_user_wrote_is_a_word() -> None:
    assert Redactor(SECRET, ['$["Q4 2024 total"]']).stored_path(("Q4 2024 total",)) == '$["Q4 2024 total"]'


def test_a_stored_path_is_bounded() -> None:
    assert len(R.stored_path(("abcdefgh",) * 100)) == MAX_PATH + 1


# ---- the user's redactor ----


def test_the_users_redactor_runs_first_and_can_only_take_away() -> None:
    asked: list[str] = []

    def redact(path: str, value: object) -> object:
        asked.append(path)
        return value.split("@")[1] if isinstance(value, str) and "@" in value else value

    redactor = Redactor(SECRET, ["$.user"], redact=redact)
    assert redactor.value(("user",), {"mail": "a@example.org", "n": 1}) == {"mail": "example.org", "n": 1}
    assert asked == ["$.user", "$.user.mail", "$.user.n"]
    assert redactor.value(("x",), "a@b") == R.hashed("b")


@pytest.mark.parametrize("path", [("user",), ("x",), (HEADERS, "etag"), (ERROR, "message")])
def test_a_redactor_that_raises_drops_the_value_and_is_reported(path: Concrete) -> None:
    failures: list[BaseException] = []

    def redact(path: str, value: object) -> object:
        raise KeyError(value)

    redactor = Redactor(SECRET, ["$.user", "headers.etag"], redact=redact, on_failure=failures.append)
    assert redactor.value(path, "hunter2") == {"type": "dropped"}
    assert [type(error) for error in failures] == [KeyError]
    assert redactor.error(ValueError("hunter2")) == ("ValueError", "~dropped")


def test_a_redactor_that_must_be_awaited_drops_the_value() -> None:
    async def redact(path: str, value: object) -> object:
        return value

    assert Redactor(SECRET, ["$"], redact=redact).value((), "hunter2") == {"type": "dropped"}


def test_an_error_is_told_by_class_and_a_hash_of_its_message() -> None:
    name, message = R.error(ValueError("no such order"))
    assert name == "ValueError"
    assert message == f"~h:{dict(R.hashed('no such order'))['hash']}:13"
    assert R.error(ValueError()) == ("ValueError", "")


def test_values_that_are_large_or_deep_are_bounded() -> None:
    deep: Any = "hunter2"
    for _ in range(10_000):
        deep = [deep]
    assert R.value((), deep) == {"type": "array", "size": 1}
    assert Redactor(SECRET, ["$"]).value((), deep) is not None
    assert R.value((), list(range(100_000))) == {"type": "array", "size": 100_000}


def test_text_that_is_too_long_has_a_length_and_no_hash_wherever_it_stands() -> None:
    long = "x" * (MAX_HASHED_TEXT + 1)
    assert R.hashed(long) == {"type": "string", "length": len(long)}
    assert R.hashed([long]) == {"type": "array", "size": 1}
    assert R.hashed({"a": {"b": long[:-1], "c": "xx"}}) == {"type": "object", "size": 1}
    assert "hash" in R.hashed(long[:-1])
    assert R.error(ValueError(long)) == ("ValueError", f"~string:{len(long)}")
