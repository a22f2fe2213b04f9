"""What a shell offers at the Tab key, and that it never has to wait for it long."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import cli
from rollout.domain.state import Policy, Snapshot
from rollout_wiring import shell
from tests.cli.conftest import Run

ROLLOUT = Path(sys.executable).parent / "rollout"
Offer = Callable[[str], list[str]]


@pytest.fixture
def offer(url: str, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """``offer("show pro")``: what may stand there instead of the last word, over the story."""
    monkeypatch.setenv("ROLLOUT_DATABASE_URL", url)
    monkeypatch.setattr(shell, "PATIENCE_S", 60.0)  # it would end this process
    return lambda line: offered(line, shell.registered)


def offered(line: str, look_up: Callable[[str], Snapshot | None]) -> list[str]:
    *before, last = line.split(" ")
    completing = ShellComplete(cli.main, {"obj": look_up}, "rollout", "_ROLLOUT_COMPLETE")
    return [item.value for item in completing.get_completions(before, last)]


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("sta", ["status"]),
        ("db c", ["current", "check"]),
        ("show ", ["profile"]),
        ("show prox", []),
        ("promote profile ", ["orders", "summary", "tickets"]),
        ("rollback profile t", ["tickets"]),
        ("promote profile --to ", ["1%", "5%", "25%", "50%", "100%"]),
        ("simulate profile --from 5", ["5%", "50%"]),
        ("purge --rollout ", ["profile"]),
        ("flag set p", ["profile"]),
        ("flag set profile ", ["off", "shadow", "auto", "on"]),
        ("whatif profile --drop s", ["summary"]),
        ("status --out", ["--output"]),
        ("schema config ", ["check", "show"]),
        ("completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_commands_options_and_registered_names_are_offered(offer: Offer, line: str, there: list[str]) -> None:
    assert sorted(offer(line)) == sorted(there)


def test_the_database_on_the_line_is_the_one_that_is_asked(
    offer: Offer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_DATABASE_URL", "sqlite:////nowhere/at-all.db")
    assert offer("show ") == []
    assert offer(f"show --database-url {url} ") == ["profile"]


def test_a_name_that_a_shell_would_run_or_show_as_something_else_is_not_offered() -> None:
    names = ["good", "two words", "$(reboot)", "`id`", "a;b", "x\x1b[31m", "x\u202ey", "a\nb"]
    found = Snapshot(revision=1, policies={name: Policy(rollout=name) for name in names}, states={}, flags=(), now=0.0)
    assert offered("show ", lambda url: found) == ["good"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(run: Run, name: str) -> None:
    result = run("completion", name)
    assert result.exit_code == 0
    assert f"_ROLLOUT_COMPLETE={name}_complete" in result.stdout


def test_a_database_that_is_away_leaves_neither_an_error_nor_a_process_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        done = tab("rollout show ", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at-all.db", "mysql://nowhere/x", "no address"])
def test_a_database_that_cannot_be_opened_offers_nothing(url: str) -> None:
    assert shell.registered(url) is None


def tab(line: str, url: str) -> subprocess.CompletedProcess[str]:
    """The Tab key in bash."""
    environment = {
        **os.environ,
        "_ROLLOUT_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "ROLLOUT_DATABASE_URL": url,
    }
    return subprocess.run([ROLLOUT], env=environment, capture_output=True, text=True, timeout=60, check=False)
