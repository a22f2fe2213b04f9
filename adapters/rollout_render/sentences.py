"""What a report says in sentences, the same in a terminal, a page and a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rollout.domain.report import Example
from rollout.domain.report_values import (
    Bill,
    Comparison,
    ErrorLine,
    Losses,
    Mismatch,
    PairedLatency,
    Reporting,
    Sample,
    Step,
    Waterfall,
)
from rollout_render import words

_MOST_PROCESSES: Final = 12
_SILENT_S: Final = 60
_FEW: Final = 4
_RAISED: Final = "exception "  # before the class of an error


def excess(found: Mismatch) -> str:
    """How much more often a path differs than control from itself: ``"+1.2% (+1% to +1.5%)"``."""
    if found.excess is None:
        return "no noise run"
    return f"{words.points(found.excess)} ({words.between(found.excess_low, found.excess_high, words.points)})"


def beyond(found: Mismatch) -> str:
    """The same in a word: ``"≥ 1%"`` where the interval is above 0, else ``"no"``."""
    if found.excess_low is None:
        return words.UNKNOWN
    return f"≥ {words.share(found.excess_low)}" if found.excess_low > 0 else "no"


#: What the columns of a table of paths are.
COLUMNS: Final = "share: of the calls in which the branch was compared; noise: control against itself"


def not_compared(found: Iterable[Comparison]) -> list[str]:
    """Of each unit whose pairs have not all been compared, how many were not and why: ``"tickets: 599 of 1,064 pairs
    could not be compared, for the branch failed."``"""
    return [
        f"{one.unit}: {words.count(failed)} of {words.count(failed + one.compared)} pairs could not be compared, "
        f"for {_who_failed(one)}."
        for one in found
        if (failed := one.branch_failed + one.control_failed)
    ]


def _who_failed(found: Comparison) -> str:
    if not found.control_failed:
        return "the branch failed"
    if not found.branch_failed:
        return "control failed"
    return f"the branch ({words.count(found.branch_failed)}) or control alone failed"


def earlier(version: int, began: float) -> str:
    """Heads the paths that did not differ since the policy in force began."""
    return f"Not seen since policy v{version} began, {words.utc(began)}:"


def redacted(examples: Iterable[Example], path: str | None = None) -> str:
    """What the hashes of pairs are and how to see values, with a path for an example; ``""`` where nothing is
    hidden. ``path``: the only one that is shown, None where all are."""
    hidden = (
        str(one.get("path", ""))
        for example in examples
        for one in example.differences
        if path in (None, one.get("path"))
        if words.is_redacted(one.get("control")) or words.is_redacted(one.get("candidate"))
    )
    if (path := next(hidden, None)) is None:
        return ""
    return (
        "#… is a keyed hash of a value that is not stored: equal values have equal hashes. To see values of new calls, "
        f'name the path in the code: store=Store(clear=["{path}"]).'
    )


def stopped(at: float | None, why: str, *, figures: bool) -> list[str]:
    """Of a unit that is rolled back since ``at`` (epoch seconds): when and why, and of when ``figures``, if there are
    any, are; nothing of any other."""
    if at is None:
        return []
    since = f"since {words.utc(at)}{f': {why}' if why else ''}"
    return [since, "the figures are those of that moment"] if figures else [since]


#: Whose failure a line of errors is.
ERRORS: Final = (
    "No good reply: the caller left, the process stopped or control failed, which counts for every branch alike, "
    "though its runs were well; or an optional part was missing."
)
#: Beside the sums by model: they are another estimate than those of every call.
MODELS: Final = "estimated of stored trials; what is above is counted of every call"


#: What the row of control is counted of.
CONTROL_COST: Final = (
    "control: of compared calls alone; its other calls record no usage, so what it spent so far is unknown"
)


def bill(found: Bill) -> str:
    """What every call costs at 100 %, how much more or less than control alone that is,
    and which branches it supposes there."""
    if found.per_call_usd is None:
        return f"At 100 % unknown: {', '.join(found.unknown)}: calls without a price, or none yet."
    if found.month_usd is None:
        text = f"At 100 %: {words.dollars(found.per_call_usd)} a call"
    else:
        text = f"At 100 %: {words.dollars(found.month_usd)} a month, {words.dollars(found.per_call_usd)} a call"
        text += _compared(found)
    supposed = f" The total supposes at 100 % what takes no live call now: {', '.join(found.supposed)}."
    if found.control_share == 1:
        text += ". Control runs beside the branches on every call (join is overlay)."
    else:
        share = words.share(found.control_share)
        text += f". Branches stand in for control, which runs in {share} of the calls, and for fallbacks on top."
    return text + supposed if found.supposed else text


