"""Both sides of a difference, with what differs marked, and what was redacted named as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from markupsafe import Markup

from rollout_render import words
from rollout_render.clean import clean

_LONGEST: Final = 160  # characters of what differs
_AROUND: Final = 40  # characters before and after it


@dataclass(frozen=True, slots=True)
class Side:
    """What one side has. ``parts``: texts, and whether each of them differs from the other side. ``redacted``: it is
    not the value itself, but what may be told of it."""

    parts: Sequence[tuple[str, bool]]
    redacted: bool

    @property
    def html(self) -> Markup:
        """The parts, those that differ in ``<mark>``."""
        return Markup("").join(
            Markup("<mark>{}</mark>" if differs else "{}").format(text) for text, differs in self.parts
        )


def sides(control: Any, candidate: Any) -> tuple[Side, Side]:
    """Control's and the candidate's, as they were stored."""
    both = words.is_redacted(control), words.is_redacted(candidate)
    if all(both):
        ours, theirs = words.pieces(control), words.pieces(candidate)
        return Side(_listed(ours, theirs), True), Side(_listed(theirs, ours), True)
    one, other = (clean(words.stored(value), 4_000) for value in (control, candidate))
    return Side(_marked(one, other), both[0]), Side(_marked(other, one), both[1])


def _listed(pieces: Sequence[str], others: Sequence[str]) -> list[tuple[str, bool]]:
    """Pieces with commas between them; those that the other side does not have differ."""
    parts: list[tuple[str, bool]] = []
    for piece in pieces:
        if parts:
            parts.append((", ", False))
        parts.append((clean(piece, _LONGEST), piece not in others))
    return parts


def _marked(text: str, other: str) -> list[tuple[str, bool]]:
    """The text in at most three parts: alike, different, alike. What is long is cut where it is alike first."""
    if text == other:  # they differ beyond what is kept
        return [(clean(text, _LONGEST), False)]
    begin = _alike(text, other)
    end = len(text) - _alike(text[begin:][::-1], other[begin:][::-1])
    before, after = text[:begin], text[end:]
    if len(before) > _AROUND:
        before = f"…{before[-_AROUND:]}"
    parts = [(before, False), (clean(text[begin:end], _LONGEST), True), (clean(after, _AROUND), False)]
    return [part for part in parts if part[0]]


def _alike(text: str, other: str) -> int:
    """With how many same characters both begin."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(text, other, strict=False)))
