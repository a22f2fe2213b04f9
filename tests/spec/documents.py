"""TOML for the tests: a writer that knows on which line it puts each key, and hostile values."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from rollout_spec.lines import Place

KEYS = st.sampled_from(
    [
        "rollouts",
        "profile",
        "ramp",
        "stages",
        "soak",
        "approve",
        "freeze",
        "harm",
        "deadline",
        "auto",
        "gates",
        "kind",
        "q",
        "worse_by",
        "at_most",
        "mode",
        "beyond_noise",
        "window",
        "minimum",
        "shadow",
        "sample",
        "store",
        "ttl",
        "budget",
        "latency",
        "tokens",
        "usd",
        "usd_per_day",
        "prices",
        "input",
        "output",
        "x y",
        "a.b",
        "",
        "é",
        '"',
    ]
)
WORDS = st.sampled_from(
    [
        "shadow 1% 5%",
        "shadow",
        "10m",
        "1%",
        "150%",
        "none",
        "errors",
        "latency",
        "cost",
        "0.01",
        "Fri 16:00 - Mon 08:00",
    ]
)
SCALARS = (
    WORDS
    | st.text(max_size=8)
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.times()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


class Writer:
    """Writes a document, each key of a table on a line of its own; ``lines`` holds where.

    ``style`` chooses between forms.
    """

    def __init__(self, style: int) -> None:
        self._style = style
        self._rows: list[str] = []
        self.lines: dict[Place, int] = {}

    def write(self, data: dict[str, Any]) -> str:
        self._table(data, (), "")
        return "\n".join(self._rows) + "\n"

    def _next(self) -> int:
        self._style = (self._style * 1103515245 + 12345) % 2**31
        return self._style >> 8

    def _table(self, data: dict[str, Any], place: Place, header: str) -> None:
        tables = {}
        for key, value in data.items():
            arrays = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            if (arrays or isinstance(value, dict)) and self._next() % 3:
                tables[key] = value
                continue
            if self._next() % 4 == 0:
                self._rows += ["", '# "[[ not = a key ]]']
            self._note((*place, key), value)
            self._rows.append(f"{quoted(key)} = {written(value)}  # ''' \"\"\"")
        for key, value in tables.items():
            self._header(key, value, place, header)

    def _header(self, key: str, value: Any, place: Place, header: str) -> None:
        name = f"{header}.{quoted(key)}" if header else quoted(key)
        items = value if isinstance(value, list) else [value]
        for index, item in enumerate(items):
            self._rows.append(f"[[{name}]]" if isinstance(value, list) else f"[ {name} ]")
            self.lines.setdefault((*place, key), len(self._rows))
            inner: Place = (*place, key, index) if isinstance(value, list) else (*place, key)
            self.lines.setdefault(inner, len(self._rows))
            self._table(item, inner, name)

    def _note(self, place: Place, value: Any) -> None:
        """A value on one line, so that everything inside stands on it."""
        self.lines[place] = len(self._rows) + 1
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, item in inside:
            self._note((*place, step), item)


def quoted(key: str) -> str:
    return key if key.isalnum() and key.isascii() else string(key)


def string(text: str) -> str:
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")


def written(value: Any) -> str:
    match value:
        case str():
            return string(value)
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f"{quoted(key)} = {written(item)}" for key, item in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case int() | float():
            return repr(value)
        case _:
            return str(value.isoformat())
