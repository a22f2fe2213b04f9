"""How JSON is read and compared on the hot path: by the standard library, or by something faster that agrees with it.

A codec may say "not the same" of values that are, never the reverse: what it does not call the same is looked at again,
with ``json`` and the typed walk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rollout.domain.differences import exactly


@dataclass(frozen=True, slots=True)
class Codec:
    """``loads``: bytes → JSON value, ``ValueError`` otherwise. ``same``: whether two values are the same JSON, types
    included."""

    loads: Callable[[bytes], Any]
    same: Callable[[Any, Any], bool]


STANDARD = Codec(json.loads, exactly)
