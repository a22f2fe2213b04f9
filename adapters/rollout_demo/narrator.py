"""How the story is told: a line when something happens, wide enough for 80 columns, plain where nobody looks."""

from __future__ import annotations

import time
from math import exp, floor, inf, isfinite, log
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rollout_demo.audit import Move

WIDTH: Final = 100
_STYLES: Final = {"promote": "green", "complete": "bold green", "rollback": "bold red"}
_MILLION: Final = log(1e6)
_TEN: Final = log(10.0)
_RAISED: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_COLOURS: Final = {"orders": "cyan", "picks": "blue", "tickets": "magenta", "summary": "yellow"}


class Narrator:
    """Tells on standard output. ``seconds`` since the beginning stand before each event."""

    def __init__(self, console: Console | None = None) -> None:
        found = console or Console(highlight=False)
        if found.width > WIDTH:
            found = Console(highlight=False, width=WIDTH)
        self.console = found
        self._begun = time.monotonic()
        self._chapter = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def title(self, name: str, remark: str) -> None:
        self.console.print(Rule(Text(name, "bold"), align="left", characters="━", style="dim"))
        self.say(remark)

    def chapter(self, title: str) -> None:
        self._chapter += 1
        head = Text.assemble((f" {self._chapter} ", "reverse bold"), " ", (title, "bold"))
        self.console.print()
        self.console.print(Rule(head, align="left", characters="─", style="dim"))

    def say(self, text: str) -> None:
        """A paragraph; rich's markup is understood."""
        self.console.print(Padding(Text.from_markup(text), (0, 0, 0, 1), expand=False))

    def event(self, text: str) -> None:
        """Something that has just happened."""
        line = Table.grid(padding=(0, 1))
        line.add_column(width=5, justify="right", style="dim", no_wrap=True)
        line.add_column()
        line.add_row(f"{self.seconds:.1f}s", Text.from_markup(text))
        self.console.print(line)

    def move(self, move: Move) -> None:
        """A decision on a branch, with both numbers of each of its gates, or with who made it."""
        style = _STYLES.get(move.action, "bold")
        place = f"{move.before} → {move.after}"
        if move.action in ("rollback", "complete"):
            place = f"{move.before.partition(',')[0]} {move.after.rpartition(', ')[2]}"
        self.event(f"{branch(move.branch)} [{style}]{place:<15}[/] {escape(move.by) or _numbers(move)}")

    def stopped(self) -> None:
        self.console.print("\n Stopped.")

    def failed(self, why: str, folder: Path) -> None:
        """The story did not come true."""
        self.console.print()
        self.console.print(Text.assemble((" failed ", "reverse bold red"), " ", why))
        self.say(f"[dim]Logs and databases: {folder}[/]")

    def facts(self, *rows: tuple[str, str]) -> None:
        """Names and values below each other."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, Text.from_markup(value))
        self.console.print(Padding(table, (0, 0, 0, 1), expand=False))

    def command(self, line: str, remark: str = "") -> None:
        """A command to copy; never cut or wrapped in the middle of a word."""
        if remark:
            self.console.print(Text(f"   # {remark}", "dim"))
        self.console.print(Text(f"   {line}", "bold"), soft_wrap=True)


def branch(name: str, width: int = 7) -> str:
    """A branch's name in its own colour, as markup."""
    return f"[{_COLOURS.get(name, 'bold')}]{name:<{width}}[/]"


def share(value: float) -> str:
    return f"{value * 100:.3g}%"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value * 1000:.0f} ms"


def odds(log_e: float) -> str:
    """Evidence as a bookmaker tells it: ``23:1`` for, ``1:8`` against, ``10¹²:1``. ``log_e``: its natural logarithm."""
    if abs(log_e) < _MILLION:
        return f"{floor(exp(log_e) + 1e-9):,}:1" if log_e >= 0 else f"1:{floor(exp(-log_e)):,}"
    power = f"10{str(int(abs(log_e) / _TEN)).translate(_RAISED)}"
    return f"{power}:1" if log_e > 0 else f"1:{power}"


def _numbers(move: Move) -> str:
    """What led to a decision, gate by gate.

    * a step: ``errors 25:1  p90 31:1``, the evidence that it is safe, or of threshold gates ``errors 0% ≤ 5%``
    * a rollback: ``errors: 96% of 27 calls failed, of control's 0%; odds of 9,000 : 1 against it``, of breached gates
    * completed: ``evidence against it 1:9``, of all gates together
    """
    match move.action:
        case "rollback":
            return "; ".join(_breach(finding) for finding in move.findings if str(finding.grade) == "breach")
        case "complete" if move.findings and all(finding.log_e is not None for finding in move.findings):
            against = log(sum(exp(finding.log_e) for finding in move.findings))
            return f"evidence against it {odds(against)}"
    return "  ".join(map(_finding, move.findings))


def _breach(finding: Any) -> str:
    return _finding(finding) if finding.log_e is None else f"{_name(finding)}: {escape(finding.why)}"


def _finding(finding: Any) -> str:
    name = _name(finding)
    if finding.log_promote is not None:
        return f"{name} {odds(finding.log_promote)}"
    sign = ">" if str(finding.grade) == "breach" else "≤"
    if finding.observed is None or finding.limit is None or not isfinite(finding.limit):
        return f"{name} ?"
    if finding.unit_name == "s":
        observed = "∞" if finding.observed == inf else f"{finding.observed * 1000:.0f}"
        return f"{name} {observed} {sign} {finding.limit * 1000:.0f} ms"
    return f"{name} {share(finding.observed)} {sign} {share(finding.limit)}"


def _name(finding: Any) -> str:
    gate = str(finding.gate)
    return "differ" if gate == "mismatches" else gate.removeprefix("latency ")
