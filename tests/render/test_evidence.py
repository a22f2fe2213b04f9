"""Evidence as people see it: on screens that are narrow, in drawings of little, and to the very end of a rollback."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import pytest
from rich.console import Console, RenderableType

from rollout import gates
from rollout.domain.gates import Grade
from rollout.domain.report_evidence import EvidencePoint, StageChange, UnitEvidence
from rollout.testing import ManualClock, MemoryBackend, memory_backend, sample_policy
from rollout.usecases import explaining, look
from rollout_render import screens
from rollout_render.curves import curves
from rollout_render.evidence import binned, evidence
from rollout_render.explained import explained
from tests.render.story import NAME, told
from tests.support import thresholds


@pytest.fixture
async def backend() -> MemoryBackend:
    return (await told())[0]


def lines_of(screen: RenderableType, width: int) -> list[str]:
    paper = io.StringIO()
    Console(file=paper, width=width, color_system=None, highlight=False, markup=False).print(screen)
    return [line.rstrip() for line in paper.getvalue().splitlines()]


Screen = Callable[[MemoryBackend], Any]


async def show(backend: MemoryBackend) -> RenderableType:
    return screens.show(await look.show(backend, NAME))


async def history(backend: MemoryBackend) -> RenderableType:
    return screens.history(await look.history(backend, NAME))


async def explain(backend: MemoryBackend) -> RenderableType:
    return explained(await explaining.explain(backend, NAME))


@pytest.mark.parametrize("screen", [show, history, explain])
@pytest.mark.parametrize("width", [80, 120])
async def test_nothing_is_wider_than_the_screen_or_cut(backend: MemoryBackend, screen: Screen, width: int) -> None:
    lines = lines_of(await screen(backend), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


async def test_on_80_columns_no_word_of_the_evidence_is_missing(backend: MemoryBackend) -> None:
    seen = await look.show(backend, NAME)
    doubt: dict[str, Any] = {"grade": Grade.doubt, "log_e": 30.0, "log_promote": 0.0, "log_promote_limit": log(20)}
    branches = [
        replace(one, findings=[replace(f, **doubt, more_calls=74, counted="compared callers") for f in one.findings])
        for one in seen.status.branches
    ]
    narrow, wide = [lines_of(evidence(seen.evidence, branches), width) for width in (80, 200)]
    assert words_of(narrow) == words_of(wide)
    assert "about 74 compared callers" in "\n".join(wide)


def words_of(lines: list[str]) -> list[str]:
    return sorted(word for word in " ".join(lines).split() if set(word) != {"─"})


async def test_the_bars_of_what_was_rolled_back_end_at_the_boundary(backend: MemoryBackend) -> None:
    lines = lines_of(await show(backend), 80)
    of_tickets = lines[next(at for at, line in enumerate(lines) if "as it was when it was rolled back" in line) :]
    mismatches = next(line for line in of_tickets if line.startswith("  mismatches"))
    errors = next(line for line in of_tickets if line.startswith("  errors"))
    assert re.search(r"·█ [\d,]+ : 1 ", mismatches)
    assert re.search(r"··· 1 : \d+ ", errors)


@pytest.mark.parametrize(
    ("past", "bins", "found"),
    [
        ([], 3, [None, None, None]),
        ([(0.0, 1.0)], 3, [1.0, 1.0, 1.0]),
        ([(0.0, 1.0), (9.0, 2.0)], 3, [1.0, 1.0, 2.0]),
        ([(0.0, 1.0), (1.0, 5.0), (2.0, 3.0), (9.0, None)], 3, [3.0, 3.0, None]),
        ([(float(at), float(at)) for at in range(31)], 3, [10.0, 20.0, 30.0]),
    ],
)
def test_each_span_of_time_shows_the_last_that_was_known(past: Any, bins: int, found: list[float | None]) -> None:
    assert binned(past, bins) == found


def unit(*points: tuple[float, float, float, float | None], **changes: Any) -> UnitEvidence:
    made = [
        EvidencePoint(at=at, share=share, account=against, against=(against,), step=(step,))
        for at, share, against, step in points
    ]
    values: dict[str, Any] = {"gates": ("errors",), "limit": log(300), "step_limit": log(20), "changes": (), **changes}
    return UnitEvidence(unit="orders", points=tuple(made), **values)


def paths(drawing: str) -> list[str]:
    """The lines of gates, against the branch first."""
    return re.findall(r'class="line g0" d="([^"]+)"', drawing)


def test_one_point_is_no_drawing() -> None:
    assert not curves(unit(), "rolled back at 300 : 1")
    assert not curves(unit((0.0, 0.05, 0.0, 0.0)), "rolled back at 300 : 1")


def test_a_line_crosses_its_boundary_where_the_evidence_does() -> None:
    drawing = curves(unit((0.0, 0.05, 0.0, 0.0), (10.0, 0.05, log(300), log(20))), "rolled back at 300 : 1")
    boundaries = re.findall(r'class="boundary" d="M0 ([\d.]+)H1000"', drawing)
    ends = [path.rpartition(" ")[2] for path in paths(drawing)]
    assert len(boundaries) == 2
    assert ends == boundaries


def test_the_line_for_the_step_begins_anew_in_each_stage_and_the_other_does_not() -> None:
    points = [(0.0, 0.01, 0.0, 1.0), (5.0, 0.01, 0.1, 3.0), (6.0, 0.05, 0.2, 0.0), (9.0, 0.05, 0.3, 1.0)]
    against, step = paths(curves(unit(*points), "rolled back at 300 : 1"))
    assert against.count("M") == 1
    assert step.count("M") == 2


def test_the_last_stage_has_no_line_for_a_step() -> None:
    against, *step = paths(curves(unit((0.0, 1.0, 0.0, None), (9.0, 1.0, 0.3, None)), "rolled back at 300 : 1"))
    assert against
    assert step == []


def test_whatever_the_evidence_no_line_leaves_its_panel() -> None:
    for against, step in ((1e6, 1e6), (-1e6, -1e6), (float("-inf"), 3.0)):
        drawing = curves(unit((0.0, 0.05, 0.0, 0.0), (9.0, 0.05, against, step)), "rolled back at 300 : 1")
        for path in paths(drawing):
            heights = [float(height) for height in re.findall(r"[ML][\d.]+ (-?[\d.]+)", path)]
            assert all(0 <= height <= 100 for height in heights)


def test_what_runs_along_an_edge_is_faint_and_comes_back_into_the_panel() -> None:
    points = [(float(at), 0.05, against, 0.0) for at, against in enumerate((0.0, 99.0, 99.0, 99.0, 1.0))]
    drawing = curves(unit(*points), "rolled back at 300 : 1")
    (against, _) = paths(drawing)
    (beyond,) = re.findall(r'class="line g0 beyond" d="([^"]+)"', drawing)
    assert re.findall(r"[ML]([\d.]+)", against) == ["0.0", "250.0", "750.0", "1000.0"]
    assert re.findall(r"[ML]([\d.]+)", beyond) == ["250.0", "500.0", "750.0"]


def test_a_stage_that_has_no_room_is_not_named_and_a_rollback_always_is() -> None:
    changes = [
        StageChange(at=10.0, action="promote", to="1%"),
        StageChange(at=11.0, action="promote", to="5%"),
        StageChange(at=12.0, action="rollback", to="shadow, rolled back"),
        StageChange(at=13.0, action="reset", to="shadow"),
    ]
    drawing = curves(unit((0.0, 0.05, 0.0, 0.0), (100.0, 0.05, 0.0, 0.0), changes=changes), "rolled back at 300 : 1")
    assert [name for name in ("1%", "5%", "rolled back", "shadow") if f">{name}</text>" in drawing] == ["rolled back"]
    assert drawing.count('class="rule') == 2 * len(changes)


PROMISE = "with probability at most 1%, however often they look"


@pytest.mark.parametrize("screen", [show, explain])
@pytest.mark.parametrize(
    ("specs", "promised"),
    [
        ((gates.errors(), gates.sla()), True),
        ((gates.errors(), thresholds.sla()), False),
        ((thresholds.errors(),), False),
    ],
)
async def test_a_screen_promises_what_the_gates_keep_and_no_more(
    screen: Screen, specs: tuple[gates.GateSpec, ...], promised: bool
) -> None:
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(NAME, gates=specs, keyed=True), "test")
    said = " ".join(" ".join(lines_of(await screen(backend), 80)).split())
    assert (PROMISE in said) is promised
    assert ("Assumes users counted once." in said) is promised
    assert ("No error bound: " in said) is not promised


async def test_an_explanation_tells_which_gate_states_no_bound() -> None:
    backend = memory_backend(ManualClock())
    specs = (gates.errors(), gates.latency(), thresholds.sla())
    await backend.state.register(sample_policy(NAME, gates=specs), "test")
    (unit,) = (await explaining.explain(backend, NAME)).units
    assert [one.weight for one in unit.gates] == [0.5, 0.5, None]
    lines = lines_of(await explain(backend), 80)
    of_sla = lines[next(at for at, line in enumerate(lines) if line.startswith("  sla  ")) :]
    assert "no error bound: it judges by a threshold" in "\n".join(of_sla[:4])
