"""How two JSON values differ: a typed walk that names every place, the kind of difference, and both sides.

What counts as equal. Objects: the same names with equal values, in any order. Arrays: equal elements in the same
order, unless the path is declared unordered. Numbers: by value, so that ``1`` equals ``1.0``; NaN equals NaN, an
infinity only itself; within the declared tolerance of the path (see ``close``). A boolean is not a number and null is
not nothing. Tuples are arrays, as they are to ``json.dumps``; what is no JSON at all equals what has the same class
and is ``==``.

Arrays in order. A common beginning and end are set aside. If the rest is the same elements in another order, that is
*one* difference of kind ``order`` at the array's path. Else elements that occur once on both sides are aligned (the
longest run of them in the same order), where that explains more than comparing place by place; between them elements
are compared place by place, and what is left over is missing or extra. So an inserted element is one difference, not
one for every element after it. The paths of missing and changed elements have control's index, those of extra ones
the candidate's.

Arrays declared unordered are compared as multisets: equal elements cancel out; of what is left, objects meet objects
and arrays meet arrays in their order, the rest is missing or extra. With a key field, objects meet that have an equal
value of it; elements without the field, or with one that occurs twice, are compared as a multiset. Matching is by a
digest of each element, sorted where a tolerance applies (pairs are sought by that order alone, which is exact for one
tolerant number per element and a heuristic for several), never each against each: the time is n log n.

Bounds: ``MAX_DEPTH`` levels and ``MAX_WORK`` visited values; beyond, ``TooMuch`` is raised, which a comparison
reports as incomparable. Recursion is bounded by the first, time by the second (under a second).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isinf
from typing import Any, Final

from rollout.domain.paths import MISSING, Concrete, Deep, Path, advance, concrete_text, starred_text

MAX_DEPTH: Final = 120
MAX_WORK: Final = 500_000
MUCH_LONGER: Final = 100  # elements: of an array that grew by more, nothing is aligned
_C_SPEED: Final = 8  # levels at which `==` is tried before walking: deeper, trying at each level would be quadratic


class Kind(StrEnum):
    """What is different: see the module."""

    missing = "missing"  # control has it, the candidate has not
    extra = "extra"  # the candidate has it, control has not
    type = "type"
    value = "value"
    order = "order"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the two sides differ; the side where nothing stands is ``MISSING``."""

    path: Concrete
    kind: Kind
    control: object
    candidate: object

    @property
    def text(self) -> str:
        """The path as text: ``$.items[0].price``, ``status``, ``headers.location``."""
        return concrete_text(self.path)

    @property
    def starred(self) -> str:
        """The path with ``[*]`` for every index. It may hold names out of the data: store ``Redactor.stored_path``."""
        return starred_text(self.path)


class TooMuch(ValueError):
    """The values are nested too deeply or are too large to be compared; the message names the limit, never the data."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk found: differences that count, how many were ignored, whether there were more than the limit."""

    differences: tuple[Difference, ...]
    ignored: int
    truncated: bool


def differences(
    control: object,
    candidate: object,
    *,
    unordered: Mapping[Path, str | None] | None = None,
    tolerance: Mapping[Path, float] | None = None,
    limit: int = 100,
) -> list[Difference]:
    """List every difference of two JSON values, at most ``limit`` of them; empty where they are equal (see the module).

    ``unordered``: arrays that are compared as multisets, or matched by the key field that is given. ``tolerance``:
    how far the numbers at a path may lie apart (see ``close``). Where several paths name one place, the first
    declared is used. Raises ``TooMuch`` beyond ``MAX_DEPTH`` or ``MAX_WORK``.
    """
    rules = Rules(unordered=unordered or {}, tolerance=tolerance or {})
    return list(walk(control, candidate, rules, limit=limit).differences)


def walk(control: object, candidate: object, rules: Rules, *, at: Concrete = (), limit: int = 100) -> Found:
    """Compare two JSON values that stand at the path ``at`` of the whole, by rules whose paths are those of the whole.

    What is ignored is left out while walking, so it neither uses up the limit nor spoils the alignment of arrays; one
    ignored place counts once, however much differs below it. Raises ``TooMuch``.
    """
    run = _Walk(limit, _Work(MAX_WORK))
    try:
        run.pair(control, candidate, at, rules.state(at), 0)
    except _Full:
        return Found(tuple(run.found), run.ignored, truncated=True)
    except RecursionError:
        raise TooMuch(_DEEP) from None
    return Found(tuple(run.found), run.ignored, truncated=False)


