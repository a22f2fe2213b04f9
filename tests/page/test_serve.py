"""``rollout serve``: the page beside any database, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

import cli
from rollout_render.doors import Exit
from rollout_sql import schema
from tests.page.visits import OPERATE, VIEW

ROLLOUT = Path(sys.executable).parent / "rollout"


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """An empty database."""
    made = f"sqlite:///{tmp_path / 'rollout.db'}"
    await schema.upgrade(made)
    return made


@contextmanager
def serving(url: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and what it said when it was ready. It must have ended by itself at the end."""
    environment = {**os.environ, "ROLLOUT_DATABASE_URL": url, "ROLLOUT_PAGE_PORT": "0", **variables}
    process = subprocess.Popen([ROLLOUT, "serve"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline()
        assert process.wait(30) == 0, process.stderr.read()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


async def test_it_serves_until_it_is_told_to_end_and_those_who_follow_do_not_hold_it_up(url: str) -> None:
    with serving(url) as (process, said):
        address, _, _ = said.partition(" ")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/rollout", address)
        assert "to look, on this machine" in said
        async with aiohttp.ClientSession() as client:
            async with client.get(address.removesuffix("/rollout")) as page:
                assert page.url.path == "/rollout"
                assert "No rollout is registered in this database yet." in await page.text()
            async with client.get(f"{address}/stream") as stream:
                await stream.content.readuntil(b"\n\n")
                process.send_signal(signal.SIGTERM)
                await stream.read()


async def test_tokens_come_from_the_variables(url: str) -> None:
    tokens = {"ROLLOUT_PAGE_OPERATE_TOKEN": OPERATE, "ROLLOUT_PAGE_VIEW_TOKEN": VIEW}
    with serving(url, **tokens) as (process, said):
        assert "sign in to act" in said
        assert OPERATE not in said
        address, _, _ = said.partition(" ")
        async with aiohttp.ClientSession() as client:
            for token, status in ((OPERATE, 200), (VIEW, 200), ("another-token-of-ours", 401)):
                bearer = {"Authorization": f"Bearer {token}"}
                async with client.get(address, headers=bearer) as page:
                    assert page.status == status
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 is not this machine alone"),
        (["--host", "shop.example"], "shop.example is not this machine alone"),
        (["--operate-token", "short"], "the token operate has 5 characters"),
        (["--operate-token", VIEW, "--view-token", VIEW], "view and operate are the same token"),
        (["--port", "65536"], "65536 is not in the range"),
    ],
)
def test_what_cannot_be_is_a_usage_error_that_tells_no_token(options: list[str], says: str) -> None:
    result = CliRunner().invoke(cli.main, ["serve", "--database-url", "sqlite:///never-made.db", *options])
    assert result.exit_code == Exit.usage
    assert says in result.stderr
    assert VIEW not in result.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rollout.db'}"
    assert CliRunner().invoke(cli.main, ["db", "upgrade", "--database-url", url]).exit_code == 0
    with serving(url) as (process, said):
        port = said.partition("/rollout")[0].rpartition(":")[2]
        command = [str(ROLLOUT), "serve", "--database-url", url, "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == Exit.failure
        assert f"Error: 127.0.0.1:{port} cannot be served: " in done.stderr
        assert "Choose another --port." in done.stderr
        process.send_signal(signal.SIGTERM)
