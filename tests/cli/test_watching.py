"""``--watch`` in a real terminal: it follows the window, and gives the terminal back. Elsewhere: lines."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout_render.doors import Exit
from tests.cli.conftest import Run

ROLLOUT = Path(sys.executable).parent / "rollout"
PATIENCE_S = 60.0  # then it hangs


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_window_that_changes_is_drawn_anew_and_the_terminal_is_given_back(url: str, ending: signal.Signals) -> None:
    environment = {"ROLLOUT_DATABASE_URL": url, "TERM": "xterm-256color", "ROLLOUT_INTERVAL": "1h"}
    process, screen = pty.fork()
    if process == 0:  # the child
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        os.execve(ROLLOUT, ["rollout", "status", "--watch"], environment)
    read_until(screen, lambda text: "Ctrl-C ends" in text)
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 8, 60, 0, 0))
    read_until(screen, lambda text: "more lines: a taller window shows them" in text)
    os.kill(process, ending)
    rest = read_until(screen, lambda text: False)
    _, status = os.waitpid(process, 0)
    os.close(screen)
    assert os.waitstatus_to_exitcode(status) == 130
    assert "\x1b[?1049l" in rest, "the screen is left"
    assert "\x1b[?25h" in rest, "the cursor is shown"
    assert "Traceback" not in rest
    assert "rolled back" in rest.split("\x1b[?1049l")[1], "what was seen last stays"


def read_until(screen: int, enough: Callable[[str], bool]) -> str:
    """What a terminal shows until it is enough, or until nobody writes to it any more."""
    text = ""
    while not enough(text):
        assert select.select([screen], [], [], PATIENCE_S)[0], f"nothing more is written after {text[-500:]!r}"
        try:
            more = os.read(screen, 65_536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not more:
            break
        text += more.decode(errors="replace")
    return text


@pytest.mark.parametrize("words", [("status",), ("show", "profile")])
def test_watching_is_for_people_and_not_too_often(run: Run, words: tuple[str, ...]) -> None:
    refused = run(*words, "--watch", "--output", "json")
    assert refused.exit_code == Exit.usage
    assert f"rollout {words[0]}" in refused.stderr
    hasty = run(*words, "--watch", "--interval", "1ms")
    assert hasty.exit_code == Exit.usage
    assert "100ms or more" in hasty.stderr