def exactly(a: object, b: object) -> bool:
    """True only where a walk without rules would find nothing; False is "look closer", not "different".

    ``==`` runs at C speed and skips what is shared by identity, but holds ``True == 1``; so what it calls equal is
    looked through once more for booleans (one that is equal but not the same object meets a number). Never raises.
    """
    try:
        return a is b or (bool(a == b) and _same_types(a, b))
    except Exception:  # nested too deeply, or a foreign object whose __eq__ fails: the walk has an answer to both
        return False


def close(a: float, b: float, tolerance: float | None) -> bool:
    """True where two numbers are equal within a tolerance.

    ``|a - b| <= tolerance * max(1, |a|, |b|)``: relative for numbers above 1, absolute below, the same for (a, b) and
    (b, a), the limit included. None: by value only. NaN is close to NaN, an infinity to itself, neither to anything
    else. Integers too large for a float are close only if equal.
    """
    if a == b or (a != a and b != b):
        return True
    if tolerance is None:
        return False
    try:
        return not (isinf(a) or isinf(b)) and abs(a - b) <= tolerance * max(1, abs(a), abs(b))
    except OverflowError:
        return False


def type_name(value: object) -> str:
    """The JSON type: null, boolean, number, string, array, object; the class name of what is no JSON."""
    name = _TYPES.get(type(value))
    if name is None:
        name = next((json for kind, json in _TYPES.items() if isinstance(value, kind)), type(value).__name__)
    return name


# ---- rules ----


class Rules:
    """Ignored, unordered and tolerant paths, compiled so that a walk carries one ``State`` and tries no path.

    A state is the set of (rule, steps done) that are still possible here; states are made when first met and kept.
    Names that no rule mentions share one move, so hostile names make no new states.
    """

    __slots__ = ("_ignore", "_states", "_steps", "_tolerance", "_unordered", "start")

    def __init__(
        self,
        ignore: Sequence[Path] = (),
        unordered: Mapping[Path, str | None] | None = None,
        tolerance: Mapping[Path, float] | None = None,
    ) -> None:
        """Paths beside the body (``status``, ``headers.NAME``) play no part here."""
        paths = [*ignore, *(unordered or ()), *(tolerance or ())]
        self._steps = [path.steps for path in paths]
        self._ignore = len(ignore)
        self._unordered = list((unordered or {}).values())
        self._tolerance = list((tolerance or {}).values())
        self._states: dict[frozenset[tuple[int, int]], State] = {}
        self.start = self._state((rule, 0) for rule, path in enumerate(paths) if path.root is None)

    def state(self, path: Concrete) -> State:
        """The state at a concrete path."""
        state = self.start
        for element in path:
            state = state.at(element)
        return state

    def _state(self, items: Iterable[tuple[int, int]]) -> State:
        found = frozenset(items)
        if found not in self._states:
            self._states[found] = State(self, found)
        return self._states[found]

    def _next(self, items: frozenset[tuple[int, int]], element: str | int) -> State:
        return self._state(
            (rule, after) for rule, done in items for after in advance(self._steps[rule], {done}, element)
        )


