"""One rollout: control and branches side by side, the evidence, what differs, what it costs, what the guards did."""

from __future__ import annotations

from dashboards.source.common import FAILED, JOB, PROMOTE, transitions
from dashboards.source.model import Json, Line, Section, variable
from dashboards.source.model import dashboard as made
from dashboards.source.panels import (
    BLUE,
    GREEN,
    GREY,
    NONE_IS_GOOD,
    ORANGE,
    RED,
    Query,
    bars,
    graph,
    stat,
    states,
)

WHOLE = 'job=~"$job", rollout="$rollout"'
OF = f'{WHOLE}, branch=~"$branch"'
RANGE = "$__rate_interval"
EVIDENCE = "job_rollout_branch_gate_side:rolloutkit_gate_e_value:max"
#: The least that is drawn of evidence: a logarithmic axis has no zero.
LEAST = "1e-6"


def dashboard() -> Json:
    rollouts = variable(
        "rollout", "Rollout", 'rolloutkit_requests_total{job=~"$job"}', "A wrapped handler.", several=False
    )
    branches = variable("branch", "Branch", f"rolloutkit_branch_inflight{{{WHOLE}}}", "Workers of its fan-out.")
    return made(
        "rolloutkit-rollout",
        "One rollout: stage, share and evidence; control and branches side by side; what differs, and what it costs.",
        [JOB, rollouts, branches],
        transitions(WHOLE),
        [
            Section("Where it stands", [Line(5, _standing()), Line(7, [_share(), _stage()])]),
            Section(
                "Control and branches, side by side",
                [Line(8, [_control_rate(), _branch_rate()]), Line(8, _errors()), Line(8, _durations())],
            ),
            Section("Evidence of the gates", [Line(9, [_account(), _against(), _for_a_step()])]),
            Section("What differs", [Line(8, [_mismatches(), _results(), _funnel(), _lost()])]),
            Section("Cost and tokens", [Line(8, [_cost(), _cost_of_a_run(), _tokens()])]),
            Section(
                "SLA, guards and work",
                [Line(8, [_sla(), _attempts(), _not_run()]), Line(8, [_breakers(), _inflight(), _parallel()])],
            ),
        ],
    )


def _standing() -> list[Json]:
    return [
        bars(
            "Share now",
            "The share of calls in which each branch is live.",
            Query(f"max by (branch) (rolloutkit_branch_share{{{OF}}})", "{{branch}}"),
            unit="percentunit",
            steps=((None, BLUE), (1, GREEN)),
            most=1,
        ),
        bars(
            "Evidence against, of what rolls back",
            "The account of each branch as a part of its boundary; at 100 % it is rolled back.",
            Query(f"job_rollout_branch:rolloutkit_rollback_evidence:ratio{{{OF}}}", "{{branch}}"),
            unit="percentunit",
            steps=((None, GREEN), (0.1, ORANGE), (1, RED)),
            most=1,
        ),
        bars(
            "In this stage for",
            "Since a branch entered its stage, by the database's clock.",
            Query(
                f"time() - max by (branch) (rolloutkit_stage_entered_timestamp_seconds{{{OF}}})",
                "{{branch}}",
            ),
            unit="s",
            steps=((None, BLUE),),
        ),
        stat(
            "Rolled back",
            "Rollbacks in the time range, by a gate or by a person; rollout history names the findings of each.",
            Query(f"round(sum(increase(rolloutkit_rollbacks_total{{{OF}}}[$__range])))"),
            steps=NONE_IS_GOOD,
        ),
    ]


def _share() -> Json:
    return graph(
        "Share",
        "The share of calls in which each branch is live: up along the ramp, down to 0 on a rollback.",
        Query(f"max by (branch) (rolloutkit_branch_share{{{OF}}})", "{{branch}}"),
        unit="percentunit",
        stepped=True,
        most=1,
    )


