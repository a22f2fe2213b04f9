"""Paths into a reply: ``$.orders[*].price`` names a place in a JSON value, ``headers.location`` one beside the body.

Two shapes, kept apart:

* a **concrete path** is where something was found: a tuple of names (``str``) and indexes (``int``), ``()`` the root;
* a ``Path`` is what somebody wrote: a pattern over concrete paths.

Grammar: ``$`` the body's root, then any of ``.name  ["x"]  ['x']  [n]  [*]  ..name``. ``[*]`` stands for any one index
*or* name, ``..name`` for that name at any depth. Beside the body there are the roots ``status``, ``headers.NAME`` (any
case) and ``error.class``, ``error.message``: they are written without ``$``, so that ``headers.location`` is the header
and ``$.headers.location`` is a field of the body that happens to have that name. In a concrete path such a root is an
``Outside``, which is a ``str`` and equal to the plain one; only its type tells it apart from a field of the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

Concrete = tuple[str | int, ...]


class PathError(ValueError):
    """A path that cannot be read or followed; the message names the path, the position and the remedy."""


class Missing(Enum):
    """What stands where there is nothing; JSON's null is a value and is not this."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


class Outside(str):
    """The first element of a concrete path that lies beside the body."""

    __slots__ = ()


STATUS: Final = Outside("status")
HEADERS: Final = Outside("headers")
ERROR: Final = Outside("error")
OUTSIDE: Final[Mapping[str, Outside]] = {"status": STATUS, "headers": HEADERS, "error": ERROR}


class Wild(Enum):
    """The step ``[*]``: any one index or name."""

    STAR = "*"


@dataclass(frozen=True, slots=True)
class Deep:
    """The step ``..name``: that name, here or at any depth below."""

    name: str


STAR: Final = Wild.STAR
Step = str | int | Deep | Wild


@dataclass(frozen=True, slots=True)
class Path:
    """A path as somebody wrote it; equal to every other spelling of the same path.

    ``root`` is None for a path into the body (``$``); ``text`` is what was written, for messages only; ``is_plain`` is
    true where the path names exactly one place in the body: no ``[*]``, no ``..name``.
    """

    steps: tuple[Step, ...] = ()
    root: Outside | None = None
    text: str = field(default="", compare=False, repr=False)
    is_plain: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        plain = self.root is None and all(isinstance(step, str | int) for step in self.steps)
        object.__setattr__(self, "is_plain", plain)

    @staticmethod
    def parse(text: str) -> Path:
        """Read ``$.a['x y'][0][*]..name``, or ``status``, ``headers.NAME``, ``error.class``, ``error.message``.

        ``["x"]`` and ``['x']`` know the escapes ``\\"  \\'  \\\\`` and ``\\uXXXX``. Raises ``PathError``.
        """
        if not isinstance(text, str):
            raise PathError(f'{text!r} is not a path: write it as text, such as "$.orders[*].price"')
        return _parse(text)

    def normal(self) -> str:
        """The canonical text: ``$.a['x']`` and ``$["a"].x`` both read ``$.a.x``. ``parse`` reads it back."""
        return steps_text(self.root, self.steps)

    def starred(self) -> str:
        """The canonical text with every index shown as ``[*]``."""
        return steps_text(self.root, tuple(STAR if isinstance(step, int) else step for step in self.steps))

    def matches(self, concrete: Concrete) -> bool:
        """True where the concrete path is one that this pattern names, whole."""
        if self.is_plain:
            return self.steps == concrete and not _is_outside(concrete)
        inner = self._inner(concrete)
        return inner is not None and len(self.steps) in _run(self.steps, inner)[-1]

    def covers(self, concrete: Concrete) -> bool:
        """True where this pattern names the concrete path or something above it: ``$.a`` covers ``$.a.b[0]``."""
        if self.is_plain:
            return self.steps == concrete[: len(self.steps)] and not _is_outside(concrete)
        inner = self._inner(concrete)
        return inner is not None and any(len(self.steps) in alive for alive in _run(self.steps, inner))

    def get(self, value: Any, default: Any = MISSING) -> Any:
        """What stands at this path in a JSON value, or ``default``. Raises ``PathError`` unless ``is_plain``."""
        if not self.is_plain:
            self._must_be_plain()
        for step in self.steps:
            if isinstance(value, dict) and isinstance(step, str):
                value = value.get(step, MISSING)
                if value is MISSING:
                    return default
            elif isinstance(value, list | tuple) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return default
        return value

    def put(self, value: Any, part: Any) -> Any:
        """``value`` with ``part`` laid at this path; nothing that was handed in is changed.

        Only the objects and arrays along the path are copied (shallow), everything beside it is shared by identity, so
        that comparing the result with ``value`` by ``==`` costs little. Missing objects on the way are created; an
        index may be that of an element or the one after the last. Raises ``PathError`` where something that is neither
        object nor array stands in the way (null included), where a name meets an array or an index an object, where an
        index is out of range, or where the path is not plain.
        """
        self._must_be_plain()
        return _put(self, value, self.steps, 0, part)

    def __str__(self) -> str:
        return self.normal()

    def _must_be_plain(self) -> None:
        if not self.is_plain:
            raise PathError(
                f'"{self}" names more than one place, or one beside the body: use a path of names and '
                f'indexes below "$", such as "$.orders"'
            )

    def _inner(self, concrete: Concrete) -> Concrete | None:
        """The concrete path below this path's root; None where it has another root."""
        if self.root is None:
            return None if _is_outside(concrete) else concrete
        return concrete[1:] if _is_outside(concrete) and concrete[0] == self.root else None


