"""As much of JSON Schema as the spec's schema uses; an unknown keyword fails, so that none goes unchecked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NOTES = {"$schema", "$defs", "title", "description", "default", "discriminator"}
_TYPES: dict[str, Any] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def accepts(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any] | None = None) -> bool:
    """Whether a value is valid."""
    root = root or schema
    return all(_holds(word, rule, schema, value, root) for word, rule in schema.items() if word not in _NOTES)


def _holds(word: str, rule: Any, schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> bool:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    match word:
        case "$ref":
            return accepts(root["$defs"][rule.rpartition("/")[2]], value, root)
        case "type":
            return bool(_TYPES[rule](value))
        case "const":
            return bool(value == rule)
        case "enum":
            return value in rule
        case "anyOf":
            return any(accepts(option, value, root) for option in rule)
        case "oneOf":
            return sum(accepts(option, value, root) for option in rule) == 1
        case "properties":
            known = (
                [(rule[name], item) for name, item in value.items() if name in rule] if isinstance(value, dict) else []
            )
            return all(accepts(inner, item, root) for inner, item in known)
        case "additionalProperties":
            others = (
                [name for name in value if name not in schema.get("properties", {})] if isinstance(value, dict) else []
            )
            return not others if rule is False else all(accepts(rule, value[name], root) for name in others)
        case "required":
            return not isinstance(value, dict) or set(rule) <= value.keys()
        case "items":
            return not isinstance(value, list) or all(accepts(rule, item, root) for item in value)
        case "minItems":
            return not isinstance(value, list) or len(value) >= rule
        case "pattern":
            return not isinstance(value, str) or re.search(rule, value) is not None
        case "minimum":
            return not numeric or value >= rule
        case "maximum":
            return not numeric or value <= rule
        case "exclusiveMinimum":
            return not numeric or value > rule
        case "exclusiveMaximum":
            return not numeric or value < rule
    raise AssertionError(f"the schema uses {word}, which this test does not know")