def _stage() -> Json:
    return states(
        "Stage",
        "The number of the stage in the ramp; 0 is shadow.",
        Query(f"max by (branch) (rolloutkit_branch_stage{{{OF}}})", "{{branch}}"),
    )


def _control_rate() -> Json:
    return graph(
        "Calls, by who answered",
        "control: no branch was live for the call; candidate: parts of branches are in the reply; fallback: they were "
        "to be, and something went wrong; none: nobody answered before the deadline.",
        Query(f"sum by (served_by) (rate(rolloutkit_requests_total{{{WHOLE}}}[{RANGE}]))", "{{served_by}}"),
        unit="reqps",
        stacked=True,
    )


def _branch_rate() -> Json:
    runs = f'rolloutkit_branch_runs_total{{{OF}, outcome!="skipped"}}'
    return graph(
        "Runs of branches",
        "Runs that were wanted, live and in shadow.",
        Query(f"sum by (branch, mode) (rate({runs}[{RANGE}]))", "{{branch}} {{mode}}"),
        unit="reqps",
    )


def _errors() -> list[Json]:
    calls = f"rolloutkit_requests_total{{{WHOLE}}}"
    served = f'rolloutkit_requests_total{{{WHOLE}, served_by="%s"}}'
    runs = f"rolloutkit_branch_runs_total{{{OF}%s}}"

    def of_all(part: str) -> str:
        return f"sum(rate({part}[{RANGE}])) / sum(rate({calls}[{RANGE}]))"

    failed = runs % f', outcome=~"{FAILED}"'
    wanted = runs % f', outcome=~"ok|answered|{FAILED}"'
    by = "sum by (branch, mode)"
    return [
        graph(
            "What users got that was wrong, or second best",
            "Of all calls: control failed; a branch failed and control's reply was sent instead (fallback: the user is "
            "well); nobody answered before the deadline.",
            Query(of_all(f'rolloutkit_requests_total{{{WHOLE}, outcome="error"}}'), "control failed"),
            Query(of_all(served % "fallback"), "fell back"),
            Query(of_all(served % "none"), "unanswered"),
            unit="percentunit",
        ),
        graph(
            "Failed runs of branches",
            "Of the runs that were wanted: failed, cut, rejected, refused by a breaker, or over budget.",
            Query(
                f"{by} (rate({failed}[{RANGE}])) / {by} (rate({wanted}[{RANGE}]))",
                "{{branch}} {{mode}}",
            ),
            unit="percentunit",
        ),
    ]


def _durations() -> list[Json]:
    buckets = f"rolloutkit_request_duration_seconds_bucket{{{WHOLE}}}"
    runs = f"rolloutkit_branch_duration_seconds_bucket{{{OF}}}"
    quantiles = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    return [
        graph(
            "Duration of calls",
            "Until the user had the reply. From buckets: right to the width of one (1, 2.5, 5, 10, 25 … ms).",
            *(Query(f"histogram_quantile({q}, sum by (le) (rate({buckets}[{RANGE}])))", name) for q, name in quantiles),
            unit="s",
        ),
        graph(
            "Duration of runs that ended well",
            "Of each branch, live and in shadow. From buckets: right to the width of one.",
            *(
                Query(
                    f"histogram_quantile({q}, sum by (branch, mode, le) (rate({runs}[{RANGE}])))",
                    f"{{{{branch}}}} {{{{mode}}}} {name}",
                )
                for q, name in quantiles
            ),
            unit="s",
        ),
    ]


def _account() -> Json:
    held = f'sum by (branch) (max by (branch, gate) ({EVIDENCE}{{{OF}, side="rollback"}}))'
    boundary = f"max(job_rollout:rolloutkit_rollback_boundary:count{{{WHOLE}}})"
    return graph(
        "Account of each branch, and its boundary",
        "What all gates together hold against a branch. At the boundary, 100 times the number of branches, it is "
        "rolled back: where no branch is worse than control, that happens in at most 1 of 100 rollouts. Branches that "
        "move as a group count as one, so their boundary lies lower. Only sequential gates give evidence.",
        Query(f"clamp_min({held}, {LEAST})", "{{branch}}"),
        Query(boundary, "rolls back"),
        unit="none",
        log=True,
        dashed=["rolls back"],
    )


