"""The analysis as it shall be: a cheap first opinion on each task, and a dear second one where it is needed and the
budget of the call still covers it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from rollout import Branch, Budget, Call, Compare, Parts, Ramp, Reply, Reserve, Rollout, Shadow, gates
from rollout_demo.models.asking import MODELS, TASKS, Opinion
from rollout_demo.models.monolith import analyse
from rollout_demo.models.server import LARGE, PRICES, SMALL

BUDGET: Final = Budget(latency_s=1.5, tokens=4_000, usd="0.05")
#: What one question takes at most: 900 words and the instruction read, 30 tokens written, at the model's price.
CHEAP: Final = Reserve(tokens=1_000, usd="0.0004")
DEAR: Final = Reserve(tokens=1_000, usd="0.018", latency_s=0.9)
SURE: Final = 0.9

#: Thresholds, which state no error bound: half a minute of mails is too little to show anything by evidence.
GATES: Final = (
    gates.errors(worse_by=0.05, mode="threshold", minimum=10, fewest=5),
    gates.latency(q=0.9, worse_by=None, at_most_s=1.0, mode="threshold", minimum=10),
    gates.mismatches(at_most=0.15, mode="threshold", minimum=10),
    gates.cost(usd_per_call="0.015", mode="threshold", minimum=10),
)


def second(task: str) -> str:
    """The name of the branch that asks the dear model."""
    return f"{task}-2"


def asks(model: str, task: str) -> Callable[[Call], Awaitable[Opinion]]:
    """A branch's function: the model's opinion on the task."""

    async def ask(call: Call) -> Opinion:
        models = call.resources[MODELS]
        opinion: Opinion = await models.ask(
            model, task, call.json()["text"], by="fan-out", call=call.headers["X-Call-Id"]
        )
        return opinion

    return ask


def confidence(opinion: Opinion) -> float:
    return float(opinion["confidence"])


def joined(call: Call, control: Reply | None, parts: Parts) -> dict[str, Any]:
    """The second opinion where there is one, else the first; ``opinions`` says why there is no second, so that whoever
    gets a doubtful answer knows.
    """
    reply: dict[str, Any] = {task: parts.get(second(task), parts[task]) for task in TASKS}
    reply["opinions"] = {task: parts.missing.get(second(task), "second") for task in TASKS}
    return reply


def branches() -> list[Branch]:
    """Of each task the cheap branch, then the dear one. The required ones move together, each second one on its own."""
    cheap = [
        Branch(
            task,
            asks(SMALL, task),
            part=f"$.{task}",
            confidence=confidence,
            reserve=CHEAP,
            sla_s=0.3,
            hard_timeout_s=1.0,
        )
        for task in TASKS
    ]
    dear = [
        Branch(
            second(task),
            asks(LARGE, task),
            part=f"$.{task}",
            after=task,
            escalate_below=SURE,
            reserve=DEAR,
            hard_timeout_s=0.9,
            required=False,
        )
        for task in TASKS
    ]
    return [*cheap, *dear]


def rollout(name: str = "analysis", *, stages: str = "shadow 25% 100%", soak: str = "1s") -> Rollout:
    """The rollout of the analysis. To ask a model changes nothing, so POST may run in shadow too."""
    return Rollout(
        name,
        control=analyse,
        join="replace",
        branches=branches(),
        aggregate=joined,
        methods=["POST"],
        effects="safe",
        key=lambda call: call.headers.get("X-User-Id"),
        budget=BUDGET,
        prices=PRICES,
        compare=Compare(ignore=["$..confidence", "$..model", "$.opinions"], unordered={"$.entities.answer": None}),
        ramp=Ramp.parse(stages, soak=soak),
        gates=GATES,
        shadow=Shadow(noise=0.0, reverse=0.5, usd_per_day="25", max_lag_s=0.25, pause_s=1.0),
    )
