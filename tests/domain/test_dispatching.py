"""Dispatching: what an answer may be, and the three ways to choose that are asked for often."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.call import Call
from rollout.domain.dispatching import Chosen, by_confidence, by_risk, by_task, chosen_by

KNOWN = ("rules", "cheap", "dear")


def chosen(answer: Any) -> Chosen:
    return chosen_by(lambda call: answer, Call.of_value(None), KNOWN)


@pytest.mark.parametrize("answer", [["cheap", "dear"], ("cheap", "dear"), {"cheap": 1, "dear": 2}], ids=repr)
def test_an_answer_is_any_collection_of_names(answer: Any) -> None:
    assert chosen(answer) == Chosen(("cheap", "dear"))


def test_an_answer_may_come_with_its_reason() -> None:
    assert chosen(Chosen(["cheap"], "task=orders")) == Chosen(("cheap",), "task=orders")


def test_the_names_beside_a_reason_may_come_from_a_generator_but_are_no_text() -> None:
    assert chosen(Chosen((name for name in ("cheap", "dear")), "all")).names == ("cheap", "dear")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no list of branch names"):
        chosen(Chosen("cheap", "one"))


@pytest.mark.parametrize("answer", ["cheap", "", None, 7, True])
def test_an_answer_that_is_no_collection_is_a_mistake(answer: Any) -> None:
    with pytest.raises(TypeError, match="no list of branch names"):
        chosen(answer)


def test_the_strangers_of_an_answer_are_named() -> None:
    with pytest.raises(ValueError, match="chose 7, ghost, which is no branch"):
        chosen(["cheap", "ghost", 7])


def test_by_task() -> None:
    dispatch = by_task(lambda call: call.value, {"orders": ["cheap"], "fraud": ["cheap", "dear"]}, default=["rules"])
    found = {task: dispatch(Call.of_value(task)) for task in ("orders", "fraud", "weather", None)}
    assert found == {
        "orders": Chosen(["cheap"], "task=orders"),
        "fraud": Chosen(["cheap", "dear"], "task=fraud"),
        "weather": Chosen(["rules"], "task=other"),
        None: Chosen(["rules"], "task=other"),
    }


BY_RISK = by_risk(lambda call: call.value, {0.7: ["rules", "dear"], 0.0: ["rules"], 0.3: ["rules", "cheap"]})
BY_CONFIDENCE = by_confidence(lambda call: call.value, {0.0: ["cheap", "dear"], 0.9: ["cheap"]})


@pytest.mark.parametrize(
    ("risk", "names", "reason"),
    [
        (-1.0, ["rules"], "risk>=0"),
        (0.0, ["rules"], "risk>=0"),
        (0.29, ["rules"], "risk>=0"),
        (0.3, ["rules", "cheap"], "risk>=0.3"),
        (0.7, ["rules", "dear"], "risk>=0.7"),
        (math.inf, ["rules", "dear"], "risk>=0.7"),
        (math.nan, ["rules", "dear"], "risk unknown"),
    ],
)
def test_by_risk(risk: float, names: list[str], reason: str) -> None:
    assert BY_RISK(Call.of_value(risk)) == Chosen(names, reason)


@pytest.mark.parametrize(
    ("confidence", "names", "reason"),
    [
        (0.0, ["cheap", "dear"], "confidence>=0"),
        (0.899, ["cheap", "dear"], "confidence>=0"),
        (0.9, ["cheap"], "confidence>=0.9"),
        (1.0, ["cheap"], "confidence>=0.9"),
        (1.1, ["cheap", "dear"], "confidence unknown"),
        (-0.1, ["cheap", "dear"], "confidence unknown"),
        (math.nan, ["cheap", "dear"], "confidence unknown"),
    ],
)
def test_by_confidence(confidence: float, names: list[str], reason: str) -> None:
    assert BY_CONFIDENCE(Call.of_value(confidence)) == Chosen(names, reason)


@given(st.floats(), st.floats())
def test_a_higher_risk_never_runs_less(one: float, other: float) -> None:
    lower, higher = sorted((one, other)) if not math.isnan(one + other) else (one, math.nan)
    order = [["rules"], ["rules", "cheap"], ["rules", "dear"]]
    at = [order.index(list(chosen_by(BY_RISK, Call.of_value(risk), KNOWN).names)) for risk in (lower, higher)]
    assert at[0] <= at[1]


@pytest.mark.parametrize("make", [by_risk, by_confidence])
@pytest.mark.parametrize(("branches", "said"), [({}, "no branches"), ({math.nan: []}, "nan"), ({"high": []}, "high")])
def test_thresholds_that_are_no_numbers_are_told_at_once(make: Any, branches: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(lambda call: 0.5, branches)
