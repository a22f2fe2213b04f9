"""What may be stored of users' data: nothing in clear that was not named. Runs before anything reaches a queue.

A value becomes its type, its size and a keyed hash, so that two equal values of one installation still show as equal,
and a reader learns nothing else: ``{"type": "string", "hash": "9f2c41d07be3a655", "length": 12}``. The hash is BLAKE2b,
64 bits, under the installation's secret: without that it cannot be found by trying out values.

| Value              | Stored as                                                                                      |
| ------------------ | ---------------------------------------------------------------------------------------------- |
| string             | type, hash, ``length`` in characters                                                           |
| number, boolean    | type, hash (``1`` and ``1.0`` have one hash)                                                   |
| object, array      | type, hash, ``size``; below it, as ``shown``, only what leads to a path named in ``clear``      |
| null, nothing      | ``{"type": "null"}``, ``{"type": "missing"}``                                                  |
| no JSON            | ``{"type": "other"}``                                                                          |
| named in ``clear`` | as it is, cut to ``MAX_TEXT`` characters and ``MAX_VALUES`` values, and text made safe to store |
| denied             | ``{"type": "denied"}``: no hash either; the redactor raised: ``{"type": "dropped"}``           |

A text of more than ``MAX_HASHED_TEXT`` characters has no hash, nor has a container of more than about ``MAX_HASHED``
values, of as much text together, or deeper than ``MAX_DEPTH``: this runs on the event loop, and 10 MB took 40 ms.

Not in clear, even where ``clear`` names something above: what stands under a name that speaks of secrets
(``password``, ``access_token`` …), unless ``clear`` spells that name. Headers of the deny-list, and those whose names
speak of secrets, are denied in any case. The status and the class of an error are shown; its message is hashed.

Paths are stored with ``[*]`` for every index *and* for every name that looks like data rather than like a word of a
schema: no plain word of letters, digits and ``_-``, over 40 characters, over 3 digits, hexadecimal, or of random case.
(``[*]`` and not a hash of the name: so the paths of all users fall together, and one can be pasted into ``ignore=``.) A
plain word cannot be told from a name: where a map has people's first names for keys, ignore or reshape it with a view.
A path of more than ``MAX_PATH`` characters ends in ``…``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from inspect import isawaitable
from typing import Any, Final

from rollout.domain.differences import Difference, Rules, State, named, type_name
from rollout.domain.paths import (
    ERROR,
    HEADERS,
    MISSING,
    STAR,
    STATUS,
    Concrete,
    Outside,
    Path,
    PathError,
    concrete_text,
    steps_text,
)

MAX_TEXT: Final = 200
MAX_VALUES: Final = 50
MAX_HASHED: Final = 2_000
MAX_HASHED_TEXT: Final = 100_000
MAX_DEPTH: Final = 40
MAX_PATH: Final = 300
MAX_EXAMPLE: Final = 4_000  # characters of JSON

DENIED_HEADERS: Final = frozenset(
    (
        "authorization",
        "cookie",
        "forwarded",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "www-authenticate",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-forwarded-for",
        "x-real-ip",
        "x-xsrf-token",
    )
)


class Redactor:
    """Turns values, headers, errors, keys and paths into what may be stored; see the module. Never raises."""

    __slots__ = ("_beside", "_clear", "_denied", "_hash", "_known", "_on_failure", "_redact", "_rules")

    def __init__(
        self,
        secret: bytes,
        clear: Sequence[str] = (),
        deny_headers: frozenset[str] = DENIED_HEADERS,
        *,
        redact: Callable[[str, object], object] | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """``secret``: at least 16 bytes, the same in every process of an installation.

        ``clear``: paths whose values, and all below them, are kept: ``"$.status"``, ``"headers.etag"``,
        ``"error.message"``. Default none. ``deny_headers``: names in lower case, beside those that speak of secrets.
        ``redact``: ``(path, value) -> value``, asked first, for every value that is looked at; what it returns is
        treated like any value, so it can only take away. If it raises, the value is dropped and ``on_failure`` called.
        Raises ``ValueError`` for a short secret, and ``PathError`` (a ``ValueError``) with every path that is none.
        """
        if len(secret) < 16:
            raise ValueError(
                f"the secret has {len(secret)} bytes: it needs 16 or more, such as secrets.token_bytes(32)"
            )
        self._hash = blake2b(key=blake2b(secret).digest(), digest_size=8)
        self._clear = _paths(clear)
        self._beside = [path for path in self._clear if path.root is not None]
        self._rules = Rules([path for path in self._clear if path.root is None])
        self._known = {step for path in self._clear for step in path.steps if isinstance(step, str)}
        self._denied = frozenset(name.lower() for name in deny_headers)
        self._redact = redact
        self._on_failure = on_failure

    def value(self, path: Concrete, value: object) -> object:
        """What is stored of a value that stands at a concrete path: JSON-serialisable and bounded."""
        try:
            if path and isinstance(path[0], Outside):
                return self._beside_the_body(path, value)
            return self._stored(path, value, self._rules.state(path), _Look(MAX_VALUES), 0)
        except Exception as error:  # a foreign object among the values: dropped, as by a redactor that raises
            return self._dropped(error)

    def hashed(self, value: object) -> dict[str, object]:
        """Type, size and hash of a value, whatever ``clear`` says."""
        kind = type_name(value)
        if value is MISSING:
            return {"type": "missing"}
        if isinstance(value, str):
            summary: dict[str, object] = {"type": kind, "length": len(value)}
            if len(value) <= MAX_HASHED_TEXT:
                summary["hash"] = self._digest("s", value)
            return summary
        if kind in ("number", "boolean"):
            return {"type": kind, "hash": self._digest("v", _scalar(value))}
        if isinstance(value, dict | list | tuple):
            summary = {"type": kind, "size": len(value)}
            pieces = _Pieces()
            if _canonical(value, pieces, 0):
                summary["hash"] = self._digest("v", "".join(pieces))
            return summary
        return {"type": "null" if value is None else "other"}

    def headers(self, items: Iterable[tuple[str, str]]) -> list[tuple[str, object]]:
        """Name and value of each header as stored; a name in lower case, or ``*`` where it looks like data."""
        return [
            (name.lower() if self._is_word(name.lower()) else "*", self.value((HEADERS, name.lower()), value))
            for name, value in items
        ]

    def error(self, error: BaseException) -> tuple[str, str]:
        """The name of the class, and the message as ``~h:<hash>:<length>``; the message itself if it is ``clear``."""
        name = type(error).__name__
        try:
            message = str(error)
        except Exception:  # an exception of the user's that cannot be printed
            return (name if self._is_word(name) else "*"), ""
        stored = self.value((ERROR, "message"), message)
        if isinstance(stored, dict):
            length = f":{stored['length']}" if "length" in stored else ""
            stored = f"~h:{stored['hash']}{length}" if "hash" in stored else f"~{stored['type']}{length}"
        return (name if self._is_word(name) else "*"), str(stored) if message else ""

    def key(self, text: str) -> str:
        """The keyed hash of a targeting key: 16 hexadecimal digits, stable within an installation."""
        return self._digest("k", text)

    def stored_path(self, path: Concrete) -> str:
        """The path as text, with ``[*]`` for every index and for every name that looks like data."""
        root = path[0] if path and isinstance(path[0], Outside) else None
        steps = path if root is None else path[1:]
        text = steps_text(
            root, tuple(step if isinstance(step, str) and self._is_word(step) else STAR for step in steps)
        )
        return text if len(text) <= MAX_PATH else f"{text[:MAX_PATH]}…"

    # ---- below ----

    def _beside_the_body(self, path: Concrete, value: object) -> object:
        if path[0] == HEADERS and any(self._is_denied(str(name)) for name in path[1:]):
            return {"type": "denied"}
        value = self._asked(path, value)
        if value is _DROPPED:
            return {"type": "dropped"}
        if path == (STATUS,) and isinstance(value, int):
            return value
        if path == (ERROR, "class") and isinstance(value, str) and all(map(self._is_word, value.split("."))):
            return value
        if any(rule.covers(path) for rule in self._beside):
            return self._plain(value)
        return self.hashed(value)

    def _stored(self, path: Concrete, value: object, state: State, look: _Look, depth: int) -> object:
        look.left -= 1
        value = self._asked(path, value)
        if value is _DROPPED:
            return {"type": "dropped"}
        clear = state.ignored and not self._is_secret(path)
        if not isinstance(value, dict | list | tuple):
            return self._plain(value) if clear else self.hashed(value)
        if clear and depth < MAX_DEPTH and look.left >= len(value):
            return self._children(path, value, state, look, depth)
        summary = self.hashed(value)
        leads_on = not state.idle and not state.ignored and depth < MAX_DEPTH
        if leads_on and (shown := self._children(path, value, state, look, depth)):
            summary["shown"] = shown
        return summary

    def _children(
        self, path: Concrete, value: Any, state: State, look: _Look, depth: int
    ) -> dict[str, object] | list[object]:
        """What is below a container: all of it where it is clear, else what leads to something clear."""
        if isinstance(value, dict):
            shown: dict[str, object] = {}
            for name, inner in named(value).items():
                below = state.at(name)
                if _leads_to_clear(inner, below, look):
                    label = _safe(name) if state.ignored or self._is_word(name) else f"~h:{self._digest('k', name)}"
                    shown[label] = self._stored((*path, name), inner, below, look, depth + 1)
            return shown
        return [
            self._stored((*path, place), inner, state.at(place), look, depth + 1)
            for place, inner in enumerate(value)
            if _leads_to_clear(inner, state.at(place), look)
        ]

    def _asked(self, path: Concrete, value: object) -> object:
        """What the user's own redactor makes of a value; ``_DROPPED`` where it raises."""
        if self._redact is None or value is MISSING:
            return value
        try:
            answer = self._redact(concrete_text(path), value)
            if isawaitable(answer):
                getattr(answer, "close", int)()
                raise TypeError("redact= must be a plain function, this one is async")
        except Exception as error:
            self._dropped(error)
            return _DROPPED
        return answer

    def _dropped(self, error: BaseException) -> dict[str, object]:
        if self._on_failure is not None:
            self._on_failure(error)
        return {"type": "dropped"}

    def _plain(self, value: object) -> object:
        """A value in clear, safe to store: short text, no NUL, no half characters, numbers that every reader knows."""
        if isinstance(value, str):
            return _safe(value)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**30):
            return value
        return self.hashed(value)

    def _is_secret(self, path: Concrete) -> bool:
        spoken = [name for name in path if isinstance(name, str) and _SECRET.search(name)]
        return bool(spoken) and not any(
            rule.covers(path) and all(name in rule.steps for name in spoken) for rule in self._clear
        )

    def _is_denied(self, header: str) -> bool:
        name = header.lower()
        return name in self._denied or _SECRET.search(name) is not None

    def _is_word(self, name: str) -> bool:
        return name in self._known or _looks_like_a_word(name)

    def _digest(self, domain: str, text: str) -> str:
        hash_ = self._hash.copy()
        hash_.update(f"{domain}:{text}".encode("utf-8", "surrogatepass"))
        return hash_.hexdigest()


