"""The page and the screen of what-if: safe whatever the names are, and true where little is known."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from rollout.domain.state import BranchPolicy
from rollout.domain.whatif.frontier import Point
from rollout.domain.whatif.prediction import Check
from rollout.domain.whatif.setting import Setting
from rollout.ports import RunRecord
from rollout.testing import ManualClock, memory_backend, sample_batch, sample_policy, sample_trial
from rollout.usecases.whatif import WhatIf, whatif
from rollout_render import whatif as screens
from rollout_render.whatif_page import html_whatif, plot
from rollout_render.whatif_words import LETTERS, chosen, lines, notes, sentence
from rollout_render.words import share

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e" + "x" * 1_000_000
FASTER = Setting(soft_s={"tickets": 0.06})


@pytest.fixture
async def found() -> WhatIf:
    """Of 200 calls, with a soft timeout that half of the tickets miss."""
    backend = memory_backend(ManualClock(wall=1_767_618_000.0))
    branches = [
        BranchPolicy(name=name, unit=name, salt=name, part=f"$.{name}", required=name == "orders")
        for name in ("orders", "tickets")
    ]
    await backend.state.register(sample_policy("shop", branches=branches), "p1")
    trials = [
        sample_trial(
            number,
            rollout="shop",
            runs=[
                RunRecord("orders", "shadow", "ok", 0.05, cost_nano=0),
                RunRecord("tickets", "shadow", "ok", 0.04 + number / 5_000, cost_nano=2_000_000),
            ],
        )
        for number in range(1, 201)
    ]
    await backend.ledger.append(sample_batch(*trials))
    return await whatif(backend, "shop", FASTER, clock=lambda: 0.0)


def screen_of(found: WhatIf, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(screens.whatif(found))
    return out.getvalue()


async def test_a_hostile_name_harms_neither_page_nor_terminal(found: WhatIf) -> None:
    hostile = replace(found, rollout=HOSTILE, absent=[HOSTILE])
    page, screen = html_whatif(hostile), screen_of(hostile)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert len(page) < 100_000
    for text in (page, screen):
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_no_style_or_script_of_a_page_comes_from_elsewhere(found: WhatIf) -> None:
    page = html_whatif(found)
    assert "default-src 'none'; style-src 'sha256-" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "style=" not in page


async def test_a_replay_that_misses_what_was_measured_warns(found: WhatIf) -> None:
    near, far = (
        " ".join(notes(replace(found, check=Check(calls=200, measured_s=0.1, replayed_s=replayed_s))))
        for replayed_s in (0.109, 0.111)
    )
    assert "trust no latency" not in near
    assert "trust no latency" in far


async def test_what_is_unknown_is_never_told_as_a_change(found: WhatIf) -> None:
    assert found.predicted is not None
    unknown = replace(found.predicted.nano, value=None, high=None)
    less = replace(found, predicted=replace(found.predicted, nano=unknown))
    (line,) = [line for line in lines(less) if line.name == "cost a call"]
    assert (line.value, line.change, line.known) == ("unknown", "", False)
    assert line.likely.endswith(" or more")
    assert f"cost a call unknown ({line.likely})" in sentence(less)


def points(count: int) -> list[Point]:
    return [Point(soft_s={}, user_s=0.1 + n / 100, complete=0.5 + n / 100, nano=None) for n in range(count)]


def test_of_many_points_the_ends_are_shown_and_some_between() -> None:
    many = points(40)
    shown = chosen(many)
    assert (len(shown), shown[0], shown[-1]) == (len(LETTERS), many[0], many[-1])
    assert chosen(many[:3]) == many[:3]


def test_a_point_whose_cost_is_unknown_is_in_no_plot_of_costs() -> None:
    asked = Setting()
    assert plot(points(3), asked, "cost a call", lambda point: point.nano, str) == ""
    assert plot(points(3), asked, "complete", lambda point: point.complete, share).count("<circle") == 3


def test_points_of_one_latency_stand_above_each_other() -> None:
    same = [replace(point, user_s=0.1) for point in points(3)]
    drawn = plot(same, Setting(), "complete", lambda point: point.complete, share)
    assert "users p95 100 ms" in drawn
    assert drawn.count('cx="52.50%"') == 3
