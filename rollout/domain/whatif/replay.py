"""One recorded call under the rules of a setting: who would have run, from when to when, and what came of it.

    replay(call, rules)
    replay(call, rules, beyond=Beyond.never)

The two differ where the record cannot speak: a run that was cut may have ended at once, late, or never; one that was
not asked may have taken no time or all of it. Where ``doubts`` is empty they are the same.

The order of things is the engine's: a branch begins when what it comes after has ended; the candidate is made when all
have ended, or when every run under way is past its soft timeout; then the rest is cut, and what still waits is skipped.
What takes no branch's time takes none here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from rollout.domain.comparison import Outcome
from rollout.domain.outcomes import RunOutcome
from rollout.domain.whatif.recorded import CUT, ENDED, LATE_S, OK, REFUSED, RecordedCall, RecordedRun
from rollout.domain.whatif.setting import Rule, Rules

_NO_FAILURE: Final = (OK, RunOutcome.answered, RunOutcome.skipped)
_COMPARED: Final = (Outcome.matched, Outcome.ignored, Outcome.mismatched)


class Beyond(StrEnum):
    """How a run goes on where its record ends. Between the three lies whatever may have been."""

    soon = "soon"  # it ends right there, with a part
    late = "late"  # it ends with a part just before somebody goes on without it
    never = "never"  # it does not end by itself


class Doubt(StrEnum):
    """Why a record cannot speak for a setting."""

    cut = "cut"  # the run was cut sooner than the setting would cut it
    not_asked = "not_asked"  # the branch did not run, and would
    refused = "refused"  # a budget did not cover the run, and might now
    unheard = "unheard"  # nobody wrote down how sure the first opinion was
    unpriced = "unpriced"  # it ran at a price that nobody knows
    other_parts = "other_parts"  # the candidate would be made of other parts, and nobody knows whether it differs


@dataclass(slots=True)
class Used:
    """Tokens and nano-dollars of one call, at least and at most. ``lost_nano``: what runs are known to have cost that
    now would be cut before they say so; in no other sum.
    """

    tokens: float = 0.0
    most_tokens: float = 0.0
    nano: float = 0.0
    most_nano: float = 0.0
    lost_nano: int = 0


@dataclass(slots=True)
class Replayed:
    """What comes of one call. Times in seconds.

    ``fan_out_s``: until the candidate is made, or found to be impossible. ``user_s``: until the user has a reply.
    ``complete``: every branch that was to run has a part. ``fell_back``: the user gets control's reply. ``compared``:
    whether there is an outcome at all. ``doubts``: (branch, why).
    """

    fan_out_s: float
    user_s: float
    parts: int
    complete: bool
    fell_back: bool
    used: Used
    compared: bool
    differs: bool
    doubts: tuple[tuple[str, Doubt], ...]


class _Run:
    """One branch of the call. ``seen``: as it was recorded; ``known_s``: until when that speaks, None: wholly."""

    __slots__ = ("doubt", "end", "known_s", "outcome", "rule", "seen", "start")

    def __init__(self, rule: Rule, seen: RecordedRun, start: float) -> None:
        self.rule = rule
        self.seen = seen
        self.start = start
        self.end = start
        self.outcome = RunOutcome.skipped
        self.known_s: float | None = None
        self.doubt: Doubt | None = None

    def soft_at(self) -> float:
        return self.start + self.rule.soft_s

    def cut(self, outcome: RunOutcome, at: float) -> None:
        self.outcome, self.end = outcome, at

    @property
    def is_doubtful(self) -> bool:
        """Whether it lasted longer than its record speaks."""
        return self.known_s is not None and (self.outcome not in CUT or self.end > self.known_s)

    @property
    def says_its_usage(self) -> bool:
        """Whether what it used is what was recorded: a run that is cut before its end has not said it yet."""
        if self.outcome is RunOutcome.skipped or self.outcome in REFUSED or self.is_doubtful:
            return False
        return self.seen.outcome in CUT or self.outcome not in CUT


def replay(call: RecordedCall, rules: Rules, beyond: Beyond = Beyond.soon) -> Replayed:
    """One call under the rules; ``beyond``: what is taken for the case where its record does not speak."""
    runs: dict[str, _Run] = {}
    for rule in rules.order:
        seen = call.runs.get(rule.name)
        if seen is not None:
            runs[rule.name] = _begun(rule, seen, call, runs, rules, beyond)
    failed = (run.end for run in runs.values() if run.rule.required and run.outcome not in _NO_FAILURE)
    failed_s = min(failed, default=inf)
    decided_s = made_s = ends_s = _decided(runs.values(), rules, 0.0)
    if rules.live:
        not_before = 0.0 if rules.replaces else call.control_s
        made_s = _decided(runs.values(), rules, not_before)
        ends_s = min(made_s, max(failed_s, not_before))  # in shadow a failure ends nothing
    _cut(runs, ends_s)
    fan_out_s = min(decided_s, failed_s)
    fell_back = failed_s < inf or (rules.replaces and fan_out_s > rules.fallback_s)
    differs, is_told = _differs(call, runs, rules)
    doubts = [*_doubts(runs), *([] if is_told or fell_back else [("", Doubt.other_parts)])]
    return Replayed(
        fan_out_s=fan_out_s,
        user_s=_user_s(call.control_s, min(made_s, failed_s), fell_back, rules),
        parts=sum(run.outcome is OK for run in runs.values()),
        complete=all(run.outcome in (OK, RunOutcome.skipped) for run in runs.values()),
        fell_back=fell_back,
        used=_used(runs.values()),
        compared=not fell_back and call.outcome in _COMPARED,
        differs=differs if is_told else beyond is not Beyond.soon,
        doubts=tuple(doubts),
    )


# When runs begin and end


def _begun(
    rule: Rule, seen: RecordedRun, call: RecordedCall, runs: Mapping[str, _Run], rules: Rules, beyond: Beyond
) -> _Run:
    """A branch as it would run if nothing was cut by a soft timeout of its own or another's."""
    before = [runs[name] for name in rule.after if name in runs]
    start = max((run.end for run in before), default=0.0)
    run = _Run(rule, seen, start)
    if start > rules.deadline_s - LATE_S:  # all is cut then, and what waits is skipped
        return run
    wanted, run.doubt = _wanted(rule, seen, call, before, beyond)
    if not wanted:
        return run
    if seen.outcome in REFUSED and not _might_be_covered(seen, rules):
        run.outcome = seen.outcome
        return run
    limit_s = max(0.0, min(rule.hard_s, rules.deadline_s - start))
    if seen.outcome in ENDED:
        run.outcome, lasts_s = seen.outcome, seen.took_s
    else:  # cut, not asked, or refused: it lasts longer than that, nobody knows how much
        known_s = seen.took_s + LATE_S if seen.outcome in CUT else 0.0
        run.outcome, lasts_s = OK, _beyond(known_s, min(limit_s, rule.soft_s), beyond)
        run.known_s = start + known_s
    run.end = start + lasts_s
    if lasts_s > limit_s + (rule.grace_s if seen.outcome in ENDED else 0.0):
        run.cut(RunOutcome.hard_timeout, start + limit_s)
    return run


