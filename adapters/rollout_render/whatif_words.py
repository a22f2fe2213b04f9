"""What ``whatif`` found, in words: the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rollout.domain.cost import usd_text
from rollout.domain.durations import duration_text
from rollout.domain.whatif.estimate import Figure
from rollout.domain.whatif.frontier import Point
from rollout.domain.whatif.prediction import Check, Prediction
from rollout.domain.whatif.setting import Setting
from rollout.usecases.recorded_calls import Sample
from rollout.usecases.whatif import WhatIf
from rollout_render import words

NOT_KNOWN: Final = "unknown"
_OFF: Final = 0.1  # a replay that misses what was measured by more than that is not to be trusted
LETTERS: Final = "abcdefghijkl"  # of the points of a frontier; more are not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure: as things are, as they would be, between what that lies, and by how much it differs. ``known``:
    whether the records can tell how it would be.
    """

    name: str
    in_force: str
    value: str
    likely: str
    change: str
    known: bool


def setting_text(setting: Setting, dropped: Sequence[str]) -> str:
    """``"soft timeout tickets 200ms · without recommendations"``."""
    parts = [
        *(f"soft timeout {name} {duration_text(value)}" for name, value in setting.soft_s.items()),
        *(f"hard timeout {name} {duration_text(value)}" for name, value in setting.hard_s.items()),
        *(f"{name} below a confidence of {value:g}" for name, value in setting.confidence.items()),
        *([f"without {', '.join(dropped)}"] if dropped else []),
        *(["once live"] if setting.live else []),
    ]
    return " · ".join(parts) or "as it is"


def sample_text(sample: Sample, took_s: float) -> str:
    """Which calls, of which, and how long it took."""
    whole = "all" if sample.read == sample.stored else f"the newest {words.count(sample.read)}"
    return (
        f"{words.count(sample.calls)} shadow calls, {words.utc(sample.first_at)} to {words.utc(sample.last_at)}"
        f" ({whole} of {words.count(sample.stored)} stored trials), replayed in {words.seconds(took_s)}"
    )


def sentence(found: WhatIf) -> str:
    """The answer in one sentence; ``""`` where nothing was asked."""
    if not found.setting.changes:
        return ""
    if found.predicted is None:
        return "Unknown: the records cannot speak for it."
    asked = ("users p95", "complete", "cost a call", "differ")
    return "; ".join(_told(line) for line in lines(found) if line.name in asked and line.likely) + "."


def _told(line: Line) -> str:
    likely = "" if line.known else f" ({line.likely})"
    return f"{line.name} {line.value}{likely}, {'as' if line.change == '=' else line.in_force} in force"


def lines(found: WhatIf) -> Iterator[Line]:
    """Every figure. Where nothing was asked, what is predicted is what is in force."""
    for name, read, text, change in _FIGURES:
        now = read(found.in_force)
        then = None if found.predicted is None else read(found.predicted)
        yield Line(
            name=name,
            in_force=_value(now, text),
            value=NOT_KNOWN if found.predicted is None else _value(then, text),
            likely="" if then is None else _likely(then, text),
            change="" if now is None or then is None else change(now, then),
            known=found.predicted is not None and (then is None or then.value is not None),
        )


def notes(found: WhatIf) -> Iterator[str]:
    """What to mind, as sentences."""
    predicted = found.predicted
    if found.check is not None:
        yield _checked(found.check)
    if predicted is not None and predicted.lost_nano:
        yield (
            f"Not in the cost: {usd_text(predicted.lost_nano)} a call, of runs that would be cut before they say what "
            "they used. A provider may bill it all the same."
        )
    if found.join == "overlay" and found.setting.soft_s and not found.setting.live:
        yield "Once live, a part that comes while control still runs is used: --live predicts that."
    if found.join == "overlay" and found.setting.changes:
        yield "A part that is missing is taken to leave control's value in its place, as the default overlay does."
    if drawn := [name for name in found.dropped if name not in found.setting.dropped]:
        yield f"What comes after a dropped branch goes with it: {', '.join(drawn)}."
    if found.absent:
        yield f"Ran in none of these calls, and is in no figure: {', '.join(found.absent)}."
    if found.sample.kept < 1:
        yield f"{words.share(found.sample.kept)} of the matched trials are stored; each stands for the others too."
    if found.sample.left_out:
        why = ", ".join(f"{words.count(count)} {reason}" for reason, count in found.sample.left_out.items())
        yield f"Left out: {why}."
    yield "Taken as recorded: how long a branch takes when there is less load on it, or more, is not in it."


