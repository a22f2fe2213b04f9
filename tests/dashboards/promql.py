"""What an expression names. Its syntax is promtool's to check; label values with braces or quotes are not ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"(?:\w+:)?rolloutkit_\w+(?::\w+)?"
_SELECTOR = re.compile(rf"\b({_NAME})(?:\{{([^}}]*)\}})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_CLAUSE = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
_PLAIN = re.compile(r"[\w %.|-]*")

#: What stands for the variables and the intervals of Grafana where an expression is evaluated without it.
_STANDING_IN = {
    "$__rate_interval": "5m",
    "$__range": "5m",
    "$job": ".+",
    "$branch": ".+",
}


@dataclass(frozen=True, slots=True)
class Matcher:
    """``values``: the texts that it names; none if it is a pattern or a variable."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric, or a recorded series, with its matchers."""

    name: str
    matchers: tuple[Matcher, ...]

    @property
    def recorded(self) -> bool:
        return ":" in self.name


def selectors(expr: str) -> list[Selector]:
    return [
        Selector(name, tuple(Matcher(label, _values(text)) for label, _, text in _MATCHER.findall(matchers)))
        for name, matchers in _SELECTOR.findall(expr)
    ]


def _values(text: str) -> tuple[str, ...]:
    return tuple(text.split("|")) if _PLAIN.fullmatch(text) else ()


def clauses(expr: str) -> set[str]:
    """The labels that it groups by, or joins on."""
    return {label.strip() for clause in _CLAUSE.findall(expr) for label in clause.split(",") if label.strip()}


def without_grafana(expr: str, rollout: str) -> str:
    """The expression with everything chosen, as Prometheus would get it."""
    for variable, value in {**_STANDING_IN, "$rollout": rollout}.items():
        expr = expr.replace(variable, value)
    return expr
