"""The spec file `rollout.toml`: its model, its JSON Schema and its mistakes."""

from .example import example
from .schema import json_schema
from .spec import Spec, parse_spec, read_spec

__all__ = ["Spec", "example", "json_schema", "parse_spec", "read_spec"]
