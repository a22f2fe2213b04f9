"""Signs that work goes on: late, on stderr, and only where somebody looks."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from rollout_render import progress


class Terminal(io.StringIO):
    """A terminal that tells when it shows a word."""

    def __init__(self, word: str = "") -> None:
        super().__init__()
        self._word = word
        self.shows = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._word and self._word in text:
            self.shows.set()
        return super().write(text)


def on_terminal(monkeypatch: pytest.MonkeyPatch, word: str = "digging") -> Terminal:
    """Both streams a terminal, from here on: between a fixture and its test pytest puts its own in place."""
    found = Terminal(word)
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    return found


def test_work_that_takes_long_is_seen_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.busy("digging", after_s=0.0):
        assert terminal.shows.wait(30)
    assert terminal.getvalue().endswith("\x1b[2K"), "the line is taken away again"
    assert "\x1b[?25h" in terminal.getvalue(), "the cursor is back"


def test_a_bar_tells_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, "3/4")
    with progress.progress("digging", 4, after_s=0.0) as done:
        done(3)
        assert terminal.shows.wait(30)
    assert terminal.getvalue().endswith("\x1b[2K")


def test_a_name_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, "of [/x]")
    with progress.busy("digging of [/x]", after_s=0.0):
        assert terminal.shows.wait(30)
    terminal.shows.clear()
    with progress.progress("digging of [/x]", 4, after_s=0.0):
        assert terminal.shows.wait(30)


def test_work_that_is_done_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.busy("digging", after_s=3_600.0):
        pass
    with progress.progress("digging", 4, after_s=3_600.0) as done:
        done(4)
    assert terminal.getvalue() == ""


def test_work_that_fails_takes_its_sign_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)

    def fail() -> None:
        with progress.busy("digging", after_s=0.0):
            assert terminal.shows.wait(30)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert terminal.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize("where", ["stdout is a pipe", "stderr is a pipe", "no cursor"])
def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    terminal = on_terminal(monkeypatch)
    if where == "no cursor":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setattr(sys, where.split()[0], io.StringIO())
    begun = threading.active_count()
    with progress.busy("digging", after_s=0.0), progress.progress("digging", 4, after_s=0.0) as done:
        done(4)
        assert threading.active_count() == begun, "nobody waits to show something"
    assert terminal.getvalue() == ""


def test_control_sequences_of_a_name_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.busy("dig\x1b]0;owned\x07ging", after_s=0.0):
        assert terminal.shows.wait(30)
    assert "owned" not in terminal.getvalue()