def _checked(check: Check) -> str:
    said = (
        f"Replayed as it is, {words.count(check.calls)} of these calls come to a p95 of "
        f"{words.seconds(check.replayed_s)}; measured: {words.seconds(check.measured_s)}."
    )
    if abs(check.error) <= _OFF:
        return said
    return f"{said} That is far off, so trust no latency here: something else takes time, or goes on without waiting."


def unanswered(found: WhatIf) -> Iterator[tuple[str, str]]:
    """What is not known and why, with what to record to know it."""
    for one in found.unanswered:
        yield f"{one.why} ({words.count(one.calls)} of {words.count(found.sample.calls)} calls).", one.remedy


def chosen(points: Sequence[Point]) -> Sequence[Point]:
    """At most as many as there are letters: the first, the last, and some evenly between."""
    most = len(LETTERS)
    if len(points) <= most:
        return points
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def point_text(point: Point, setting: Setting) -> str:
    """``"tickets 120ms, recommendations 90ms"``."""
    named = ", ".join(f"{name} {duration_text(value)}" for name, value in point.soft_s.items())
    return named or ("as asked" if setting.changes else "as it is")


# Figures as text


def _value(figure: Figure | None, text: Callable[[float], str]) -> str:
    if figure is None:
        return words.UNKNOWN
    return NOT_KNOWN if figure.value is None else text(figure.value)


def _likely(figure: Figure, text: Callable[[float], str]) -> str:
    """The interval; of what is unknown, the bounds that are left."""
    low = text(figure.low)
    if figure.high is None:
        return f"{low} or more"
    high = text(figure.high)
    return low if low == high else f"{low} to {high}"


def _relative(now: Figure, then: Figure) -> str:
    """``"-26%"``; nothing where one of them is unknown."""
    if now.value is None or then.value is None:
        return ""
    if not now.value:
        return "=" if not then.value else "new"
    change = then.value / now.value - 1
    return f"{change:+.0%}" if abs(change) >= 0.005 else "="


def _points(now: Figure, then: Figure) -> str:
    """``"-6.9 points"``; nothing where one of them is unknown."""
    if now.value is None or then.value is None:
        return ""
    points = (then.value - now.value) * 100
    return f"{points:+.1f} points" if abs(points) >= 0.05 else "="


def _two(value: float) -> str:
    return f"{value:.2f}"


_Read = Callable[[Prediction], Figure | None]
_FIGURES: Final[Sequence[tuple[str, _Read, Callable[[float], str], Callable[[Figure, Figure], str]]]] = (
    ("users p50", lambda one: one.user.p50, words.seconds, _relative),
    ("users p95", lambda one: one.user.p95, words.seconds, _relative),
    ("users p99", lambda one: one.user.p99, words.seconds, _relative),
    ("fan-out p50", lambda one: one.fan_out.p50, words.seconds, _relative),
    ("fan-out p95", lambda one: one.fan_out.p95, words.seconds, _relative),
    ("fan-out p99", lambda one: one.fan_out.p99, words.seconds, _relative),
    ("complete", lambda one: one.complete, words.share, _points),
    ("parts a call", lambda one: one.parts, _two, _relative),
    ("tokens a call", lambda one: one.tokens, words.count, _relative),
    ("cost a call", lambda one: one.nano, usd_text, _relative),
    ("differ", lambda one: one.mismatched, words.share, _points),
    ("fall back", lambda one: one.fell_back, words.share, _points),
)
