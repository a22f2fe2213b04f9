"""Which branches run for a call: a plain function of the call, and a few that are asked for often."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rollout.domain.call import Call

Dispatch = Callable[[Call], "Iterable[str] | Chosen"]


class Chosen(NamedTuple):
    """The branches to run, by name, and why: a few words that are the same for many calls, as they are counted."""

    names: Sequence[str]
    reason: str = ""


def chosen_by(dispatch: Dispatch, call: Call, known: Iterable[str]) -> Chosen:
    """What a dispatch answers for a call. Raises what it raises, ``ValueError`` for a name that is not ``known``,
    ``TypeError`` for an answer that is no collection of names.
    """
    answer: Any = dispatch(call)
    chosen = Chosen(_names(answer.names), answer.reason) if isinstance(answer, Chosen) else Chosen(_names(answer))
    strangers = set(chosen.names) - set(known)
    if strangers:
        raise ValueError(f"the dispatch chose {', '.join(sorted(map(str, strangers)))}, which is no branch")
    return chosen


def _names(answer: Any) -> tuple[str, ...]:
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise TypeError(f"the dispatch answered {answer!r}, which is no list of branch names")
    return tuple(answer)


def by_task(
    task: Callable[[Call], str | None], branches: Mapping[str, Sequence[str]], default: Sequence[str] = ()
) -> Dispatch:
    """Choose by what the call is about.

    ``task``: the task of a call, such as ``lambda call: call.json()["task"]``. ``branches``: task → branch names.
    ``default``: the names for any other task, and for none. The reason is ``task=<task>``, or ``task=other``.
    """

    def dispatch(call: Call) -> Chosen:
        name = task(call)
        if name is not None and name in branches:
            return Chosen(branches[name], f"task={name}")
        return Chosen(default, "task=other")

    return dispatch


def by_risk(risk: Callable[[Call], float], branches: Mapping[float, Sequence[str]]) -> Dispatch:
    """Choose by how risky the call is: the names of the highest threshold that the risk reaches.

    ``risk``: a number. ``branches``: threshold → branch names, ``{0.0: ["rules"], 0.7: ["rules", "model"]}``. A risk
    that is NaN counts as the highest, one below every threshold as the lowest. The reason is ``risk>=<threshold>``.
    """
    steps = _steps("by_risk", branches)

    def dispatch(call: Call) -> Chosen:
        score = risk(call)
        if math.isnan(score):
            return Chosen(branches[steps[-1]], "risk unknown")
        threshold = max((step for step in steps if step <= score), default=steps[0])
        return Chosen(branches[threshold], f"risk>={threshold:g}")

    return dispatch


def by_confidence(confidence: Callable[[Call], float], branches: Mapping[float, Sequence[str]]) -> Dispatch:
    """Choose by how sure a classifier is of the call: the names of the highest threshold that it reaches.

    ``confidence``: in [0, 1]; NaN or anything outside counts as the lowest threshold. ``branches``: threshold → branch
    names, ``{0.0: ["cheap", "dear"], 0.9: ["cheap"]}``. The reason is ``confidence>=<threshold>``, or ``confidence
    unknown``.
    """
    steps = _steps("by_confidence", branches)

    def dispatch(call: Call) -> Chosen:
        sure = confidence(call)
        if not 0.0 <= sure <= 1.0:
            return Chosen(branches[steps[0]], "confidence unknown")
        threshold = max((step for step in steps if step <= sure), default=steps[0])
        return Chosen(branches[threshold], f"confidence>={threshold:g}")

    return dispatch


def _steps(name: str, branches: Mapping[float, Sequence[str]]) -> list[float]:
    if not branches:
        raise ValueError(f"{name} has no branches; give thresholds and names, such as {{0.0: ['cheap']}}")
    wrong = [step for step in branches if not isinstance(step, int | float) or math.isnan(step)]
    if wrong:
        raise ValueError(f"{name} has the threshold {wrong[0]!r}, which is no number")
    return sorted(branches)
