"""What differs, as a page shows it: the tree of paths, and beside each of them stored pairs with both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.domain.report import Example, Report
from rollout.domain.report_paths import PathNode, tree
from rollout.domain.report_values import Mismatch
from rollout_render import words
from rollout_render.sides import Side, sides

#: Stored pairs beside one path.
_PAIRS: Final = 2
#: So many pairs are shown whole.
_WHOLE: Final = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """One place of a stored pair."""

    path: str
    kind: str
    branch: str
    control: Side
    candidate: Side


@dataclass(frozen=True, slots=True)
class Seen:
    """A difference, and the trial in which it was seen; None: the first one, whose trial is not stored."""

    trial: Example | None
    difference: Difference


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of difference at a path, with pairs in which it was seen."""

    mismatch: Mismatch
    seen: Sequence[Seen]


@dataclass(frozen=True, slots=True)
class Place:
    """A node of the tree. ``note``: what is known of all below it together."""

    name: str
    note: str
    kinds: Sequence[Kind]
    below: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Whole:
    """A stored pair with all its differences."""

    example: Example
    differences: Sequence[Difference]


def places(report: Report) -> list[Place]:
    """The tree of paths."""
    examples = {example.trial: example for example in report.examples}
    return [_place(node, examples) for node in tree(report.mismatches)]


def pairs(report: Report) -> list[Whole]:
    """Stored pairs whole, oldest first."""
    return [Whole(example, [difference(one) for one in example.differences]) for example in report.examples[:_WHOLE]]


def difference(stored: Mapping[str, Any]) -> Difference:
    """A difference as it was stored."""
    control, candidate = sides(stored.get("control"), stored.get("candidate"))
    path, kind, branch = (str(stored.get(name, "")) for name in ("path", "kind", "branch"))
    return Difference(path, kind, branch, control, candidate)


def _place(node: PathNode, examples: Mapping[str, Example]) -> Place:
    note = ""
    if node.below:
        least = f"at least {node.least:,} calls" if node.share is None else f"at least {words.share(node.share)}"
        note = f"{node.places} places, {least}" if node.places > 1 else least
    kinds = [Kind(one, _seen(one, examples)) for one in node.mismatches]
    return Place(node.name, note, kinds, [_place(below, examples) for below in node.below])


def _seen(mismatch: Mismatch, examples: Mapping[str, Example]) -> list[Seen]:
    """The first stored pairs with just this difference; the one that was kept for it, where none is stored."""
    stored = [example for trial in mismatch.trials if (example := examples.get(trial)) is not None]
    found = [Seen(example, difference(own)) for example in stored if (own := _of(mismatch, example)) is not None]
    if not found and mismatch.example is not None:
        return [Seen(None, difference(mismatch.example))]
    return found[:_PAIRS]


def _of(mismatch: Mismatch, example: Example) -> Mapping[str, Any] | None:
    """The first difference of a pair that counts as this mismatch."""
    wanted = (mismatch.path, mismatch.kind, mismatch.branch)
    for one in example.differences:
        if (one.get("path"), one.get("kind"), one.get("branch", "")) == wanted:
            return one
    return None
