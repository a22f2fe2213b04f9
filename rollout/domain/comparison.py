"""Was the candidate's answer the same? One ``Compare`` per rollout, one ``Comparison`` per trial, never two-valued.

``matched``: no difference. ``ignored``: there were some, and a declared rule ignores every one. ``mismatched``: at
least one counts, whatever else was ignored. ``incomparable``: it could not be told, and ``reason`` says why. What
could be told goes first: a reply with another status is mismatched even if its body cannot be read.

A reply that only control could not have meant (its body is no JSON though it says so, its view raises) is incomparable,
because there is nothing to hold the candidate against; where only the candidate's is like that, it is a difference of
kind ``type`` at ``$``. Where the status differs in class (a 500 against a 200), the bodies are not compared: an error
page has nothing in common with an answer, and its hundred differences would only bury the one that matters.

Speed. Most pairs are equal, so equality is asked first and the walk starts only on a difference. Identical bytes
under an equal status and equal headers are matched unparsed. Parsed values are compared by ``==``, at C speed,
skipping what an overlay shares with control by identity. But ``True == 1`` holds in Python, so what is equal is looked
through for a boolean that meets a number (``differences.exactly``): a loop that costs some five times the ``==`` of
what is not shared, 2 µs for 300 bytes. Measured and no better: ``marshal.dumps`` of both sides (as slow, and it depends
on the order of names), lists of the types (slower), ``repr`` (four times slower), the walk alone (ten times slower).
With a ``view`` there is no short cut, as a view may look at what is not compared otherwise.

Hooks of the user's (``view``, ``equal``) that raise are named in ``hooks`` and ``reason`` (by the class of what was
raised, never its message, which may hold data), and nothing propagates.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rollout.domain.bodies import BodyKind, Parsed, parse, repeats_a_name, same_content_type
from rollout.domain.differences import Difference, Kind, Rules, TooMuch, exactly, walk
from rollout.domain.paths import ERROR, HEADERS, MISSING, STATUS, Concrete, Missing, Path, PathError

if TYPE_CHECKING:
    from rollout.domain.call import Reply

LIMIT: Final = 100
UNSET: Final = MISSING
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class Outcome(StrEnum):
    """Disjoint; see the module."""

    matched = "matched"
    ignored = "ignored"
    mismatched = "mismatched"
    incomparable = "incomparable"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one comparison came to.

    ``differences``: those that count, at most 100 (``reason`` says so where there were more). ``ignored``: how many
    places differed and were ignored. ``reason``: why it is incomparable, or a remark; it never holds data. ``hooks``:
    the hooks of the user's that raised, ``"view"`` or ``"equal"``, to be counted.
    """

    outcome: Outcome
    differences: tuple[Difference, ...] = ()
    ignored: int = 0
    reason: str = ""
    hooks: tuple[str, ...] = ()

    def by_branch(self, parts: Mapping[str, Path]) -> dict[str, tuple[Difference, ...]]:
        """The differences by the branch whose part they lie in; ``""``, the rollout itself, for those in none.

        ``parts`` is ``Comparator.parts``. Of parts inside one another the innermost is meant, of equal ones the first.
        What lies above a part (``$`` is no object at all) lies in none. Branches without a difference are left out.
        """
        found: dict[str, list[Difference]] = {}
        inner_first = sorted(parts, key=lambda branch: -len(parts[branch].steps))
        for one in self.differences:
            owner = next((branch for branch in inner_first if parts[branch].covers(one.path)), "")
            found.setdefault(owner, []).append(one)
        return {branch: tuple(some) for branch, some in found.items()}


MATCHED: Final = Comparison(Outcome.matched)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """What is compared, and how; a mistake is reported by ``problems``, all of them at once.

    * ``ignore``: paths whose differences do not count, with all that lies below them, such as ``"$.generated_at"``,
      ``"$..etag"``, ``"headers.location"``, ``"status"``. Default none.
    * ``unordered``: arrays whose order does not matter: path → None (a multiset) or the name of the field that tells
      their elements apart, ``{"$.tags": None, "$.items": "id"}``. Default: every array keeps its order.
    * ``tolerance``: path of a number → how far the sides may lie apart, 0 or more, relative above 1 and absolute below
      (``differences.close``). Default: numbers are equal or not.
    * ``view``: ``Reply -> value``, called with each side; what it returns is compared instead of the body. Paths are
      then those of its value. Default: the body, by its content type (``bodies``).
    * ``equal``: ``(control, candidate) -> bool``, one's own rule for the whole value, asked unless the two are
      identical. True is matched; False is a mismatch, unless all that the walk finds is ignored. Default None.
    * ``headers``: names of the headers that are compared. Default Location and Content-Type.
    * ``status``: whether the status is compared. Default True.
    """

    ignore: Sequence[str] = ()
    unordered: Mapping[str, str | None] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    view: Callable[[Reply], object] | None = None
    equal: Callable[[object, object], bool] | None = None
    headers: Sequence[str] = ("Location", "Content-Type")
    status: bool = True

    def problems(self) -> list[str]:
        """Every mistake, each with the remedy; empty when there is none."""
        return [*_listed("ignore", self.ignore), *_rules(self), *_hooks(self), *_compared(self)]


