"""What may reach a terminal or a file: no control sequence of a stranger's, and JSON that any reader takes.

Names, reasons and values come from the database, and so from requests: an escape sequence in a path must not move
the cursor of the person on call, and a right-to-left mark must not turn a path around.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any

# Whole escape sequences first (CSI, then OSC/DCS/APC/PM/SOS strings up to their end), then whatever is left of
# controls.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)", re.DOTALL
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
_BREAKS = re.compile(r"[ \t\r\n]+")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def clean(text: object, limit: int = 2_000) -> str:
    """One line that is safe to print: control sequences and marks that reorder text taken out, white space squeezed."""
    line = _CONTROLS.sub("", _SEQUENCES.sub("", _BREAKS.sub(" ", str(text)[: limit * 4])))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def clean_block(text: object) -> str:
    """The same for several lines: the line breaks stay."""
    return "\n".join(clean(line) for line in str(text).splitlines())


def csv_cell(text: object) -> str:
    """A cell that no spreadsheet takes for a formula: a quote goes before one that begins like it."""
    line = clean(text)
    return f"'{line}" if line.startswith(_FORMULA) else line


def plain(value: Any) -> Any:
    """JSON-ready: dataclasses by their public fields, enumerations by value, dollars as text; what is not finite as
    text too. ``schema.schema_of`` describes it."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if not field.name.startswith("_")]
        return {name: plain(getattr(value, name)) for name in shown}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Decimal | datetime):
        return str(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON text of any result; characters that could steer a terminal stand as escapes."""
    text = json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    return re.sub(
        r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]", lambda m: f"\\u{ord(m[0]):04x}", text
    )
