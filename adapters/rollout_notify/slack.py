"""Slack, and whatever takes its payloads: Mattermost, Rocket.Chat, Discord below ``/slack``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.domain.approvals import ASK
from rollout.domain.state import Decision
from rollout.domain.verdict import worst_first
from rollout.errors import Problem
from rollout_notify.document import TEST, key_of, utc
from rollout_notify.targets import common_problems
from rollout_notify.texts import escaped, plain

#: What Slack takes for markup, in every text.
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_HEADER: Final = 150  # Slack's limits, in characters, of the texts of blocks; and in number, of fields
_SECTION: Final = 3_000
_FIELD: Final = 2_000
_MOST_FIELDS: Final = 10
_MOST_MOVES: Final = 10
_FEW: Final = 300  # characters of a sentence among others

_WORDS: Final = {
    "promote": "promoted",
    "rollback": "rolled back",
    "pause": "paused",
    "resume": "resumed",
    "reset": "reset",
    "approve": "approved",
    "complete": "completed",
    ASK: "waits for an approval",
    TEST: "this is a test",
}


@dataclass(frozen=True, slots=True)
class Slack:
    """A channel that takes Slack's incoming webhooks. One message: ``text`` says it all, ``blocks`` more nicely.

    * ``url``: of the incoming webhook, a secret by itself. Redirects are not followed.
    * ``name``: a label of the metrics. Default ``"slack"``.

    Nothing in a message is markup: ``& < >`` are escaped, so that no reason links anywhere or calls a channel.

    The address is not shown when this is printed.
    """

    url: str = field(repr=False)
    name: str = field(default="slack", kw_only=True)

    def problems(self) -> Iterator[Problem]:
        yield from common_problems(self.name, self.url)

    def body(self, decision: Decision) -> bytes:
        return json.dumps(message(decision), ensure_ascii=False, separators=(",", ":")).encode()

    def headers(self, decision: Decision, body: bytes, at: float) -> Mapping[str, str]:
        return {"Content-Type": "application/json", "Idempotency-Key": key_of(decision)}


def message(decision: Decision) -> dict[str, Any]:
    """What Slack shows: what happened, what moved, why, what the gates found (the worst first), who and when."""
    headline = f"{decision.rollout}: {_WORDS.get(decision.action, decision.action)}"
    parts = (_moved(decision), decision.reason, _remedy(decision))
    said = [part for part in (plain(part, _SECTION) for part in parts) if part]  # Slack takes no empty text
    sections: list[dict[str, Any]] = [{"type": "section", "text": _text(part, _SECTION)} for part in said]
    found = [f"{one.unit}, {one.gate} ({one.grade.value}): {one.why}" for one in worst_first(decision.findings)]
    if found:
        fields = [_text(one, min(_FEW, _FIELD)) for one in found[:_MOST_FIELDS]]
        sections.append({"type": "section", "fields": fields})
    return {
        "text": escaped(" · ".join([headline, *said]), _SECTION, _ENTITIES),
        "blocks": [
            {"type": "header", "text": _text(headline, _HEADER)},
            *sections,
            {"type": "context", "elements": [_text(_origin(decision), _FEW)]},
        ],
    }


def _text(text: str, most: int) -> dict[str, Any]:
    """A text in which nothing is markup, and ``:smile:`` no picture."""
    return {"type": "plain_text", "text": escaped(text, most, _ENTITIES), "emoji": False}


def _moved(decision: Decision) -> str:
    moves = [f"{move['branch']} {move['from']} → {move['to']}" for move in decision.moves[:_MOST_MOVES]]
    more = len(decision.moves) - len(moves)
    return ", ".join([*moves, f"{more} more"] if more else moves)


def _remedy(decision: Decision) -> str:
    return f"rollout approve {decision.rollout} --reason …" if decision.action == ASK else ""


def _origin(decision: Decision) -> str:
    return f"{decision.actor} · decision {decision.number} · {utc(decision.at)} · policy v{decision.policy_version}"
