"""Small charts as SVG, drawn on the server.

Shapes live in an inner ``<svg>`` that stretches with the page; labels stand outside of it at percentages, so that
text keeps its size at any width. Colours are classes of the page's stylesheet: one drawing serves light and dark, and
a strict content policy needs no exception. Only numbers and escaped text go in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, log10

from markupsafe import Markup, escape

from rollout_render import words
from rollout_render.clean import clean

Track = Sequence[tuple[float, float | None]]  # (x, y), x rising; None is a gap
WIDE, HIGH = 1000.0, 100.0


def chart(inner: Iterable[Markup], labels: Iterable[Markup], *, height: int, foot: int = 18, name: str) -> Markup:
    """The frame: ``inner`` in units of 1000 × 100, ``labels`` outside of it. ``name``: what a screen reader says."""
    return frame([panel(inner, top=0, height=height), *labels], height=height + foot, name=name)


def frame(parts: Iterable[Markup], *, height: int, name: str) -> Markup:
    """A drawing of panels and labels, ``height`` pixels high. ``name``: what a screen reader says."""
    return Markup('<svg class="chart" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        clean(name, 120), height, Markup("").join(parts)
    )


def panel(inner: Iterable[Markup], *, top: int, height: int) -> Markup:
    """Shapes in units of 1000 × 100, ``height`` pixels high from ``top`` on."""
    return Markup(
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" width="100%" y="{}" height="{}">{}</svg>'
    ).format(top, height, Markup("").join(inner))


def line(track: Track, style: str, *, low: float, high: float, left: float, right: float) -> Markup:
    """A line through the known points; it breaks where nothing is known."""
    pieces, pen = [], "M"
    for x, y in track:
        if y is None or not isfinite(y):
            pen = "M"
            continue
        pieces.append(f"{pen}{x_of(x, left, right):.1f} {y_of(y, low, high):.1f}")
        pen = "L"
    return Markup('<path class="line {}" d="{}"/>').format(style, " ".join(pieces)) if pieces else Markup("")


def area(track: Track, style: str, *, low: float, high: float, left: float, right: float) -> Markup:
    """The same, filled down to the axis."""
    known = [(x, y) for x, y in track if y is not None and isfinite(y)]
    if not known:
        return Markup("")
    shape = " ".join(f"L{x_of(x, left, right):.1f} {y_of(y, low, high):.1f}" for x, y in known)
    start, end = x_of(known[0][0], left, right), x_of(known[-1][0], left, right)
    return Markup('<path class="area {}" d="M{} 100 {} L{} 100 Z"/>').format(style, f"{start:.1f}", shape, f"{end:.1f}")


def stairs(moves: Track, style: str, *, high: float, left: float, right: float) -> Markup:
    """Steps: each value holds until the next one, the last one to the right edge."""
    if not moves:
        return Markup("")
    places = [(x_of(x, left, right), y_of(y or 0.0, 0.0, high)) for x, y in moves]
    rest = "".join(f"H{x:.1f}V{y:.1f}" for x, y in places[1:])
    start = f"{places[0][0]:.1f} {places[0][1]:.1f}"
    return Markup('<path class="area {}" d="M{} 100L{}{}H1000V100Z"/><path class="line {}" d="M{}{}H1000"/>').format(
        style, f"{places[0][0]:.1f}", start, rest, style, start, rest
    )


def rule(x: float, style: str) -> Markup:
    """A vertical line, at a place of the inner drawing."""
    return Markup('<path class="rule {}" d="M{} 0V100"/>').format(style, f"{x:.1f}")


def level(y: float, style: str) -> Markup:
    """A horizontal line, at a height of the inner drawing, 0 at the top."""
    return Markup('<path class="{}" d="M0 {}H1000"/>').format(style, f"{y:.1f}")


def floor() -> Markup:
    return Markup('<path class="axis" d="M0 100H1000"/>')


def label(x: float, y: float, text: str) -> Markup:
    """Text outside the drawing; ``x`` in thousandths of the width, ``y`` in pixels."""
    anchor = "start" if x < 60 else "end" if x > 940 else "middle"
    return Markup('<text class="tick" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
        f"{x / 10:.2f}", f"{y:g}", anchor, escape(clean(text, 80))
    )


def densities(
    control: Track, candidate: Track, marks: Sequence[tuple[str, Sequence[float | None]]], name: str
) -> Markup:
    """Two latency distributions on one logarithmic axis. ``marks``: style and the quantiles p50, p95, p99 of a side.

    Below the hills each side has a bar from p50 to p99 with a notch at p95.
    """
    xs = [x for track in (control, candidate) for x, y in track if y]
    if not xs:
        return Markup("")
    left, right = log10(max(min(xs), 1e-6)) - 0.03, log10(max(xs)) + 0.03
    top = max(y for track in (control, candidate) for _, y in track if y) or 1.0
    span = {"low": 0.0, "high": top * 1.08, "left": left, "right": right}
    shapes = [floor()]
    for track, style in ((control, "control"), (candidate, "candidate")):
        logs = [(log10(x), y) for x, y in track]
        shapes += [area(logs, style, **span), line(logs, style, **span)]
    height, labels = 130, []
    for seconds in _ticks(10**left, 10**right):
        at = x_of(log10(seconds), left, right)
        shapes.append(rule(at, "faint"))
        labels.append(label(at, height + 50, words.seconds(seconds)))
    for row, (style, quantiles) in enumerate(marks):
        labels.append(_range(quantiles, style, height + 12 + row * 14, left, right))
    return chart(shapes, labels, height=height, foot=56, name=name)


def _range(quantiles: Sequence[float | None], style: str, y: float, left: float, right: float) -> Markup:
    """A bar from p50 to p99 with dots at p50 and p95; what is not finite is drawn at the right edge."""
    places = [(x_of(log10(max(q, 1e-6)), left, right) if isfinite(q) else WIDE, q) for q in quantiles if q is not None]
    return _marks(places, style, y)


def _marks(places: Sequence[tuple[float, float]], style: str, y: float) -> Markup:
    """A bar from p50 to p99 with dots, that at p95 the largest. ``places``: in thousandths of the width, and what
    stands there, in seconds."""
    at = [min(100.0, max(0.0, place / 10)) for place, _ in places]
    if not at:
        return Markup("")
    dots = Markup("").join(
        Markup('<circle class="{}" cx="{}%" cy="{}" r="{}"><title>{} {}</title></circle>').format(
            f"dot {style}",
            f"{place:.2f}",
            f"{y:g}",
            size,
            q,
            words.seconds(value) if value >= 0 else words.signed(value),
        )
        for place, (_, value), q, size in zip(at, places, ("p50", "p95", "p99"), (3.5, 5, 3.5), strict=False)
    )
    bar = Markup('<line class="range {}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(
        style, f"{at[0]:.2f}", f"{at[-1]:.2f}", f"{y:g}", f"{y:g}"
    )
    return bar + dots


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 of each decade inside the span; only decades when there would be more than six."""
    every = [base * 10.0**power for power in range(-6, 5) for base in (1, 2, 5)]
    inside = [tick for tick in every if low <= tick <= high]
    if len(inside) > 6:
        inside = [tick for tick in inside if f"{tick:e}".startswith("1.")]
    return inside