class Comparator:
    """A ``Compare``, compiled once per rollout. Safe to share: it keeps no state between comparisons.

    ``parts`` maps each branch that has a ``part=`` to its path.
    """

    __slots__ = ("_beside", "_compare", "_root_ignored", "_rules", "parts")

    def __init__(self, compare: Compare, parts: Mapping[str, str] = _NONE) -> None:
        """``parts``: branch → path text. Raises ``ValueError`` with every problem of ``compare``, ``PathError``."""
        if problems := compare.problems():
            raise ValueError("\n".join(problems))
        ignore = [Path.parse(path) for path in compare.ignore]
        self.parts: Mapping[str, Path] = {branch: _plain(path) for branch, path in parts.items()}
        self._compare = compare
        self._beside = [path for path in ignore if path.root is not None]
        self._rules = Rules(
            [path for path in ignore if path.root is None],
            {Path.parse(path): key for path, key in compare.unordered.items()},
            {Path.parse(path): by for path, by in compare.tolerance.items()},
        )
        self._root_ignored = self._rules.start.ignored

    def values(self, control: object, candidate: object) -> Comparison:
        """Compare two JSON values: the whole of both bodies."""
        if exactly(control, candidate):
            return MATCHED
        found = _Findings()
        self._values(found, control, candidate)
        return found.comparison()

    def replies(
        self,
        control: Reply,
        candidate: Reply,
        *,
        control_value: object = UNSET,
        candidate_value: object = UNSET,
    ) -> Comparison:
        """Compare two replies: status, headers, bodies.

        ``control_value``, ``candidate_value``: the bodies as JSON values, where they are parsed already. If both are
        given, neither body is looked at.
        """
        if self._compare.view is None and self._same_envelope(control, candidate):
            if control_value is UNSET or candidate_value is UNSET:
                if control.body == candidate.body:
                    return MATCHED
            elif exactly(control_value, candidate_value):
                return MATCHED
        found = _Findings()
        comparable = self._status(found, control, candidate)
        self._headers(found, control, candidate)
        if comparable:
            self._bodies(found, control, candidate, control_value, candidate_value)
        return found.comparison()

    def errors(self, control: BaseException | None, candidate: BaseException | None) -> Comparison:
        """Compare what the two sides raised: equal class and message (or None twice) match, one side only does not.

        The differences are at ``error.class`` (the class names) and ``error.message`` (the texts).
        """
        found = _Findings()
        self._beside_the_body(found, (ERROR, "class"), _class(control, candidate), _class(candidate, control))
        if control is not None and candidate is not None:
            self._beside_the_body(found, (ERROR, "message"), _message(control), _message(candidate))
        return found.comparison()

    def part(self, branch: str, control_value: object, part: object) -> Comparison:
        """Compare what a branch returned with what stands at its ``part=`` path in control's JSON.

        ``control_value`` is the whole of control's JSON, ``UNSET`` where it is none. ``view`` and ``equal`` concern
        whole replies and play no part. Nothing there in control's JSON is a difference of kind ``extra``.
        """
        path = self.parts.get(branch)
        if path is None:
            return Comparison(Outcome.incomparable, reason=f'branch "{branch}" has no part= path to compare at')
        if control_value is UNSET:
            return Comparison(Outcome.incomparable, reason="control's reply is not JSON")
        mine = path.get(control_value)
        if mine is not MISSING and exactly(mine, part):
            return MATCHED
        found = _Findings()
        where: Concrete = tuple(step for step in path.steps if isinstance(step, str | int))
        if mine is MISSING:
            found.add(Difference(where, Kind.extra, MISSING, part), ignored=self._rules.state(where).ignored)
        else:
            self._walk(found, mine, part, where)
        return found.comparison()

    # ---- status and headers ----

    def _same_envelope(self, control: Reply, candidate: Reply) -> bool:
        if self._compare.status and control.status != candidate.status:
            return False
        ours, theirs = control.headers, candidate.headers
        if ours is not theirs:
            for name in self._compare.headers:
                if _header(ours, name) != _header(theirs, name):
                    return False
        return True

    def _status(self, found: _Findings, control: Reply, candidate: Reply) -> bool:
        """Compare the statuses; False where the bodies have nothing in common to be compared."""
        if not self._compare.status or control.status == candidate.status:
            return True
        ignored = self._beside_the_body(found, (STATUS,), control.status, candidate.status)
        return ignored or control.status // 100 == candidate.status // 100

    def _headers(self, found: _Findings, control: Reply, candidate: Reply) -> None:
        for name in self._compare.headers:
            ours, theirs = _header(control.headers, name), _header(candidate.headers, name)
            if not (same_content_type(ours, theirs) if name.lower() == "content-type" else ours == theirs):
                nothing = tuple(MISSING if side is None else side for side in (ours, theirs))
                self._beside_the_body(found, (HEADERS, name.lower()), *nothing)

    def _beside_the_body(self, found: _Findings, path: Concrete, ours: object, theirs: object) -> bool:
        """Note a difference beside the body, if it is one; True where it is ignored."""
        if ours == theirs:
            return True
        kind = Kind.missing if theirs is MISSING else Kind.extra if ours is MISSING else Kind.value
        ignored = any(rule.covers(path) for rule in self._beside)
        found.add(Difference(path, kind, ours, theirs), ignored=ignored)
        return ignored

    # ---- bodies ----

    def _bodies(self, found: _Findings, control: Reply, candidate: Reply, ours: object, theirs: object) -> None:
        if self._compare.view is not None:
            self._views(found, self._compare.view, control, candidate)
        elif ours is not UNSET and theirs is not UNSET:
            self._values(found, ours, theirs)
        elif control.body != candidate.body:
            if self._root_ignored:
                found.ignored += 1
            else:
                self._parsed(found, _parsed(control, ours), _parsed(candidate, theirs), control, candidate)

    def _parsed(self, found: _Findings, ours: Parsed, theirs: Parsed, control: Reply, candidate: Reply) -> None:
        if not ours.readable:
            found.cannot_tell(f"control's body {ours.problem}")
        elif not theirs.readable:
            found.add(Difference((), Kind.type, ours.value, theirs.value))
            found.reasons.append(f"the candidate's body {theirs.problem}")
        elif ours.kind is not theirs.kind:
            found.add(Difference((), Kind.type, ours.value, theirs.value))
            found.reasons.append(f"control's body is {ours.kind}, the candidate's {theirs.kind}")
        elif ours.kind is BodyKind.binary:
            found.add(Difference((), Kind.value, ours.value, theirs.value))
        else:
            self._values(found, ours.value, theirs.value)
            if found.differences and ours.kind is BodyKind.json:
                found.reasons.extend(_repeated(control, candidate))

    def _views(self, found: _Findings, view: Callable[[Reply], object], control: Reply, candidate: Reply) -> None:
        try:
            ours = _called(view, control)
        except Exception as error:
            found.hook_failed("view", f"view raised {type(error).__name__} on control's reply")
            found.incomparable = True
            return
        try:
            theirs = _called(view, candidate)
        except Exception as error:
            found.hook_failed("view", f"view raised {type(error).__name__} on the candidate's reply")
            found.add(Difference((), Kind.type, ours, MISSING), ignored=self._root_ignored)
            return
        self._values(found, ours, theirs)

    def _values(self, found: _Findings, ours: object, theirs: object) -> None:
        """The two whole values: identical, equal by the user's rule, or walked through."""
        if exactly(ours, theirs):
            return
        different = False
        if self._compare.equal is not None:
            try:
                different = not _called(self._compare.equal, ours, theirs)
            except Exception as error:
                found.hook_failed("equal", f"equal raised {type(error).__name__}")
            else:
                if not different:
                    return
        before = len(found.differences), found.ignored
        self._walk(found, ours, theirs, ())
        if different and before == (len(found.differences), found.ignored):
            found.add(Difference((), Kind.value, ours, theirs))

    def _walk(self, found: _Findings, ours: object, theirs: object, at: Concrete) -> None:
        try:
            seen = walk(ours, theirs, self._rules, at=at, limit=LIMIT)
        except TooMuch as limit:
            found.cannot_tell(f"the values are {limit}")
            return
        found.differences.extend(seen.differences)
        found.ignored += seen.ignored
        if seen.truncated:
            found.reasons.append(f"more than {LIMIT} differences; the first {LIMIT} are listed")