def _against() -> Json:
    held = f'max by (branch, gate) ({EVIDENCE}{{{OF}, side="rollback"}})'
    return graph(
        "Evidence against, by gate",
        "What each gate holds of the account of its branch.",
        Query(f"clamp_min({held}, {LEAST})", "{{branch}} {{gate}}"),
        unit="none",
        log=True,
    )


def _for_a_step() -> Json:
    shown = f'max by (branch, gate) ({EVIDENCE}{{{OF}, side="promote"}})'
    return graph(
        "Evidence for the next step, by gate",
        f"Of the present stage alone. A step is taken when every gate of a branch is at {PROMOTE} or above, and soak, "
        "flag and approval allow it.",
        Query(f"clamp_min({shown}, {LEAST})", "{{branch}} {{gate}}"),
        Query(f"vector({PROMOTE})", "enough for a step"),
        unit="none",
        log=True,
        dashed=["enough for a step"],
    )


def _mismatches() -> Json:
    def rate(labels: str, by: str) -> str:
        differing = f'rolloutkit_comparisons_total{{{labels}, result="mismatched"}}'
        compared = f'rolloutkit_comparisons_total{{{labels}, result!="incomparable"}}'
        return f"{by} (rate({differing}[{RANGE}])) / {by} (rate({compared}[{RANGE}]))"

    return graph(
        "Mismatch rate",
        "What differs in something that counts, or failed to come, of what could be compared: whole replies, and the "
        "part of each branch. rollout diff names the paths.",
        Query(rate(f'{WHOLE}, branch=""', "sum"), "whole reply"),
        Query(rate(f'{OF}, branch!=""', "sum by (branch)"), "{{branch}}"),
        unit="percentunit",
    )


def _results() -> Json:
    compared = f'rolloutkit_comparisons_total{{{WHOLE}, branch=""}}'
    return graph(
        "Whole replies, by result",
        "incomparable: it could not be told, as one side failed or could not be read.",
        Query(f"sum by (result) (rate({compared}[{RANGE}]))", "{{result}}"),
        unit="reqps",
        stacked=True,
    )


def _funnel() -> Json:
    return graph(
        "How far shadows came",
        "Calls drawn for the shadow, started, finished, compared, queued and stored. What is lost between two lines is "
        "beside this.",
        Query(f"sum by (step) (rate(rolloutkit_shadow_total{{{WHOLE}}}[{RANGE}]))", "{{step}}"),
        unit="reqps",
    )


def _lost() -> Json:
    lost = f"sum by (how, reason) (rate(rolloutkit_shadow_lost_total{{{WHOLE}}}[{RANGE}])) > 0"
    return graph(
        "Why shadows were lost",
        "skipped: not drawn; refused: not run (lag, queue, bytes, shutdown); dropped: not stored.",
        Query(lost, "{{how}}: {{reason}}"),
        unit="reqps",
        stacked=True,
    )


def _cost() -> Json:
    spent = f"sum by (branch, mode) (rate(rolloutkit_cost_usd_total{{{OF}}}[{RANGE}])) * 3600"
    return graph(
        "Dollars an hour",
        "As far as prices are known: a price that is not known adds nothing here. rollout cost tells what is missing.",
        Query(spent, "{{branch}} {{mode}}"),
        unit="currencyUSD",
        stacked=True,
    )


def _cost_of_a_run() -> Json:
    by = "sum by (branch, mode)"
    spent = f"{by} (rate(rolloutkit_cost_usd_total{{{OF}}}[{RANGE}]))"
    runs = f'{by} (rate(rolloutkit_branch_runs_total{{{OF}, outcome=~"ok|answered|{FAILED}"}}[{RANGE}]))'
    return graph(
        "Dollars for a thousand runs",
        "What the runs that were wanted cost on the average, as far as prices are known.",
        Query(f"1000 * {spent} / {runs}", "{{branch}} {{mode}}"),
        unit="currencyUSD",
    )


