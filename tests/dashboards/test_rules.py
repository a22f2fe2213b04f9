"""The rules hold to Prometheus' own checks, every alert fires where it must and nowhere else, and says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.exposition import Exposition
from tests.dashboards.promql import without_grafana
from tests.dashboards.shipped import ROOT, RULES, TESTS, alerts, read
from tests.dashboards.shipped import asked as queries
from tests.support.promtool import needs_promtool, promtool

README = (ROOT / "README.md").read_text(encoding="utf-8")


@needs_promtool
def test_promtool_finds_no_mistake_in_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)


@needs_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_every_rule_does_as_its_tests_say(file: Path) -> None:
    promtool("test", "rules", file)


@needs_promtool
def test_promtool_finds_nothing_to_complain_of_in_what_an_application_exposes(live: Exposition) -> None:
    assert promtool("check", "metrics", text=live.text) == ""


@needs_promtool
def test_every_expression_of_every_dashboard_shows_something(live: Exposition, tmp_path: Path) -> None:
    """On what the application exposed, as of two processes, and as if every counter had gone on growing."""
    shown = [{"labels": "{}", "value": 1}]
    asked = [
        {"expr": f"count({expr}) > bool 0", "eval_time": "15m", "exp_samples": shown}
        for expr in dict.fromkeys(without_grafana(query.expr, rollout="profile") for query in queries())
    ]
    series = [one for instance in ("a", "b") for one in grown(live, instance)]
    case = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    file = tmp_path / "live.test.yaml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(rules) for rules in RULES], "tests": [case]}), encoding="utf-8")
    promtool("test", "rules", file)


def grown(live: Exposition, instance: str) -> Iterator[dict[str, str]]:
    """The series of a process over a quarter of an hour. A counter grows the faster the further down it stands: so do
    the buckets of a histogram."""
    for number, (sample, name) in enumerate(live.series(job="shop", instance=instance), 1):
        yield {"series": name, "values": f"0+{number}x15" if sample.counts else f"{sample.value!r}+0x15"}


def cases() -> Iterator[dict[str, Any]]:
    """Every case of an alert: its time, its name, and what it expects."""
    for file in TESTS:
        for group in read(file)["tests"]:
            yield from group.get("alert_rule_test", ())


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_is_quiet() -> None:
    names = {rule.alert for rule in alerts()}
    assert {case["alertname"] for case in cases() if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases() if not case["exp_alerts"]} == names


def test_every_severity_of_an_alert_has_a_case() -> None:
    fired = {(case["alertname"], alert["exp_labels"]["severity"]) for case in cases() for alert in case["exp_alerts"]}
    assert fired == {(rule.alert, rule.labels["severity"]) for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule.alert}-{rule.labels['severity']}")
def test_an_alert_says_how_bad_it_is_what_happened_and_where_to_read_on(rule: Any) -> None:
    assert re.fullmatch(r"Rolloutkit(?:[A-Z][a-z]+)+", rule.alert)
    assert rule.labels == {"severity": rule.labels["severity"]}
    assert rule.labels["severity"] in ("critical", "warning")
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    assert not rule.annotations["summary"].endswith(".")
    assert rule.annotations["description"].endswith(".")
    assert rule.annotations["runbook_url"] == f"dashboards/README.md#{rule.alert.lower()}"


def test_the_runbook_has_a_section_for_every_alert_and_no_other() -> None:
    sections = re.findall(r"^### (\w+)\n\n(.*?)(?=^### |\Z)", README, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == list(dict.fromkeys(rule.alert for rule in alerts()))
    for name, text in sections:
        assert "* Look: " in text, name
        assert "* Do: " in text, name
