"""What ``whatif`` shows: what would change, what is not known, and the frontier as a table, a plot and an SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from markupsafe import Markup, escape
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.cost import usd_text
from rollout.domain.durations import duration_text
from rollout.domain.whatif.estimate import Figure
from rollout.domain.whatif.frontier import Frontier, Point
from rollout.domain.whatif.prediction import Prediction
from rollout.domain.whatif.setting import Setting
from rollout.usecases.whatif import Sample, WhatIf
from rollout_render import svg, words
from rollout_render.clean import clean
from rollout_render.terminal import cell, table, title

BLANK: Final = Text("")
LETTERS: Final = "abcdefghijkl"  # of the points; more are not shown
_WIDE, _HIGH = 56, 9  # of the plot, in characters

Row = tuple[str, Callable[[Prediction], Figure | None], Callable[[float], str], bool]


def whatif(found: WhatIf) -> RenderableType:
    """The figures side by side, what is not known, the frontier, and what to mind."""
    lines: list[RenderableType] = [
        title(f"what-if {found.rollout}", setting_text(found.setting, found.dropped)),
        cell(sample_text(found.sample, found.took_s), "dim"),
        BLANK,
        _figures(found),
    ]
    if found.unanswered:
        lines += [BLANK, title("Not known"), *_unanswered(found)]
    if found.frontier is not None:
        lines += [BLANK, *_frontier(found.frontier, found.setting)]
    return Group(*lines, BLANK, *(cell(note, "dim") for note in notes(found)))


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
        f" ({whole} of {words.count(sample.stored)} stored trials) · {words.seconds(took_s)}"
    )


def notes(found: WhatIf) -> Iterator[str]:
    """What to mind, as sentences."""
    predicted = found.predicted
    if found.check is not None:
        yield (
            f"Replayed as it is, {words.count(found.check.calls)} of these calls come to a p95 of "
            f"{words.seconds(found.check.replayed_s)}; measured: {words.seconds(found.check.measured_s)}."
        )
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


# The figures


def _rows() -> Iterator[Row]:
    yield "users p50", lambda one: one.user.p50, words.seconds, False
    yield "users p95", lambda one: one.user.p95, words.seconds, False
    yield "users p99", lambda one: one.user.p99, words.seconds, False
    yield "fan-out p50", lambda one: one.fan_out.p50, words.seconds, False
    yield "fan-out p95", lambda one: one.fan_out.p95, words.seconds, False
    yield "fan-out p99", lambda one: one.fan_out.p99, words.seconds, False
    yield "complete", lambda one: one.complete, words.share, True
    yield "parts a call", lambda one: one.parts, _two, False
    yield "tokens a call", lambda one: one.tokens, words.count, False
    yield "cost a call", lambda one: one.nano, usd_text, False
    yield "differ", lambda one: one.mismatched, words.share, True
    yield "fall back", lambda one: one.fell_back, words.share, True


def _figures(found: WhatIf) -> RenderableType:
    rows: list[tuple[Text | str, ...]] = []
    for name, read, text, is_share in _rows():
        now = read(found.in_force)
        if not found.setting.changes:
            rows.append((name, _value(now, text, "bold"), _likely(now, text)))
            continue
        then = None if found.predicted is None else read(found.predicted)
        told = (_unknown(), "") if found.predicted is None else (_value(then, text, "bold"), _likely(then, text))
        rows.append((name, _value(now, text), *told, _change(now, then, is_share)))
    asked = ("what if", "likely (95%)", "change") if found.setting.changes else ("likely (95%)",)
    columns = ("", "in force", *asked)
    return Padding.indent(table(columns, rows, right=columns[1:]), 2)


def _value(figure: Figure | None, text: Callable[[float], str], style: str = "") -> Text:
    if figure is None:
        return cell(words.UNKNOWN, "dim")
    return _unknown() if figure.value is None else cell(text(figure.value), style)


def _unknown() -> Text:
    return cell("unknown", "bold yellow")


def _likely(figure: Figure | None, text: Callable[[float], str]) -> Text:
    """The interval; of what is unknown, the bounds that are left."""
    if figure is None:
        return cell("")
    style = "dim" if figure.value is not None else "yellow"
    if figure.high is None:
        return cell(f"{text(figure.low)} or more", style)
    low, high = text(figure.low), text(figure.high)
    return cell(low if low == high else f"{low} to {high}", style)


def _change(now: Figure | None, then: Figure | None, is_share: bool) -> str:
    """``"-26%"``; of shares ``"-6.9 points"``."""
    if now is None or then is None or now.value is None or then.value is None:
        return ""
    if is_share:
        points = (then.value - now.value) * 100
        return f"{points:+.1f} points" if abs(points) >= 0.05 else "="
    if not now.value:
        return "=" if not then.value else "new"
    change = then.value / now.value - 1
    return f"{change:+.0%}" if abs(change) >= 0.005 else "="


def _two(value: float) -> str:
    return f"{value:.2f}"


def _unanswered(found: WhatIf) -> Iterator[RenderableType]:
    for one in found.unanswered:
        calls = f"{words.count(one.calls)} of {words.count(found.sample.calls)} calls"
        yield Padding.indent(cell(f"{one.why} ({calls})."), 2)
        yield Padding.indent(cell(f"→ {one.remedy}", "bold"), 4)


# The frontier


def _frontier(found: Frontier, setting: Setting) -> Iterator[RenderableType]:
    shown = chosen(found.points)
    yield title("Soft timeouts worth having", f"{found.tried} tried, on {words.count(found.calls)} calls")
    if found.unknown:
        yield cell(f"Of {found.unknown} of them the records cannot tell.", "yellow")
    if not shown:
        return
    rows = [
        (
            cell(letter, "cyan"),
            words.seconds(point.user_s),
            words.share(point.complete),
            usd_text(point.nano),
            cell(point_text(point, setting)),
        )
        for letter, point in zip(LETTERS, shown, strict=False)
    ]
    columns = ("", "users p95", "complete", "cost a call", "soft timeouts")
    yield Padding.indent(table(columns, rows, right=columns[1:4], stretch=columns[4]), 2)
    if len(shown) > 1:
        yield BLANK
        yield from (Padding.indent(line, 2) for line in _plot(shown))
    if len(shown) < len(found.points):
        yield cell(f"{len(shown)} of {len(found.points)}; --output json has them all.", "dim")
    yield cell("None of these beats another in latency, completeness and cost.", "dim")


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


def _plot(points: Sequence[Point]) -> Iterator[Text]:
    """Completeness over latency, a letter for each point; where two meet, the first."""
    left, right = points[0].user_s, points[-1].user_s
    low, high = min(p.complete for p in points), max(p.complete for p in points)
    grid = [[" "] * _WIDE for _ in range(_HIGH)]
    for letter, point in reversed(list(zip(LETTERS, points, strict=False))):
        across = round(_part(point.user_s, left, right) * (_WIDE - 1))
        up = round(_part(point.complete, low, high) * (_HIGH - 1))
        grid[_HIGH - 1 - up][across] = letter
    margin = 8
    for number, line in enumerate(grid):
        mark = words.share(high) if number == 0 else words.share(low) if number == _HIGH - 1 else ""
        yield Text.assemble((f"{mark:>{margin}} ┤" if mark else f"{'':>{margin}} │", "dim"), ("".join(line), "cyan"))
    yield Text(f"{'':>{margin}} └{'─' * _WIDE}", style="dim")
    ends = f"{words.seconds(left):<{_WIDE // 2}}{words.seconds(right):>{_WIDE // 2}}"
    yield Text(f"{'':>{margin}}  {ends}", style="dim")
    yield Text(f"{'complete':>{margin}}  {'users p95':^{_WIDE}}", style="dim")


def _part(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, in [0, 1]; in the middle where those are the same."""
    return (value - low) / (high - low) if high > low else 0.5


