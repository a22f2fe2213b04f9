"""On which line each key of a TOML file stands: ``tomllib`` does not tell.

This reads no values and checks nothing. It walks text that ``tomllib`` has already accepted, so it may trust what
it sees.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

Place = tuple[str | int, ...]  # keys, and indexes of arrays

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
_SCALAR: Final = re.compile(r"\d{4}-\d\d-\d\d [^,\]}\s#]+|[^,\]}\s#]+")


def lines_of(text: str) -> dict[Place, int]:
    """Each key's place → the line (from 1) on which it first stands. Empty if the text cannot be walked after all."""
    try:
        walk = _Walk(text)
        walk.document()
    except (ValueError, IndexError, RecursionError):
        return {}
    return walk.lines


def line_of(lines: Mapping[Place, int], place: Place) -> int | None:
    """The line of a place, or of the nearest table or key around it; None if nothing around it has a line."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


class _Walk:
    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._lengths: dict[Place, int] = {}  # of the arrays of tables, so far

    def document(self) -> None:
        """Headers and pairs, to the end."""
        table: Place = ()
        while self._more():
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Place:
        start = self._at
        self._at += brackets
        *outer, last = self._keys()
        self._more()
        self._at += brackets
        table: Place = ()
        for key in outer:
            table = self._inside((*table, key), start)
        if brackets == 1:
            return self._inside((*table, last), start)
        array = (*table, last)
        self._lengths[array] = self._lengths.get(array, 0) + 1
        self._mark(array, start)
        return self._inside(array, start)

    def _inside(self, table: Place, start: int) -> Place:
        """The table itself, or the newest one if it is an array of tables."""
        self._mark(table, start)
        if table in self._lengths:
            table = (*table, self._lengths[table] - 1)
            self._mark(table, start)
        return table

    def _pair(self, table: Place) -> None:
        start = self._at
        for key in self._keys():
            table = (*table, key)
            self._mark(table, start)
        self._more()
        self._at += 1  # =
        self._value(table)

    def _value(self, place: Place) -> None:
        self._more()
        match self._text[self._at]:
            case "[":
                self._array(place)
            case "{":
                self._inline(place)
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_SCALAR)

    def _array(self, place: Place) -> None:
        index = 0
        while not self._closes("]"):
            self._more()
            self._mark((*place, index), self._at)
            self._value((*place, index))
            index += 1

    def _inline(self, place: Place) -> None:
        while not self._closes("}"):
            self._pair(place)

    def _closes(self, bracket: str) -> bool:
        """Step over the opening bracket or a comma; whether the closing one follows, which is then behind us too."""
        self._more()
        if self._text[self._at] in "[{,":
            self._at += 1
            self._more()
        if self._text[self._at] != bracket:
            return False
        self._at += 1
        return True

    def _keys(self) -> list[str]:
        """A dotted key."""
        keys = []
        while True:
            self._more()
            quoted = self._text[self._at] in "\"'"
            word = self._take(_STRING if quoted else _BARE)
            keys.append(tomllib.loads(f"key = {word}")["key"] if quoted else word)
            self._more()
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _more(self) -> bool:
        """Step over blanks and comments; whether anything follows."""
        self._take(_BLANK)
        return self._at < len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"nothing to read at {self._at}")
        self._at = match.end()
        return match.group()

    def _mark(self, place: Place, at: int) -> None:
        self.lines.setdefault(place, bisect_right(self._breaks, at - 1) + 1)
