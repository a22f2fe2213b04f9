"""Whatever a command prints as JSON is what its schema says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from rollout_render.doors import Exit
from rollout_render.schema import DIALECT, schema_of
from tests.cli.conftest import Run, commands, parsed

#: What prints no result: a script for a shell, a schema, a story, and what stays and speaks on stderr.
OTHERS = {"completion", "schema", "config schema", "demo", "controller", "serve"}
SURE = ("--reason", "a test", "--yes")
EXAMPLES: dict[str, list[tuple[str, ...]]] = {
    "status": [(), ("profile",)],
    "show": [("profile",)],
    "check": [("profile",), ("profile", "--explain")],
    "history": [("profile",)],
    "report": [("profile",)],
    "diff": [("profile",), ("profile", "--path", "$.orders[*].total")],
    "cost": [("profile",)],
    "doctor": [()],
    "promote": [("profile", "orders", "--force", *SURE)],
    "rollback": [("profile", "orders"), ("profile", "tickets")],
    "pause": [("profile", "orders")],
    "resume": [("profile", "tickets")],
    "reset": [("profile", "orders", *SURE)],
    "approve": [],  # what waits for an approval is not in the story: it answers as promote does
    "plan": [("profile",), ("profile", "orders", "--ramp", "shadow 50% 100%", "--harm", "5%", "--within", "1h")],
    "simulate": [("profile", "--ramp", "shadow 100%", "--harm", "10%", "--runs", "1", "--seed", "1")],
    "whatif": [("profile",), ("profile", "--drop", "tickets")],
    "init": [("new.toml",)],
    "apply": [("spec.toml",), ("spec.toml", "--reset", *SURE)],
    "config check": [("spec.toml",)],
    "config show": [("profile",)],
    "flag set": [("profile", "off", "--reason", "a test")],
    "flag list": [()],
    "flag clear": [("profile", "--reason", "a test")],
    "db upgrade": [()],
    "db current": [()],
    "db check": [()],
    "db sql": [()],
    "purge": [("--rollout", "profile", "--yes")],
    "audit verify": [()],
    "dashboards export": [("boards",)],
    "notify test": [("--slack", "http://127.0.0.1:9/hook")],  # where nobody listens
}
LEAVES = {
    " ".join(path): command for path, command in commands() if path and not isinstance(command, click.Group)
}  # fmt: skip


@pytest.fixture(autouse=True)
def spec(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("[rollouts.profile.shadow]\nsample = 0.5\n")


def test_every_command_that_prints_a_result_prints_it_as_json_too() -> None:
    assert set(EXAMPLES) == set(LEAVES) - OTHERS


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_json_of_a_command_is_what_its_schema_says(run: Run, name: str) -> None:
    schema = parsed(run("schema", *name.split()))
    Draft202012Validator.check_schema(schema)
    for words in EXAMPLES[name]:
        result = run(*name.split(), *words, "--output", "json")
        assert result.exit_code != Exit.usage, result.output
        Draft202012Validator(schema).validate(parsed(result))


def test_a_schema_tells_what_a_command_does_not_print(run: Run) -> None:
    seen = parsed(run("status", "-o", "json"))
    validator = Draft202012Validator(parsed(run("schema", "status")))
    for broken in (
        {**seen, "more": 1},
        {key: value for key, value in seen.items() if key != "leader"},
        {**seen, "at": None},
        {**seen, "rollouts": [{**seen["rollouts"][0], "word": "fine"}]},
    ):
        assert not validator.is_valid(broken)


def test_all_schemas_come_together(run: Run) -> None:
    found = parsed(run("schema"))
    assert set(found) == set(EXAMPLES)
    assert {schema["$schema"] for schema in found.values()} == {DIALECT}


def test_a_command_that_prints_no_json_is_named(run: Run) -> None:
    result = run("schema", "demo")
    assert result.exit_code == Exit.usage
    assert '"demo" prints no JSON' in result.stderr


def test_nothing_private_is_printed(run: Run) -> None:
    def keys(value: Any) -> list[str]:
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return [*(value if isinstance(value, dict) else ()), *(key for one in inside for key in keys(one))]

    assert not [key for key in keys(parsed(run("show", "profile", "-o", "json"))) if key.startswith("_")]


def test_a_type_of_which_nothing_is_known_is_refused() -> None:
    for unknown in (Path, Callable[[], int]):
        with pytest.raises(TypeError, match="has no schema"):
            schema_of([unknown], "a command")