ROOT: Final = Path()


def concrete_text(path: Concrete) -> str:
    """A concrete path as text: ``$.items[0]["first name"]``, ``status``, ``headers.location``."""
    return steps_text(*_split(path))


def starred_text(path: Concrete) -> str:
    """A concrete path as text with ``[*]`` for every index, as it is counted and stored."""
    root, steps = _split(path)
    return steps_text(root, tuple(STAR if isinstance(step, int) else step for step in steps))


def _is_outside(path: Concrete) -> bool:
    return bool(path) and type(path[0]) is Outside


def _split(path: Concrete) -> tuple[Outside | None, Concrete]:
    first = path[0] if path else None
    return (first, path[1:]) if isinstance(first, Outside) else (None, path)


def _run(steps: tuple[Step, ...], path: Concrete) -> list[set[int]]:
    """How many steps may be done after each element of the path: a set for every prefix, the empty one first.

    All alternatives are followed at once, so that ``..a..a..a`` costs steps × elements and never more.
    """
    alive = {0}
    history = [alive]
    for element in path:
        alive = advance(steps, alive, element)
        history.append(alive)
        if not alive:
            break
    while len(history) <= len(path):
        history.append(set())
    return history


def advance(steps: tuple[Step, ...], alive: set[int], element: str | int) -> set[int]:
    """The numbers of steps that may be done after one more element, of those that were before it."""
    after: set[int] = set()
    for done in alive:
        if done == len(steps):
            continue
        step = steps[done]
        if isinstance(step, Deep):
            after.add(done)
            if isinstance(element, str) and step.name == element:
                after.add(done + 1)
        elif step is STAR or (step == element and isinstance(step, str) == isinstance(element, str)):
            after.add(done + 1)
    return after


def _put(path: Path, value: Any, steps: tuple[Step, ...], at: int, part: Any) -> Any:
    if at == len(steps):
        return part
    step = steps[at]
    if isinstance(step, str):
        if value is MISSING:
            value = {}
        if isinstance(value, dict):
            return {**value, step: _put(path, value.get(step, MISSING), steps, at + 1, part)}
    elif isinstance(step, int) and isinstance(value, list | tuple) and step <= len(value):
        inner = value[step] if step < len(value) else MISSING
        return [*value[:step], _put(path, inner, steps, at + 1, part), *value[step + 1 :]]
    raise PathError(_in_the_way(path, value, steps, at))