def plot(found: Frontier, setting: Setting) -> Markup:
    """The frontier as a drawing for a page: completeness over latency, the larger a dot the dearer the call."""
    points = chosen(found.points)
    if not points:
        return Markup("")
    left, right = points[0].user_s, points[-1].user_s
    low, high = min(p.complete for p in points), max(p.complete for p in points)
    dearest = max((p.nano or 0.0 for p in points), default=0.0)
    shapes = []
    for letter, point in zip(LETTERS, points, strict=False):
        x = 8 + 84 * _part(point.user_s, left, right)
        y = _TOP + _TALL * (1 - _part(point.complete, low, high))
        size = 4 + 5 * ((point.nano or 0.0) / dearest if dearest else 0.0)
        said = f"{letter}: {point_text(point, setting)}: p95 {words.seconds(point.user_s)}, "
        said += f"complete {words.share(point.complete)}, {usd_text(point.nano)} a call"
        shapes.append(
            Markup('<circle class="dot candidate" cx="{}%" cy="{}" r="{}"><title>{}</title></circle>').format(
                f"{x:.2f}", f"{y:.1f}", f"{size:.1f}", clean(said, 300)
            )
        )
        shapes.append(svg.label(x * 10, y - 12, letter))
    foot = _TOP + _TALL + 30
    axes = [
        svg.label(80, foot, words.seconds(left)),
        svg.label(500, foot, "p95 of users"),
        svg.label(920, foot, words.seconds(right)),
        svg.label(0, _TOP + 4, words.share(high)),
        svg.label(0, _TOP + _TALL + 4, words.share(low)),
        svg.label(0, 12, "complete"),
    ]
    name = f"{len(points)} settings of soft timeouts: completeness over the p95 that users get"
    return svg.frame([*axes, *shapes], height=_TOP + _TALL + 40, name=name)


def svg_file(found: WhatIf) -> str:
    """The same as a file of its own, which needs no stylesheet."""
    assert found.frontier is not None
    drawing = str(plot(found.frontier, found.setting))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_FILE_WIDE} {_TOP + _TALL + 80}" width="{_FILE_WIDE}">'
    )
    name = escape(clean(f"{found.rollout}: {setting_text(found.setting, found.dropped)}", 120))
    return (
        f'{head}<style>{_STYLE}</style><text class="name" x="16" y="24">{name}</text><svg y="40">{drawing}</svg></svg>'
    )


_TOP, _TALL, _FILE_WIDE = 30, 190, 720  # pixels
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#555}.name{font-size:15px;fill:#222}.dot{fill:#2563eb;fill-opacity:.75}"
    "@media (prefers-color-scheme:dark){svg{background:#16181d}text{fill:#aaa}.name{fill:#eee}.dot{fill:#7aa2ff}}"
)
