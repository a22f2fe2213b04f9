"""What is not known, as a sentence, and what to record to know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rollout.domain.durations import duration_text
from rollout.domain.state import Policy
from rollout.domain.whatif.prediction import Unknown
from rollout.domain.whatif.recorded import Past
from rollout.domain.whatif.replay import Doubt
from rollout.domain.whatif.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """``branch``: ``""`` where it is the whole reply. ``calls``: in how many of them the records cannot tell."""

    branch: str
    calls: int
    why: str
    remedy: str


def never_ran(policy: Policy, setting: Setting, past: Past) -> Iterator[Unanswered]:
    """The branches of which something is asked that none of their runs can tell: nothing can be said. Of a second
    opinion that was never wanted something can.
    """
    for branch in policy.branches:
        name = branch.name
        is_timed = name in setting.soft_s or name in setting.hard_s
        if (is_timed and not past.began.get(name)) or (name in setting.confidence and name not in past.began):
            yield Unanswered(
                branch=name,
                calls=len(past.control_s),
                why=f"{name} ran in none of these calls, so nobody knows how long it takes",
                remedy=f"Let {name} run in shadow for a while, and ask again.",
            )


def unanswered(found: Sequence[Unknown], policy: Policy, setting: Setting) -> tuple[Unanswered, ...]:
    """Each doubt of a prediction, most calls first."""
    return tuple(_told(one, policy, setting) for one in found)


def _told(one: Unknown, policy: Policy, setting: Setting) -> Unanswered:
    why, remedy = _TEXTS[one.doubt](one.branch, policy, setting)
    return Unanswered(branch=one.branch, calls=one.calls, why=why, remedy=remedy)


def _cut(name: str, policy: Policy, setting: Setting) -> tuple[str, str]:
    asked = [f"its {kind} timeout" for kind, by_branch in _asked(setting) if name in by_branch]
    limits = [by_branch[name] for _, by_branch in _asked(setting) if name in by_branch]
    longer = f"{asked[0]} at {duration_text(max(limits))} or more" if limits else "longer timeouts, and no quorum"
    return (
        f"{name} was cut there, sooner than it would be now: how long it takes is not known",
        f"Record it in shadow with {longer}, and ask again.",
    )


def _not_asked(name: str, policy: Policy, setting: Setting) -> tuple[str, str]:
    below = setting.confidence.get(name)
    how = "whenever it may be wanted" if below is None else f"with escalate_below={below:g} or more"
    return (
        f"{name} did not run there, and would now: what it takes, costs and answers is not known",
        f"Record it in shadow {how}, and ask again.",
    )


def _refused(name: str, policy: Policy, setting: Setting) -> tuple[str, str]:
    return (
        f"the budget did not cover {name} there, and might now that others take less: nobody knows what it would do",
        "Record it with a budget that covers every branch at once (budget.tokens, budget.usd), and ask again.",
    )


def _unheard(name: str, policy: Policy, setting: Setting) -> tuple[str, str]:
    branch = policy.branch(name)
    first = " and ".join(branch.after) if branch is not None else ""
    return (
        f"no recorded run of {first} tells how sure it was, so nobody knows when {name} would be asked",
        f"Declare confidence= on {first} and escalate_below=1 on {name}, let them run in shadow, and ask again.",
    )


def _unpriced(name: str, policy: Policy, setting: Setting) -> tuple[str, str]:
    return f"{name} ran there at a price that nobody knows", "Give its model a price (prices=), and record again."


def _other_parts(name: str, policy: Policy, setting: Setting) -> tuple[str, str]:
    return (
        "the reply would be made of other parts there: whether it differs from control's is not known",
        "Run this setting in shadow; what differs is recorded then.",
    )


def _asked(setting: Setting) -> Iterator[tuple[str, dict[str, float]]]:
    yield "soft", dict(setting.soft_s)
    yield "hard", dict(setting.hard_s)


_TEXTS = {
    Doubt.cut: _cut,
    Doubt.not_asked: _not_asked,
    Doubt.refused: _refused,
    Doubt.unheard: _unheard,
    Doubt.unpriced: _unpriced,
    Doubt.other_parts: _other_parts,
}
