"""The screens of ``--watch``: trees that fit their window, whatever stands in them."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, RenderableType
from rich.text import Text

from rollout.domain.gates import Grade
from rollout.domain.standing import Word
from rollout.domain.state import Mode
from rollout.usecases import look
from rollout_render import terminal, watching, words
from tests.render.story import NAME, told

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2066",
    "👩‍👩‍👧‍👦" * 40,
    "世界" * 300,
    "[red]not markup[/red]",
    "Z̷̡͝a̴l̸g̵o̶" * 50,
    "x" * 1_000_000,
    "line\r\nbreak\tand tab",
)
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def both() -> tuple[look.Status, look.Shown]:
    async def ask() -> tuple[look.Status, look.Shown]:
        backend, _ = await told()
        return await look.status(backend), await look.show(backend, NAME)

    return asyncio.run(ask())


@pytest.fixture
def status(both: tuple[look.Status, look.Shown]) -> look.Status:
    return both[0]


@pytest.fixture
def show(both: tuple[look.Status, look.Shown]) -> look.Shown:
    return both[1]


def printed(screen: RenderableType, width: int = 80, height: int = 24, *, fitted: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None, markup=False, emoji=False)
    if fitted:
        console.print(screen, end="", height=height)
    else:
        console.print(screen)
    return out.getvalue().splitlines()


# The trees


def test_a_branch_tells_its_ramp_its_evidence_and_what_comes_next(status: look.Status) -> None:
    text = "\n".join(printed(watching.status(status), 120))
    assert re.search(r"├── orders   25%     ■■■■□□  \w+  next 50%", text)
    assert re.search(r"tickets  shadow  ■□□□□□  rolled back\n", text)
    assert re.search(r"rollback █{10} [\d,]+ : 1 of 300 : 1\n", text)
    assert re.search(r"not ready ░+ 1 : [\d.]+ of 300 : 1   step ██████████ shown", text)
    assert "step ██████████ shown, but a gate cannot judge" in text  # what summary costs
    assert "profile=on for alice" in text


def test_show_has_every_gate_where_there_is_room_and_the_latency_of_both_sides(show: look.Shown) -> None:
    roomy, close = ("\n".join(printed(watching.show(show, roomy=roomy), 100)) for roomy in (True, False))
    assert "latency p95 " in roomy
    assert "latency p95 " not in close
    for text in (roomy, close):
        assert re.search(r"p95 [▁▂▃▄▅▆▇█·]+ \d+ ms   control [▁▂▃▄▅▆▇█·]+ \d+ ms", text)


def test_branches_that_move_together_stand_under_their_group(status: look.Status) -> None:
    rollout = status.rollouts[0]
    together = replace(rollout, branches=[replace(one, unit="core") for one in rollout.branches])
    lines = printed(watching.status(replace(status, rollouts=[together], recent=())), 100)
    assert any(line.startswith("├── core: move together") for line in lines)
    assert sum(line.startswith(("│   ├── ", "│   └── ")) for line in lines) == 3


def test_nothing_registered_is_told(status: look.Status) -> None:
    seen = replace(status, rollouts=(), recent=())
    assert any("No rollout is registered yet" in line for line in printed(watching.status(seen)))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_text_of_a_stranger_leaves_its_place(status: look.Status, show: look.Shown, width: int) -> None:
    for text in HOSTILE:
        branches = [replace(one, branch=text, unit=text, why=text, rollout=text) for one in status.rollouts[0].branches]
        decisions = [replace(one, reason=text, actor=text, rollout=text, action=text) for one in status.recent]
        rollout = replace(status.rollouts[0], name=text, branches=branches)
        hostile = replace(status, rollouts=[rollout], recent=decisions, database=text)
        shown = replace(
            show, status=rollout, decisions=decisions, evidence=[replace(one, unit=text) for one in show.evidence[:1]]
        )
        for screen in (watching.status(hostile), *(watching.show(shown, roomy=roomy) for roomy in (True, False))):
            lines = printed(screen, width)
            assert max(map(cell_len, lines)) <= width
            assert not [line for line in lines if CONTROLS.search(line)]
            assert len(lines) < 200


# Into a window


@given(st.integers(1, 40), st.integers(5, 60))
@settings(max_examples=30)
def test_what_is_too_tall_is_cut_and_says_so_and_the_foot_stays(lines: int, height: int) -> None:
    body = Text("\n".join(f"line {number}" for number in range(lines)))
    found = printed(watching.Fitted([body], watching.foot(1.0, "")), 80, height, fitted=True)
    assert len(found) <= height
    assert found[height - 1].startswith("a look every 1s")
    if lines < height:
        assert f"line {lines - 1}" in found
    else:
        assert f"… {lines - height + 2} more lines" in found[height - 2]


def test_the_roomiest_screen_that_fits_is_taken() -> None:
    bodies = [Text("\n".join(["tall"] * 20)), Text("\n".join(["short"] * 5))]
    for height, said in ((30, "tall"), (10, "short"), (4, "short")):
        assert printed(watching.Fitted(bodies, Text("foot")), 80, height, fitted=True)[0] == said


def test_a_database_that_is_away_is_told_above_the_foot() -> None:
    lines = printed(watching.foot(2.0, "the disk is full"), 120)
    assert "cannot be asked now" in lines[0]
    assert "the disk is full" in lines[0]
    assert lines[-1].startswith("a look every 2s")


# Words and colours


def test_what_comes_next_and_when(status: look.Status) -> None:
    orders = status.rollouts[0].branches[0]  # at 25 %, active, with findings
    passed = [replace(finding, grade=Grade.passed, more_calls=None) for finding in orders.findings]
    doubt = replace(passed[0], grade=Grade.doubt, more_calls=6_000)
    never = replace(passed[0], grade=Grade.doubt, more_calls=None)
    soaking = replace(orders, word=Word.soaking, left_s=90.0, findings=passed)
    for branch, said in (
        (soaking, "next 50% in about 1m30s"),
        (replace(soaking, findings=[doubt]), "next 50% in about 10m"),
        (replace(soaking, findings=[never]), "next 50%"),
        (replace(soaking, word=Word.holding, findings=[replace(doubt, grade=Grade.breach)], left_s=0.0), "next 50%"),
        (replace(soaking, word=Word.ready), "next 50% now"),
        (replace(soaking, word=Word.frozen), "next 50%"),
        (replace(soaking, deadline_at=7_300.0), "next 50% in about 1m30s, deadline in 2h"),
        (replace(soaking, deadline_at=90.0), "next 50% in about 1m30s"),
        (replace(soaking, mode=Mode.rolled_back), ""),
        (replace(soaking, next=""), ""),
    ):
        assert words.ahead(branch, 100.0, 10.0) == said
    assert words.ahead(replace(soaking, findings=[doubt]), 100.0, 0.0) == "next 50%"
    assert words.ahead(replace(soaking, findings=[doubt]), 100.0, None) == "next 50%"
    assert words.ahead(soaking, 100.0, None) == "next 50% in about 1m30s"


def test_how_many_calls_it_takes_says_nothing_of_time_where_callers_are_counted(status: look.Status) -> None:
    (rollout,) = status.rollouts
    doubt = replace(rollout.branches[0].findings[0], grade=Grade.doubt, more_calls=6_000)
    orders = replace(rollout.branches[0], word=Word.holding, findings=[doubt])
    for per_s, said in ((None, False), (10.0, True)):
        seen = replace(rollout, branches=[orders], calls_per_s=10.0, evidence_per_s=per_s)
        assert ("in about 10m" in " ".join(printed(watching.status(replace(status, rollouts=[seen])), 120))) is said


@given(st.floats(0, 1), st.integers(1, 40))
def test_a_meter_is_as_wide_as_it_should_be_and_full_only_at_the_end(part: float, width: int) -> None:
    shown = words.meter(part, width)
    assert len(shown) == width
    assert (shown == "█" * width) == (part == 1 or (width == 1 and part > 0))
    assert ("█" in shown) == (part > 0)


def test_curves_of_one_scale_share_it_and_a_quantile_among_failed_calls_is_a_full_bar() -> None:
    assert words.sparkline([1.0, 2.0], top=4.0) == "▂▄"
    assert words.sparkline([1.0, inf, None, 0.0]) == "██ ·"
    assert words.sparkline([inf, None]) == "█ "


@pytest.mark.parametrize("name", [terminal.GOOD, terminal.WARN, terminal.BAD, terminal.DATA])
def test_every_colour_is_legible_on_black_and_on_white(name: str) -> None:
    light = luminance(Color.parse(name).get_truecolor())
    assert (light + 0.05) / 0.05 > 3.5
    assert 1.05 / (light + 0.05) > 3.5


def luminance(colour: Sequence[int]) -> float:
    """Relative, of WCAG 2."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
