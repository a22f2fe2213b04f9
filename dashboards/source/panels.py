"""The kinds of panel that the dashboards use, with the options that they all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards.source.model import DATASOURCE, Json

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"

#: (from this value on, colour); the first one counts from minus infinity.
Steps = Sequence[tuple[float | None, str]]
PLAIN: Final[Steps] = ((None, GREY),)
NONE_IS_GOOD: Final[Steps] = ((None, GREEN), (1, ORANGE))
#: Of what is wrong, as a share.
RATIO: Final[Steps] = ((None, GREEN), (0.01, ORANGE), (0.05, RED))


@dataclass(frozen=True, slots=True)
class Query:
    """An expression; ``legend`` may hold labels: ``{{branch}}``."""

    expr: str
    legend: str = ""


def stat(title: str, description: str, query: Query, *, unit: str = "none", steps: Steps = PLAIN, **more: Any) -> Json:
    """The newest value in large. ``words``: what stands for a value, and its colour; ``none``: what for no value."""
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": _NEWEST,
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    return _panel("stat", title, description, [query], _field(unit, steps, **more), options, instant=True)


def bars(title: str, description: str, query: Query, *, unit: str, steps: Steps, most: float | None = None) -> Json:
    """The newest value of each series as a bar, from 0 to ``most``."""
    options = {
        "displayMode": "basic",
        "legend": {**_LEGEND, "showLegend": False},
        "maxVizHeight": 300,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": _NEWEST,
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    field = {**_field(unit, steps), "min": 0, **({} if most is None else {"max": most})}
    return _panel("bargauge", title, description, [query], field, options, instant=True)


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    stacked: bool = False,
    stepped: bool = False,
    log: bool = False,
    most: float | None = None,
    limits: Steps = (),
    dashed: Sequence[str] = (),
) -> Json:
    """Lines over time. ``most``: the upper end of the axis where there is one by nature. ``limits``: values that are
    drawn as dashed lines; ``dashed``: the legends of series that are limits themselves."""
    custom = {
        "axisBorderShow": False,
        "axisCenteredZero": False,
        "axisColorMode": "text",
        "axisLabel": "",
        "axisPlacement": "auto",
        "barAlignment": 0,
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 0,
        "gradientMode": "none",
        "hideFrom": {"legend": False, "tooltip": False, "viz": False},
        "insertNulls": False,
        "lineInterpolation": "stepAfter" if stepped else "linear",
        "lineWidth": 1,
        "pointSize": 5,
        "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    field = _field(unit, limits or PLAIN, color="palette-classic", custom=custom)
    field |= {} if log else {"min": 0}
    field |= {} if most is None else {"max": most}
    options = {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    overrides = [_as_limit(legend) for legend in dashed]
    return _panel("timeseries", title, description, queries, field, options, overrides=overrides)


def states(title: str, description: str, query: Query, *, words: Mapping[int, tuple[str, str]] | None = None) -> Json:
    """What each series was, as a band over time. ``words``: value → (word, colour); without: numbers, in shades."""
    custom = {"fillOpacity": 70, "lineWidth": 0, "hideFrom": {"legend": False, "tooltip": False, "viz": False}}
    field = _field("none", PLAIN, color="thresholds" if words else "continuous-blues", custom=custom, words=words or {})
    options = {
        "alignValue": "left",
        "legend": {**_LEGEND, "showLegend": False},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _panel("state-timeline", title, description, [query], field, options)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers in a table: its name, the expression by the labels of a row, and how it is shown."""

    name: str
    expr: str
    unit: str = "none"
    steps: Steps = PLAIN


def table(
    title: str, description: str, columns: Sequence[Column], hidden: Sequence[str] = (), link: Json | None = None
) -> Json:
    """One row for each set of labels, now. ``hidden``: labels that are not shown; ``link``: where its cells lead."""
    letters = [chr(ord("A") + place) for place in range(len(columns))]
    values = [f"Value #{letter}" if len(columns) > 1 else "Value" for letter in letters]
    renamed = {value: column.name for value, column in zip(values, columns, strict=True)}
    field = {**_field("none", PLAIN), "links": [link] if link else [], "custom": {"align": "auto", "inspect": False}}
    options = {"cellHeight": "sm", "showHeader": True, "sortBy": []}
    panel = _panel(
        "table",
        title,
        description,
        [Query(column.expr) for column in columns],
        field,
        options,
        instant=True,
        overrides=[_as_column(column) for column in columns],
    )
    panel["targets"] = [{**target, "format": "table"} for target in panel["targets"]]
    organized = {"excludeByName": dict.fromkeys(("Time", *hidden), True), "indexByName": {}, "renameByName": renamed}
    panel["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organized}]
    return panel


_NEWEST: Final[Json] = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_LEGEND: Final[Json] = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Sequence[Query],
    field: Json,
    options: Json,
    *,
    instant: bool = False,
    overrides: Sequence[Json] = (),
) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": field, "overrides": list(overrides)},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": instant,
                "range": not instant,
            }
            for place, query in enumerate(queries)
        ],
    }


def _field(
    unit: str,
    steps: Steps,
    *,
    color: str = "thresholds",
    custom: Json | None = None,
    words: Mapping[int, tuple[str, str]] | None = None,
    none: str | None = None,
) -> Json:
    mapping = {
        "type": "value",
        "options": {
            str(value): {"text": text, "color": shade, "index": index}
            for index, (value, (text, shade)) in enumerate((words or {}).items())
        },
    }
    return {
        "unit": unit,
        "color": {"mode": color},
        "mappings": [mapping] if words else [],
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": shade} for value, shade in steps]},
        **({"custom": custom} if custom else {}),
        **({"noValue": none} if none else {}),
    }


def _as_limit(legend: str) -> Json:
    return {
        "matcher": {"id": "byName", "options": legend},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
        ],
    }


def _as_column(column: Column) -> Json:
    steps = [{"value": value, "color": shade} for value, shade in column.steps]
    return {
        "matcher": {"id": "byName", "options": column.name},
        "properties": [
            {"id": "unit", "value": column.unit},
            {"id": "thresholds", "value": {"mode": "absolute", "steps": steps}},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ],
    }
