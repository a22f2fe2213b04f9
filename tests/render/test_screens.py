"""What reading commands show on a terminal, with text of strangers in every place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import RenderableType

from rollout.domain.gates import Grade
from rollout.domain.state import Decision, FlagOverride, Mode
from rollout.domain.verdict import Action
from rollout.usecases import look, reporting, steer
from rollout_render import screens
from rollout_render.sentences import CONTROL_COST
from tests.render.story import NAME, told
from tests.render.test_watching import CONTROLS, HOSTILE, printed

Seen = tuple[look.Status, look.Shown, Sequence[Decision], reporting.Diff, reporting.Costs, Sequence[steer.Checked]]


@pytest.fixture(scope="module")
def seen() -> Seen:
    async def ask() -> Seen:
        backend, _ = await told()
        return (
            await look.status(backend),
            await look.show(backend, NAME),
            await look.history(backend, NAME, 5),
            await reporting.diff(backend, NAME),
            await reporting.cost(backend, NAME),
            await steer.check(backend, NAME),
        )

    return asyncio.run(ask())


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("width", [60, 120])
def test_no_text_of_a_stranger_leaves_its_place(seen: Seen, text: str, width: int) -> None:
    for screen in every_screen(seen, text):
        lines = printed(screen, width)
        assert max(map(cell_len, lines)) <= width
        assert not [line for line in lines if CONTROLS.search(line)]
        assert sum(map(len, lines)) < 200_000


def every_screen(seen: Seen, text: str) -> list[RenderableType]:
    """Each screen with a text in every place that somebody else may fill."""
    status, show, history, diff, cost, checked = seen
    findings = tuple(replace(finding, unit=text, gate=text, why=text) for finding in checked[0].findings)
    branches = [
        replace(one, branch=text, unit=text, why=text, rollout=text, findings=findings)
        for one in status.rollouts[0].branches
    ]
    moves = ({"branch": text, "from": text, "to": text},)
    decisions = [
        replace(one, reason=text, actor=text, rollout=text, action=text, moves=moves, findings=findings)
        for one in history
    ]
    flag = FlagOverride(flag=text, value=text, key=text, reason=text, actor=text)
    rollout = replace(status.rollouts[0], name=text, branches=branches, overrides=[flag] * 3, flag_failures={text: 3})
    mismatches = [replace(one, path=text, branch=text) for one in show.mismatches]
    difference = {"path": text, "kind": text, "control": text, "candidate": {"a": text}}
    examples = [replace(one, method=text, route=text, trial=text, differences=[difference]) for one in diff.examples]
    comparisons = [replace(one, unit=text) for one in diff.comparisons]
    curves = {text: show.curves["orders"]}
    return [
        screens.status(replace(status, rollouts=[rollout], recent=decisions, database=text)),
        screens.show(
            replace(show, status=rollout, decisions=decisions, evidence=(), mismatches=mismatches, curves=curves)
        ),
        screens.history(decisions),
        screens.diff(replace(diff, rollout=text, comparisons=comparisons, mismatches=mismatches, examples=examples)),
        screens.cost(replace(cost, rollout=text, lines=[replace(line, unit=text) for line in cost.lines])),
        screens.check([one._replace(unit=text, findings=findings) for one in checked]),
        screens.flags([flag]),
    ]


def test_a_gate_that_saw_nothing_is_not_shown_as_a_pass(seen: Seen) -> None:
    _, _, history, _, _, checked = seen
    (one, *_) = checked
    passed = next(finding for finding in one.findings if finding.grade is Grade.passed)
    unseen = replace(passed, n=0, observed=None, why="nothing to compare with")
    of_check = "\n".join(printed(screens.check([one._replace(findings=(unseen,))]), 100))
    of_history = "\n".join(printed(screens.history([replace(history[0], findings=(unseen,))]), 100))
    for out in (of_check, of_history):
        assert "no data" in out
        assert f"{unseen.unit} {unseen.gate}: nothing to compare with" in out
        assert not re.search(r"\bpass\b", out)
    assert re.search(r"\bpass\b", "\n".join(printed(screens.check([one._replace(findings=(passed,))]), 100)))


def test_what_is_completed_is_not_said_to_be_held(seen: Seen) -> None:
    *_, checked = seen
    held = next(one for one in checked if one.mode is Mode.active and one.verdict.action is Action.hold)
    first, *_ = printed(screens.check([held._replace(mode=Mode.completed)]), 100)
    assert first.strip() == f"Nothing left to promote: {held.unit}."


@pytest.mark.parametrize("width", [80, 120])
def test_the_row_of_control_says_that_it_is_of_compared_calls_and_not_all_that_was_spent(
    seen: Seen, width: int
) -> None:
    cost = seen[4]
    control = replace(cost.lines[0], unit="", side="control", spent_usd=None)
    out = printed(screens.cost(replace(cost, lines=[control, *cost.lines])), width)
    (row,) = [line for line in out if line.startswith("control ")]
    assert "unknown" in row
    assert CONTROL_COST in " ".join(" ".join(out).split())
    without = printed(screens.cost(replace(cost, lines=[one for one in cost.lines if one.side != "control"])), width)
    assert "of compared calls alone" not in " ".join(" ".join(without).split())
