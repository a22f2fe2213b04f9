"""What ``plan`` and ``simulate`` show: how long a ramp takes, which one fits, and how ramps end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
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
from rollout.usecases.planning import About, Option, Outlook, Planned, Simulated
from rollout.usecases.rates import Origin, Traffic
from rollout.usecases.reached import Failing
from rollout_render import words
from rollout_render.terminal import BAD, DATA, GOOD, WARN, cell, table, title

BLANK: Final = Text("")
_BAR: Final = 10  # characters
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_STYLES: Final = {End.completed: GOOD, End.rolled_back: f"bold {BAD}", End.undecided: WARN}
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")  # a key that TOML takes without quotes
_ORIGINS: Final[dict[Origin, str]] = {"older": "recorded, older policies too", "unseen": "assumed: none recorded"}
#: What gates look at, by the field of the truth.
_FIGURES: Final = {
    "errors": "errors",
    "latency_s": "latency",
    "mismatches": "mismatches",
    "noise": "noise",
    "sla_missed": "missed SLAs",
    "nano": "cost",
}
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3_600, 86_400, 365 * 86_400


def outlook(seen: Outlook) -> RenderableType:
    """One line for each unit: where it stands, and when it comes to the last stage."""
    about = seen.units[0].about
    notes = [*_not_in_it(about), *_older(seen.units), f"Step by step: rollout plan {seen.rollout} BRANCH"]
    return Group(
        title(f"plan {seen.rollout}", about.ramp),
        _policy(about),
        cell(" · ".join([_traffic(about), *_given(about)]), "dim"),
        BLANK,
        _sum_of_all(seen),
        BLANK,
        _units(seen.units),
        BLANK,
        *(cell(note, "dim") for note in notes),
    )


def planned(seen: Planned) -> RenderableType:
    """Where it stands, the steps that are left with their times, and (where it takes too long) what fits."""
    lines: list[RenderableType] = [*_head("plan", seen.about), BLANK, *_sum(seen)]
    if seen.steps:
        lines += [BLANK, _steps(seen.steps)]
    if seen.options or seen.loosest:
        lines += [BLANK, *_options(seen)]
    worst = ["Worst let through: a candidate that fails so often is about as likely to take the step as not."]
    notes = [*(worst if seen.steps else ()), *_notes("plan", seen.about)]
    return Group(*lines, BLANK, *(cell(note, "dim") for note in notes))


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
    return Group(*lines, BLANK, *(cell(note, "dim") for note in (undecided, *_notes("simulate", about))))


# What both begin and end with


def _head(verb: str, about: About) -> list[RenderableType]:
    return [
        title(f"{verb} {about.rollout}/{about.unit}", about.ramp),
        _policy(about),
        cell(" · ".join([_traffic(about), *_told(about)]), "dim"),
    ]


def _policy(about: About) -> Text:
    gates = f"gates: {', '.join(about.gates) or 'none'}"
    return cell(" · ".join([f"harm budget {percent(about.harm)}", f"soak {duration_text(about.soak_s)}", gates]), "dim")


def _traffic(about: About) -> str:
    when = "" if about.recorded is None else f" {_when(about.recorded)}"
    return f"{traffic_text(about.traffic)} ({about.origins['traffic']}{when})"


def _when(traffic: Traffic) -> str:
    """``"2026-11-21 01:50:43Z to 01:51:21Z"``."""
    one_day = len({datetime.fromtimestamp(at, UTC).date() for at in (traffic.since, traffic.until)}) == 1
    return f"{words.utc(traffic.since)} to {words.utc(traffic.until, date=not one_day)}"


def _told(about: About) -> Iterator[str]:
    """What is the case, as far as it can differ from plan to plan."""
    truth = about.truth
    errors = f"{truth.drift}" if truth.drift else f"{words.share(truth.errors)}{_from(about, 'errors')}"
    yield f"control's errors {errors}" + (
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


def _given(about: About) -> Iterator[str]:
    """What a person supposes of every branch."""
    if about.origins.get("errors") == "given":
        yield f"errors {words.share(about.truth.errors)} (given)"
    if about.origins.get("mismatches") == "given":
        yield f"{words.share(about.truth.mismatches)} differ (given)"
    if about.truth.users is not None:
        yield f"{words.count(about.truth.users)} users"


def _from(about: About, name: str) -> str:
    origin = about.origins.get(name)
    return "" if origin is None else f" ({_ORIGINS.get(origin, origin)})"


def _notes(verb: str, about: About) -> Iterator[str]:
    """What is not in it, and what else there is."""
    yield from _not_in_it(about)
    if about.units > 1:
        others = f"rollout {verb} {about.rollout}" + ("" if verb == "plan" else " BRANCH")
        yield f"{about.unit} is one of {about.units} that ramp side by side: {others}"


def _not_in_it(about: About) -> Iterator[str]:
    if about.people:
        yield f"Not in it: {'; '.join(about.people)}."
    if about.truth.users is not None:
        yield "Each user counts once a stage: when all have called, there is no more evidence to come."
    elif about.keyed:
        yield "Each user counts once a stage: these are first calls. Where users come back, add --sticky USERS."


def _last(about: About) -> str:
    return about.ramp.split()[-1]


# The outlook


def _sum_of_all(seen: Outlook) -> Text:
    last = _last(seen.units[0].about)
    if seen.left_s is not None:
        if not seen.left_s:
            return cell(f"All are at {last}.", f"bold {GOOD}")
        return _fitting(f"All are at {last} in about {about_time(seen.left_s)}", seen.within_s, seen.in_time)
    never = [one.about.unit for one in seen.units if one.seconds is None]
    waiting = [one.about.unit for one in seen.units if one.seconds is not None and one.left_s is None]
    said = [f"{', '.join(never)} never"] if never else []
    said += [f"{', '.join(waiting)} not before a person acts"] if waiting else []
    return cell(f"{last}: {'; '.join(said)}.", f"bold {BAD if never else WARN}")


def _units(units: Sequence[Planned]) -> RenderableType:
    rows = [(cell(one.about.unit), *_place(one), *_outcome(one)) for one in units]
    columns = ("branch", "at", "for", f"{_last(units[0].about)} in about", "")
    return Padding.indent(table(columns, rows, right=columns[2:4], stretch=""), 2)


def _place(one: Planned) -> tuple[str, str]:
    if one.reached is None:
        return at_share(one.steps[0].share), ""
    return at_share(one.reached.share), about_time(one.reached.seconds)


def _outcome(one: Planned) -> tuple[Text, Text]:
    """When it comes there, and what that waits for."""
    if not one.steps:
        return cell("there", GOOD), cell("completed", "dim")
    waits = one.reached.waits if one.reached is not None else ""
    if one.seconds is None:
        return cell("never", f"bold {BAD}"), cell("; ".join([*([waits] if waits else []), _stuck(one)]))
    if waits:
        then = f"then about {about_time(one.seconds)}{_if_mended(one)}" if one.seconds else ""
        return cell("waits", f"bold {WARN}"), cell("; ".join([waits, *([then] if then else [])]))
    if one.left_s is None or not one.left_s:
        return cell("there", GOOD), cell("baking", "dim")
    longest = max(one.steps, key=lambda step: step.seconds or 0.0)
    return cell(about_time(one.left_s), "bold"), cell(f"waits for {', '.join(longest.waits_for)}", "dim")


def _if_mended(one: Planned) -> str:
    """On what the time of a plan hangs that takes a branch for healthy which fails now; else ``""``."""
    failing = one.reached.failing if one.reached is not None else None
    return "" if failing is None else f" if it is mended: of {_failed(failing)}"


def _failed(failing: Failing) -> str:
    return f"{words.count(failing.runs)} runs in shadow since, {words.count(failing.failed)} failed"


def _stuck(one: Planned) -> str:
    """At which stage it never ends, and for which gates, with what was taken to differ."""
    stuck, truth = one.steps[-1], one.about.truth
    how = "is rolled back" if stuck.end is End.rolled_back else "stays undecided"
    differ = (
        f" ({words.share(truth.mismatches)} differ)" if truth.mismatches and "mismatches" in stuck.waits_for else ""
    )
    return f"at {at_share(stuck.share)} it {how}: {', '.join(stuck.waits_for)}{differ}"


def _older(units: Sequence[Planned]) -> Iterator[str]:
    """Which figures are not of the policy in force alone."""
    found = []
    for one in units:
        figures = [text for name, text in _FIGURES.items() if one.about.origins.get(name) == "older"]
        found += [f"{', '.join(figures)} of {one.about.unit}"] if figures else []
    if found:
        yield f"Recorded under older policies too, for lack of calls under the one in force: {'; '.join(found)}."


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


def _sum(seen: Planned) -> Iterator[Text]:
    """Where the unit stands, and how long it takes from there."""
    reached, last = seen.reached, _last(seen.about)
    if reached is None:
        yield _whole(seen, f"From {at_share(seen.steps[0].share)} on: ")
        return
    place = f"{seen.about.rollout}/{seen.about.unit} is at {at_share(reached.share)}"
    took = f", for {about_time(reached.seconds)} now"
    if not seen.steps:
        yield cell(f"{place}, completed: nothing is left of its ramp.", f"bold {GOOD}")
        yield cell("To plan it all the same, say from where: --from shadow", "dim")
    elif reached.waits:
        yield cell(f"{place}{took}: {reached.waits}", f"bold {WARN}")
        if reached.failing is None:
            yield _whole(seen, "After that: ")
        else:
            yield cell(f"Of {_failed(reached.failing)}.", f"bold {BAD}")
            yield _whole(seen, "After that, if it is mended: ")
    elif seen.left_s is None:
        yield cell(f"{place}{took}.", "bold")
        yield _whole(seen)
    elif reached.share == seen.steps[-1].share:
        yield _fitting(f"{place}{took}, and bakes", seen.within_s, seen.in_time)
    else:
        yield _fitting(f"{place}{took}: {last} in about {about_time(seen.left_s)}", seen.within_s, seen.in_time)


def _whole(seen: Planned, when: str = "") -> Text:
    """How long the steps take from the entry of the first one on."""
    last = _last(seen.about)
    if seen.seconds is None or seen.calls is None:
        return cell(f"{when}{last} never: {_stuck(seen)}.", f"bold {BAD}")
    said = f"{when}{last} after about {about_time(seen.seconds)} and {words.count(two_digits(seen.calls))} calls"
    waits = seen.reached is not None and seen.reached.waits
    return _fitting(said, None if waits else seen.within_s, seen.in_time)


def _fitting(said: str, within_s: float | None, in_time: bool | None) -> Text:
    if within_s is None:
        return cell(f"{said}.", "bold")
    fits = f"{'' if in_time else 'not '}within {duration_text(within_s)}"
    return cell(f"{said}: {fits}.", f"bold {GOOD}" if in_time else f"bold {WARN}")


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
