"""The JSON Schema of what a command prints with ``--output json``, read off the types of its result.

It says of a type what ``clean.plain`` makes of its values, and so must change whenever that does. Objects are closed:
a key that is not described is never printed.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

Schema: TypeAlias = dict[str, Any]
Known: TypeAlias = dict[str, tuple[Any, Schema]]  # what is described already, by the name of its definition

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NUMBER: Final = {"description": 'A number; what is not finite is text, as "inf".', "type": ["number", "string"]}
_SIMPLE: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"$ref": "#/$defs/number"},
    Decimal: {"type": "string"},
    datetime: {"type": "string"},
    NoneType: {"type": "null"},
}


def schema_of(shapes: Sequence[Any], title: str) -> Schema:
    """The schema of the values of a type, or of several, as JSON. ``TypeError`` names a type of which nothing is
    known."""
    known: Known = {}
    whole = _one_of(shapes, known)
    return {
        "$schema": DIALECT,
        "title": title,
        **whole,
        "$defs": {"number": _NUMBER, **{name: found for name, (_, found) in sorted(known.items())}},
    }


def _of(shape: Any, known: Known) -> Schema:
    if shape is Any or shape is object:
        return {}
    if shape in _SIMPLE:
        return dict(_SIMPLE[shape])
    if origin := get_origin(shape):
        return _of_generic(origin, get_args(shape), known)
    if isinstance(shape, type) and issubclass(shape, Enum):
        return {"enum": [member.value for member in shape]}
    if is_dataclass(shape) or hasattr(shape, "_fields"):
        return {"$ref": f"#/$defs/{_object(shape, known)}"}
    raise TypeError(f"{shape} has no schema. Teach rollout_render.schema what clean.plain makes of it.")


def _one_of(shapes: Sequence[Any], known: Known) -> Schema:
    found = [_of(shape, known) for shape in shapes]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _of_generic(origin: Any, inner: tuple[Any, ...], known: Known) -> Schema:
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, UnionType):
        return _one_of(inner, known)
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1], known)}
    if origin is tuple and Ellipsis not in inner:
        return {"type": "array", "prefixItems": [_of(one, known) for one in inner], "items": False}
    if issubclass(origin, Collection):
        return {"type": "array", "items": _of(inner[0], known)}
    raise TypeError(f"{origin} has no schema. Teach rollout_render.schema what clean.plain makes of it.")


def _object(shape: Any, known: Known) -> str:
    """Describe an object once; its name among the definitions."""
    name: str = shape.__name__
    if known.get(name, (shape,))[0] is not shape:  # two modules may use one word
        name = f"{shape.__module__}.{name}"
    if name not in known:
        found: Schema = {"type": "object"}
        known[name] = (shape, found)  # before its fields: they may lead back to it
        hints = get_type_hints(shape)
        names = [field.name for field in fields(shape)] if is_dataclass(shape) else list(shape._fields)
        shown = {field: _of(hints[field], known) for field in names if not field.startswith("_")}
        if shape.__doc__:
            found["description"] = " ".join(inspect.cleandoc(shape.__doc__).split())
        found.update(properties=shown, required=list(shown), additionalProperties=False)
    return name
