"""What a body says: its kind by content type, and a value that can be compared.

| Content type                                             | Kind      | Value
| | -------------------------------------------------------- | --------- |
---------------------------------------------- | | (no body at all)                                         |
``empty`` | None                                           | | ``application/json``, ``text/json``, ``…+json``
| ``json``  | the parsed value                               | | ``application/x-www-form-urlencoded``
| ``form``  | an object: name → array of its values in order | | ``text/html``, ``application/xhtml+xml``
| ``html``  | the text (a view makes a tree of it)           | | ``text/…``, XML, JavaScript, NDJSON, YAML
| ``text``  | the text, line endings and all                 | | everything else, ``multipart/…`` and no type at all
| ``binary``| ``{"length": n, "sha256": hex}``               |

A body that is not what its content type says is not readable: its kind is the one it claims, its value that of a
binary body, and ``problem`` says what is wrong. Multipart is binary because its boundary is random: give such a reply
a view. Line endings are kept, because a client sees them. No problem text holds any of the body.

JSON: NaN and Infinity are accepted, a UTF-8 signature is skipped, UTF-16 and UTF-32 are recognised, a declared
charset is honoured. Of a name that occurs twice in one object the last wins, as it does for most readers; looking for
such names costs as much as parsing again in Python, so it happens only on request (``repeats_a_name``), not while
parsing.
"""

from __future__ import annotations

import json
import re
from codecs import lookup
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

MAX_FIELDS: Final = 10_000


class BodyKind(StrEnum):
    """How a body is compared: see the module."""

    empty = "empty"
    json = "json"
    form = "form"
    html = "html"
    text = "text"
    binary = "binary"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A body as a value. ``readable`` is false where it is not what it claims to be; then ``problem`` says why."""

    kind: BodyKind
    value: Any
    problem: str | None = None
    readable: bool = True


def parse(content_type: str, body: bytes) -> Parsed:
    """The kind and the value of a body; never raises, whatever the bytes."""
    if not body:
        return EMPTY
    kind, charset = kind_of(content_type)
    if kind is BodyKind.binary:
        return Parsed(kind, summary(body))
    try:
        return Parsed(kind, _READERS[kind](body, charset))
    except UnicodeDecodeError as error:
        problem = f"is not {charset or 'utf-8'} at byte {error.start}"
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        problem = "is not readable: nested too deeply"
    except LookupError:
        problem = "is not readable: unknown charset"
    except ValueError as error:
        problem = "has too many fields" if "fields" in str(error) else "is not readable: a number has too many digits"
    return Parsed(kind, summary(body), problem, readable=False)


@lru_cache(maxsize=256)
def kind_of(content_type: str) -> tuple[BodyKind, str]:
    """The kind that a content type announces, and its charset in lower case, ``""`` where none is declared."""
    media, *parameters = content_type.split(";")
    charset = ""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip("\"'").lower()
    media = media.strip().lower()
    return _KINDS.get(media) or _family(media), charset


def summary(body: bytes) -> dict[str, object]:
    """What is shown of bytes that are not read: ``{"length": n, "sha256": hex}``."""
    return {"length": len(body), "sha256": sha256(body).hexdigest()}


def repeats_a_name(body: bytes) -> bool:
    """True where some object of a JSON body has one name twice; False where none has, or it is no JSON."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _Repeated

    try:
        json.loads(body, object_pairs_hook=look)
    except _Repeated:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def same_content_type(a: str | None, b: str | None) -> bool:
    """Equal content types: case, spaces and quotes aside; the charset of JSON aside too (RFC 8259 knows none)."""
    return a == b or (a is not None and b is not None and _canonical(a) == _canonical(b))


class _Repeated(Exception):
    """A name occurs twice."""


@lru_cache(maxsize=256)
def _canonical(content_type: str) -> tuple[str, frozenset[tuple[str, str]]]:
    media, *parameters = content_type.split(";")
    json_like = kind_of(content_type)[0] is BodyKind.json
    said = set()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name and not (json_like and name == "charset"):
            said.add((name, value.lower() if name == "charset" else value))
    return media.strip().lower(), frozenset(said)


def _family(media: str) -> BodyKind:
    if media.endswith("+json"):
        return BodyKind.json
    return BodyKind.text if media.startswith("text/") or media.endswith("+xml") else BodyKind.binary


def _json(body: bytes, charset: str) -> Any:
    encoding = json.detect_encoding(body) if charset in ("", "utf-8", "utf8") else charset
    return json.loads(_decoded(body, encoding))


def _text(body: bytes, charset: str) -> str:
    return _decoded(body, charset or "utf-8")


def _form(body: bytes, charset: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    text = _decoded(body, charset or "utf-8")
    pairs = parse_qsl(
        text, keep_blank_values=True, encoding=charset or "utf-8", errors="strict", max_num_fields=MAX_FIELDS
    )
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def _decoded(body: bytes, charset: str) -> str:
    if not _CHARSET.fullmatch(charset):
        raise LookupError
    codec = lookup(charset)
    if codec.name in _NO_CHARSETS or not getattr(codec, "_is_text_encoding", True):
        raise LookupError
    return body.decode(charset)


_CHARSET: Final = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_NO_CHARSETS: Final = {
    "idna",
    "punycode",
    "raw-unicode-escape",
    "unicode-escape",
    "undefined",
}  # codecs, some quadratic
EMPTY: Final = Parsed(BodyKind.empty, None)
_READERS: Final = {BodyKind.json: _json, BodyKind.form: _form, BodyKind.html: _text, BodyKind.text: _text}
_KINDS: Final = {
    "application/json": BodyKind.json,
    "text/json": BodyKind.json,
    "application/x-www-form-urlencoded": BodyKind.form,
    "text/html": BodyKind.html,
    "application/xhtml+xml": BodyKind.html,
    "application/xml": BodyKind.text,
    "application/javascript": BodyKind.text,
    "application/ecmascript": BodyKind.text,
    "application/x-ndjson": BodyKind.text,
    "application/jsonl": BodyKind.text,
    "application/yaml": BodyKind.text,
    "application/x-yaml": BodyKind.text,
    "application/graphql": BodyKind.text,
}
