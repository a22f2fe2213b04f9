"""A dashboard, as Grafana 11 and later read it (classic model, schema 39): variables, links, annotations, a grid.

Schema 39 is that of Grafana 11.0: later versions raise it as they load it, an earlier one could not lower a newer one.
Every dashboard chooses its data source by a variable, so that none is named here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24

_SCHEMA: Final = 39
_TITLES: Final = {
    "rolloutkit-overview": "Rolloutkit / Overview",
    "rolloutkit-rollout": "Rolloutkit / One rollout",
    "rolloutkit-pipeline": "Rolloutkit / Pipeline health",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Panels side by side, equally wide, of a height in grid units (30 pixels each)."""

    height: int
    panels: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Section:
    """A title above some lines of panels."""

    title: str
    lines: Sequence[Line]


def dashboard(
    uid: str, description: str, variables: Sequence[Json], annotations: Sequence[Json], sections: Sequence[Section]
) -> Json:
    """The whole dashboard. ``uid``: one of those that the links know; it never changes, as bookmarks name it."""
    return {
        "uid": uid,
        "title": _TITLES[uid],
        "description": description,
        "tags": ["rolloutkit"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *variables]},
        "annotations": {"list": list(annotations)},
        "links": [_link(other) for other in _TITLES if other != uid],
        "panels": list(_placed(sections)),
    }


def to_text(made: Json) -> str:
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def variable(name: str, label: str, of: str, description: str, *, several: bool = True) -> Json:
    """A choice of label values. ``of``: a PromQL selector whose series have the label ``name``. ``several``: more than
    one may be chosen, and at first all are."""
    query = f"label_values({of}, {name})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "hide": 0,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}} if several else {"current": {}}),
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def annotation(name: str, color: str, expr: str, title: str, text: str) -> Json:
    """Marks on every graph where an expression is above zero.

    The query stands there twice: at the top for Grafana 11, as a target for what came after it.
    """
    return {
        "name": name,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "datasource": DATASOURCE,
        "expr": expr,
        "step": "60s",
        "target": {"refId": "Anno", "expr": expr, "interval": "60s"},
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "",
        "useValueForTime": False,
    }


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "description": "The Prometheus that scrapes the applications and evaluates the rules beside these dashboards.",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def _link(uid: str) -> Json:
    """What is chosen there, and here too, goes along. Not the rollout: here one, there several."""
    return {
        "type": "link",
        "title": _TITLES[uid].partition(" / ")[2],
        "url": f"/d/{uid}?${{datasource:queryparam}}&${{job:queryparam}}",
        "icon": "dashboard",
        "tooltip": _TITLES[uid],
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
    }


def _placed(sections: Sequence[Section]) -> Iterator[Json]:
    """Every panel with its place in the grid and a number, section by section, line by line."""
    y, number = 0, 0
    for section in sections:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            "panels": [],
        }
        y += 1
        for line in section.lines:
            width = COLUMNS // len(line.panels)
            for column, panel in enumerate(line.panels):
                number += 1
                place = {"h": line.height, "w": width, "x": column * width, "y": y}
                yield {"id": number, "gridPos": place, **panel}
            y += line.height