def example(difference: Difference, redactor: Redactor) -> dict[str, object]:
    """A difference as it may be stored: ``path``, ``kind``, ``control``, ``candidate``; at most about 4 kB of JSON."""
    path = difference.path
    stored: dict[str, object] = {
        "path": redactor.stored_path(path),
        "kind": str(difference.kind),
        "control": redactor.value(path, difference.control),
        "candidate": redactor.value(path, difference.candidate),
    }
    if len(json.dumps(stored)) <= MAX_EXAMPLE:
        return stored
    return {
        **stored,
        "control": redactor.hashed(difference.control),
        "candidate": redactor.hashed(difference.candidate),
    }


class _Look:
    """How many values may still be looked at."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def _leads_to_clear(value: object, state: State, look: _Look) -> bool:
    if state.ignored:
        return True
    return not state.idle and look.left > 0 and isinstance(value, dict | list | tuple)


_DROPPED: Final = object()
_SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|credential|authori[sz]|authent|(^|[-_.])auth([-_.]|$)|cookie|session|signature|jwt"
    r"|csrf|xsrf|(api|access|private|secret|auth)[-_.]?key|(^|[-_.])key([-_.]|$)|(^|[-_.])pin([-_.]|$)|cvv|iban",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[@#$]?[^\W\d][\w-]{0,39}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{8,}")
_HUMP: Final = re.compile(r"[a-z][A-Z]")


def _looks_like_a_word(name: str) -> bool:
    """True for what a schema would have as a name; see the module."""
    return (
        _WORD.fullmatch(name) is not None
        and sum(c.isdigit() for c in name) <= 3
        and _HEX.fullmatch(name) is None
        and (len(name) < 12 or len(_HUMP.findall(name)) * 4 <= len(name))
    )


def _paths(texts: Sequence[str]) -> list[Path]:
    paths: list[Path] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            paths.append(Path.parse(text))
        except PathError as error:
            mistakes.append(str(error))
    if mistakes:
        raise PathError("\n".join(mistakes))
    return paths


def _safe(text: str) -> str:
    text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _scalar(value: object) -> str:
    """Equal scalars have equal text, others have not: a boolean is no number, ``1`` is ``1.0``."""
    if isinstance(value, bool) or value is None:
        return f"{value}"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return f"{int(value):x}"
    return repr(value) if isinstance(value, float) else f"?{type(value).__name__}"


class _Pieces(list[str]):
    """Text in pieces. ``text``: how many characters of strings are in it."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        super().__init__()
        self.text = 0


def _canonical(value: object, pieces: _Pieces, depth: int) -> bool:
    """Write equal values as equal text; False where there is too much of it."""
    if depth > MAX_DEPTH or len(pieces) > 4 * MAX_HASHED:
        return False
    if isinstance(value, str):
        pieces.text += len(value)
        if pieces.text > MAX_HASHED_TEXT:
            return False
        pieces.append(json.dumps(value))
    elif isinstance(value, dict | list | tuple) and len(value) > MAX_HASHED:
        return False
    elif isinstance(value, dict):
        for name, inner in sorted(named(value).items(), key=_first):
            pieces.text += len(name)
            pieces.append(f"{'{'}{json.dumps(name)}:")
            if not _canonical(inner, pieces, depth + 1):
                return False
        pieces.append("{}")
    elif isinstance(value, list | tuple):
        for inner in value:
            pieces.append("[")
            if not _canonical(inner, pieces, depth + 1):
                return False
        pieces.append("[]")
    else:
        pieces.append(f"#{_scalar(value)};")
    return True


def _first(item: tuple[str, Any]) -> str:
    return item[0]
