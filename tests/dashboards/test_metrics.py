"""Dashboards and rules ask for what an application really exposes, and for all of it."""

from __future__ import annotations

from tests.dashboards.conftest import Scraped
from tests.dashboards.exposition import Exposition
from tests.dashboards.promql import Selector, clauses, selectors
from tests.dashboards.shipped import alerts, asked, expressions, recorded

#: What a scrape adds to every series.
SCRAPED = {"job", "instance"}
#: Of the series that Prometheus makes of alerts.
ALERTS = {"alertname", "alertstate", "severity", "job", "rollout", "branch"}


def test_every_metric_that_is_asked_for_is_exposed_or_recorded(live: Exposition) -> None:
    known = live.names | set(recorded())
    strangers = {one.name: where for where, expr in expressions().items() for one in selectors(expr)}.items()
    assert [(name, where) for name, where in strangers if name not in known] == []


def test_every_metric_that_is_exposed_is_asked_for(live: Exposition) -> None:
    wanted = {one.name for expr in expressions().values() for one in selectors(expr)}
    families = {sample.family for sample in live.samples if sample.name in wanted}
    assert live.families - families == set()


def test_every_recorded_series_is_asked_for() -> None:
    used = [one.name for expr in expressions().values() for one in selectors(expr)]
    assert set(recorded()) - set(used) == set()


def test_a_recorded_series_is_named_after_its_labels_its_metric_and_what_was_done() -> None:
    for name, rule in recorded().items():
        level, metric, operations = name.split(":")
        assert level == "_".join(_labels_of_rule(rule.expr))
        assert metric.startswith("rolloutkit_")
        assert operations


def test_every_label_that_is_matched_is_one_of_its_series(live: Exposition) -> None:
    strangers = [
        (where, one.name, matcher.label)
        for where, expr in expressions().items()
        for one in selectors(expr)
        for matcher in one.matchers
        if matcher.label not in _labels(one, live)
    ]
    assert strangers == []


def test_every_label_that_is_grouped_by_is_one_of_its_series(live: Exposition) -> None:
    for where, expr in expressions().items():
        every = set[str]().union(*(_labels(one, live) for one in selectors(expr)))
        assert clauses(expr) <= (ALERTS if "ALERTS{" in expr else every), where


def test_every_legend_names_labels_that_are_left() -> None:
    for query in (one for one in asked() if one.legend_labels):
        left = clauses(query.expr)
        if not left:  # a recorded series as it is
            left = set[str]().union(*(_labels_of_rule(recorded()[one.name].expr) for one in selectors(query.expr)))
        assert query.legend_labels <= left, query.where


def test_every_value_of_a_label_that_is_matched_occurs(live: Exposition) -> None:
    strangers = [
        (where, metric, matcher.label, value)
        for where, expr in expressions().items()
        for one in selectors(expr)
        for metric in _metrics(one)
        for matcher in one.matchers
        for value in matcher.values
        if matcher.label not in SCRAPED and value not in live.values(metric, matcher.label)
    ]
    assert strangers == []


def test_what_alerts_count_is_there_as_zero_before_the_first_call(scraped: Scraped) -> None:
    """A series that is born at 1 has not increased."""
    counted = {metric for rule in alerts() for one in selectors(rule.expr) for metric in _metrics(one)}
    first = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in scraped.first.samples}
    for sample in scraped.last.samples:
        if sample.name in counted and sample.counts:
            assert first[sample.name, frozenset(sample.labels.items())] == 0


def test_the_application_that_was_asked_did_something(live: Exposition) -> None:
    """What was found above was not found for want of traffic."""
    grew = {sample.name for sample in live.samples if sample.counts and sample.value > 0}
    assert {
        "rolloutkit_branch_sla_missed_total",
        "rolloutkit_branch_attempts_total",
        "rolloutkit_hook_failures_total",
        "rolloutkit_cost_usd_total",
    } <= grew
    assert {"controller_leader", "gate_e_value", "breaker_state"} <= {
        name.removeprefix("rolloutkit_") for name in live.names
    }


def _metrics(one: Selector) -> set[str]:
    """The exposed metrics that it comes from, through any number of recorded series."""
    if not one.recorded:
        return {one.name}
    return set[str]().union(*(_metrics(inner) for inner in selectors(recorded()[one.name].expr)))


def _labels(one: Selector, live: Exposition) -> set[str]:
    if one.recorded:
        return set(_labels_of_rule(recorded()[one.name].expr))
    return live.labels(one.name) | SCRAPED


def _labels_of_rule(expr: str) -> list[str]:
    """What its outermost aggregation leaves, in order; the buckets of a quantile are used up."""
    first = expr[expr.index(" by (") + len(" by (") :].partition(")")[0]
    return [label.strip() for label in first.split(",") if label.strip() != "le"]
