"""The toolkit itself: does the controller look, is everything written, do flags answer, does anything fail?"""

from __future__ import annotations

from dashboards.source.common import JOB, transitions
from dashboards.source.model import Json, Line, Section
from dashboards.source.model import dashboard as made
from dashboards.source.panels import (
    GREEN,
    NONE_IS_GOOD,
    ORANGE,
    RED,
    Query,
    graph,
    stat,
    states,
)

OF = 'job=~"$job"'
RANGE = "$__rate_interval"
#: Reasons for which a flag is off though its source did not say so.
NO_ANSWER = "error|type|timeout|not_ready|not_found|busy|value"


def dashboard() -> Json:
    return made(
        "rolloutkit-pipeline",
        "The toolkit itself: controller, queues and writes, flags, and everything that failed without a user noticing.",
        [JOB],
        transitions(OF),
        [
            Section("Now", [Line(4, _now())]),
            Section("Controller, and whom it tells", [Line(7, [_leader(), _age(), _fenced(), _told()])]),
            Section("From memory to the database", [Line(8, [_fill(), _waiting()]), Line(8, [_written(), _dropped()])]),
            Section("Shadow", [Line(8, [_steps(), _lost(), _blocked()])]),
            Section("Flags, hooks and faults", [Line(8, [_flags(), _no_answer(), _hooks(), _faults()])]),
            Section("What the toolkit costs, and where it runs", [Line(7, [_overhead(), _versions()])]),
        ],
    )


def _now() -> list[Json]:
    def sum_of(name: str) -> Query:
        return Query(f"round(sum(increase(rolloutkit_{name}{{{OF}}}[$__range])))")

    return [
        stat(
            "Controller",
            "Whether some process leads. A controller of its own (rollout controller) is not scraped and does not show "
            "here.",
            Query(f"min(job:rolloutkit_controller_leader:max{{{OF}}})"),
            steps=((None, RED), (1, GREEN)),
            words={0: ("nobody leads", RED), 1: ("leads", GREEN)},
            none="not scraped",
        ),
        stat(
            "Fullest queue",
            "Of all queues of all processes. A full one drops its oldest.",
            Query(f"max(job_queue:rolloutkit_queue_length:max_ratio{{{OF}}})"),
            unit="percentunit",
            steps=((None, GREEN), (0.5, ORANGE), (0.8, RED)),
        ),
        stat(
            "Records dropped",
            "In the time range. Evidence that was dropped is missing from the gates and the report.",
            sum_of("records_dropped_total"),
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Writes that failed",
            "Batches that the database refused in the time range; each is tried again under the same id.",
            sum_of("write_failures_total"),
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Hook failures",
            "Functions of yours that raised in the time range; the user was served all the same.",
            sum_of("hook_failures_total"),
            steps=NONE_IS_GOOD,
        ),
        stat(
            "Faults",
            "Failures of the toolkit itself in the time range; control answered. Please report them.",
            sum_of("faults_total"),
            steps=NONE_IS_GOOD,
        ),
    ]


def _leader() -> Json:
    return states(
        "Who leads",
        "One process at a time, by a lease in the database. A change of leader is no harm.",
        Query(f"max by (job, instance) (rolloutkit_controller_leader{{{OF}}})", "{{instance}}"),
        words={0: ("waits", "text"), 1: ("leads", GREEN)},
    )


def _age() -> Json:
    return graph(
        "Since the last look at every gate",
        "The youngest of all processes. Line: two minutes, beyond which an alert fires.",
        Query(f"job:rolloutkit_controller_last_success_age_seconds:min{{{OF}}}", "{{job}}"),
        unit="s",
        limits=((None, "transparent"), (120, RED)),
    )


def _fenced() -> Json:
    return graph(
        "Writes of late controllers",
        "Refused, because another leads since. One at a change of leader is how it should be; a steady stream is two "
        "that fight.",
        Query(f"sum by (job) (increase(rolloutkit_fenced_writes_total{{{OF}}}[{RANGE}]))", "{{job}}"),
        unit="short",
    )


def _told() -> Json:
    return graph(
        "Messages to people",
        "By target and how they ended. given_up, refused and dropped reached nobody; what shutdown left, the next "
        "leader tells.",
        Query(
            f"sum by (target, outcome) (increase(rolloutkit_notifications_total{{{OF}}}[{RANGE}]))",
            "{{target}} {{outcome}}",
        ),
        unit="short",
    )


def _fill() -> Json:
    return graph(
        "How full the queues are",
        "The fullest of all processes. Line: 80 %, where an alert fires.",
        Query(f"job_queue:rolloutkit_queue_length:max_ratio{{{OF}}}", "{{queue}}"),
        unit="percentunit",
        most=1,
        limits=((None, "transparent"), (0.8, RED)),
    )


