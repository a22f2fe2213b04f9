"""Calls, replies and parts: read only, and no branch sees what another did."""

from typing import Any

import pytest

from rollout.domain.call import Call, CallData, Headers, Parts, Reply

# Headers


def test_headers_are_found_whatever_their_case() -> None:
    headers = Headers({"Content-Type": "text/html", "X-User": "7"})
    assert headers["content-type"] == headers.get("CONTENT-TYPE") == "text/html"
    assert "x-user" in headers
    assert "x-other" not in headers
    assert headers.get("x-other") is None


def test_of_a_repeated_header_the_first_is_found_and_all_are_kept() -> None:
    headers = Headers([("Set-Cookie", "a=1"), ("X", "0"), ("set-cookie", "b=2")])
    assert headers["Set-Cookie"] == "a=1"
    assert headers.getall("SET-COOKIE") == ["a=1", "b=2"]
    assert headers.getall("none") == []
    assert list(headers) == ["Set-Cookie", "X"]
    assert len(headers) == 2


def test_headers_of_headers_lose_none() -> None:
    headers = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert Headers(headers).items_ == headers.items_


def test_headers_without_some_keep_the_rest_in_order() -> None:
    headers = Headers([("A", "1"), ("b", "2"), ("a", "3"), ("C", "4")])
    assert headers.without("a", "missing").items_ == (("b", "2"), ("C", "4"))


def test_headers_show_no_values() -> None:
    assert "secret" not in repr(Headers({"Authorization": "secret"}))


# Replies


def test_a_json_reply() -> None:
    reply = Reply.json({"a": [1]}, status=201, headers={"X": "1"})
    assert (reply.status, reply.json_value(), reply.headers["x"]) == (201, {"a": [1]}, "1")
    assert reply.content_type == "application/json; charset=utf-8"
    assert reply.ok


def test_a_content_type_that_is_given_takes_the_place_of_jsons() -> None:
    reply = Reply.json({}, headers={"content-type": "application/vnd.api+json"})
    assert reply.headers.getall("Content-Type") == ["application/vnd.api+json"]


def test_a_redirect() -> None:
    reply = Reply.redirect("/login", 303)
    assert (reply.status, reply.headers["Location"], reply.body, reply.ok) == (303, "/login", b"", False)


def test_json_is_parsed_anew_each_time() -> None:
    reply = Reply.json({"a": []})
    reply.json_value()["a"].append(1)
    assert reply.json_value() == {"a": []}


def test_a_body_that_is_not_json_says_so() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        Reply(body=b"<html>").json_value()


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert Reply(body=b"a\xff").text() == "a\ufffd"
    assert Call.of(CallData(), body=b"a\xff").text() == "a\ufffd"


@pytest.mark.parametrize("field", ["status", "body", "raised", "headers", "other"])
def test_a_reply_cannot_be_changed(field: str) -> None:
    reply = Reply.json({})
    with pytest.raises(AttributeError):
        setattr(reply, field, None)
    assert reply.status == 200


def test_a_reply_without_content_type_has_none() -> None:
    assert Reply().content_type == ""
    assert repr(Reply(204)) == "Reply(204, 0 bytes)"


# Parts


def test_parts_tell_what_is_there_and_what_is_missing() -> None:
    parts = Parts({"orders": [1]}, {"tickets": "hard_timeout"})
    assert dict(parts) == {"orders": [1]}
    assert parts.get("tickets") is None
    assert parts.missing["tickets"] == "hard_timeout"
    assert len(parts) == 1


# Calls


def call(**request: Any) -> Call:
    return Call.of(CallData(**request), body=b'{"a": []}', key="alice", state={"user": 7})


def test_a_call_shows_the_request() -> None:
    one = call(
        method="POST",
        path="/profile/7",
        route="/profile/{id}",
        path_params={"id": "7"},
        query={"q": "x"},
        headers={"X-User-Id": "alice"},
        cookies={"c": "1"},
        resources={"db": "pool"},
    )
    assert (one.method, one.path, one.route) == ("POST", "/profile/7", "/profile/{id}")
    assert (one.path_params["id"], one.query["q"], one.headers["x-user-id"], one.cookies["c"]) == (
        "7",
        "x",
        "alice",
        "1",
    )
    assert (one.resources["db"], one.state["user"], one.key) == ("pool", 7, "alice")
    assert (one.is_shadow, one.deadline, one.remaining_s, len(one.parts)) == (False, None, None, 0)
    assert repr(one.with_(is_shadow=True)) == "Call(POST /profile/{id}, shadow)"


def test_a_route_that_is_not_given_is_the_path() -> None:
    assert call(path="/profile/7").route == "/profile/7"


def test_a_branch_cannot_change_what_another_parses() -> None:
    one = call()
    one.json()["a"].append(1)
    assert one.json() == {"a": []}


@pytest.mark.parametrize("field", ["body", "key", "parts", "is_shadow", "deadline", "state", "method", "other"])
def test_a_call_cannot_be_changed(field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(call(), field, None)


@pytest.mark.parametrize("field", ["path_params", "query", "cookies", "headers"])
def test_the_fields_of_a_call_cannot_be_changed(field: str) -> None:
    with pytest.raises(TypeError):
        getattr(call(**{field: {"a": "1"}}), field)["a"] = "2"


def test_a_call_with_something_else_keeps_the_rest() -> None:
    one = call(path="/x")
    other = one.with_(parts=Parts({"orders": 1}), is_shadow=True, deadline=5.0)
    assert (other.path, other.body, other.key, other.state) == (one.path, one.body, one.key, one.state)
    assert (other.parts["orders"], other.is_shadow, other.deadline) == (1, True, 5.0)
    assert not one.is_shadow


def test_the_time_that_remains_never_falls_below_zero() -> None:
    now = 100.0
    one = Call.of(CallData(), deadline=100.5, clock=lambda: now)
    assert one.remaining_s == pytest.approx(0.5)
    now = 200.0
    assert one.remaining_s == 0.0


async def test_a_form_has_its_fields_also_the_empty_ones() -> None:
    one = Call.of(CallData(), body=b"a=1&b=&a=2&c=%C3%BC")
    assert dict(await one.form()) == {"a": "1", "b": "", "c": "ü"}
    assert dict(await Call.of(CallData()).form()) == {}


def test_a_branch_cannot_put_another_request_behind_a_call() -> None:
    call = Call(CallData(path="/a"))
    with pytest.raises(AttributeError):
        call.source = CallData(path="/b")  # type: ignore[misc]
    assert call.path == "/a"
