"""What ``whatif`` found as one HTML file, in the dress of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

from rollout.domain.cost import usd_text
from rollout.domain.whatif.frontier import Point
from rollout.domain.whatif.setting import Setting
from rollout.usecases.whatif import WhatIf
from rollout_render import svg, words
from rollout_render.clean import clean
from rollout_render.page import body_of, whole
from rollout_render.whatif import part
from rollout_render.whatif_words import (
    LETTERS,
    chosen,
    lines,
    notes,
    point_text,
    sample_text,
    sentence,
    setting_text,
    unanswered,
)

_TOP, _TALL, _FOOT = 26, 170, 34  # pixels of a plot: above, itself, below
_LEFT, _RIGHT = 150.0, 900.0  # its sides, in thousandths of the width


def html_whatif(found: WhatIf) -> str:
    """The whole page; it needs nothing else."""
    points = () if found.frontier is None else chosen(found.frontier.points)
    body = body_of(
        "whatif.body.j2",
        w=found,
        setting=setting_text(found.setting, found.dropped),
        sample=sample_text(found.sample, found.took_s),
        answer=sentence(found),
        lines=list(lines(found)),
        unanswered=list(unanswered(found)),
        points=list(zip(LETTERS, points, [point_text(point, found.setting) for point in points], strict=False)),
        complete=plot(points, found.setting, "complete", lambda point: point.complete, words.share),
        cost=plot(points, found.setting, "cost a call", lambda point: point.nano, usd_text),
        notes=list(notes(found)),
    )
    return whole(f"What if: {clean(found.rollout, 120)}", body)


def plot(
    points: Sequence[Point],
    setting: Setting,
    name: str,
    read: Callable[[Point], float | None],
    text: Callable[[float], str],
) -> Markup:
    """Something over the p95 of users: a dot with its letter for each point of which it is known."""
    known = [
        (letter, point, value)
        for letter, point in zip(LETTERS, points, strict=False)
        if (value := read(point)) is not None
    ]
    if not known:
        return Markup("")
    left, right = points[0].user_s, points[-1].user_s
    low, high = min(value for *_, value in known), max(value for *_, value in known)
    foot = _TOP + _TALL + _FOOT
    shapes = [
        svg.label(0, 12, name),
        *(svg.label(0, y, text(value)) for y, value in {_TOP + 4: high, _TOP + _TALL + 4: low}.items() if high > low),
        *([] if high > low else [svg.label(0, _TOP + _TALL / 2 + 4, text(low))]),
        *(
            [svg.label(_LEFT, foot, words.seconds(left)), svg.label(_RIGHT, foot, words.seconds(right))]
            if right > left
            else []
        ),
        svg.label((_LEFT + _RIGHT) / 2, foot, "users p95" if right > left else f"users p95 {words.seconds(left)}"),
    ]
    shapes.append(_axes())
    for letter, point, value in known:
        x = _LEFT + (_RIGHT - _LEFT) * part(point.user_s, left, right)
        y = _TOP + _TALL * (1 - part(value, low, high))
        told = f"{letter}, {point_text(point, setting)}: p95 {words.seconds(point.user_s)}, {name} {text(value)}"
        shapes += [_dot(x, y, told), svg.label(x + 28, y + 4, letter)]
    return svg.frame(shapes, height=foot + 6, name=f"{name} over the p95 of users, of {len(known)} settings")


def _axes() -> Markup:
    left, right, bottom = f"{_LEFT / 10 - 3:.2f}%", f"{_RIGHT / 10 + 8:.2f}%", _TOP + _TALL + 12
    line = Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    return line.format(left, _TOP - 6, left, bottom) + line.format(left, bottom, right, bottom)


def _dot(x: float, y: float, told: str) -> Markup:
    return Markup('<circle class="dot candidate" cx="{}%" cy="{}" r="5"><title>{}</title></circle>').format(
        f"{x / 10:.2f}", f"{y:.1f}", clean(told, _LONGEST)
    )


_LONGEST: Final = 300
