"""The files of ``dashboards/``, read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from rollout.resources import shipped

ROOT = shipped("dashboards")
GRAFANA = ROOT / "grafana" / "dashboards"
PROMETHEUS = ROOT / "prometheus"
RULES = sorted(PROMETHEUS.glob("*.rules.yaml"))
TESTS = sorted(PROMETHEUS.glob("tests/*.test.yaml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``record`` or ``alert`` is its name, the other one empty."""

    record: str = ""
    alert: str = ""
    expr: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@cache
def rules() -> list[Rule]:
    return [
        Rule(**{name: value for name, value in rule.items() if name != "for"})
        for file in RULES
        for group in read(file)["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if rule.alert]


@cache
def recorded() -> dict[str, Rule]:
    return {rule.record: rule for rule in rules() if rule.record}


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """By uid."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(GRAFANA.glob("*.json"))]
    return {one["uid"]: one for one in found}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels, without the titles of sections."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of a panel. ``where``: its dashboard and title; ``legend``: with its labels, as ``{{branch}}``."""

    where: str
    expr: str
    legend: str

    @property
    def legend_labels(self) -> set[str]:
        return set(re.findall(r"\{\{(\w+)\}\}", self.legend))


def asked() -> Iterator[Asked]:
    """Every query of every panel, and every annotation."""
    for uid, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                legend = "" if target["legendFormat"] == "__auto" else target["legendFormat"]
                yield Asked(f"{uid}: {panel['title']}", target["expr"], legend)
        for mark in dashboard["annotations"]["list"]:
            yield Asked(f"{uid}: {mark['name']}", mark["expr"], mark["titleFormat"] + mark["textFormat"])


def expressions() -> dict[str, str]:
    """Everything that is asked of Prometheus, with where it stands."""
    found = {f"{rule.record or rule.alert} ({number})": rule.expr for number, rule in enumerate(rules())}
    return found | {f"{query.where} ({number})": query.expr for number, query in enumerate(asked())}


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))
