"""The dashboards as Grafana reads them: made by the generator, whole, laid out on the grid, and linked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from dashboards.source.__main__ import texts
from dashboards.source.model import COLUMNS, DATASOURCE
from tests.dashboards.shipped import GRAFANA, ROOT, asked, dashboards, panels, read

#: Bookmarks and the links of others name them: they never change.
UIDS = {"rolloutkit-overview", "rolloutkit-rollout", "rolloutkit-pipeline"}
BUILT_IN = {"__rate_interval", "__range"}

every_dashboard = pytest.mark.parametrize("uid", sorted(UIDS))


def test_the_files_are_those_that_the_generator_makes() -> None:
    assert {file.name: file.read_text(encoding="utf-8") for file in GRAFANA.iterdir()} == texts(), (
        "dashboards/source or the JSON was changed alone: python -m dashboards.source"
    )


def test_the_addresses_of_the_dashboards_stay() -> None:
    assert set(dashboards()) == UIDS
    assert {f"{uid}.json" for uid in UIDS} == {file.name for file in GRAFANA.iterdir()}


@every_dashboard
def test_every_panel_has_a_number_of_its_own_and_a_title_that_no_other_has(uid: str) -> None:
    every = dashboards()[uid]["panels"]
    assert max(Counter(panel["id"] for panel in every).values()) == 1
    assert max(Counter(panel["title"] for panel in panels(dashboards()[uid])).values()) == 1


@every_dashboard
def test_the_panels_fill_the_grid_and_none_lies_over_another(uid: str) -> None:
    taken = Counter(place for panel in dashboards()[uid]["panels"] for place in _places(panel["gridPos"]))
    height = max(y for _, y in taken) + 1
    assert taken == Counter(product(range(COLUMNS), range(height)))


def _places(grid: dict[str, int]) -> Iterator[tuple[int, int]]:
    return product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"]))


@every_dashboard
def test_every_panel_tells_what_it_shows_in_which_unit_and_asks_something(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [chr(ord("A") + number) for number in range(len(letters))]
        assert letters
        assert all(target["instant"] is not target["range"] for target in panel["targets"])


@every_dashboard
def test_several_lines_of_one_graph_have_names(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        if panel["type"] in ("timeseries", "state-timeline", "bargauge"):
            assert all(target["legendFormat"] != "__auto" for target in panel["targets"]), panel["title"]


@every_dashboard
def test_every_limit_that_is_drawn_dashed_is_a_line_of_its_panel(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        if panel["type"] == "timeseries":
            named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            assert named <= {target["legendFormat"] for target in panel["targets"]}


@every_dashboard
def test_no_data_source_is_named_but_the_one_that_the_reader_chooses(uid: str) -> None:
    named = [value for name, value in _walk(dashboards()[uid]) if name == "datasource"]
    assert named
    assert all(value == DATASOURCE for value in named)


def _walk(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    yield name, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


@every_dashboard
def test_every_variable_that_is_used_is_declared_and_the_reverse(uid: str) -> None:
    dashboard = dashboards()[uid]
    variables = [one["name"] for one in dashboard["templating"]["list"]]
    asks = " ".join(query.expr for query in asked() if query.where.startswith(uid))
    chosen = [one.get("definition", "") for one in dashboard["templating"]["list"]]
    used = set(re.findall(r"\$\{?(\w+)", " ".join([asks, *chosen]))) - BUILT_IN
    assert used | {"datasource"} == set(variables)
    for place, one in enumerate(chosen):  # a variable may only depend on those above it
        assert set(re.findall(r"\$(\w+)", one)) <= set(variables[:place])


@every_dashboard
def test_a_dashboard_leads_to_both_others_and_takes_along_what_was_chosen(uid: str) -> None:
    dashboard = dashboards()[uid]
    assert [link["url"].partition("?")[0] for link in dashboard["links"]] == [
        f"/d/{other}" for other in dashboards_in_order() if other != uid
    ]
    for link in dashboard["links"]:
        assert link["keepTime"]
        assert {"${datasource:queryparam}", "${job:queryparam}"} == set(re.findall(r"\$\{[^}]*\}", link["url"]))


def dashboards_in_order() -> list[str]:
    return ["rolloutkit-overview", "rolloutkit-rollout", "rolloutkit-pipeline"]


def test_a_row_of_the_overview_leads_to_its_rollout() -> None:
    (table,) = (panel for panel in panels(dashboards()["rolloutkit-overview"]) if panel["title"] == "Branches")
    (link,) = table["fieldConfig"]["defaults"]["links"]
    assert link["url"].startswith("/d/rolloutkit-rollout?var-rollout=${__data.fields.rollout}&")
    organized = table["transformations"][-1]["options"]
    assert "rollout" not in organized["renameByName"] | organized["excludeByName"]  # else the link finds no value


@every_dashboard
def test_grafana_11_reads_it_as_it_is(uid: str) -> None:
    dashboard = dashboards()[uid]
    assert dashboard["schemaVersion"] == 39
    assert isinstance(dashboard["refresh"], str)
    assert 8 <= len(uid) <= 40
    assert "id" not in dashboard  # a number of one Grafana


def test_the_provisioning_finds_the_dashboards_and_names_no_data_source() -> None:
    (file,) = (ROOT / "grafana" / "provisioning").rglob("*.yaml")
    assert file.parent.name == "dashboards"
    (provider,) = read(file)["providers"]
    assert provider["type"] == "file"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"`{provider['options']['path']}`" in readme
    assert "datasource" not in json.dumps(read(file))
