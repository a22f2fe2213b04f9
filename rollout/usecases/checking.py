"""``check``: what a controller would decide of each unit now. Nothing is changed."""

from __future__ import annotations

from typing import NamedTuple

from rollout.domain.gates import Finding
from rollout.domain.lifecycle import mode_of
from rollout.domain.state import Mode
from rollout.domain.verdict import Action, Verdict
from rollout.ports import Backend
from rollout.usecases.standpoint import Standpoint
from rollout.usecases.steering import judge_now
from rollout.usecases.stopped import found_then, stop_of


class Checked(NamedTuple):
    """What a controller would decide on a unit now. ``findings``: of its gates. Of a unit that is rolled back they are
    those of ``rolled_back_at`` (epoch seconds), for that is what people ask; None: they are of now. ``why``: the reason
    of that rollback, else ``""``."""

    unit: str
    mode: Mode
    verdict: Verdict
    findings: tuple[Finding, ...]
    rolled_back_at: float | None = None
    why: str = ""


async def check(backend: Backend, rollout: str, branch: str | None = None) -> list[Checked]:
    """Judge now, from what the controller folded and what was closed since; change nothing. No controller need run."""
    at = await Standpoint.of(backend, rollout)
    return [await checked(backend, at, unit) for unit in at.units(branch)]


async def checked(backend: Backend, at: Standpoint, unit: str) -> Checked:
    """One unit. What its gates find after a rollback decides nothing, unless it is to stop the shadow."""
    members = at.members(unit)
    mode = mode_of(members)
    verdict = await judge_now(backend, at, unit, lambda context: context)
    decided = await stop_of(backend, at.policy.rollout, members) if mode is Mode.rolled_back else None
    if decided is None or verdict.action is not Action.hold:
        return Checked(unit, mode, verdict, verdict.findings)
    return Checked(unit, mode, verdict, found_then(decided, unit), decided.at, decided.reason)
