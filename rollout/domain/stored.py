"""Values that were stored, perhaps by a later version of the code that runs beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known_to(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a dataclass of this version has. One that refused the others could read no state any more, and
    would not hear that a branch was rolled back.
    """
    names = {field.name for field in fields(kind) if field.init}
    return {name: value for name, value in data.items() if name in names}
