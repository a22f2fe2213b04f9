"""The JSON Schema of the spec file, for editors and other languages."""

from __future__ import annotations

from typing import Any

from .model import SpecFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of ``rollout.toml``.

    It knows keys, types and ranges. What lies between keys (stages that rise, approvals that are stages, windows) only
    ``read_spec`` checks.
    """
    schema: dict[str, Any] = _without_null(SpecFile.model_json_schema())
    return {"$schema": DIALECT, **schema, "title": "rollout.toml"}


def _without_null(node: Any) -> Any:
    """TOML has no null: absent is what pydantic's schema calls null. Titles say what the key says already."""
    if isinstance(node, list):
        return [_without_null(item) for item in node if item != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    found = {
        name: _without_null(value)
        for name, value in node.items()
        if not (name == "default" and value is None) and not (name == "title" and isinstance(value, str))
    }
    if isinstance(options := found.get("anyOf"), list) and len(options) == 1:
        return {**{name: value for name, value in found.items() if name != "anyOf"}, **options[0]}
    return found