def _in_the_way(path: Path, value: Any, steps: tuple[Step, ...], at: int) -> str:
    names = {
        dict: "an object",
        list: "an array",
        tuple: "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    what = "nothing" if value is MISSING else names.get(type(value), "a number")
    if isinstance(value, list | tuple) and isinstance(steps[at], int):
        what = f"an array of {len(value)}"
    where = steps_text(None, steps[:at])
    return (
        f'cannot lay a part at "{path}": at "{where}" stands {what}, which has no '
        f"{steps_text(None, (steps[at],))[1:]}; choose a path= whose way leads through objects"
    )


# ---- text ----

_NAME: Final = re.compile(r"[^\W\d]\w*", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+^_`|~-]+")
_STRING: Final = re.compile(r"""\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]""", re.DOTALL)
_INDEX: Final = re.compile(r"\[\s*(\d{1,9})\s*\]", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def steps_text(root: Outside | None, steps: tuple[Step, ...]) -> str:
    pieces = ["$" if root is None else str(root)]
    for step in steps:
        if step is STAR:
            pieces.append("[*]")
        elif isinstance(step, int):
            pieces.append(f"[{step}]")
        elif isinstance(step, Deep):
            pieces.append(f"..{step.name}" if _NAME.fullmatch(step.name) else f'..["{_escaped(step.name)}"]')
        elif root is HEADERS and isinstance(step, str) and _TOKEN.fullmatch(step):
            pieces.append(f".{step}")
        elif isinstance(step, str):
            pieces.append(f".{step}" if _NAME.fullmatch(step) else f'["{_escaped(step)}"]')
    return "".join(pieces)


def _escaped(name: str) -> str:
    return "".join(_character(c) for c in name)


def _character(c: str) -> str:
    if c in '"\\':
        return f"\\{c}"
    return c if c.isprintable() or ord(c) > 0xFFFF else f"\\u{ord(c):04x}"


def _parse(text: str) -> Path:
    head = re.match(r"\$|status|headers|error", text)
    if head is None:
        raise PathError(
            f'path "{_shown(text)}", position 0: starts with neither "$" (the body) nor "status", "headers.", '
            f'"error.": write "${"" if text[:1] in ".[" else "."}{_shown(text)}"'
        )
    root = OUTSIDE.get(head.group())
    at, steps = head.end(), list[Step]()
    while at < len(text):
        step, at = _step(text, at, root)
        steps.append(step)
    return _checked(Path(tuple(steps), root, text), text)


def _step(text: str, at: int, root: Outside | None) -> tuple[Step, int]:
    deep = text.startswith("..", at)
    after = at + 2 if deep else at + 1 if text[at] == "." else at
    if after > at and (name := (_TOKEN if root is HEADERS else _NAME).match(text, after)):
        word = name.group().lower() if root is HEADERS else name.group()
        return (Deep(word) if deep else word), name.end()
    if (deep or after == at) and (quoted := _STRING.match(text, after)):
        raw = quoted.group(1) if quoted.group(1) is not None else quoted.group(2)
        word = _ESCAPE.sub(_unescaped, raw)
        return (Deep(word) if deep else word), quoted.end()
    if after == at and (star := re.compile(r"\[\s*\*\s*\]").match(text, at)):
        return STAR, star.end()
    if after == at and (index := _INDEX.match(text, at)):
        return int(index.group(1)), index.end()
    raise PathError(f'path "{_shown(text)}", position {at}: {_advice(text, at)}')


def _unescaped(match: re.Match[str]) -> str:
    escape = match.group(1)
    return chr(int(escape[1:], 16)) if len(escape) == 5 else _ESCAPES.get(escape, escape)


def _advice(text: str, at: int) -> str:
    rest = text[at:]
    if re.match(r"\[\s*-\s*\d", rest):
        return "an index counts from the front: use 0 or more, or [*] for every element"
    if rest.startswith(("[?", "[(")):
        return "filters are not known here: name the element's path, with [*] for every element"
    if re.match(r"\[\s*\d*\s*:", rest):
        return "slices are not known here: use [n] for one element or [*] for all"
    if re.match(r"\.{1,2}\*", rest):
        return "write [*] for every member"
    if rest.startswith("[") and "]" not in rest:
        return 'a "[" is never closed: add "]"'
    if re.match(r"\[\s*[A-Za-z_]", rest):
        return 'a name in brackets stands in quotes: ["name"]'
    if rest in (".", ".."):
        return "a name must follow the dot"
    return 'expected one of  .name  ["x"]  [n]  [*]  ..name ; a name that is not letters, digits and _ is written ["x"]'


def _checked(path: Path, text: str) -> Path:
    steps = path.steps
    if path.root is STATUS and steps:
        raise PathError(f'path "{_shown(text)}", position 6: there is nothing below status: write "status"')
    if path.root is HEADERS and len(steps) > 1:
        raise PathError(f'path "{_shown(text)}": a header has no parts: write "headers.NAME"')
    if path.root is ERROR and not (len(steps) == 0 or (len(steps) == 1 and steps[0] in ("class", "message", STAR))):
        raise PathError(f'path "{_shown(text)}", position 5: write "error", "error.class" or "error.message"')
    return path


def _shown(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"