def _waiting() -> Json:
    return graph(
        "Records that wait, and may wait",
        "Added up over all processes. trials: to be written; shadow: to be run.",
        Query(f"sum by (queue) (rolloutkit_queue_length{{{OF}}})", "{{queue}}"),
        Query(f"sum by (queue) (rolloutkit_queue_capacity{{{OF}}})", "{{queue}} at most"),
        unit="short",
    )


def _written() -> Json:
    return graph(
        "Written, and refused",
        "Records that reached the database, and batches that it refused.",
        Query(f"sum(rate(rolloutkit_records_written_total{{{OF}}}[{RANGE}]))", "records written"),
        Query(f"sum(rate(rolloutkit_write_failures_total{{{OF}}}[{RANGE}]))", "batches refused"),
        unit="wps",
    )


def _dropped() -> Json:
    return graph(
        "Dropped",
        "Records that were lost, by queue: trials are examples, blocks and subjects are evidence.",
        Query(
            f"sum by (queue, reason) (rate(rolloutkit_records_dropped_total{{{OF}}}[{RANGE}]))",
            "{{queue}}: {{reason}}",
        ),
        unit="wps",
        stacked=True,
    )


def _steps() -> Json:
    return graph(
        "How far shadows came",
        "Of all rollouts: drawn, started, finished, compared, queued, stored.",
        Query(f"sum by (step) (rate(rolloutkit_shadow_total{{{OF}}}[{RANGE}]))", "{{step}}"),
        unit="reqps",
    )


def _lost() -> Json:
    lost = f"sum by (rollout, how, reason) (rate(rolloutkit_shadow_lost_total{{{OF}}}[{RANGE}])) > 0"
    return graph(
        "Why shadows were lost",
        "skipped: not drawn; refused: not run (lag, queue, bytes, shutdown); dropped: not stored.",
        Query(lost, "{{rollout}} {{how}}: {{reason}}"),
        unit="reqps",
        stacked=True,
    )


def _blocked() -> Json:
    blocked = f"sum by (rollout, method) (rate(rolloutkit_side_effects_blocked_total{{{OF}}}[{RANGE}]))"
    return graph(
        "Side effects refused",
        "Requests that a shadow run tried to send and the guarded client refused. Nothing was sent; the branch is not "
        "as safe as it was thought.",
        Query(blocked, "{{rollout}} {{method}}"),
        unit="reqps",
    )


def _flags() -> Json:
    return graph(
        "Flag evaluations",
        "Answers by value. None at all is right where no flag provider is bound: the toolkit's own needs no asking.",
        Query(
            f"sum by (flag, value) (rate(rolloutkit_flag_evaluations_total{{{OF}}}[{RANGE}]))",
            "{{flag}} {{value}}",
        ),
        unit="reqps",
        stacked=True,
    )


def _no_answer() -> Json:
    failed = f'rolloutkit_flag_evaluations_total{{{OF}, value="off", reason=~"{NO_ANSWER}"}}'
    return graph(
        "Flags that were off for want of an answer",
        "By reason. The call went to control.",
        Query(f"sum by (flag, reason) (rate({failed}[{RANGE}]))", "{{flag}}: {{reason}}"),
        unit="reqps",
    )


def _hooks() -> Json:
    return graph(
        "Hooks that raised",
        "By rollout and hook.",
        Query(
            f"sum by (rollout, hook) (rate(rolloutkit_hook_failures_total{{{OF}}}[{RANGE}]))",
            "{{rollout}} {{hook}}",
        ),
        unit="reqps",
    )


def _faults() -> Json:
    return graph(
        "Faults of the toolkit",
        "By rollout and place. Control answered.",
        Query(f"sum by (rollout, where) (rate(rolloutkit_faults_total{{{OF}}}[{RANGE}]))", "{{rollout}} {{where}}"),
        unit="reqps",
    )


def _overhead() -> Json:
    buckets = f"rolloutkit_middleware_overhead_seconds_bucket{{{OF}}}"
    return graph(
        "Time that the toolkit takes before the reply",
        "What a call waits before its handler is asked, of a sample of the calls. From buckets: right to the width of "
        "one.",
        *(
            Query(
                f"histogram_quantile({q}, sum by (rollout, le) (rate({buckets}[{RANGE}])))",
                f"{{{{rollout}}}} {name}",
            )
            for q, name in (("0.5", "p50"), ("0.99", "p99"))
        ),
        unit="s",
    )


def _versions() -> Json:
    return graph(
        "Processes, by version of the toolkit",
        "How many are scraped. Two versions side by side are right during a deployment.",
        Query(f"sum by (job, version) (rolloutkit_build_info{{{OF}}})", "{{job}} {{version}}"),
        unit="none",
        stacked=True,
        stepped=True,
    )