class _Findings:
    """What is gathered during one comparison."""

    __slots__ = ("differences", "hooks", "ignored", "incomparable", "reasons")

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self.ignored = 0
        self.incomparable = False
        self.reasons: list[str] = []
        self.hooks: list[str] = []

    def add(self, one: Difference, *, ignored: bool = False) -> None:
        if ignored:
            self.ignored += 1
        else:
            self.differences.append(one)

    def cannot_tell(self, reason: str) -> None:
        self.incomparable = True
        self.reasons.append(reason)

    def hook_failed(self, hook: str, reason: str) -> None:
        self.hooks.append(hook)
        self.reasons.append(reason)

    def comparison(self) -> Comparison:
        if self.differences:
            outcome = Outcome.mismatched
        elif self.incomparable:
            outcome = Outcome.incomparable
        elif self.ignored:
            outcome = Outcome.ignored
        elif not self.reasons:
            return MATCHED
        else:
            outcome = Outcome.matched
        reason = "; ".join(self.reasons)
        return Comparison(outcome, tuple(self.differences), self.ignored, reason, tuple(self.hooks))


def _header(headers: Any, name: str) -> str | None:
    """The value of a header, several of one name joined by line ends; None where there is none."""
    value: str | None = headers.get(name)
    if value is None or name in _SINGLE:
        return value
    getall = getattr(headers, "getall", None)
    return value if getall is None else "\n".join(getall(name))


