"""All rollouts on one page: who leads, what is live, what is wrong, and where to look next."""

from __future__ import annotations

from dashboards.source.common import JOB, transitions
from dashboards.source.model import Json, Line, Section, variable
from dashboards.source.model import dashboard as made
from dashboards.source.panels import (
    GREEN,
    NONE_IS_GOOD,
    ORANGE,
    RATIO,
    RED,
    Column,
    Query,
    graph,
    stat,
    table,
)

OF = 'job=~"$job", rollout=~"$rollout"'
SHARE = f"job_rollout_branch:rolloutkit_branch_share:max{{{OF}}}"
ONE_ROLLOUT = {
    "title": "Open this rollout",
    "url": "/d/rolloutkit-rollout?var-rollout=${__data.fields.rollout}&${datasource:queryparam}&${job:queryparam}"
    "&${__url_time_range}",
    "targetBlank": False,
}


def dashboard() -> Json:
    rollouts = variable("rollout", "Rollout", 'rolloutkit_requests_total{job=~"$job"}', "Wrapped handlers.")
    return made(
        "rolloutkit-overview",
        "Every rollout: who leads, what is live, who answered, what fails and differs. Needs the recording rules.",
        [JOB, rollouts],
        transitions(OF),
        [
            Section("Now", [Line(4, _now())]),
            Section("Every branch", [Line(9, [_branches()]), Line(8, [_shares(), _served()])]),
            Section("Is anybody worse off?", [Line(8, [_errors(), _mismatches(), _latency()]), Line(7, [_alerts()])]),
        ],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Controller",
            "Whether some process leads, so that gates are judged. A controller of its own (rollout controller) is not "
            "scraped and does not show here.",
            Query('min(job:rolloutkit_controller_leader:max{job=~"$job"})'),
            steps=((None, RED), (1, GREEN)),
            words={0: ("nobody leads", RED), 1: ("leads", GREEN)},
            none="not scraped",
        ),
        stat(
            "Last look at every gate",
            "How long ago a leader ended a tick. Beyond two minutes nothing is promoted, and nothing rolled back.",
            Query('max(job:rolloutkit_controller_last_success_age_seconds:min{job=~"$job"})'),
            unit="s",
            steps=((None, GREEN), (30, ORANGE), (120, RED)),
            none="never",
        ),
        stat(
            "Live branches",
            "Branches that answer some calls now.",
            Query(f"count({SHARE} > 0) or vector(0)"),
        ),
        stat(
            "Branches not live",
            "Branches in shadow, rolled back or switched off.",
            Query(f"count({SHARE} == 0) or vector(0)"),
        ),
        stat(
            "Rolled back",
            "Rollbacks in the time range, by a gate or by a person.",
            Query(f"round(sum(increase(rolloutkit_rollbacks_total{{{OF}}}[$__range])))"),
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Alerts",
            "Alerts of Rolloutkit that fire now; the table below names them.",
            Query('count(ALERTS{alertname=~"Rolloutkit.+", alertstate="firing", job=~"$job"}) or vector(0)'),
            steps=NONE_IS_GOOD,
        ),
    ]


def _branches() -> Json:
    runs = f'job_rollout_branch_mode:rolloutkit_branch_runs_failed:ratio_rate5m{{{OF}, mode="live"}}'
    return table(
        "Branches",
        "Where each branch stands. Evidence is what speaks against it, as a part of what rolls it back; differing is "
        "the share of its parts that differ or failed to come, failed that of its live runs, in five minutes.",
        [
            Column("share", SHARE, "percentunit", ((None, "text"), (0.000001, "blue"), (1, GREEN))),
            Column(
                "in this stage",
                f"time() - max by (job, rollout, branch) (rolloutkit_stage_entered_timestamp_seconds{{{OF}}})",
                "s",
            ),
            Column(
                "evidence against",
                f"job_rollout_branch:rolloutkit_rollback_evidence:ratio{{{OF}}}",
                "percentunit",
                ((None, GREEN), (0.1, ORANGE), (1, RED)),
            ),
            Column(
                "differing",
                f'job_rollout_branch:rolloutkit_comparisons_mismatched:ratio_rate5m{{{OF}, branch!=""}}',
                "percentunit",
                ((None, GREEN), (0.001, ORANGE), (0.01, RED)),
            ),
            Column("failed", f"sum by (job, rollout, branch) ({runs})", "percentunit", RATIO),
        ],
        link=ONE_ROLLOUT,
    )


def _shares() -> Json:
    return graph(
        "Share",
        "The share of calls in which each branch is live. It rises along the ramp, and falls to 0 on a rollback.",
        Query(SHARE, "{{rollout}} {{branch}}"),
        unit="percentunit",
        stepped=True,
        most=1,
    )


def _served() -> Json:
    served = f"job_rollout_served_by_outcome:rolloutkit_requests:rate5m{{{OF}}}"
    return graph(
        "Who answered",
        "Calls by who answered: control, the candidate, or control as the fallback of a candidate that failed; none: "
        "nobody before the deadline.",
        Query(f"sum by (served_by) ({served})", "{{served_by}}"),
        unit="reqps",
        stacked=True,
    )


def _errors() -> Json:
    return graph(
        "Error rate",
        "Calls that control failed, or that nobody answered, of all calls. A branch that fails falls back, and is not "
        "in here.",
        Query(f"job_rollout:rolloutkit_requests_failed:ratio_rate5m{{{OF}}}", "{{rollout}}"),
        unit="percentunit",
    )


def _mismatches() -> Json:
    return graph(
        "Mismatch rate",
        "Candidates that differ from control's reply in something that counts, or failed to come, of all that could be "
        "compared.",
        Query(
            f'job_rollout_branch:rolloutkit_comparisons_mismatched:ratio_rate5m{{{OF}, branch=""}}',
            "{{rollout}}",
        ),
        unit="percentunit",
    )


def _latency() -> Json:
    return graph(
        "Latency, p95",
        "Until the user had the reply, whoever made it: 95 of 100 calls took less.",
        Query(f"job_rollout:rolloutkit_request_duration_seconds:p95_rate5m{{{OF}}}", "{{rollout}}"),
        unit="s",
    )


def _alerts() -> Json:
    firing = 'ALERTS{alertname=~"Rolloutkit.+", alertstate="firing", job=~"$job"}'
    return table(
        "Firing alerts",
        "What each means and what to do: the headings of dashboards/README.md.",
        [Column("firing", f"sum by (alertname, severity, job, rollout, branch) ({firing})")],
        hidden=["Value", "firing"],
    )
