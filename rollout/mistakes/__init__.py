"""Every mistake of a declaration, each with its remedy. Nothing here raises, whatever was declared.

A value of the wrong type would make the checks behind it fail; so each check looks at the type first, and what was
found wrong there is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rollout.domain.comparison import Compare
from rollout.domain.gates import GateSpec
from rollout.domain.ramp import Ramp
from rollout.errors import Problem
from rollout.mistakes.branches import of_branches
from rollout.mistakes.checks import NAME_REMEDY, is_name, is_number, of_flag, of_hook, path_or_problem
from rollout.mistakes.choice import of_budget, of_choice, of_dollars

if TYPE_CHECKING:
    from rollout.definition import Rollout

_METHOD: Final = re.compile(r"^[A-Z]+$")


def mistakes(rollout: Rollout) -> Iterator[Problem]:
    """Every mistake of a rollout, in the order of its fields."""
    where = f'rollout "{rollout.name}"'
    yield from _of_rollout(rollout, where)
    if isinstance(rollout.branches, str) or not isinstance(rollout.branches, Sequence):
        yield Problem(where, f"branches is {rollout.branches!r}", "give a list of Branch(...)")
    else:
        yield from of_branches(rollout, where)
        yield from of_choice(rollout, where)
    yield from _of_ramp_and_compare(rollout, where)
    yield from _of_gates(rollout.gates, where)
    yield from _of_numbers(rollout, where)
    yield from of_budget(rollout.budget, f"{where}, budget")
    yield from of_dollars(getattr(rollout.shadow, "usd_per_day", None), f"{where}, shadow", "usd_per_day")
    yield from _of_store(rollout, where)


# The rollout itself


def _of_rollout(rollout: Rollout, where: str) -> Iterator[Problem]:
    if not is_name(rollout.name):
        yield Problem(where, "the name is not usable", NAME_REMEDY)
    if not callable(rollout.control):
        yield Problem(
            where, f"control is {rollout.control!r}, not a handler", "pass the handler that the route has today"
        )
    if rollout.join not in ("overlay", "replace"):
        yield Problem(where, f'join is "{rollout.join}"', 'use "overlay" or "replace"')
    if rollout.aggregate is not None and not callable(rollout.aggregate):
        yield Problem(where, "aggregate is not callable", "pass (call, control, parts) -> Reply or JSON value")
    for name in ("key", "context", "capture"):
        yield from of_hook(where, name, getattr(rollout, name))
    if rollout.effects is not None and rollout.effects != "safe" and not callable(rollout.effects):
        yield Problem(where, f"effects is {rollout.effects!r}", 'use "safe", a function Call -> bool, or leave it out')
    yield from of_flag(where, rollout.flag)
    yield from _of_methods(where, rollout.methods)


def _of_methods(where: str, methods: Any) -> Iterator[Problem]:
    if isinstance(methods, str):
        yield Problem(where, f'methods is one text, "{methods}"', f'write methods=["{methods.upper()}"]')
    elif not isinstance(methods, Collection):
        yield Problem(where, f"methods is {methods!r}", 'name some, such as methods=["GET"]')
    elif not methods:
        yield Problem(where, "methods is empty, so no call would be wrapped", 'name some, such as methods=["GET"]')
    else:
        for method in methods:
            if not isinstance(method, str) or not _METHOD.match(method):
                yield Problem(where, f"methods names {method!r}", 'write methods as they are sent, such as "GET"')


# What it is compared, moved and judged by


def _of_ramp_and_compare(rollout: Rollout, where: str) -> Iterator[Problem]:
    kinds: tuple[tuple[str, type, str, str], ...] = (
        ("ramp", Ramp, 'write Ramp.parse("shadow 1% 5% 25% 50% 100%")', "mend the ramp"),
        ("compare", Compare, "write Compare(...)", "mend the rule"),
    )
    for name, kind, write, mend in kinds:
        value: Any = getattr(rollout, name)
        if not isinstance(value, kind):
            yield Problem(where, f"{name} is {value!r}", write)
            continue
        for what in value.problems():  # type: ignore[attr-defined]
            yield Problem(f"{where}, {name}", what, mend)


def _of_gates(gates: Any, where: str) -> Iterator[Problem]:
    if not isinstance(gates, Sequence):
        yield Problem(where, f"gates is {gates!r}", "give a list: gates=[gates.errors(), ...]")
        return
    if not gates:
        yield Problem(where, "there is no gate, so nothing could ever roll it back", "name at least gates.errors()")
    seen: set[str] = set()
    for gate in gates:
        if not isinstance(gate, GateSpec):
            yield Problem(where, f"gates holds {gate!r}", "call it: gates.errors()")
            continue
        at = f"{where}, gate {gate.name}"
        for what in gate.problems():
            yield Problem(at, what, "mend the gate")
        if gate.name in seen:
            yield Problem(at, "is declared twice", "keep one of each kind and quantile")
        seen.add(gate.name)


# Its limits and what is stored

_LIMITS: Final[tuple[tuple[str, float, float, str], ...]] = (
    ("budget.latency_s", 1e-3, 3600.0, "0.001 to 3600 seconds"),
    ("max_body", 0, 2**31, "0 bytes to 2 GiB"),
    ("shadow.sample", 0.0, 1.0, "a share between 0 and 1"),
    ("shadow.noise", 0.0, 1.0, "a share between 0 and 1"),
    ("shadow.reverse", 0.0, 1.0, "a share between 0 and 1"),
    ("shadow.concurrency", 1, 10_000, "1 to 10 000"),
    ("shadow.queue", 0, 1_000_000, "0 to 1 000 000"),
    ("shadow.max_bytes", 0, 2**40, "0 or more bytes"),
    ("shadow.max_lag_s", 1e-3, 3600.0, "0.001 to 3600 seconds"),
    ("shadow.pause_s", 0.0, 86400.0, "0 to 86 400 seconds"),
    ("store.sample", 0.0, 1.0, "a share between 0 and 1"),
    ("store.ttl_s", 1.0, 10 * 366 * 86400.0, "1 second to 10 years"),
    ("store.max_trials", 0, 10**9, "0 to 10⁹"),
)


def _of_numbers(rollout: Rollout, where: str) -> Iterator[Problem]:
    strangers = set()
    for name, low, high, wanted in _LIMITS:
        part, _, attribute = name.rpartition(".")
        holder = getattr(rollout, part) if part else rollout
        if not hasattr(holder, attribute):
            strangers.add(part)
            continue
        value = getattr(holder, attribute)
        if not is_number(value) or not low <= value <= high:
            yield Problem(where, f"{name} is {value!r}", f"it must be {wanted}")
    for part in sorted(strangers):
        yield Problem(where, f"{part} is {getattr(rollout, part)!r}", f"write {part.capitalize()}(...)")


def _of_store(rollout: Rollout, where: str) -> Iterator[Problem]:
    if not hasattr(rollout.store, "ttl_s"):
        return  # no Store at all: said above
    clear, redact = rollout.store.clear, rollout.store.redact
    if isinstance(clear, str) or not isinstance(clear, Sequence):
        yield Problem(f"{where}, store", f"clear is {clear!r}", 'give a list of paths: clear=["$.status"]')
    else:
        for path in clear:
            if not isinstance(path, str) or path.startswith("$"):
                _, problem = path_or_problem(path, f"{where}, store", 'write for example "$.status"')
                if problem:
                    yield problem
    yield from of_hook(f"{where}, store", "redact", redact)
    yield from of_hook(f"{where}, store", "labels", rollout.store.labels)
