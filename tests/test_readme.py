"""The README tells the truth: its code runs, its tables name what exists, its commands are there."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from aiohttp import web
from click.testing import CliRunner
from pytest_aiohttp.plugin import AiohttpClient

import rollout
from rollout import Branch, Compare, Ramp, Rollout, Shadow, Store
from rollout.resources import shipped

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FIRST_PAGE = 45  # lines


async def monolith(request: web.Request) -> web.Response:
    return web.json_response({"id": request.match_info["id"], "orders": [1], "tickets": [{"id": 1}], "generated_at": 1})


async def fetch_tickets(call: rollout.Call) -> list[dict[str, int]]:
    return [{"id": 1}]


async def test_the_code_on_the_first_page_serves_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aiohttp_client: AiohttpClient
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "profile_monolith": monolith,
        "fetch_tickets": fetch_tickets,
        "SESSION": "s",
        "ORDERS": "u",
    }
    exec(compile(CODE[1], "README", "exec"), names)  # the branch stands below the declaration in the text
    exec(compile(CODE[0], "README", "exec"), names)
    client = await aiohttp_client(names["app"])
    reply = await client.get("/profile/7", headers={"X-User-Id": "alice"})
    assert (await reply.json())["id"] == "7"
    assert (tmp_path / "rollout.db").exists()


def test_code_stands_on_the_first_screen() -> None:
    assert "```python" in "\n".join(README.splitlines()[:10])
    assert "setup(app" in "\n".join(README.splitlines()[:FIRST_PAGE])


@pytest.mark.parametrize("declared", [Rollout, Branch, Compare, Shadow, Store])
def test_every_parameter_stands_in_a_table(declared: Any) -> None:
    names = {field.name for field in fields(declared)} - {"name", "run", "_", "_answers"}
    assert sorted(name for name in names if f"{name}=" not in README) == []


def test_the_ramp_of_the_table_is_the_default() -> None:
    assert f"`{Ramp().text()}`" in README


def test_every_command_that_is_shown_exists() -> None:
    names: dict[str, Any] = {"__name__": "readme_cli"}
    exec(compile(shipped("cli.py").read_text(encoding="utf-8"), "cli.py", "exec"), names)
    root = next(value for value in names.values() if isinstance(value, click.Group))
    shown = set(re.findall(r"\$ rollout ([a-z]+)", README))
    assert shown <= set(root.commands)
    assert CliRunner().invoke(root, ["-h"]).exit_code == 0
