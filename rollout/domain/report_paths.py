"""The paths that differ as a tree, so that what belongs together stands together: ``$.orders[*]``, below it ``.total``
and ``.state``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from rollout.domain.paths import Path, PathError, steps_text
from rollout.domain.report_values import Mismatch

#: Below so many nodes the rest of a path is one step, however long: a screen is only so wide.
DEEPEST: Final = 6


@dataclass(frozen=True, slots=True)
class PathNode:
    """A place where something differs, or below which something does.

    ``name``: what it adds to the path of the node above. ``mismatches``: those at just this place, most frequent
    first. ``current``: one here or below was seen since the policy in force began. ``least``: so many calls at least
    differ here or below (one call may differ in several places), and ``share``: that of all compared, None where it is
    not known; ``places``: how many paths, this one included.
    """

    name: str
    mismatches: Sequence[Mismatch]
    below: Sequence[PathNode]
    current: bool
    least: int
    share: float | None
    places: int


@dataclass(slots=True)
class _Draft:
    """A node that still grows."""

    mismatches: list[Mismatch] = field(default_factory=list)
    below: dict[str, _Draft] = field(default_factory=dict)


def tree(mismatches: Sequence[Mismatch]) -> tuple[PathNode, ...]:
    """The roots, the current ones first, then those with the most calls; every mismatch is in it once."""
    whole = _Draft()
    for mismatch in mismatches:
        at = whole
        for name in _names(mismatch.path):
            at = at.below.setdefault(name, _Draft())
        at.mismatches.append(mismatch)
    return _nodes(whole, 1)


def _names(path: str) -> list[str]:
    """What each step adds to the path; all of it where it cannot be read (one that was cut, all the others)."""
    try:
        parsed = Path.parse(path)
    except PathError:
        return [path]
    texts = [steps_text(parsed.root, parsed.steps[:length]) for length in range(len(parsed.steps) + 1)]
    return [texts[0], *(after[len(before) :] for before, after in pairwise(texts))]


def _nodes(draft: _Draft, depth: int) -> tuple[PathNode, ...]:
    if depth >= DEEPEST:
        found = [node for name, below in draft.below.items() for node in _flat(name, below)]
    else:
        found = [_node(name, below, depth) for name, below in draft.below.items()]
    return tuple(sorted(found, key=lambda node: (not node.current, -node.least, node.name)))


def _node(name: str, draft: _Draft, depth: int) -> PathNode:
    """A node; one at which nothing differs and below which only one step leads on is one with that step."""
    while not draft.mismatches and len(draft.below) == 1:
        ((step, draft),) = draft.below.items()
        name += step
    return _made(name, draft.mismatches, _nodes(draft, depth + 1))


def _flat(name: str, draft: _Draft) -> list[PathNode]:
    """Every place at or below a node, as nodes without any below them."""
    own = [_made(name, draft.mismatches, ())] if draft.mismatches else []
    return own + [node for step, below in draft.below.items() for node in _flat(name + step, below)]


def _made(name: str, mismatches: list[Mismatch], below: Sequence[PathNode]) -> PathNode:
    ordered = tuple(sorted(mismatches, key=lambda one: (not one.current, -one.count, one.kind, one.branch)))
    shares = [*(one.share for one in ordered), *(node.share for node in below)]
    return PathNode(
        name=name,
        mismatches=ordered,
        below=below,
        current=any(one.current for one in ordered) or any(node.current for node in below),
        least=max([*(one.count for one in ordered), *(node.least for node in below)]),
        share=max((share for share in shares if share is not None), default=None),
        places=bool(ordered) + sum(node.places for node in below),
    )