def _might_be_covered(seen: RecordedRun, rules: Rules) -> bool:
    """Whether a run that a budget refused might begin where others reserve less of it; the time is the same for all."""
    return rules.reserves_less and seen.outcome is RunOutcome.over_budget and seen.reason != "time"


def _beyond(known_s: float, limit_s: float, beyond: Beyond) -> float:
    """How long a run lasts that lasts longer than ``known_s``."""
    return {Beyond.soon: known_s, Beyond.late: max(known_s, limit_s), Beyond.never: inf}[beyond]


def _wanted(
    rule: Rule, seen: RecordedRun, call: RecordedCall, before: Sequence[_Run], beyond: Beyond
) -> tuple[bool, Doubt | None]:
    """Whether a branch is asked for in this call, and why that is not known."""
    if any(run.rule.required and run.outcome is not OK for run in before) or seen.reason in ("when", "dispatch"):
        return False, None
    all_told = bool(before) and all(run.outcome is OK for run in before)
    if rule.below is not None and all_told:
        if rule.unheard:
            return beyond is not Beyond.soon, Doubt.unheard
        return any(_is_unsure(run, rule.below) for run in before), None
    if seen.outcome is not RunOutcome.skipped:
        return True, None
    waited_in_vain = any(name in call.runs and call.runs[name].outcome is not OK for name in rule.after)
    return waited_in_vain or (seen.reason == "confident" and not all_told), None


