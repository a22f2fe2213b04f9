"""What is told: documented JSON, and Slack's payload; bounded and harmless, whatever stands in an audit."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.domain.approvals import ASK
from rollout.domain.gates import Finding, Grade
from rollout.domain.state import Decision
from rollout_notify import Slack, document, probe
from rollout_notify.document import LONGEST, MOST_FINDINGS, MOST_MOVES
from rollout_notify.texts import escaped, plain
from tests.notify.told import HOOK, sealed

SLACK = Slack("https://hooks.example/services/T0/B0/token")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
ANY_TEXT = st.text(st.characters() | st.sampled_from("\x00\x1b\u202e\ud800\udfff&<>\n😀"), max_size=300)

QUESTION = sealed(
    action=ASK, moves=(), reason="orders enters 25% when a person approves it: every gate passes", findings=()
)


def told(decision: Decision) -> Any:
    """The JSON that a webhook gets, as a receiver reads it."""
    return json.loads(HOOK.body(decision))


def shown(decision: Decision) -> Any:
    return json.loads(SLACK.body(decision))


def texts(value: Any) -> list[str]:
    """Every text in a payload."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


# The document


def test_a_transition_is_told_with_everything_that_was_decided() -> None:
    decision = sealed()
    assert told(decision) == document(decision)
    assert told(decision) == {
        "schema": 1,
        "key": f"42-{decision.hash[:16]}",
        "event": "transition",
        "number": 42,
        "at": "2026-01-05T12:00:00.250Z",
        "rollout": "profile",
        "action": "rollback",
        "moves": [{"branch": "orders", "from": "25%", "to": "shadow, rolled back"}],
        "reason": "errors: 3.1% of 400 calls failed, of control's 0.2%",
        "actor": "host-1",
        "trigger": "controller",
        "findings": [finding.to_dict() for finding in decision.findings],
        "policy_version": 3,
        "left_out": {"moves": 0, "findings": 0},
    }


def test_findings_are_told_with_their_numbers() -> None:
    errors = told(sealed())["findings"][1]
    assert {name: errors[name] for name in ("grade", "observed", "limit", "baseline", "n", "log_e")} == {
        "grade": "breach",
        "observed": 0.031,
        "limit": 0.01,
        "baseline": 0.002,
        "n": 400,
        "log_e": "inf",
    }


def test_a_question_and_a_test_are_events_of_their_own() -> None:
    assert [told(one)["event"] for one in (QUESTION, probe("ann"))] == ["approval", "test"]


def test_the_key_is_of_the_decision_and_the_same_whenever_it_is_told() -> None:
    assert told(sealed())["key"] == told(sealed())["key"]
    assert told(sealed())["key"] != told(sealed(reason="in another database"))["key"]
    assert HOOK.headers(sealed(), b"", 1.0)["Idempotency-Key"] == told(sealed())["key"]
    assert SLACK.headers(sealed(), b"", 1.0)["Idempotency-Key"] == told(sealed())["key"]
    assert told(probe("ann"))["key"] != told(probe("ann"))["key"]


def test_however_much_was_decided_the_message_is_bounded_and_says_what_it_leaves_out() -> None:
    finding = replace(sealed().findings[0], why="&" * 10_000)
    huge = sealed(
        reason="𝕏" * 100_000,
        moves=tuple({"branch": f"b{number}", "from": "x" * 999, "to": "y" * 999} for number in range(5_000)),
        findings=(finding,) * 300,
        actor="a" * 10_000,
    )
    message = told(huge)
    assert message["left_out"] == {"moves": 5_000 - MOST_MOVES, "findings": 300 - MOST_FINDINGS}
    assert len(message["reason"]) == LONGEST
    assert len(HOOK.body(huge)) < 150_000
    assert len(SLACK.body(huge)) < 40_000
    assert "4990 more" in shown(huge)["text"] or "…" in shown(huge)["text"]


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
@settings(max_examples=200)
def test_any_text_becomes_json_that_any_reader_takes(reason: str, actor: str, why: str) -> None:
    finding = replace(sealed().findings[0], why=why, gate=actor)
    decision = replace(sealed(), reason=reason, actor=actor, moves=({"branch": why, "from": reason, "to": actor},))
    decision = replace(decision, findings=(finding,))
    for body in (HOOK.body(decision), SLACK.body(decision)):
        for text in texts(json.loads(body.decode("utf-8"))):
            assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text)


