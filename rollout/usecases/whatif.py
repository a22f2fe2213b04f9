"""The verb ``whatif``: what another setting would have made of the calls that ran in shadow. It changes nothing.

    found = await whatif(backend, "profile", Setting(soft_s={"tickets": 0.2}), clock=time.perf_counter)
    found.in_force.user.p95, found.predicted.user.p95

Every call is replayed under both settings, so what they differ by is the setting and not the traffic. What it does not
know: how a branch would fare under less load, or more; and that a deadline which comes sooner leaves retries out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rollout.domain.whatif.frontier import Frontier, frontier
from rollout.domain.whatif.prediction import Check, Prediction, check, predict
from rollout.domain.whatif.recorded import Past
from rollout.domain.whatif.remedies import Unanswered, never_ran, unanswered
from rollout.domain.whatif.setting import Setting, rules_of
from rollout.ports import Backend
from rollout.usecases.recorded_calls import Sample, read
from rollout.usecases.standpoint import Standpoint

#: The most trials that are read.
MOST: Final = 20_000
#: How much of the whole is done when everything is read, and when it is predicted; roughly.
_READ: Final = 0.6
_PREDICTED: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """``in_force``: the same calls as things are. ``predicted``: None where nothing can be said. ``check``: how
    well the replay tells what is known already. ``dropped``: all that goes. ``absent``: branches of which no run was
    recorded, so that they are in no figure. ``frontier``: None where no branch is optional. ``took_s``: seconds.
    """

    rollout: str
    version: int
    join: str
    setting: Setting
    dropped: Sequence[str]
    absent: Sequence[str]
    sample: Sample
    in_force: Prediction
    predicted: Prediction | None
    unanswered: Sequence[Unanswered]
    check: Check | None
    frontier: Frontier | None
    took_s: float


async def whatif(
    backend: Backend,
    name: str,
    setting: Setting,
    *,
    clock: Callable[[], float],
    since: float | None = None,
    most: int = MOST,
    progress: Callable[[float], None] = lambda _: None,
) -> WhatIf:
    """Predict. ``since``: epoch seconds, default the oldest trial; ``most``: read no more than so many, the newest.
    ``progress`` is told which share is done, in [0, 1].

    ``UnknownName`` for a rollout or branch that is not there; ``Refused`` for a setting that cannot be, and where no
    trial can speak.
    """
    began = clock()
    policy = (await Standpoint.of(backend, name)).policy
    setting.check(policy)
    calls, sample = await read(backend, policy, since, most, lambda share: progress(_READ * share))
    past = Past.of(calls)
    as_it_is = Setting(live=setting.live)
    in_force = predict(calls, rules_of(policy, as_it_is, past))
    nothing = tuple(never_ran(policy, setting, past))
    predicted = None if nothing else predict(calls, rules_of(policy, setting, past)) if setting.changes else in_force
    progress(_PREDICTED)
    return WhatIf(
        rollout=name,
        version=policy.version,
        join=policy.join,
        setting=setting,
        dropped=sorted(setting.gone(policy)),
        absent=[branch.name for branch in policy.branches if not past.began.get(branch.name)],
        sample=sample,
        in_force=in_force,
        predicted=predicted,
        unanswered=nothing if predicted is None else unanswered(predicted.unknown, policy, setting),
        check=check(calls, rules_of(policy, Setting(), past)),
        frontier=None if nothing else frontier(calls, policy, setting, past, lambda share: progress(_rest(share))),
        took_s=clock() - began,
    )


def _rest(share: float) -> float:
    """How much of the whole is done with a share of what comes after the prediction."""
    return _PREDICTED + (1 - _PREDICTED) * share
