"""The metrics as Prometheus reads them: complete from the start, exact, and safe whatever they are called."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from rollout.domain.breaker import State
from rollout.domain.evidence import Figures
from rollout.domain.histogram import RATIO, Histogram, bucket_of
from rollout.domain.outcomes import RunOutcome, ServedBy
from rollout.domain.state import BranchState
from rollout.ports import MetricsSnapshot
from rollout_prometheus import RolloutCollector, exposition
from rollout_prometheus.buckets import LATENCY, OVERHEAD, total_of
from tests.support.promtool import needs_promtool, promtool

Series = tuple[str, frozenset[tuple[str, str]]]

FAMILIES = [
    "requests_total",
    "request_duration_seconds",
    "middleware_overhead_seconds",
    "branch_runs_total",
    "branch_duration_seconds",
    "branch_inflight",
    "branch_not_run_total",
    "branch_attempts_total",
    "branch_sla_missed_total",
    "breaker_state",
    "branch_orphans",
    "fan_out_work_seconds_total",
    "fan_out_path_seconds_total",
    "comparisons_total",
    "tokens_total",
    "cost_usd_total",
    "shadow_total",
    "shadow_lost_total",
    "hook_failures_total",
    "faults_total",
    "branch_share",
    "branch_stage",
    "stage_entered_timestamp_seconds",
    "transitions_total",
    "gate_e_value",
    "rollbacks_total",
    "flag_evaluations_total",
    "queue_length",
    "queue_capacity",
    "records_dropped_total",
    "records_written_total",
    "write_failures_total",
    "side_effects_blocked_total",
    "controller_leader",
    "controller_last_success_timestamp_seconds",
    "fenced_writes_total",
    "notifications_total",
    "build_info",
]


def declared(rollouts: int = 1, branches: int = 2) -> MetricsSnapshot:
    """A process that has just started."""
    names = [f"rollout{number}" for number in range(rollouts)]
    return MetricsSnapshot(
        rollouts={name: Figures() for name in names},
        branches={
            (name, f"branch{number}", mode): Figures({"skipped:when": 0, "over_budget:time": 0})
            for name in names
            for number in range(branches)
            for mode in ("live", "shadow")
        },
        states={
            name: {
                f"branch{n}": BranchState(rollout=name, branch=f"branch{n}", entered_at=5.0) for n in range(branches)
            }
            for name in names
        },
        gates=dict.fromkeys(names, ("errors", "latency p95")),
        stages=dict.fromkeys(names, ("25%", "100%")),
        queue_length={"trials": 0},
        queue_capacity={"trials": 1000},
        dropped={("trials", "queue_full"): 0},
        evidence={("rollout0", "branch0", "errors", "rollback"): 0.4},
        version="1.2.3",
    )


def series(snapshot: MetricsSnapshot) -> dict[Series, float]:
    """Every series of the text, parsed; a series that stands there twice fails."""
    body, content_type = exposition(RolloutCollector(lambda: snapshot))
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(body)


def parsed(body: bytes) -> dict[Series, float]:
    samples = [
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    ]
    assert not [name for name, count in Counter(name for name, _ in samples).items() if count > 1]
    return dict(samples)


def value(found: dict[Series, float], name: str, **labels: str) -> float:
    return found[f"rolloutkit_{name}", frozenset(labels.items())]


def test_every_family_is_there_with_help_and_type() -> None:
    text = exposition(RolloutCollector(declared))[0].decode()
    lines = text.splitlines()
    assert [line.split()[2].removeprefix("rolloutkit_") for line in lines if line.startswith("# TYPE")] == FAMILIES
    assert sum(line.startswith("# HELP") for line in lines) == len(FAMILIES)


def test_everything_declared_is_there_from_the_start_as_zero() -> None:
    found = series(declared())
    for outcome in RunOutcome:
        for mode in ("live", "shadow"):
            labels = {"rollout": "rollout0", "branch": "branch1", "mode": mode}
            assert value(found, "branch_runs_total", **labels, outcome=outcome) == 0
            assert value(found, "branch_duration_seconds_count", **labels) == 0
            assert value(found, "tokens_total", **labels, kind="input") == 0
            assert value(found, "cost_usd_total", **labels) == 0
            assert value(found, "branch_sla_missed_total", **labels) == 0
            assert value(found, "branch_orphans", **labels) == 0
            for kind in ("retry", "hedge"):
                assert value(found, "branch_attempts_total", **labels, kind=kind) == 0
            assert value(found, "branch_not_run_total", **labels, outcome="skipped", reason="when") == 0
    for what in ("work", "path"):
        assert value(found, f"fan_out_{what}_seconds_total", rollout="rollout0") == 0
    for who in ServedBy:
        assert value(found, "requests_total", rollout="rollout0", served_by=who, outcome="ok") == 0
    assert value(found, "requests_total", rollout="rollout0", served_by="control", outcome="error") == 0
    assert value(found, "requests_total", rollout="rollout0", served_by="none", outcome="unanswered") == 0
    for branch in ("", "branch0", "branch1"):
        for result in ("matched", "ignored", "mismatched", "incomparable"):
            assert value(found, "comparisons_total", rollout="rollout0", branch=branch, result=result) == 0
    for cause in ("errors", "latency p95", "person"):
        assert value(found, "rollbacks_total", rollout="rollout0", branch="branch0", cause=cause) == 0
    for to in ("25%", "100%", "shadow", "paused", "rolled_back", "completed"):
        for trigger in ("controller", "person"):
            labels = {"rollout": "rollout0", "branch": "branch0", "to": to, "trigger": trigger}
            assert value(found, "transitions_total", **labels) == 0
    assert value(found, "shadow_total", rollout="rollout0", step="drawn") == 0
    assert value(found, "shadow_lost_total", rollout="rollout0", how="refused", reason="lag") == 0
    assert value(found, "hook_failures_total", rollout="rollout0", hook="key") == 0
    assert value(found, "faults_total", rollout="rollout0", where="start") == 0
    assert value(found, "branch_inflight", rollout="rollout0", branch="branch0") == 0
    assert value(found, "side_effects_blocked_total", rollout="rollout0", method="POST") == 0
    assert value(found, "controller_last_success_timestamp_seconds") == 0
    assert value(found, "build_info", version="1.2.3") == 1


def test_what_was_counted_is_shown() -> None:
    now = declared()
    now.rollouts["rollout0"] = Figures(
        {"calls": 10, "served:control": 6, "served:candidate": 2, "served:fallback": 1, "bad": 3},
        {"latency": Histogram({bucket_of(0.03): 9})},
    )
    live = now.branches["rollout0", "branch0", "live"]
    live.counts.update({"outcome:ok": 3, "outcome:hard_timeout": 1, "tokens_in": 70, "cost_nano": 1_500_000_000})
    now.comparisons["rollout0", "", "mismatched"] = 4
    now.transitions["rollout0", "branch0", "25%", "controller"] = 1
    now.rollbacks["rollout0", "branch0", "errors"] = 1
    now.flags["profile", "off", "timeout"] = 5
    now.side_effects_blocked |= {("rollout0", "POST"): 1, ("rollout0", "BREW"): 1, ("rollout0", "LINK"): 1}
    now.states = {"rollout0": {"branch0": BranchState(rollout="rollout0", branch="branch0", stage=3, share=0.25)}}
    now.leader = True
    found = series(now)

    assert value(found, "requests_total", rollout="rollout0", served_by="control", outcome="ok") == 4
    assert value(found, "requests_total", rollout="rollout0", served_by="control", outcome="error") == 2
    assert value(found, "requests_total", rollout="rollout0", served_by="none", outcome="unanswered") == 1
    assert value(found, "request_duration_seconds_count", rollout="rollout0") == 9
    assert value(found, "request_duration_seconds_sum", rollout="rollout0") == pytest.approx(0.27, rel=0.01)
    labels = {"rollout": "rollout0", "branch": "branch0", "mode": "live"}
    assert value(found, "branch_runs_total", **labels, outcome="hard_timeout") == 1
    assert value(found, "tokens_total", **labels, kind="input") == 70
    assert value(found, "cost_usd_total", **labels) == 1.5
    assert value(found, "comparisons_total", rollout="rollout0", branch="", result="mismatched") == 4
    move = {"rollout": "rollout0", "branch": "branch0"}
    assert value(found, "transitions_total", **move, to="25%", trigger="controller") == 1
    assert value(found, "rollbacks_total", **move, cause="errors") == 1
    assert value(found, "branch_share", **move) == 0.25
    assert value(found, "branch_stage", **move) == 3
    assert value(found, "flag_evaluations_total", flag="profile", value="off", reason="timeout") == 5
    assert value(found, "side_effects_blocked_total", rollout="rollout0", method="other") == 2
    assert value(found, "controller_leader") == 1


def test_what_guards_did_is_shown() -> None:
    now = declared()
    key = ("rollout0", "branch0", "shadow")
    counts = {"retried": 3, "hedged": 4, "sla_missed": 5, "skipped:when": 6, "over_budget:usd": 7}
    now.branches[key].counts.update(counts)
    now.orphans[key] = 8
    now.rollouts["rollout0"].counts.update({"work_us": 1_800_000, "path_us": 950_000})
    found = series(now)
    labels = dict(zip(("rollout", "branch", "mode"), key, strict=True))
    assert value(found, "branch_attempts_total", **labels, kind="retry") == 3
    assert value(found, "branch_attempts_total", **labels, kind="hedge") == 4
    assert value(found, "branch_sla_missed_total", **labels) == 5
    assert value(found, "branch_not_run_total", **labels, outcome="skipped", reason="when") == 6
    assert value(found, "branch_not_run_total", **labels, outcome="over_budget", reason="usd") == 7
    assert value(found, "branch_orphans", **labels) == 8
    assert value(found, "fan_out_work_seconds_total", rollout="rollout0") == 1.8
    assert value(found, "fan_out_path_seconds_total", rollout="rollout0") == 0.95


def test_a_breaker_is_0_closed_1_half_open_2_open_and_absent_where_there_is_none() -> None:
    now = declared()
    states = {"live": State.closed, "shadow": State.half_open}
    now.breakers = {("rollout0", "branch0", mode): state for mode, state in states.items()}
    now.breakers["rollout0", "branch1", "live"] = State.open
    found = {
        (dict(labels)["branch"], dict(labels)["mode"]): number
        for (name, labels), number in series(now).items()
        if name == "rolloutkit_breaker_state"
    }
    assert found == {("branch0", "live"): 0, ("branch0", "shadow"): 1, ("branch1", "live"): 2}


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e5), max_size=60))
def test_no_value_moves_to_another_bucket(values: list[float]) -> None:
    histogram = Histogram()
    for observed in values:
        histogram.add(observed)
    for bounds in (LATENCY, OVERHEAD):
        counts = bounds.cumulative(histogram)
        assert bounds.labels[-1] == "+Inf"
        assert counts[-1] == len(values)
        for label, count in zip(bounds.labels, counts, strict=True):
            bound = float(label)
            clearly_below = sum(observed < bound * (1 - 1e-5) for observed in values)
            clearly_above = sum(observed > bound * (1 + 1e-5) for observed in values)
            assert clearly_below <= count <= len(values) - clearly_above


def test_bounds_lie_near_round_numbers() -> None:
    wanted = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
    assert [float(label) for label in LATENCY.labels[:-1]] == pytest.approx(wanted, rel=RATIO - 1)


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=60), st.randoms())
def test_the_sum_is_near_and_depends_on_no_order(values: list[float], dice: random.Random) -> None:
    one, other = Histogram(), Histogram()
    for observed in values:
        one.add(observed)
    dice.shuffle(values)
    for observed in values:
        other.add(observed)
    assert total_of(one) == total_of(other) == pytest.approx(sum(values), rel=0.011)


def grow(snapshot: MetricsSnapshot, dice: random.Random) -> None:
    """More of everything that a counter counts."""
    for figures in snapshot.rollouts.values():
        who = dice.choice(list(ServedBy))
        unanswered, failed = dice.randint(0, 1), dice.randint(0, 1)
        figures.add("calls", 2 + unanswered)
        figures.add("served:control")
        figures.add(f"served:{who}")
        figures.add("bad", unanswered + failed)
        figures.observe("latency", dice.lognormvariate(-3, 2))
        figures.add("work_us", dice.randint(0, 10**6))
        figures.add("path_us", dice.randint(0, 10**6))
        figures.observe("overhead", dice.lognormvariate(-10, 1))
    for figures in snapshot.branches.values():
        figures.add(f"outcome:{dice.choice(list(RunOutcome))}")
        for name in ("retried", "hedged", "sla_missed", "skipped:when", "over_budget:time"):
            figures.add(name, dice.randint(0, 2))
        figures.add("cost_nano", dice.randint(0, 10**7))
        figures.observe("run", dice.lognormvariate(-3, 2))


def test_counters_never_fall() -> None:
    dice, now, before = random.Random(4), declared(), dict[Series, float]()
    for _ in range(50):
        grow(now, dice)
        after = series(now)
        assert not [name for name, count in before.items() if after[name] < count]
        before = {
            name: count for name, count in after.items() if name[0].endswith(("_total", "_sum", "_bucket", "_count"))
        }


def test_a_registry_shows_the_same() -> None:
    dice, now = random.Random(5), declared()
    for _ in range(20):
        grow(now, dice)
    registry = CollectorRegistry()
    RolloutCollector(lambda: now).register(registry)
    body, content_type = exposition(registry)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert parsed(body) == series(now)


def test_registering_asks_for_no_snapshot_and_twice_is_refused() -> None:
    registry = CollectorRegistry()
    RolloutCollector(lambda: pytest.fail("asked")).register(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        RolloutCollector(declared).register(registry)


HOSTILE = [
    'a"} 1\n# EOF',
    "a\\",
    "é\udce9",
    "x" * 5000,
    "x" * 4999 + "y",
    "\udce9",
    "\udcea",
    "{}",
    "a,b=c",
    "",
    "\r\n\t\x00",
]


def test_hostile_names_are_carried_as_they_are_or_cut_but_never_become_one() -> None:
    now = declared()
    now.flags = {(name, "off", "error"): number for number, name in enumerate(HOSTILE)}
    found = {dict(labels)["flag"]: count for (name, labels), count in series(now).items() if "flag_evaluations" in name}
    assert sorted(found.values()) == list(range(len(HOSTILE)))
    assert max(map(len, found)) <= 128
    for name in ('a"} 1\n# EOF', "a\\", "{}", "a,b=c", "", "\r\n\t\x00"):
        assert found[name] == HOSTILE.index(name)
    registry = CollectorRegistry()
    RolloutCollector(lambda: now).register(registry)
    assert parsed(exposition(registry)[0]) == series(now)


@settings(deadline=None)
@given(st.text())
def test_any_name_can_be_read_again(name: str) -> None:
    now = MetricsSnapshot(flags={(name, "on", "static"): 7})
    assert 7 in series(now).values()


def test_a_series_is_written_in_the_time_of_a_few_formatted_lines() -> None:
    dice, now = random.Random(6), declared(50, 10)
    for _ in range(30):
        grow(now, dice)
    collector = RolloutCollector(lambda: now)
    written: list[float] = []
    formatted: list[float] = []
    for _ in range(9):
        start = time.process_time()
        body, _type = exposition(collector)
        written.append(time.process_time() - start)
        lines = body.count(b"\n")
        start = time.process_time()
        "\n".join(f'a{{rollout="{number}",branch="b"}} {number}' for number in range(lines)).encode()
        formatted.append(time.process_time() - start)
    assert lines > 25_000
    assert min(written) < 20 * min(formatted)


@needs_promtool
def test_promtool_finds_nothing_to_complain_of() -> None:
    dice, now = random.Random(7), declared()
    grow(now, dice)
    now.flags = {('a"\n\\', "off", "error"): 1}
    body, _type = exposition(RolloutCollector(lambda: now))
    assert promtool("check", "metrics", text=body.decode()) == ""