class State:
    """The rules that apply at one place (``ignored``, ``unordered``, ``key``, ``tolerance``) or may apply below it.

    ``idle`` is true where none does either: the rest is compared as it is.
    """

    __slots__ = ("_items", "_moves", "_named", "_rules", "idle", "ignored", "key", "tolerance", "unordered")

    def __init__(self, rules: Rules, items: frozenset[tuple[int, int]]) -> None:
        steps = rules._steps
        arrived = sorted(rule for rule, done in items if done == len(steps[rule]))
        first_unordered, first_tolerance = rules._ignore, rules._ignore + len(rules._unordered)
        bags = [rule for rule in arrived if first_unordered <= rule < first_tolerance]
        near = [rule for rule in arrived if rule >= first_tolerance]
        self.ignored = bool(arrived) and arrived[0] < first_unordered
        self.unordered = bool(bags)
        self.key = rules._unordered[bags[0] - first_unordered] if bags else None
        self.tolerance = rules._tolerance[near[0] - first_tolerance] if near else None
        self.idle = not items
        self._rules, self._items = rules, items
        self._moves: dict[object, State] = {}
        waiting = (steps[rule][done] for rule, done in items if done < len(steps[rule]))
        self._named = frozenset(step.name if isinstance(step, Deep) else step for step in waiting)

    def at(self, element: str | int) -> State:
        """The state one element further down; everything below what is ignored is ignored."""
        if self.idle or self.ignored:
            return self
        move = element if element in self._named else None if isinstance(element, int) else ...
        state = self._moves.get(move)
        if state is None:
            state = self._moves[move] = self._rules._next(self._items, element)
        return state


NO_RULES: Final = Rules()


# ---- the walk ----

_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"
_LARGE: Final = f"too large to compare: more than {MAX_WORK:,} values to look at"
_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    dict: "object",
    list: "array",
    tuple: "array",
    type(None): "null",
}
_BOTH: Final = {"object", "array"}


class _Full(Exception):
    """The limit of differences is reached."""


class _Work:
    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, depth: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooMuch(_LARGE)
        if depth > MAX_DEPTH:
            raise TooMuch(_DEEP)


