"""The checks of ``rollout doctor`` that look at one rollout after the other: is it counted, drawn, run, compared,
judged, stored?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rollout.domain.checkup import Check, Facts, Fault, fault_of
from rollout.domain.durations import duration_text, percent
from rollout.domain.sequential.part import LOG_PROMOTE
from rollout.domain.state import Mode

SILENCE_S: Final = 60.0  # beyond the settle time: blocks are written every second
MOST_LAG_S: Final = 60.0
SHARE_DROPPED: Final = 0.001
SHARE_REFUSED: Final = 0.5
FEWEST: Final = 20  # calls before a share of them means something
MOST_STAGE_S: Final = 30 * 86_400.0
EARLY_S: Final = 3_600.0  # of a stage: before, its evidence tells no rate
LEAST_NATS: Final = 0.01  # the curve of the evidence is no finer


def silent(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        running = any(state.runs and state.mode is not Mode.paused for state in one.states.values())
        limit = SILENCE_S + one.policy.settle_s
        if running and one.newest is None:
            yield fault_of(
                one,
                "silent",
                "No process has ever reported a call.",
                f"routes: {', '.join(one.policy.routes) or 'none registered'}",
                "Send a request through the wrapped handler; then check that every process uses this database.",
            )
        elif running and one.newest is not None and facts.now - one.newest > limit + 10:
            yield fault_of(
                one,
                "silent",
                "No process has reported calls lately.",
                f"the newest block is {duration_text(facts.now - one.newest)} old; blocks are written every second",
                "Check that the processes run, reach the database (their logs) and get traffic.",
            )


def lagging(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        for unit, closed in one.closed.items():
            if one.newest is None or not any(state.mode is Mode.active for state in one.states.values()):
                continue
            behind = None if closed is None else one.newest - closed
            if behind is not None and behind > MOST_LAG_S:
                yield fault_of(
                    one,
                    "controller_lag",
                    f'The controller is behind: what it judges of "{unit}" is old.',
                    f"it folded up to {duration_text(behind)} before the newest block",
                    "Look at the controller's log; a slow database or a blocked event loop keeps it from ticking.",
                )


def dropped(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        drops, finished = one.recent.starting("dropped:"), one.recent["finished"]
        lost = sum(drops.values())
        if lost and lost > SHARE_DROPPED * max(finished, 1):
            yield fault_of(
                one,
                "dropped",
                "Trials are lost on the way to the database.",
                f"in the last hour {lost:,} of {finished:,}: {_list(drops)}",
                "Give the database room, or store less: Store(sample=…), Shadow(sample=…).",
            )


def late(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        if one.late > 10:
            yield fault_of(
                one,
                "late_blocks",
                "Processes report too late: what they counted is judged by no gate.",
                f"{one.late:,} blocks came after their second was closed",
                "Look for processes that stall, for clocks that differ, and for a database that answers slowly.",
            )


def held_by_flag(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        for flag in one.flags:
            if flag.key is None and flag.value in ("off", "shadow"):
                what = "keeps every call on control" if flag.value == "off" else "keeps every branch in shadow"
                yield fault_of(
                    one,
                    "flag_override",
                    f"A flag set by hand {what}, whatever the ramp says.",
                    f"{flag.flag}={flag.value} for everybody, by {flag.actor or 'somebody'}: {flag.reason or '?'}",
                    f"If that is over: rollout flag clear {flag.flag} --reason …",
                )


def broken_audit(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        for found in one.breaks:
            yield fault_of(
                one,
                "audit",
                "The audit is not whole: a decision was changed, removed or added outside of the toolkit.",
                f"decision {found.number}: {found.what}",
                "Find out who writes to the table of decisions; restore it from a backup.",
            )


def never_drawn(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        calls, policy = one.recent["calls"], one.policy
        if calls < FEWEST or not any(state.shadow for state in one.states.values()):
            continue
        skipped = one.recent.starting("skipped:")
        if policy.sample == 0:
            evidence, remedy = "shadow.sample is 0%", "Raise shadow.sample in the code or by rollout apply."
        elif one.recent["drawn"] == 0 and skipped:
            evidence, remedy = f"skipped: {_list(skipped)}", _SKIPS.get(next(iter(skipped)), _SKIPS[""])
        elif one.recent["drawn"] == 0:
            evidence, remedy = f"0 of {calls:,} calls drawn at a sample of {percent(policy.sample)}", _SKIPS[""]
        else:
            continue
        yield fault_of(one, "never_drawn", "No call runs in shadow, so there is no evidence.", evidence, remedy)


_SKIPS = {
    "too_large": "Raise Rollout(max_body=…), or accept that these calls are not shadowed.",
    "method": "Declare effects= if these methods may run twice.",
    "unsafe": "Declare effects= if these methods may run twice.",
    "flag": "The flag says off: ask its provider, or rollout flag list.",
    "": "See rollout show for the funnel; the flag, the methods and the sample decide who is drawn.",
}


def refused(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        why, drawn = one.recent.starting("refused:"), one.recent["drawn"]
        if drawn >= FEWEST and sum(why.values()) > SHARE_REFUSED * drawn:
            yield fault_of(
                one,
                "refused",
                "Most of the calls that were drawn are not run in shadow.",
                f"in the last hour {sum(why.values()):,} of {drawn:,}: {_list(why)}",
                "Lower Shadow(sample=…), raise its concurrency, or give the process more CPU (lag: a late event loop).",
            )


def nothing_compared(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        gated = any(gate.kind == "mismatches" for gate in one.policy.gates)
        clear = one.pairs["matched"] + one.pairs["ignored"] + one.pairs["mismatched"]
        if gated and one.recent["finished"] >= FEWEST and not clear:
            yield fault_of(
                one,
                "nothing_compared",
                "A gate on mismatches is declared, but nothing can be compared: it will hold for ever.",
                f"{one.recent['finished']:,} trials finished, {one.pairs['incomparable']:,} of them incomparable",
                "Look at a trial with rollout diff; give compare=Compare(view=…) for bodies that are not JSON.",
            )


def slow_stage(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        names = [gate.name for gate in one.policy.gates if gate.sequential]
        for unit, members in one.policy.units().items():
            point, state = one.evidence.get(unit), one.states.get(members[0].name)
            if point is None or state is None or state.mode is not Mode.active or point.share != state.share:
                continue
            since = point.second - state.entered_at
            known = [(e, name) for e, name in zip(point.promote, names, strict=True) if e is not None]
            evidence, name = min(known, default=(LOG_PROMOTE, ""))
            if since < EARLY_S or not 0 <= evidence < LOG_PROMOTE:
                continue  # below 0 the calls speak against the step: its gate tells that
            left = since * (LOG_PROMOTE / max(evidence, LEAST_NATS) - 1)
            if left > MOST_STAGE_S:
                yield fault_of(
                    one,
                    "slow_stage",
                    f'At this rate the next step of "{unit}" takes more than 30 days.',
                    f"{evidence / LOG_PROMOTE:.0%} of the evidence for {name} after {duration_text(since)}",
                    "Allow more harm (ramp.harm), take fewer steps, or draw more calls (shadow.sample): "
                    "rollout plan tells what fits.",
                )


def no_noise(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        if one.policy.noise == 0 and any(gate.beyond_noise for gate in one.policy.gates):
            yield fault_of(
                one,
                "no_noise",
                "A gate holds mismatches against those of control with itself, but control is never run twice: it will "
                "hold for ever.",
                "shadow.noise is 0%",
                "Raise shadow.noise in the code or by rollout apply, or declare the gate without beyond_noise.",
            )


def hooks(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        raised = one.recent.starting("hook:")
        if raised:
            yield fault_of(
                one,
                "hooks",
                "Functions of yours raise; users are served, but what they should decide is not.",
                f"in the last hour: {_list(raised)}",
                "The log names the exception (event rollout_hook_failed); mend the function.",
            )


def flag_source(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        failed = one.recent.starting("flag:")
        if failed:
            yield fault_of(
                one,
                "flag_source",
                "The flag source gives no answer that counts, so these calls were served by control alone.",
                f"in the last hour: {_list(failed)}",
                f'Look at the provider bound to the domain "rollout": the flag "{one.policy.flag}" must be a string, '
                "off, shadow, auto or on (or a boolean), and answered within 50 ms.",
            )


def unpriced(facts: Facts) -> Iterator[Fault]:
    for one in facts.rollouts:
        if any(gate.kind == "cost" for gate in one.policy.gates) and one.pairs["unpriced"]:
            yield fault_of(
                one,
                "unpriced",
                "A gate on cost is declared, but the cost of some calls is unknown: it holds.",
                f"{one.pairs['unpriced']:,} calls without a price, {one.pairs['costed']:,} with one",
                "Pass usd= to rollout.record_usage, or give the branch a meter=.",
            )


SYMPTOMS: Final[Mapping[str, Check]] = {
    "silent": silent,
    "controller_lag": lagging,
    "dropped": dropped,
    "late_blocks": late,
    "flag_override": held_by_flag,
    "audit": broken_audit,
    "never_drawn": never_drawn,
    "refused": refused,
    "nothing_compared": nothing_compared,
    "slow_stage": slow_stage,
    "no_noise": no_noise,
    "hooks": hooks,
    "flag_source": flag_source,
    "unpriced": unpriced,
}


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:5])