def _tokens() -> Json:
    used = f"sum by (branch, kind) (rate(rolloutkit_tokens_total{{{OF}}}[{RANGE}])) * 60"
    return graph(
        "Tokens a minute",
        "What language models read (input) and wrote (output), live and in shadow together.",
        Query(used, "{{branch}} {{kind}}"),
        unit="short",
        stacked=True,
    )


def _sla() -> Json:
    by = "sum by (branch, mode)"
    missed = f"{by} (rate(rolloutkit_branch_sla_missed_total{{{OF}}}[{RANGE}]))"
    runs = f'rolloutkit_branch_runs_total{{{OF}, outcome=~"ok|error|soft_timeout|hard_timeout"}}'
    return graph(
        "SLA misses",
        "Runs that took longer than the SLA of their branch, of those that ran. Line: 5 %, where the SLA gate stands "
        "unless it says otherwise.",
        Query(f"{missed} / {by} (rate({runs}[{RANGE}]))", "{{branch}} {{mode}}"),
        unit="percentunit",
        limits=((None, "transparent"), (0.05, ORANGE)),
    )


def _attempts() -> Json:
    more = f"sum by (branch, mode, kind) (rate(rolloutkit_branch_attempts_total{{{OF}}}[{RANGE}]))"
    return graph(
        "Retries and hedges",
        "Attempts beyond the first of a run: after a failure (retry), or beside a slow one (hedge).",
        Query(more, "{{branch}} {{mode}} {{kind}}"),
        unit="reqps",
    )


def _not_run() -> Json:
    reasons = f"sum by (branch, outcome, reason) (rate(rolloutkit_branch_not_run_total{{{OF}}}[{RANGE}]))"
    doors = f'sum by (branch, outcome) (rate(rolloutkit_branch_runs_total{{{OF}, outcome=~"rejected|short_circuited"}}'
    return graph(
        "Why branches did not run",
        "skipped: not wanted for the call; over_budget: time, tokens or dollars would not do; rejected: too many at "
        "once; short_circuited: its breaker is open.",
        Query(reasons, "{{branch}} {{outcome}}: {{reason}}"),
        Query(f"{doors}[{RANGE}]))", "{{branch}} {{outcome}}"),
        unit="reqps",
        stacked=True,
    )


def _breakers() -> Json:
    return states(
        "Breakers",
        "The worst of all processes. open: runs are refused; half-open: a few probe.",
        Query(f"max by (branch, mode) (rolloutkit_breaker_state{{{OF}}})", "{{branch}} {{mode}}"),
        words={0: ("closed", GREEN), 1: ("half-open", ORANGE), 2: ("open", RED)},
    )


def _inflight() -> Json:
    return graph(
        "Runs under way, and orphans",
        "Orphans are attempts that go on although their run has ended; they hold a slot until they do.",
        Query(f"sum by (branch) (rolloutkit_branch_inflight{{{OF}}})", "{{branch}}"),
        Query(f"sum by (branch, mode) (rolloutkit_branch_orphans{{{OF}}})", "{{branch}} {{mode}} orphans"),
        unit="none",
    )


def _parallel() -> Json:
    work = f"sum(rate(rolloutkit_fan_out_work_seconds_total{{{WHOLE}}}[{RANGE}]))"
    path = f"sum(rate(rolloutkit_fan_out_path_seconds_total{{{WHOLE}}}[{RANGE}]))"
    return graph(
        "Side by side",
        "Time of all runs over time of the fan-outs: 1 is one after the other, 3 is three at once.",
        Query(f"{work} / {path}", "runs at once"),
        unit="none",
        limits=((None, "transparent"), (1, GREY)),
    )