def _is_unsure(run: _Run, below: float) -> bool:
    """Whoever cannot say is not sure."""
    return run.seen.sure is None or run.seen.sure < below


def _decided(runs: Collection[_Run], rules: Rules, not_before: float) -> float:
    """When the candidate is made: all have ended, or all that are under way are late."""
    last = max((run.end for run in runs), default=0.0)
    if not rules.soft:
        return max(last, not_before)
    softs = (run.soft_at() for run in runs if run.soft_at() < run.end)
    moments = sorted({not_before, last, *(run.end for run in runs), *softs})
    return next(
        moment
        for moment in moments
        if moment >= not_before and all(run.soft_at() <= moment for run in runs if run.start <= moment < run.end)
    )


def _cut(runs: Mapping[str, _Run], decided_s: float) -> None:
    """End what is under way when the candidate is made, and skip what still waits."""
    for run in runs.values():
        if run.start > decided_s:
            run.cut(RunOutcome.skipped, decided_s)
            run.known_s = run.doubt = None
        elif run.end > decided_s:
            run.cut(RunOutcome.soft_timeout, decided_s)


def _user_s(control_s: float, made_s: float, fell_back: bool, rules: Rules) -> float:
    """Beside control, instead of it, or followed by it."""
    if not rules.replaces:
        return max(control_s, made_s)
    return min(made_s, rules.fallback_s) + control_s if fell_back else made_s


# What came of it


def _used(runs: Iterable[_Run]) -> Used:
    found = Used()
    for run in runs:
        seen = run.seen
        if run.says_its_usage:
            found.tokens += seen.tokens
            found.most_tokens += seen.tokens
            found.nano += seen.nano or 0
            found.most_nano += inf if seen.nano is None else seen.nano
        elif run.is_doubtful:
            found.most_tokens += run.rule.most_tokens
            found.most_nano += run.rule.most_nano
        elif run.outcome in CUT:
            found.lost_nano += seen.nano or 0
    return found


def _doubts(runs: Mapping[str, _Run]) -> Iterator[tuple[str, Doubt]]:
    for name, run in runs.items():
        if run.doubt is not None:
            yield name, run.doubt
        if run.is_doubtful:
            yield name, _why(run.seen.outcome)
        elif run.says_its_usage and run.seen.nano is None:
            yield name, Doubt.unpriced


def _why(outcome: RunOutcome) -> Doubt:
    """Why the record of a run that ended so does not say how it goes on."""
    if outcome in CUT:
        return Doubt.cut
    return Doubt.refused if outcome is RunOutcome.over_budget else Doubt.not_asked


def _differs(call: RecordedCall, runs: Mapping[str, _Run], rules: Rules) -> tuple[bool, bool]:
    """Whether the candidate differs from control, and whether that can be told.

    In an overlay a part that is missing leaves control's value in its place, so what differs in the other parts is all
    there is. Not so where another part stands at the same place, or no place is known; nor where the branches stand in
    for control.
    """
    had = {name for name, run in call.runs.items() if run.outcome is OK}
    has = {name for name, run in runs.items() if run.outcome is OK}
    lost = had - has
    if has - had:
        return False, False
    taken = {rules.places.get(name) for name in has}
    if lost and (rules.replaces or any((place := rules.places.get(name)) is None or place in taken for name in lost)):
        return False, False
    return bool(call.differs - lost), True
