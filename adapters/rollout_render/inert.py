"""Text of others in Markdown, so that it stays what it is.

Punctuation that could be markup stands as a character reference. What GitHub would make a mention, a link to an issue
or an emoji of is broken by a space without width, or stands in ``<code>``, where GitHub looks for none of them. Not
between backticks: a backslash before a pipe would end the cell.
"""

from __future__ import annotations

import re
from typing import Final

from rollout_render.clean import clean

_MARKUP: Final = re.compile(r"[\\`*_\[\]<>#|~@$&]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_NAMING: Final = re.compile(r"([@#])(?=\w)|(:)(?=[A-Za-z+_-])|(?<![^\W_])(GH-)(?=\d)", re.IGNORECASE)


def prose(text: object, limit: int = 300) -> str:
    """As text."""
    return _referenced(_NAMING.sub(lambda found: f"{found[0]}\N{ZERO WIDTH SPACE}", clean(text, limit)))


def code(text: object, limit: int = 80) -> str:
    """A name or a value, in ``<code>``; nothing where there is none."""
    shown = clean(text, limit)
    return f"<code>{_referenced(shown)}</code>" if shown else ""


def _referenced(text: str) -> str:
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", text)
