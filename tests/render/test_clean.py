"""Nothing from the database steers a terminal, a spreadsheet or a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import pytest

from rollout_render.clean import clean, clean_block, csv_cell, plain, to_json


@pytest.mark.parametrize(
    ("dirty", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1bP1;2|payload\x1b\\after", "after"),
        ("a\x00b\x08c\x7fd\x85e", "abcde"),
        ("\u202eevil\u2066x\u2069", "evilx"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("two\nlines\tand\r\nmore", "two lines and more"),
        ("an \x1b unfinished \x1b[", "an unfinished ["),
        ("ünïcødé 日本 🎉", "ünïcødé 日本 🎉"),
    ],
)
def test_control_sequences_are_taken_out(dirty: str, shown: str) -> None:
    assert clean(dirty).replace("  ", " ") == shown


def test_long_text_is_cut_with_a_mark() -> None:
    assert clean("x" * 1_000_000, 50) == "x" * 49 + "…"


def test_a_block_keeps_its_lines() -> None:
    assert clean_block("one\n\x1b[31mtwo") == "one\ntwo"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_json_carries_no_raw_control_character_and_reads_back() -> None:
    nasty = "\x1b[31m\x7f\x9b\u202e\u2028 ok ü"
    text = to_json({"reason": nasty})
    assert not any(sign in text for sign in "\x1b\x7f\x9b\u202e\u2028")
    assert json.loads(text) == {"reason": nasty}


class Colour(StrEnum):
    red = "red"


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    usd: Decimal
    slow: float
    colour: Colour
    parts: tuple[int, ...]


def test_values_become_json_ready_and_infinite_is_text() -> None:
    assert plain(Thing("a", Decimal("0.10"), float("inf"), Colour.red, (1, 2))) == {
        "name": "a",
        "usd": "0.10",
        "slow": "inf",
        "colour": "red",
        "parts": [1, 2],
    }