def _compared(found: Bill) -> str:
    if found.more_usd is None:
        return ""
    alone = words.dollars(found.today_month_usd)
    if not found.more_usd:
        return f", as control alone ({alone})"
    more = "more" if found.more_usd > 0 else "less"
    return f", {words.dollars(abs(found.more_usd))} {more} than control alone ({alone})"


def losses(found: Losses) -> str:
    """What was dropped, zeros too: ``"Dropped: 12 shadows (12 lag), no trial, no evidence."``; and which calls were
    not compared without being lost."""
    dropped = [
        _lost(found.shadows, "shadow"),
        _lost(found.trials, "trial"),
        _lost({"too late to be judged": found.late_blocks} if found.late_blocks else {}, "block", "evidence"),
    ]
    text = f"Dropped: {', '.join(dropped)}."
    if found.calls:
        text += f" No shadow can be made of {sum(found.calls.values()):,} calls ({words.reasons(found.calls)})."
    parts = [(found.not_compared, "live"), (found.not_drawn, "not drawn")]
    if apart := [f"{number:,} {which}" for number, which in parts if number]:
        text += f" Not compared, for they are outside the sample: {' and '.join(apart)} calls."
    if found.fallbacks:
        text += f" {found.fallbacks:,} live calls fell back to control."
    return text


def _lost(found: Mapping[str, int], thing: str, nothing: str = "") -> str:
    """``"2 trials (2 queue_full)"``; ``"no trial"``, or no such thing as ``nothing`` names."""
    if not found:
        return f"no {nothing or thing}"
    number = sum(found.values())
    return f"{number:,} {thing if number == 1 else f'{thing}s'} ({words.reasons(found)})"


def gone_no_further(step: Step) -> str:
    """Why calls of the step before are not in this one: ``"12 not drawn by the sample; lost: 3 lag"``."""
    lost = f"lost: {words.reasons(step.drops)}" if step.drops else ""
    return "; ".join(part for part in (words.reasons(step.ended), lost) if part)


def sample(found: Sample) -> str:
    """Which trials a part of the report is made of, as a sentence."""
    span = f"{words.utc(found.first_at)} to {words.utc(found.last_at)}"
    text = f"Of the newest {found.trials:,} of {found.stored:,} stored trials, {span}"
    if not found.kept:
        return f"{text}. Only trials that differ are stored (store.sample is 0): this speaks for them alone."
    if found.kept == 1:
        return f"{text}."
    return f"{text}; those that matched are stored at {words.share(found.kept)}, and count more."


def paired(found: PairedLatency) -> str:
    """How the two sides of the same call compare, in two sentences."""
    p50, p95, p99 = (words.signed(value) for value in (found.p50_s, found.p95_s, found.p99_s))
    slower, faster = words.share(found.slower), words.share(found.faster)
    return (
        f"The candidate took longer than control in {slower} of the calls, less in {faster}. "
        f"Its latency less control's: p50 {p50}, p95 {p95}, p99 {p99}."
    )


def typical(found: Waterfall) -> str:
    """``"Half of the calls have every part after 90 ms, 95% after 140 ms; control takes 120 ms. What most wait for
    (63%): tickets → summary."``"""
    control = "" if found.control_p50_s is None else f"; control takes {words.seconds(found.control_p50_s)}"
    return (
        f"Half of the calls have every part after {words.seconds(found.end_p50_s)}, 95% after "
        f"{words.seconds(found.end_p95_s)}{control}. What most wait for ({words.share(found.path_share)}): "
        f"{' → '.join(found.path)}."
    )


def who_counted(found: Sequence[Reporting]) -> str:
    """``"2 processes counted calls in the last ten minutes: a in 600 seconds, b in 1 second (silent since …)."``"""
    if not found:
        return "No process counted a call in the last ten minutes."
    newest = max(one.last for one in found)
    parts = []
    for one in found[:_MOST_PROCESSES]:
        text = f"{one.process} in {one.seconds:,} {'second' if one.seconds == 1 else 'seconds'}"
        silent = newest - one.last > _SILENT_S
        parts.append(f"{text} (silent since {words.utc(one.last, date=False)})" if silent else text)
    if len(found) > _MOST_PROCESSES:
        parts.append(f"and {len(found) - _MOST_PROCESSES} more")
    processes = "1 process" if len(found) == 1 else f"{len(found)} processes"
    return f"{processes} counted calls in the last ten minutes: {', '.join(parts)}."


def failed(unit: str, errors: Sequence[ErrorLine]) -> str:
    """With what the runs of a unit failed, the most frequent first; ``""`` where none did."""
    raised = [line for line in errors if line.unit == unit and line.what.startswith(_RAISED)]
    if not raised:
        return ""
    told = [f"{line.what.removeprefix(_RAISED)} {words.count(line.count)} times" for line in raised[:_FEW]]
    return f"Runs of {unit} failed with {', '.join(told)}, since the first block."
