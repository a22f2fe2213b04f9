"""``status --watch`` without a terminal: a line for each change; and a database that goes away is told, not fatal."""

from __future__ import annotations

import io
import re
import sys

import pytest

from rollout.domain.state import Mode
from rollout.errors import DatabaseError
from rollout.testing import MemoryBackend
from rollout.usecases import look
from rollout_render import live
from tests.render.story import NAME, told


@pytest.fixture
async def backend() -> MemoryBackend:
    return (await told())[0]


async def test_each_branch_is_told_once_while_nothing_changes(
    backend: MemoryBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    await live.watch(lambda: look.status(backend), backend.state.changes, live.STATUS, rounds=3, every_s=0.001)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "profile/tickets shadow rolled back: mismatches" in lines[1]


async def test_one_rollout_is_told_in_the_same_lines(
    backend: MemoryBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    await live.watch(lambda: look.show(backend, NAME), backend.state.changes, live.SHOW, rounds=2, every_s=0.001)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "profile/tickets shadow rolled back: mismatches" in lines[1]


async def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    backend: MemoryBackend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    await live.watch(lambda: look.status(backend), backend.state.changes, live.STATUS, rounds=1)
    out = capsys.readouterr().out
    assert "profile/orders 25%" in out
    assert "\x1b" not in out


async def test_a_change_is_told(backend: MemoryBackend, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = 0

    async def seen() -> look.Status:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            states = backend.state._states[NAME]  # type: ignore[attr-defined]
            states["orders"] = states["orders"].moved(mode=Mode.paused, cause="lunch")
        return await look.status(backend)

    await live.watch(seen, backend.state.changes, live.STATUS, rounds=2, every_s=0.001)
    assert capsys.readouterr().out.splitlines()[-1].endswith("profile/orders 25% paused: lunch")


async def test_a_database_that_goes_away_is_told_once_and_asked_again(
    backend: MemoryBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = 0

    async def seen() -> look.Status:
        nonlocal rounds
        rounds += 1
        if rounds in (2, 3):
            raise DatabaseError("the disk \x1b[31mis full")
        return await look.status(backend)

    await live.watch(seen, backend.state.changes, live.STATUS, rounds=4, every_s=0.001)
    out = capsys.readouterr().out
    assert out.count("cannot be asked: the disk is full") == 1
    assert "\x1b" not in out


async def test_on_a_terminal_of_eighty_columns_no_line_is_longer(
    backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    await live.watch(lambda: look.status(backend), backend.state.changes, live.STATUS, rounds=1)
    text = screen.getvalue().rsplit("\x1b[?1049l", 1)[-1]  # what stays after the screen was left
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()
    assert any("rolled back" in line for line in lines)
    assert max(map(len, lines)) <= 80
