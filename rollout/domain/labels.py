"""Labels of a call: what reports group trials by. They are stored as they are, so they are few and short."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

MOST: Final = 5
LONGEST: Final = 40  # characters of a name or a value


def labels_of(answer: object) -> dict[str, str]:
    """What is stored of the answer of ``labels=``: the first 5, names and values as text, cut to 40 characters each.

    None is no label. ``TypeError`` for anything but a mapping of names to texts, numbers or booleans.
    """
    if answer is None:
        return {}
    if not isinstance(answer, Mapping):
        raise TypeError(f"labels= must return a dict such as {{'plan': 'free'}}, this is {type(answer).__name__}")
    return {_text(name): _text(value) for name, value in islice(answer.items(), MOST)}


def _text(thing: object) -> str:
    if not isinstance(thing, str | int | float):
        raise TypeError(f"a label is text, a number or a boolean, this is {type(thing).__name__}")
    return str(thing)[:LONGEST].encode("utf-8", "replace").decode().replace("\0", "")
