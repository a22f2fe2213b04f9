"""Every key's line, in every form that TOML has."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_spec.lines import Place, line_of, lines_of

from .documents import TABLES, Writer

DOCUMENT = '''\
# a = 1
title = "[not.a.table]"  # x = 2
dotted . "quoted key" . 'literal' = 1

[ table . "sub table" ]
text = """
fake = 1
[fake]
"""
raw = \'\'\'
fake = \'\'1\'\' \'\'\'
quotes = """a ""quoted"" end"""""
array = [
  1, # one ]
  [2, 3],
  { inline = 4, deep.er = [ 5,
    6 ] },
]
moment = 1979-05-27 07:32:00
moments = [1979-05-27 07:32:00, 1979-05-27T07:32:00Z]
inline = { a.b = 1, "c" = { d = "}" } }

[[gates]]
kind = "errors"
[gates.inner]
x = 1
[[gates.list]]
y = 1
[[gates.list]]
y = 2

[[gates]]
kind = "latency"
[gates.inner]
x = 2
[[gates.list]]
y = 3
'''

WANTED: dict[Place, int] = {
    ("title",): 2,
    ("dotted", "quoted key", "literal"): 3,
    ("table",): 5,
    ("table", "sub table"): 5,
    ("table", "sub table", "text"): 6,
    ("table", "sub table", "raw"): 10,
    ("table", "sub table", "quotes"): 12,
    ("table", "sub table", "array"): 13,
    ("table", "sub table", "array", 0): 14,
    ("table", "sub table", "array", 1): 15,
    ("table", "sub table", "array", 2, "inline"): 16,
    ("table", "sub table", "array", 2, "deep", "er"): 16,
    ("table", "sub table", "array", 2, "deep", "er", 1): 17,
    ("table", "sub table", "moment"): 19,
    ("table", "sub table", "moments", 1): 20,
    ("table", "sub table", "inline", "a", "b"): 21,
    ("table", "sub table", "inline", "c", "d"): 21,
    ("gates",): 23,
    ("gates", 0): 23,
    ("gates", 0, "kind"): 24,
    ("gates", 0, "inner", "x"): 26,
    ("gates", 0, "list", 1, "y"): 30,
    ("gates", 1): 32,
    ("gates", 1, "kind"): 33,
    ("gates", 1, "inner"): 34,
    ("gates", 1, "inner", "x"): 35,
    ("gates", 1, "list", 0, "y"): 37,
}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_form_of_a_key_has_its_line(ends: str) -> None:
    text = DOCUMENT.replace("\n", ends)
    tomllib.loads(text)
    found = lines_of(text)
    assert {place: found.get(place) for place in WANTED} == WANTED


@settings(deadline=None)
@given(TABLES, st.integers(0, 10**6))
def test_every_key_of_any_document_has_its_line(data: dict[str, Any], style: int) -> None:
    writer = Writer(style)
    text = writer.write(data)
    tomllib.loads(text)
    found = lines_of(text)
    assert {place: found.get(place) for place in writer.lines} == writer.lines


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    found = lines_of(DOCUMENT)
    assert line_of(found, ("gates", 1, "inner", "missing", "deeper")) == 34
    assert line_of(found, ("nowhere",)) is None


@settings(deadline=None)
@given(st.text())
def test_text_that_is_not_toml_has_lines_or_none_but_never_an_error(text: str) -> None:
    assert isinstance(lines_of(text), dict)


def test_brackets_a_thousand_deep_have_no_lines() -> None:
    assert lines_of("a = " + "[" * 5000 + "]" * 5000) == {}