_SINGLE: Final = frozenset(("Location", "Content-Type"))


def _parsed(reply: Reply, value: object) -> Parsed:
    return parse(reply.content_type, reply.body) if value is UNSET else Parsed(BodyKind.json, value)


def _repeated(control: Reply, candidate: Reply) -> Iterator[str]:
    for side, reply in (("control's", control), ("the candidate's", candidate)):
        if repeats_a_name(reply.body):
            yield f"an object in {side} body has a name twice; the last was compared"


def _called(hook: Callable[..., object], *arguments: object) -> object:
    """What a hook returns; an awaitable is a mistake that would count as true."""
    answer = hook(*arguments)
    if inspect.isawaitable(answer):
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        raise TypeError("a plain function is needed, this one is async")
    return answer


def _class(error: BaseException | None, other: BaseException | None) -> str | Missing:
    """The name of the class; with its module where the other side's class has the same name and is another."""
    if error is None:
        return MISSING
    own, foreign = type(error), type(other)
    if own is not foreign and own.__name__ == foreign.__name__:
        return f"{own.__module__}.{own.__qualname__}"
    return own.__name__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception of the user's that cannot be printed
        return ""


def _plain(text: str) -> Path:
    path = Path.parse(text)
    if not path.is_plain:
        raise PathError(f'part="{text}" names more than one place: write the path of one, such as "$.orders"')
    return path


# ---- mistakes ----


def _listed(name: str, texts: object) -> Iterator[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        yield f'{name}={texts!r} is not a list: write {name}=["…"]'
        return
    for text in texts:
        yield from _path(name, text)


def _path(name: str, text: str) -> Iterator[str]:
    try:
        Path.parse(text)
    except PathError as error:
        yield f"{name}: {error}"


def _below_the_root(name: str, text: str) -> Iterator[str]:
    mistakes = list(_path(name, text))
    yield from mistakes
    if not mistakes and Path.parse(text).root is not None:
        yield f'{name}: "{text}" is not in the body: write a path that begins with "$"'


def _rules(compare: Compare) -> Iterator[str]:
    if not isinstance(compare.unordered, Mapping):
        yield f'unordered={compare.unordered!r} is not a mapping: write {{"$.tags": None}} or {{"$.items": "id"}}'
    else:
        for text, key in compare.unordered.items():
            yield from _below_the_root("unordered", text)
            if key is not None and (not isinstance(key, str) or key.startswith("$")):
                yield f'unordered: the key {key!r} of "{text}" must be the name of a field such as "id", or None'
    if not isinstance(compare.tolerance, Mapping):
        yield f'tolerance={compare.tolerance!r} is not a mapping: write {{"$.score": 1e-6}}'
    else:
        for text, by in compare.tolerance.items():
            yield from _below_the_root("tolerance", text)
            if isinstance(by, bool) or not isinstance(by, int | float) or not (math.isfinite(by) and by >= 0):
                yield f'tolerance: {by!r} at "{text}" is not a number from 0 up: write 1e-6, or 0.01 for one per cent'


def _hooks(compare: Compare) -> Iterator[str]:
    for name, hook, shape in (
        ("view", compare.view, "Reply -> value"),
        ("equal", compare.equal, "(control, candidate) -> bool"),
    ):
        if hook is None:
            continue
        if not callable(hook):
            yield f"{name}={hook!r} cannot be called: give a function {shape}"
        elif inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
            yield f"{name}={hook!r} is async: give a plain function {shape}, comparing does not wait"


def _compared(compare: Compare) -> Iterator[str]:
    if isinstance(compare.headers, str) or not isinstance(compare.headers, Sequence):
        yield f'headers={compare.headers!r} is not a list: write headers=["Location"]'
    else:
        for header in compare.headers:
            if not isinstance(header, str) or not header or any(c.isspace() or c == ":" for c in header):
                yield f'headers: {header!r} is not the name of a header: write it as in "Content-Type"'
    if not isinstance(compare.status, bool):
        yield f"status={compare.status!r} must be True (compare it) or False"
