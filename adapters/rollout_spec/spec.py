"""Reading ``rollout.toml``: a ``Spec``, or one ``SpecError`` with every mistake and its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from rollout.domain.durations import duration_text
from rollout.domain.ramp import Ramp
from rollout.domain.state import Policy
from rollout.errors import Problem, SpecError, UnknownName

from . import mistakes
from .lines import Place, lines_of
from .model import RolloutTable, SpecFile

NAME: Final = "rollout.toml"
MAX_BYTES: Final = 2**20


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
        whole. ``UnknownName`` for a rollout that it does not name.
        """
        table = self.file.rollouts.get(rollout)
        if table is None:
            raise UnknownName("rollout", rollout, self.rollouts)
        return {name: value for name, value in _fields(table).items() if value is not None}

    def check_against(self, policies: Mapping[str, Policy]) -> list[Problem]:
        """What does not fit the rollouts that are registered: unknown names, approvals of stages that are none, a
        deadline below a branch's SLA. ``policies``: rollout → its effective policy."""
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


def _fields(table: RolloutTable) -> dict[str, Any]:
    shadow, store, budget = table.shadow, table.store, table.budget
    return {
        "ramp": (table.ramp.fields() or None) if table.ramp else None,
        "gates": table.gates and [gate.spec().to_dict() for gate in table.gates],
        "budget.latency_s": budget and budget.latency,
        "shadow.sample": shadow.sample if shadow else None,
        "shadow.noise": shadow.noise if shadow else None,
        "shadow.reverse": shadow.reverse if shadow else None,
        "store.sample": store.sample if store else None,
        "store.ttl_s": store.ttl if store else None,
    }


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
