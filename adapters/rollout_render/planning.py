"""What ``plan`` and ``simulate`` show: how long a ramp takes, which one fits, and how ramps end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from math import floor, log10
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.cost import usd_text
from rollout.domain.durations import duration_text, percent
from rollout.domain.lifecycle import at_share
from rollout.domain.planning import Step
from rollout.domain.simulation.replay import End
from rollout.domain.simulation.summary import Tally
from rollout.usecases.planning import About, Option, Planned, Simulated
from rollout_render import words
from rollout_render.terminal import BAD, DATA, GOOD, WARN, cell, table, title

BLANK: Final = Text("")
_BAR: Final = 10  # characters
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_STYLES: Final = {End.completed: GOOD, End.rolled_back: f"bold {BAD}", End.undecided: WARN}
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")  # a key that TOML takes without quotes
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3_600, 86_400, 365 * 86_400


def planned(seen: Planned) -> RenderableType:
    """The steps with their times, the sum, and (where it takes too long) what fits."""
    lines: list[RenderableType] = [
        *_head("plan", seen.about),
        BLANK,
        _sum(seen),
        *_left(seen),
        BLANK,
        _steps(seen.steps),
    ]
    if seen.in_time is False:
        lines += [BLANK, *_options(seen)]
    worst = "Worst let through: a candidate that fails so often is about as likely to take the step as not."
    return Group(*lines, BLANK, *(cell(note, "dim") for note in (worst, *_notes(seen.about))))


def simulated(seen: Simulated) -> RenderableType:
    """How the ramps ended."""
    about, found = seen.about, seen.summary
    entered = f"{words.count(found.arrived)} of {words.count(found.runs)} entered {_last(about)}"
    if found.arrived_s is not None:
        entered += f", half of them within {about_time(found.arrived_s)}"
    lines: list[RenderableType] = [
        *_head("simulate", about),
        cell(f"{words.count(found.runs)} ramps from {seen.start} on, seed {seen.seed}", "dim"),
        BLANK,
        cell(f"{entered}.", "bold"),
        BLANK,
        _ends(found.tallies),
    ]
    undecided = f"Undecided: more than {about_time(seen.deadline_s)} at one stage."
    return Group(*lines, BLANK, *(cell(note, "dim") for note in (undecided, *_notes(about))))


# What both begin and end with


def _head(verb: str, about: About) -> list[RenderableType]:
    gates = f"gates: {', '.join(about.gates) or 'none'}"
    policy = [f"harm budget {percent(about.harm)}", f"soak {duration_text(about.soak_s)}", gates]
    traffic = f"{traffic_text(about.traffic)} ({about.origins['traffic']})"
    return [
        title(f"{verb} {about.rollout}/{about.unit}", about.ramp),
        cell(" · ".join(policy), "dim"),
        cell(" · ".join([traffic, *_told(about)]), "dim"),
    ]


def _told(about: About) -> Iterator[str]:
    """What is the case, as far as it can differ from plan to plan."""
    truth = about.truth
    errors = f"{truth.drift}" if truth.drift else f"{words.share(truth.errors)} ({about.origins['errors']})"
    yield f"errors {errors}" + (
        "" if truth.worse_errors is None else f", candidate's {words.share(truth.worse_errors)}"
    )
    if truth.slower:
        yield f"{words.share(abs(truth.slower))} {'slower' if truth.slower > 0 else 'faster'}"
    if truth.mismatches and "mismatches" in about.gates:
        yield f"{words.share(truth.mismatches)} differ{_from(about, 'mismatches')}"
    if truth.sla_missed and "sla" in about.gates:
        yield f"{words.share(truth.sla_missed)} miss the SLA{_from(about, 'sla_missed')}"
    if truth.nano:
        yield f"{usd_text(truth.nano)} a call{_from(about, 'nano')}"
    yield from (f"outage of {outage}" for outage in truth.outages)
    if truth.users is not None:
        yield f"{words.count(truth.users)} users"


def _from(about: About, name: str) -> str:
    return f" ({about.origins[name]})" if name in about.origins else ""


def _notes(about: About) -> Iterator[str]:
    """What is not in it."""
    if about.people:
        yield f"Not in it: {'; '.join(about.people)}."
    if about.truth.users is not None:
        yield "Each user counts once a stage: when all have called, there is no more evidence to come."
    elif about.keyed:
        yield "Each user counts once a stage: these are first calls. Where users come back, add --sticky USERS."
    if about.units > 1:
        yield f"{about.unit} is one of {about.units} that ramp side by side; name another one to look at it."


def _last(about: About) -> str:
    return about.ramp.split()[-1]


# The plan


def _steps(steps: Sequence[Step]) -> RenderableType:
    longest = max(step.seconds or 0.0 for step in steps)
    rows = [
        (
            at_share(step.share) + (", baking" if step.target is None else f" → {percent(step.target)}"),
            cell("never", f"bold {BAD}") if step.seconds is None else cell(about_time(step.seconds), "bold"),
            cell(bar(step.seconds or 0.0, longest), DATA),
            words.count(None if step.calls is None else two_digits(step.calls)),
            cell(", ".join(step.waits_for)),
            _worst(step.worst_errors),
        )
        for step in steps
    ]
    columns = ("step", "about", "", "calls", "waits for", "worst let through")
    made = table(columns, rows, right=("about", "calls", "worst let through"), stretch="waits for")
    return Padding.indent(made, 2)


def _worst(errors: float | None) -> Text:
    if errors is None:
        return cell("")
    return cell("any error", f"bold {WARN}") if errors == 1 else cell(f"{words.share(two_digits(errors))} errors")


def _sum(seen: Planned) -> RenderableType:
    last = _last(seen.about)
    if seen.seconds is None or seen.calls is None:
        stuck = seen.steps[-1]
        how = "is rolled back" if stuck.end is End.rolled_back else "stays undecided"
        return cell(f"{last} never: at {at_share(stuck.share)} it {how} ({', '.join(stuck.waits_for)}).", f"bold {BAD}")
    said = f"{last} after about {about_time(seen.seconds)} and {words.count(two_digits(seen.calls))} calls"
    if seen.within_s is None:
        return cell(f"{said}.", "bold")
    fits = f"{'' if seen.in_time else 'not '}within {duration_text(seen.within_s)}"
    return cell(f"{said}: {fits}.", f"bold {GOOD}" if seen.in_time else f"bold {WARN}")


def _left(seen: Planned) -> Iterator[RenderableType]:
    """How long it takes from where the unit stands, if that is known."""
    if seen.reached is None or seen.left_s is None:
        return
    place = f"{seen.about.rollout}/{seen.about.unit} is at {at_share(seen.reached.share)}"
    took = f", for {about_time(seen.reached.seconds)} now"
    if seen.reached.share == seen.steps[-1].share:
        yield cell(f"{place}{took}.", "bold")
    else:
        yield cell(f"{place}{took}: {_last(seen.about)} in about {about_time(seen.left_s)}.", "bold")


def _options(seen: Planned) -> list[RenderableType]:
    """The ramps that fit, and how to put the first in force."""
    span = duration_text(seen.within_s or 0.0)
    if (most := seen.loosest) is not None:
        takes = "never comes there" if most.seconds is None else f"takes {about_time(most.seconds)}"
        said = f"Nothing fits {span}: even {most.ramp} with a harm budget of {percent(most.harm)} {takes}"
        return [cell(f"{said}; it waits for {', '.join(most.waits_for)}.", f"bold {WARN}")]
    rows = [
        (option.ramp, percent(option.harm), cell(about_time(option.seconds), "bold"), _worst(option.worst_errors))
        for option in seen.options
    ]
    columns = ("ramp", "harm budget", "about", "worst at the last step")
    return [
        title(
            f"What fits {span}", "the least harm budget first: the share of all calls that a step may leave worse off"
        ),
        Padding.indent(table(columns, rows, right=columns[1:]), 2),
        BLANK,
        cell("To take the first, put this into rollout.toml, and then: rollout apply rollout.toml --reason …"),
        *(Padding.indent(cell(line), 4) for line in _spec(seen.about, seen.options[0])),
    ]


def _spec(about: About, option: Option) -> Iterator[str]:
    """The lines of a spec file."""
    name = about.rollout if _BARE.fullmatch(about.rollout) else json.dumps(about.rollout)
    yield f"[rollouts.{name}.ramp]"
    yield f'stages = "{option.ramp}"'
    yield f'harm = "{percent(option.harm)}"'
    if option.approve is not None:
        yield f'approve = "{option.approve}"'


# The simulation


def _ends(tallies: Sequence[Tally]) -> RenderableType:
    rows: list[tuple[Text | str, ...]] = []
    for tally in tallies:
        rows.append(
            (
                cell(tally.end.text, _STYLES[tally.end] if tally.runs else "dim"),
                cell(words.count(tally.runs), "bold"),
                words.share(tally.share),
                f"{words.share(two_digits(tally.low))} to {words.share(two_digits(tally.high))}",
                words.count(None if tally.calls is None else two_digits(tally.calls)),
                words.UNKNOWN if tally.seconds is None else about_time(tally.seconds),
            )
        )
        rows += [(cell(f"· {cause}", "dim"), cell(words.count(runs), "dim")) for cause, runs in tally.causes.items()]
    columns = ("end", "ramps", "share", "likely", "calls", "time")
    return Padding.indent(table(columns, rows, right=columns[1:], stretch="end"), 2)


# Numbers, no more exact than they are


def about_time(seconds: float) -> str:
    """``5954`` → ``"1h39m"``, ``500000`` → ``"5d19h"``, ``15000000`` → ``"174d"``: what is worth reading of it."""
    if seconds >= 2 * _YEAR:
        return f"{seconds / _YEAR:,.0f} years"
    for span, step in ((10 * _DAY, _DAY), (2 * _DAY, _HOUR), (10 * _HOUR, 10 * _MINUTE), (10 * _MINUTE, _MINUTE)):
        if seconds >= span:
            return duration_text(round(seconds / step) * step)
    return duration_text(seconds)


def two_digits(value: float) -> float:
    """``5934`` → ``5900``, ``0.002034`` → ``0.002``."""
    return round(value, 1 - floor(log10(value))) if value > 0 else 0.0


def traffic_text(per_second: float) -> str:
    """``"100/s"``, ``"30/m"``, ``"5/h"``, ``"2/d"``: in the shortest time in which there is a call."""
    for unit, span in (("s", 1), ("m", _MINUTE), ("h", _HOUR)):
        if per_second * span >= 1:
            return (
                f"{per_second * span:,.3g}/{unit}" if per_second * span < 1_000 else f"{per_second * span:,.0f}/{unit}"
            )
    return f"{per_second * _DAY:.3g}/d"


def bar(value: float, most: float) -> str:
    """A bar of text; what is there at all shows."""
    eighths = max(1, round(value / most * _BAR * 8)) if value > 0 else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
