"""Reading ``rollout.toml``: a ``Spec``, or one ``SpecError`` with every mistake and its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from rollout.domain.cost import nano_usd, usd_of
from rollout.domain.durations import duration_text
from rollout.domain.ramp import Ramp
from rollout.domain.state import BranchPolicy, Policy
from rollout.errors import Problem, SpecError, UnknownName

from . import mistakes
from .lines import Place, lines_of
from .model import RolloutTable, SpecFile, Table
from .values import dollars_text

NAME: Final = "rollout.toml"
MAX_BYTES: Final = 2**20
_SUFFIXED: Final = {"budget.latency": "budget.latency_s", "store.ttl": "store.ttl_s"}


def read_spec(path: str | PathLike[str]) -> Spec:
    """The spec in a file. ``SpecError`` with every mistake, also if it cannot be read, is no text or above 1 MiB."""
    shown = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise SpecError(shown, [Problem(shown, f"cannot be read: {what}", "`rollout init` writes one")]) from None
    if len(raw) > MAX_BYTES:
        raise SpecError(shown, [Problem(shown, "is larger than 1 MiB", "name a spec file")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        newlines = raw.count(b"\n", 0, error.start)
        raise SpecError(shown, [Problem(f"line {newlines + 1}", "is not UTF-8", "save the file as UTF-8")]) from None
    return parse_spec(text, shown)


def parse_spec(text: str, path: str = NAME) -> Spec:
    """The spec in a text. ``path``: how messages call it. ``SpecError`` with every mistake."""
    data = _toml(text, path)
    lines = lines_of(text)
    try:
        file = SpecFile.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    else:
        errors = []
    if problems := mistakes.problems(errors, data, lines):
        raise SpecError(path, problems)
    return Spec(path, file, lines)


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec file without mistakes. ``path``: how it is called in messages and in ``origins``."""

    path: str
    file: SpecFile
    lines: Mapping[Place, int]

    @property
    def rollouts(self) -> tuple[str, ...]:
        """The rollouts of which it sets something, in the order of the file."""
        return tuple(self.file.rollouts)

    @property
    def origin(self) -> str:
        """What ``StateStore.apply`` is told: ``"spec rollout.toml"``."""
        return f"spec {Path(self.path).name}"

    def fields(self, rollout: str) -> dict[str, Any]:
        """What it sets of a rollout, by the names in ``SETTABLE``, JSON-ready, as ``StateStore.apply`` takes it.

        ``ramp`` holds those of its fields that are set, to be laid over the code's; ``gates`` replace the code's as a
        whole. Dollars are text; None is the word "none": no limit. ``UnknownName`` for a rollout that it does not name.
        """
        table = self.file.rollouts.get(rollout)
        if table is None:
            raise UnknownName("rollout", rollout, self.rollouts)
        return dict(_fields(table))

    def check_against(self, policies: Mapping[str, Policy]) -> list[Problem]:
        """What does not fit the rollouts that are registered: unknown names, approvals of stages that are none, a
        deadline below a branch's SLA, a budget below what a branch reserves. ``policies``: rollout → its effective
        policy."""
        return [problem for name in self.rollouts for problem in self._against(name, policies)]

    def _against(self, name: str, policies: Mapping[str, Policy]) -> Iterator[Problem]:
        at: Place = ("rollouts", name)
        if name not in policies:
            what, _, remedy = str(UnknownName("rollout", name, list(policies))).partition(". ")
            yield Problem(mistakes.where(at, self.lines), what, remedy)
            return
        policy, fields = policies[name], self.fields(name)
        for problem in Ramp.from_dict({**policy.ramp.to_dict(), **fields.get("ramp", {})}).problems():
            what, _, remedy = problem.rpartition("; ")
            yield Problem(mistakes.where((*at, "ramp", "approve"), self.lines), what or remedy, remedy)
        latency_s = fields.get("budget.latency_s", float("inf"))
        for branch in policy.branches:
            if branch.sla_s is not None and latency_s < branch.sla_s:
                sla = f'the SLA of branch "{branch.name}", {duration_text(branch.sla_s)}'
                yield Problem(
                    mistakes.where((*at, "budget", "latency"), self.lines),
                    f"{duration_text(latency_s)} is below {sla}",
                    "raise the latency, or lower the SLA in code",
                )
            for key, what in _below_reserve(branch, fields):
                yield Problem(
                    mistakes.where((*at, "budget", key), self.lines), what, f"raise {key}, or lower reserve= in code"
                )


def _fields(table: RolloutTable) -> Iterator[tuple[str, Any]]:
    """What is set; what is not set has no value here, and None is a value: no limit."""
    if table.ramp and (ramp := table.ramp.fields()):
        yield "ramp", ramp
    if table.gates:
        yield "gates", [gate.spec().to_dict() for gate in table.gates]
    if table.prices is not None:
        yield "prices", {model: [one.input, one.output, one.cached_input] for model, one in table.prices.items()}
    tables: dict[str, Table | None] = {"budget": table.budget, "shadow": table.shadow, "store": table.store}
    for name, inner in tables.items():
        for key, value in inner.given().items() if inner else ():
            field = f"{name}.{key}"
            yield _SUFFIXED.get(field, field), dollars_text(value) if isinstance(value, Decimal) else value


def _below_reserve(branch: BranchPolicy, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The limits of a call under which a branch could never begin: each key of the budget, with what is wrong."""
    usd = fields.get("budget.usd")
    limits: tuple[tuple[str, Any, Any, Callable[[Any], str]], ...] = (
        ("latency", fields.get("budget.latency_s"), branch.reserve_s, duration_text),
        ("tokens", fields.get("budget.tokens"), branch.reserve_tokens, str),
        (
            "usd",
            None if usd is None else nano_usd(usd),
            branch.reserve_nano,
            lambda nano: f"${dollars_text(usd_of(nano))}",
        ),
    )
    for key, limit, reserved, text in limits:
        if limit is not None and limit < reserved:
            yield (
                key,
                f'{text(limit)} is below what branch "{branch.name}" reserves, {text(reserved)}: it could never run',
            )


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        end = text.count("\n") + 1
        where = f"line {line[1]}, column {line[2]}" if line else f"line {end}"
        what = "".join(c if c.isprintable() else "?" for c in re.sub(r"\s*\(at [^()]*\)$", "", str(error))[:200])
        problem = Problem(where, f"is not TOML: {what}", "see https://toml.io; `rollout init` shows an example")
    except (ValueError, RecursionError) as error:  # a number of five thousand digits, brackets a thousand deep
        kind = "it is nested too deeply" if isinstance(error, RecursionError) else "it holds a value that is too large"
        problem = Problem("the file", f"cannot be read: {kind}", "write plain values")
    raise SpecError(path, [problem]) from None