class _Walk:
    __slots__ = ("found", "ignored", "limit", "work")

    def __init__(self, limit: int, work: _Work) -> None:
        self.found: list[Difference] = []
        self.ignored = 0
        self.limit = limit
        self.work = work

    def pair(self, a: Any, b: Any, path: Concrete, state: State, depth: int) -> None:
        if a is b:
            return
        self.work.spend(depth)
        if state.idle and depth < _C_SPEED and exactly(a, b):
            return
        if state.ignored:
            self.ignored += not self.same(a, b, depth)
            return
        kind = type_name(a)
        if kind != type_name(b):
            self.emit(path, Kind.type, a, b)
        elif kind == "object":
            self.objects(named(a), named(b), path, state, depth)
        elif kind == "array":
            self.arrays(a, b, path, state, depth)
        elif not (close(a, b, state.tolerance) if kind == "number" else _equal(a, b)):
            self.emit(path, Kind.value, a, b)

    def emit(self, path: Concrete, kind: Kind, a: object, b: object) -> None:
        if len(self.found) >= self.limit:
            raise _Full
        self.found.append(Difference(path, kind, a, b))

    def missing(self, a: object, path: Concrete, state: State) -> None:
        if state.ignored:
            self.ignored += 1
        else:
            self.emit(path, Kind.missing, a, MISSING)

    def extra(self, b: object, path: Concrete, state: State) -> None:
        if state.ignored:
            self.ignored += 1
        else:
            self.emit(path, Kind.extra, MISSING, b)

    def same(self, a: object, b: object, depth: int) -> bool:
        try:
            return self.clean(a, b, NO_RULES.start, depth)
        except TooMuch:  # what is ignored need not be comparable
            return False

    def clean(self, a: Any, b: Any, state: State, depth: int) -> bool:
        """True where the two hold no difference that counts; then what was ignored on the way is counted.

        The probe stops at the first difference and aligns no arrays, so that it looks at each value once: an aligning
        one would probe its own elements again, three times at every level.
        """
        probe = _Walk(0, self.work)
        try:
            probe.pair(a, b, (), state, depth)
        except _Full:
            return False
        self.ignored += probe.ignored
        return True

    def objects(self, a: Mapping[str, Any], b: Mapping[str, Any], path: Concrete, state: State, depth: int) -> None:
        for name, value in a.items():
            if name in b:
                if value is not b[name]:
                    self.pair(value, b[name], (*path, name), state.at(name), depth + 1)
            else:
                self.missing(value, (*path, name), state.at(name))
        for name, value in b.items():
            if name not in a:
                self.extra(value, (*path, name), state.at(name))

    def arrays(self, a: Sequence[Any], b: Sequence[Any], path: Concrete, state: State, depth: int) -> None:
        here = _Arrays(a, b, path, state, depth)
        if not state.unordered:
            if self.limit:
                self.in_order(here)
            else:
                self.place_by_place(here, range(len(a)), range(len(b)))
        elif state.key is None:
            self.as_multisets(here, range(len(a)), range(len(b)))
        else:
            self.by_key(here, state.key)

    # -- in order --

    def in_order(self, at: _Arrays) -> None:
        a, b = at.a, at.b
        shorter, start, end = min(len(a), len(b)), 0, 0
        while start < shorter and self.clean(a[start], b[start], at.state.at(start), at.depth + 1):
            start += 1
        rest = shorter - start if len(a) != len(b) or start < len(a) - 1 else 0
        while end < rest and self.clean(a[-1 - end], b[-1 - end], at.state.at(len(a) - 1 - end), at.depth + 1):
            end += 1
        left, right = range(start, len(a) - end), range(start, len(b) - end)
        if len(left) <= 1 and len(right) <= 1:
            self.place_by_place(at, left, right)
            return
        if left and right:
            if len(left) == len(right) and self.permuted(at, left, right):
                self.emit(at.path, Kind.order, a, b)
                return
            for i, j in self.anchors(at, left, right):
                self.place_by_place(at, range(left.start, i), range(right.start, j))
                self.meet(at, i, j)
                left, right = range(i + 1, left.stop), range(j + 1, right.stop)
        self.place_by_place(at, left, right)

    def permuted(self, at: _Arrays, left: range, right: range) -> bool:
        pairs, _, _ = self.matched(at, left, right)
        return len(pairs) == len(left)

    def anchors(self, at: _Arrays, left: range, right: range) -> list[tuple[int, int]]:
        """Pairs of equal elements, rising on both sides; none where comparing place by place explains as much.

        Nor where one side is much longer: a part of 10 MB would hold the event loop 30 ms for it. How much does not
        hang on the limit, or what is listed first would.
        """
        if at.state.idle and abs(len(left) - len(right)) > MUCH_LONGER:
            return []
        prints_a = [self.digest(at.a[i], at.state.at(i), at.depth + 1)[0] for i in left]
        prints_b = [self.digest(at.b[j], at.state.at(j), at.depth + 1)[0] for j in right]
        in_place = sum(p == q for p, q in zip(prints_a, prints_b, strict=False))
        where_a, where_b = _once(prints_a), _once(prints_b)
        common = [(i, where_b[p]) for p, i in where_a.items() if p in where_b]
        rising = _longest_rising(common)
        if len(rising) <= in_place:
            return []
        return [(left.start + i, right.start + j) for i, j in rising]

    def place_by_place(self, at: _Arrays, left: range, right: range) -> None:
        for i, j in zip(left, right, strict=False):
            self.meet(at, i, j)
        for i in left[len(right) :]:
            self.missing(at.a[i], (*at.path, i), at.state.at(i))
        for j in right[len(left) :]:
            self.extra(at.b[j], (*at.path, j), at.state.at(j))

    def meet(self, at: _Arrays, i: int, j: int) -> None:
        self.pair(at.a[i], at.b[j], (*at.path, i), at.state.at(i), at.depth + 1)

    # -- unordered --

    def by_key(self, at: _Arrays, key: str) -> None:
        keys_a = [self.key_of(value, key, at.depth) for value in at.a]
        keys_b = [self.key_of(value, key, at.depth) for value in at.b]
        where_a, where_b = _once(keys_a), _once(keys_b)
        vague = {None, *(set(keys_a) - set(where_a)), *(set(keys_b) - set(where_b))}
        for place in (i for print_, i in where_a.items() if print_ not in vague):
            other = where_b.get(keys_a[place])
            if other is None:
                self.missing(at.a[place], (*at.path, place), at.state.at(place))
            else:
                self.meet(at, place, other)
        for place in (j for print_, j in where_b.items() if print_ not in vague and print_ not in where_a):
            self.extra(at.b[place], (*at.path, place), at.state.at(place))
        left = [i for i, print_ in enumerate(keys_a) if print_ in vague]
        right = [j for j, print_ in enumerate(keys_b) if print_ in vague]
        self.as_multisets(at, left, right)

    def key_of(self, value: object, key: str, depth: int) -> Hashable:
        if not isinstance(value, dict) or key not in value:
            return None
        return ("key", self.digest(value[key], NO_RULES.start, depth + 2)[0])

    def as_multisets(self, at: _Arrays, left: Sequence[int], right: Sequence[int]) -> None:
        pairs, left, right = self.matched(at, left, right)
        if not at.state.idle:
            for i, j in pairs:
                self.clean(at.a[i], at.b[j], at.state.at(i), at.depth + 1)  # counts what is ignored
        for kind in ("object", "array"):
            rest_a = [i for i in left if type_name(at.a[i]) == kind]
            rest_b = [j for j in right if type_name(at.b[j]) == kind]
            for i, j in zip(rest_a, rest_b, strict=False):
                self.meet(at, i, j)
            met = min(len(rest_a), len(rest_b))
            left = _less(left, rest_a[:met])
            right = _less(right, rest_b[:met])
        for i in left:
            self.missing(at.a[i], (*at.path, i), at.state.at(i))
        for j in right:
            self.extra(at.b[j], (*at.path, j), at.state.at(j))

    def matched(
        self, at: _Arrays, left: Sequence[int], right: Sequence[int]
    ) -> tuple[list[tuple[int, int]], list[int], list[int]]:
        """Pairs of equal elements, each used once, and what is left on both sides, in order."""
        shelves: dict[Hashable, tuple[list[_Loose], list[_Loose]]] = {}
        for side, places, values in ((0, left, at.a), (1, right, at.b)):
            for place in places:
                print_, loose = self.digest(values[place], at.state.at(place), at.depth + 1)
                shelves.setdefault(print_, ([], []))[side].append((loose, place))
        pairs: list[tuple[int, int]] = []
        left_over: list[int] = []
        right_over: list[int] = []
        for shelf_a, shelf_b in shelves.values():
            _pair_off(shelf_a, shelf_b, pairs, left_over, right_over)
        return pairs, sorted(left_over), sorted(right_over)

    def digest(self, value: Any, state: State, depth: int) -> tuple[Hashable, _Numbers]:
        loose: list[tuple[float, float]] = []
        return self.print_of(value, state, depth, loose), tuple(loose)

    def print_of(self, value: Any, state: State, depth: int, loose: list[tuple[float, float]]) -> Hashable:
        """What equal values have in common and others have not; tolerant numbers are put aside into ``loose``.

        Scalars become text, whose hash is salted per process: integers made to collide would cost quadratic time.
        """
        self.work.spend(depth)
        if state.ignored:
            return "ignored"
        kind = type_name(value)
        if kind == "string":
            return f'"{value}'
        if kind == "number":
            if state.tolerance is None or value != value:
                return _number(value)
            loose.append((value, state.tolerance))
            return "~"
        if kind == "object":
            value = named(value)
            members: list[tuple[str, Hashable]] = []
            for name in value if state.idle else sorted(value):
                below = state.at(name)
                if not below.ignored:
                    members.append((name, self.print_of(value[name], below, depth + 1, loose)))
            return frozenset(members)
        if kind == "array":
            prints = [self.print_of(inner, state.at(i), depth + 1, loose) for i, inner in enumerate(value)]
            return ("bag", frozenset(_counted(prints))) if state.unordered else tuple(prints)
        return value if value is None or value is True or value is False else _Foreign(value)