# Slack


def test_slack_shows_what_happened_why_and_the_worst_finding_first() -> None:
    payload = shown(sealed())
    assert payload["text"] == (
        "profile: rolled back · orders 25% → shadow, rolled back · errors: 3.1% of 400 calls failed, of control's 0.2%"
    )
    header, moved, reason, found, context = payload["blocks"]
    assert header["text"]["text"] == "profile: rolled back"
    assert moved["text"]["text"] == "orders 25% → shadow, rolled back"
    assert reason["text"]["text"] == "errors: 3.1% of 400 calls failed, of control's 0.2%"
    assert [field["text"].partition(":")[0] for field in found["fields"]] == [
        "orders, errors (breach)",
        "orders, latency p95 (pass)",
    ]
    assert context["elements"][0]["text"] == "host-1 · decision 42 · 2026-01-05T12:00:00.250Z · policy v3"


def test_a_question_says_how_to_answer_it() -> None:
    assert shown(QUESTION)["text"] == (
        "profile: waits for an approval · orders enters 25% when a person approves it: every gate passes"
        " · rollout approve profile --reason …"
    )


def test_nothing_in_a_message_is_markup() -> None:
    payload = shown(sealed(reason="<!channel> <https://evil.example|ok> & *bold* :smile:"))
    assert "&lt;!channel&gt; &lt;https://evil.example|ok&gt; &amp; *bold* :smile:" in payload["text"]
    blocks = [text for block in payload["blocks"] for text in kinds(block)]
    assert {(text["type"], text["emoji"]) for text in blocks} == {("plain_text", False)}


def kinds(block: Any) -> list[Any]:
    return [block["text"]] if "text" in block else block.get("fields", []) + block.get("elements", [])


@given(ANY_TEXT, st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=200)
def test_slack_takes_every_payload(text: str, moves: int, findings: int) -> None:
    """Its limits: 50 blocks; 150 characters of a header, 3 000 of a section, 2 000 of a field, ten fields; no empty
    text; and no entity that is cut.
    """
    finding = Finding(gate="errors", unit="orders", grade=Grade.doubt, why=text * 9, at=1.0)
    decision = replace(
        sealed(),
        rollout=text * 2 or "x",
        reason=text * 30,
        moves=({"branch": text, "from": text, "to": text},) * moves,
        findings=(finding,) * findings,
    )
    payload = shown(decision)
    assert 0 < len(payload["text"]) <= 3_000
    assert len(payload["blocks"]) <= 50
    most = {"header": 150, "section": 3_000, "context": 2_000}
    for block in payload["blocks"]:
        assert len(block.get("fields", [])) <= 10
        for found in kinds(block):
            assert 0 < len(found["text"]) <= (2_000 if "fields" in block else most[block["type"]])
            assert whole(found["text"])


def whole(text: str) -> bool:
    """Whether every ``&`` begins an entity, and no bracket is left."""
    for entity in ENTITIES.values():
        text = text.replace(entity, "")
    return not set("&<>") & set(text)


# Texts


@given(ANY_TEXT, st.integers(1, 50))
def test_a_text_is_never_longer_than_it_may_be(text: str, most: int) -> None:
    assert len(plain(text, most)) <= most
    assert len(escaped(text, most, ENTITIES)) <= most
    assert whole(escaped(text, most, ENTITIES))


def test_a_text_that_is_short_and_harmless_stays_as_it_is() -> None:
    assert plain("Größe: 25% → 50%, 日本語 😀", 100) == "Größe: 25% → 50%, 日本語 😀"
    assert escaped("a < b", 8, ENTITIES) == "a &lt; b"


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert escaped("<<<", 9, ENTITIES) == "&lt;&lt;…"


def test_what_could_steer_a_screen_is_taken_out_and_lines_become_one() -> None:
    assert plain("a\x1b[31m\u202eb\x00\r\n\tc\u2028d\ud83de", 100) == "a[31mb c d\ufffde"