def trend(tracks: Sequence[tuple[str, Track]], *, left: float, right: float, name: str) -> Markup:
    """A few lines over time, from 0 to the highest value."""
    values = [y for _, track in tracks for _, y in track if y is not None and isfinite(y)]
    high = max(values, default=0.0) * 1.1 or 1.0
    span = {"low": 0.0, "high": high, "left": left, "right": right}
    shapes = [floor()]
    for style, track in tracks:
        if style == "candidate":
            shapes.append(area(track, style, **span))
        shapes.append(line(track, style, **span))
    return chart(shapes, [], height=56, foot=2, name=name)


def ramp(
    moves: Track, stages: int, marks: Sequence[tuple[float, str]], *, left: float, right: float, name: str
) -> Markup:
    """The stages of one branch over time. ``moves``: (time, index of the stage); ``marks``: times of decisions with
    their style."""
    shapes = [floor(), stairs(moves, "candidate", high=float(max(1, stages - 1)) * 1.12, left=left, right=right)]
    shapes += [rule(x_of(at, left, right), style) for at, style in marks]
    return chart(shapes, [], height=46, foot=2, name=name)


def deviation(curve: Track, quantiles: Sequence[float | None], name: str) -> Markup:
    """One distribution around zero on an even axis. ``quantiles``: p50, p95, p99, drawn below it."""
    xs = [x for x, _ in curve]
    room = 0.04 * ((max(xs) - min(xs)) or abs(xs[0]) or 1e-3)
    left, right = min(0.0, *xs) - room, max(0.0, *xs) + room
    scale = {"low": 0.0, "high": max(y or 0.0 for _, y in curve) * 1.08, "left": left, "right": right}
    ends = (xs[0] - room / 4, 0.0), (xs[-1] + room / 4, 0.0)
    track = [ends[0], *curve, ends[1]]
    zero = x_of(0.0, left, right)
    shapes = [floor(), area(track, "candidate", **scale), line(track, "candidate", **scale), rule(zero, "zero")]
    height = 80
    labels = [_marks([(x_of(q, left, right), q) for q in quantiles if q is not None], "candidate", height + 12)]
    labels += [label(zero, height + 36, "as long as control")]
    for end in (xs[0], xs[-1]):
        at = x_of(end, left, right)
        if abs(at - zero) > 250:
            labels.append(label(at, height + 36, words.signed(end)))
    return chart(shapes, labels, height=height, foot=42, name=name)


def span(begin: float, end: float, tail: float, style: str = "candidate") -> Markup:
    """A bar from ``begin`` to ``end``, thin as far as ``tail``; all in [0, 1]."""
    a, b, c = (f"{max(0.0, min(1.0, part)) * 100:.2f}" for part in (begin, end, max(end, tail)))
    return Markup(
        '<svg class="bar" aria-hidden="true" width="100%" height="14">'
        '<rect class="track" width="100%" height="2" y="6"/>'
        '<line class="range {}" x1="{}%" x2="{}%" y1="7" y2="7"/>'
        '<rect class="fill {}" x="{}%" width="{:.2f}%" height="10" y="2" rx="2"/></svg>'
    ).format(style, b, c, style, a, max(0.4, float(b) - float(a)))


def bar(part: float | None, style: str = "candidate", mark: float | None = None) -> Markup:
    """A share as a bar; ``mark``: a limit, as a line across it. Both in [0, 1]."""
    width = f"{max(0.0, min(1.0, part or 0.0)) * 100:.2f}%"
    across = ""
    if mark is not None:
        place = f"{max(0.0, min(1.0, mark)) * 100:.2f}%"
        across = Markup('<line class="limit" x1="{}" x2="{}" y1="0" y2="10"/>').format(place, place)
    return Markup(
        '<svg class="bar" aria-hidden="true" width="100%" height="10">'
        '<rect class="track" width="100%" height="4" y="3" rx="2"/>'
        '<rect class="fill {}" width="{}" height="4" y="3" rx="2"/>{}</svg>'
    ).format(style, width, across)


def x_of(value: float, left: float, right: float) -> float:
    return (value - left) / ((right - left) or 1.0) * WIDE


def y_of(value: float, low: float, high: float) -> float:
    return HIGH - (value - low) / ((high - low) or 1.0) * HIGH