@dataclass(frozen=True, slots=True)
class _Arrays:
    a: Sequence[Any]
    b: Sequence[Any]
    path: Concrete
    state: State
    depth: int


_Numbers = tuple[tuple[float, float], ...]
_Loose = tuple[_Numbers, int]


class _Foreign:
    """What is no JSON, as an element of an array: equal by class and ``==``, all of one class on one shelf."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(type(self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Foreign) and _equal(self.value, other.value)


def named(value: dict[Any, Any]) -> dict[str, Any]:
    """The object with its names as ``json.dumps`` would write them: ``{1: x}`` is ``{"1": x}``."""
    for name in value:
        if type(name) is not str:
            return {_name(name): inner for name, inner in value.items()}
    return value


def _name(name: object) -> str:
    if isinstance(name, str):
        return str(name)
    return {True: "true", False: "false"}[name] if isinstance(name, bool) else "null" if name is None else _safe(name)


def _safe(name: object) -> str:
    try:
        return repr(name) if isinstance(name, int | float) else f"({type(name).__name__})"
    except ValueError:  # more digits than Python likes to print
        return "(int)"


def _equal(a: object, b: object) -> bool:
    try:
        return type_name(a) == type_name(b) and bool(a == b)
    except Exception:  # a foreign object whose __eq__ fails is equal to nothing
        return False


def _same_types(a: Any, b: Any) -> bool:
    """Whether values that are ``==`` also agree in which of them are booleans; False for what is no JSON.

    Strings come first: half of all leaves, equal to strings only. Then identity: small integers, null, what is shared,
    and every boolean that equals a boolean. So what is left of the scalars is two numbers, or else no JSON.
    """
    kind = type(a)
    if kind is dict:
        if type(b) is not dict:
            return False
        for name, x in a.items():
            kind = type(x)
            if kind is str:
                continue
            y = b[name]
            if x is y:
                continue
            if kind is int or kind is float:
                kind = type(y)
                if kind is int or kind is float:
                    continue
                return False
            if not _same_types(x, y):
                return False
        return True
    if kind is list:
        for x, y in zip(a, b, strict=False):
            kind = type(x)
            if kind is str or x is y:
                continue
            if kind is int or kind is float:
                kind = type(y)
                if kind is int or kind is float:
                    continue
                return False
            if not _same_types(x, y):
                return False
        return True
    return a is b or kind is str or (kind in _REAL and type(b) in _REAL)


_REAL: Final = frozenset((int, float))


def _number(value: float) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"#{value!r}"
    return f"#{int(value):x}"  # hexadecimal: linear, and without the limit of digits


def _once(prints: Sequence[Hashable]) -> dict[Hashable, int]:
    """Where each print stands that occurs exactly once."""
    where: dict[Hashable, int] = {}
    twice: set[Hashable] = set()
    for place, print_ in enumerate(prints):
        if print_ in where:
            twice.add(print_)
        where[print_] = place
    return {print_: place for print_, place in where.items() if print_ not in twice}


def _counted(prints: Sequence[Hashable]) -> dict[tuple[Hashable, int], None]:
    seen: dict[Hashable, int] = {}
    counted: dict[tuple[Hashable, int], None] = {}
    for print_ in prints:
        seen[print_] = seen.get(print_, 0) + 1
        counted[print_, seen[print_]] = None
    return counted


def _longest_rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest run of pairs, of pairs sorted by their first, in which the second rises too: n log n."""
    tails: list[int] = []  # the smallest second that ends a run of each length
    ends: list[int] = []
    before: list[int] = []
    for place, (_, second) in enumerate(pairs):
        length = bisect_left(tails, second)
        before.append(ends[length - 1] if length else -1)
        tails[length : length + 1] = [second]
        ends[length : length + 1] = [place]
    run: list[tuple[int, int]] = []
    place = ends[-1] if ends else -1
    while place >= 0:
        run.append(pairs[place])
        place = before[place]
    return run[::-1]


def _pair_off(
    shelf_a: list[_Loose],
    shelf_b: list[_Loose],
    pairs: list[tuple[int, int]],
    left_over: list[int],
    right_over: list[int],
) -> None:
    """Pair elements that are equal but for tolerant numbers, in the order of these."""
    shelf_a.sort()
    shelf_b.sort()
    i = j = 0
    while i < len(shelf_a) and j < len(shelf_b):
        (numbers_a, place_a), (numbers_b, place_b) = shelf_a[i], shelf_b[j]
        if all(close(x, y, tolerance) for (x, tolerance), (y, _) in zip(numbers_a, numbers_b, strict=False)):
            pairs.append((place_a, place_b))
            i, j = i + 1, j + 1
        elif numbers_a < numbers_b:
            left_over.append(place_a)
            i += 1
        else:
            right_over.append(place_b)
            j += 1
    left_over.extend(place for _, place in shelf_a[i:])
    right_over.extend(place for _, place in shelf_b[j:])


def _less(places: Sequence[int], taken: Iterable[int]) -> list[int]:
    gone = set(taken)
    return [place for place in places if place not in gone]
