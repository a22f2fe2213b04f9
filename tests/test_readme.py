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
from rollout import Branch, Budget, Compare, Ramp, Retry, Rollout, Shadow, Store, gates
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


async def test_the_fan_out_on_its_own_asks_the_dear_model_only_where_the_cheap_one_is_not_sure() -> None:
    asked: list[str] = []

    async def ask_small(call: rollout.Call) -> dict[str, Any]:
        return {"text": "Paris", "sure": 0.95 if "France" in call.value else 0.2}

    async def ask_large(call: rollout.Call) -> dict[str, Any]:
        asked.append(call.value)
        return {"text": "a long story"}

    names: dict[str, Any] = {"ask_small": ask_small, "ask_large": ask_large}
    exec(compile(CODE[2], "README", "exec"), names)
    sure = await names["answer_it"].run("What is the capital of France?")
    unsure = await names["answer_it"].run("Why?")
    assert (sure.value["text"], unsure.value["text"], asked) == ("Paris", "a long story", ["Why?"])
    assert sure.parts.missing == {"dear": "skipped(confident)"}


def test_the_declaration_that_the_design_shows_has_no_mistake() -> None:
    async def branch(call: rollout.Call) -> Any:
        return {}

    profile = Rollout(
        "profile",
        control=monolith,
        branches=[
            Branch("orders", branch, part="$.orders", sla_s=0.3, hard_timeout_s=1.0, retry=Retry(attempts=2)),
            Branch("tickets", branch, part="$.tickets", sla_s=0.3, soft_timeout_s=0.4, required=False),
            Branch("summary", branch, part="$.summary", after="tickets", when=bool, required=False),
        ],
        budget=Budget(latency_s=1.5, tokens=4_000, usd="0.05"),
        compare=Compare(ignore=["$.generated_at"], unordered={"$.tags": None}, tolerance={"$.score": 1e-6}),
        ramp=Ramp.parse("shadow 1% 5% 25% 50% 100%", soak="10m"),
        gates=[
            gates.errors(),
            gates.latency(q=0.95, worse_by=0.10),
            gates.mismatches(at_most=0.001),
            gates.cost(usd_per_call="0.01"),
        ],
        key=lambda call: call.headers.get("X-User-Id"),
    )
    assert profile.problems() == []


def test_code_stands_on_the_first_screen() -> None:
    assert "```python" in "\n".join(README.splitlines()[:10])
    assert "setup(app" in "\n".join(README.splitlines()[:FIRST_PAGE])


@pytest.mark.parametrize("declared", [Rollout, Branch, Budget, Compare, Shadow, Store])
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
