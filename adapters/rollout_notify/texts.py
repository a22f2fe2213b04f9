"""Text that may go to strangers' screens: names and reasons come from a database, and so from anybody."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

_SPACES: Final = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")
_LOST: Final = "\N{REPLACEMENT CHARACTER}"
_LEFT_OUT: Final = frozenset(("Cc", "Cf"))  # controls; marks that are not seen, or turn the order of others around


def plain(text: object, most: int) -> str:
    """One line of at most ``most`` characters (an ellipsis stands for the rest): without control characters and marks
    that reorder text, half a surrogate pair as U+FFFD, so that it can be written in UTF-8.
    """
    line = " ".join("".join(map(_shown, str(text)[: 4 * most])).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _shown(character: str) -> str:
    if character in _SPACES:
        return " "
    category = unicodedata.category(character)
    if category == "Cs":
        return _LOST
    return "" if category in _LEFT_OUT else character


def escaped(text: object, most: int, entities: Mapping[str, str]) -> str:
    """``plain`` text with characters written as entities; at most ``most`` characters, and no entity cut in two."""
    pieces = [entities.get(character, character) for character in plain(text, most)]
    lengths = list(accumulate(map(len, pieces)))
    if not lengths or lengths[-1] <= most:
        return "".join(pieces)
    return "".join(pieces[: bisect_left(lengths, most)]) + "…"
