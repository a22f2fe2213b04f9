"""A database file with the whole story in it, and the command line over it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import cli
from rollout.testing import ManualClock
from rollout_sql import open_backend
from tests.render.story import story


@pytest.fixture(scope="session")
def told_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the story, made once."""
    file = tmp_path_factory.mktemp("story") / "told.db"

    async def tell() -> None:
        backend = await open_backend(f"sqlite:///{file}")
        try:
            await story(backend, ManualClock(wall=float(int(time.time())) - 3_600), step_s=60)
        finally:
            await backend.close()

    asyncio.run(tell())
    with closing(sqlite3.connect(file)) as connection, connection:  # the database's clock cannot be set: date it back
        connection.execute("UPDATE rollout_policies SET registered_at = registered_at - 3600")
    return file


@pytest.fixture
def url(told_file: Path, tmp_path: Path) -> str:
    """A copy of that file: a test may change what it likes."""
    for file in told_file.parent.glob(f"{told_file.name}*"):
        shutil.copy(file, tmp_path / file.name)
    return f"sqlite:///{tmp_path / told_file.name}"


Run = Callable[..., Result]


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("status", "profile")``: the command over the story, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLOUT_DATABASE_URL", url)
    monkeypatch.setenv("ROLLOUT_ACTOR", "ann")

    def invoke(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(cli.main, words, **options)

    return invoke


def parsed(result: Result) -> Any:
    """The JSON that a command printed."""
    return json.loads(result.stdout)


Named = tuple[tuple[str, ...], click.Command]


def commands(group: click.Command = cli.main, path: tuple[str, ...] = ()) -> list[Named]:
    """Every command with the words that call it, groups included."""
    found: list[Named] = [(path, group)]
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            found += commands(command, (*path, name))
    return found
