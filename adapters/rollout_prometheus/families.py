"""Every metric of the toolkit, from one snapshot of its counters. What is declared is there from the start, as 0.

A label is a declared name or a word of a closed list; never a path, a user, an address or the text of an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from rollout.domain.breaker import State
from rollout.domain.cost import NANO
from rollout.domain.evidence import REASONS, Figures
from rollout.domain.outcomes import RunOutcome, ServedBy
from rollout.domain.state import Mode
from rollout.ports import MetricsSnapshot

from .buckets import LATENCY, OVERHEAD
from .family import Family, HistogramFamily, Row

Key = TypeVar("Key", bound="tuple[str, ...]")

RESULTS: Final = ("matched", "ignored", "mismatched", "incomparable")
_OUTCOMES: Final = tuple((outcome.value, f"outcome:{outcome.value}") for outcome in RunOutcome)
_NOT_RUN: Final = tuple(f"{outcome}:" for outcome in REASONS)
_ATTEMPTS: Final = (("retry", "retried"), ("hedge", "hedged"))
_GOALS: Final = ("shadow", Mode.paused.value, Mode.rolled_back.value, Mode.completed.value)  # and the ramp's shares
_STEPS: Final = ("drawn", "started", "finished", "compared", "queued", "stored")
_LOST: Final = {
    "skipped": ("unsafe", "too_large", "streamed", "upgrade", "consumed", "broken", "capture"),
    "refused": ("lag", "queue", "bytes", "shutdown"),
    "dropped": ("shutdown", "queue_full", "unwritable"),
}
_HOOKS: Final = (
    *("key", "context", "capture", "effects", "when", "dispatch", "confidence", "transient"),
    *("meter", "aggregate", "view", "equal", "redact", "tracing"),
)
_FAULTS: Final = ("admit", "prepare", "start", "aggregate", "submit", "shadow", "noise", "reply_of", "reply_of_error")
_UNSAFE: Final = ("POST", "PUT", "PATCH", "DELETE", "other")
_BREAKERS: Final = {State.closed: 0, State.half_open: 1, State.open: 2}
_SUM: Final = "_sum is an estimate within 1 %; bounds are edges of the toolkit's own buckets, counts are exact."
_R: Final = ("rollout",)
_RB: Final = ("rollout", "branch")
_RBM: Final = ("rollout", "branch", "mode")


def families(now: MetricsSnapshot) -> Iterator[Family | HistogramFamily]:
    """All metrics, in the order in which they are read: requests, branches, shadow, ramp, pipeline."""
    yield from _requests(now)
    yield from _branches(now)
    yield from _shadow(now)
    yield from _ramp(now)
    yield from _pipeline(now)


def _requests(now: MetricsSnapshot) -> Iterator[Family | HistogramFamily]:
    whole = now.rollouts
    yield Family(
        "counter",
        "requests_total",
        "Calls by who answered them; outcome error: control failed; served_by none: nobody did before the deadline.",
        ("rollout", "served_by", "outcome"),
        [row for name, figures in whole.items() for row in _served(name, figures)],
    )
    yield HistogramFamily(
        "request_duration_seconds",
        f"Time until the user had the reply. {_SUM}",
        _R,
        LATENCY,
        [((name,), figures.histograms.get("latency", {})) for name, figures in whole.items()],
    )
    yield HistogramFamily(
        "middleware_overhead_seconds",
        f"Time that the toolkit itself took before the reply. {_SUM}",
        _R,
        OVERHEAD,
        [((name,), figures.histograms.get("overhead", {})) for name, figures in whole.items()],
    )


def _served(rollout: str, figures: Figures) -> Iterator[Row]:
    """``bad`` of the whole rollout are the calls in which control failed, and those that nobody answered in time."""
    served = {who: figures[f"served:{who.value}"] for who in ServedBy}
    unanswered = max(0, figures["calls"] - sum(served.values()))
    failed = min(max(0, figures["bad"] - unanswered), served[ServedBy.control])
    yield (rollout, "control", "ok"), served[ServedBy.control] - failed
    yield (rollout, "control", "error"), failed
    yield (rollout, "candidate", "ok"), served[ServedBy.candidate]
    yield (rollout, "fallback", "ok"), served[ServedBy.fallback]
    yield (rollout, "none", "unanswered"), unanswered


def _branches(now: MetricsSnapshot) -> Iterator[Family | HistogramFamily]:
    runs = now.branches
    pairs = _branch_names(now)
    wholes = [(rollout, "") for rollout in now.rollouts]
    yield Family(
        "counter",
        "branch_runs_total",
        "Runs of a branch by how they ended.",
        (*_RBM, "outcome"),
        [
            ((*key, outcome), figures.counts.get(name, 0))  # the most series of all: no call for each
            for key, figures in runs.items()
            for outcome, name in _OUTCOMES
        ],
    )
    yield HistogramFamily(
        "branch_duration_seconds",
        f"Time of runs that ended well. {_SUM}",
        _RBM,
        LATENCY,
        [(key, figures.histograms.get("run", {})) for key, figures in runs.items()],
    )
    yield Family("gauge", "branch_inflight", "Runs of a branch now.", _RB, _filled(now.inflight, pairs))
    yield from _guards(now)
    yield Family(
        "counter",
        "comparisons_total",
        'Compared calls by result; branch "" is the whole reply.',
        (*_RB, "result"),
        _filled(now.comparisons, [(*key, result) for key in [*wholes, *pairs] for result in RESULTS]),
    )
    yield Family(
        "counter",
        "tokens_total",
        "Tokens of language models that runs used.",
        (*_RBM, "kind"),
        [
            ((*key, kind), figures[name])
            for key, figures in runs.items()
            for kind, name in (("input", "tokens_in"), ("output", "tokens_out"))
        ],
    )
    yield Family(
        "counter",
        "cost_usd_total",
        "Dollars that runs cost, as far as prices are known.",
        _RBM,
        [(key, figures["cost_nano"] / NANO) for key, figures in runs.items()],
    )


def _guards(now: MetricsSnapshot) -> Iterator[Family]:
    """What the guards of branches did, and how they stand."""
    runs = now.branches
    yield Family(
        "counter",
        "branch_not_run_total",
        "Runs of a branch that were skipped or over budget, by every reason that it can have.",
        (*_RBM, "outcome", "reason"),
        [
            ((*key, *name.split(":")), count)
            for key, figures in runs.items()
            for name, count in figures.counts.items()
            if name.startswith(_NOT_RUN)
        ],
    )
    yield Family(
        "counter",
        "branch_attempts_total",
        "Attempts beyond the first of a run: after a failure (retry) or beside a slow one (hedge).",
        (*_RBM, "kind"),
        [((*key, kind), figures[name]) for key, figures in runs.items() for kind, name in _ATTEMPTS],
    )
    yield Family(
        "counter",
        "branch_sla_missed_total",
        "Runs of a branch that took longer than its SLA.",
        _RBM,
        [(key, figures["sla_missed"]) for key, figures in runs.items()],
    )
    yield Family(
        "gauge",
        "breaker_state",
        "What the breaker of a branch does: 0 closed, 1 half-open, 2 open.",
        _RBM,
        [(key, _BREAKERS[state]) for key, state in now.breakers.items()],
    )
    yield Family(
        "gauge",
        "branch_orphans",
        "Attempts that go on although their run has ended; they hold a slot of the bulkhead.",
        _RBM,
        _filled(now.orphans, list(runs)),
    )
    yield Family(
        "counter",
        "fan_out_work_seconds_total",
        "Time that the runs of trials took, added up.",
        _R,
        [((name,), figures["work_us"] / 1e6) for name, figures in now.rollouts.items()],
    )
    yield Family(
        "counter",
        "fan_out_path_seconds_total",
        "Time that the fan-outs of trials took; work over path is how much of it was side by side.",
        _R,
        [((name,), figures["path_us"] / 1e6) for name, figures in now.rollouts.items()],
    )


def _shadow(now: MetricsSnapshot) -> Iterator[Family]:
    def counted(prefix: str, known: Sequence[str]) -> list[Row]:
        return [
            ((rollout, name), figures[prefix + name])
            for rollout, figures in now.rollouts.items()
            for name in dict.fromkeys((*known, *figures.starting(prefix)))
        ]

    yield Family(
        "counter",
        "shadow_total",
        "Calls that came as far as this step of the shadow: " + ", ".join(_STEPS) + ".",
        ("rollout", "step"),
        [((rollout, step), figures[step]) for rollout, figures in now.rollouts.items() for step in _STEPS],
    )
    yield Family(
        "counter",
        "shadow_lost_total",
        "Calls that came no further: skipped (not drawn), refused (not run) or dropped (not stored), and why.",
        ("rollout", "how", "reason"),
        [
            ((rollout, how, reason), count)
            for how, reasons in _LOST.items()
            for (rollout, reason), count in counted(f"{how}:", reasons)
        ],
    )
    yield Family(
        "counter",
        "hook_failures_total",
        "Functions of the user's that raised; the user was served all the same.",
        ("rollout", "hook"),
        counted("hook:", _HOOKS),
    )
    yield Family(
        "counter",
        "faults_total",
        "Failures of the toolkit itself; control answered.",
        ("rollout", "where"),
        counted("fault:", _FAULTS),
    )


def _ramp(now: MetricsSnapshot) -> Iterator[Family]:
    states = [((rollout, name), state) for rollout, found in now.states.items() for name, state in found.items()]

    def gauge(name: str, help_text: str, value: str) -> Family:
        rows = [(key, float(getattr(state, value))) for key, state in states]
        return Family("gauge", name, help_text, _RB, rows)

    yield gauge("branch_share", "The share of calls in which a branch is live, 0 to 1.", "share")
    yield gauge("branch_stage", "The index of a branch's stage in its ramp; 0 is shadow.", "stage")
    yield gauge("stage_entered_timestamp_seconds", "When a branch entered its stage.", "entered_at")
    yield Family(
        "counter",
        "transitions_total",
        "Changes of where a branch stands, by who made them; counted by the process that leads.",
        (*_RB, "to", "trigger"),
        _filled(
            now.transitions,
            [
                (*key, to, trigger)
                for key in _branch_names(now)
                for to in (*now.stages.get(key[0], ()), *_GOALS)
                for trigger in ("controller", "person")
            ],
        ),
    )
    yield Family(
        "gauge",
        "gate_e_value",
        "Evidence of a sequential gate, told by the process that leads. Side rollback: what it holds of the account, "
        "which rolls back at a sum of 100 times the branches; side promote: a step needs 20 of each gate.",
        (*_RB, "gate", "side"),
        list(now.evidence.items()),
    )
    causes = [(*key, cause) for key in _branch_names(now) for cause in (*now.gates.get(key[0], ()), "person")]
    yield Family(
        "counter",
        "rollbacks_total",
        "Rollbacks of a branch by the gate that was breached, or person.",
        (*_RB, "cause"),
        _filled(now.rollbacks, causes),
    )


def _pipeline(now: MetricsSnapshot) -> Iterator[Family]:
    def plain(name: str, help_text: str, value: float) -> Family:
        return Family("counter" if name.endswith("_total") else "gauge", name, help_text, (), [((), value)])

    yield Family(
        "counter",
        "flag_evaluations_total",
        "Answers of the flag source; off with a reason such as timeout is ours, not the source's.",
        ("flag", "value", "reason"),
        _filled(now.flags, ()),
    )
    yield Family("gauge", "queue_length", "Records that wait.", ("queue",), _by_name(now.queue_length))
    yield Family("gauge", "queue_capacity", "Records that may wait.", ("queue",), _by_name(now.queue_capacity))
    yield Family(
        "counter", "records_dropped_total", "Records that were lost.", ("queue", "reason"), _filled(now.dropped, ())
    )
    yield plain("records_written_total", "Records that reached the database.", now.written)
    yield plain("write_failures_total", "Batches that the database refused; tried again.", now.write_failures)
    yield Family(
        "counter",
        "side_effects_blocked_total",
        "Requests of shadow runs that the guarded client refused.",
        ("rollout", "method"),
        _refused(now),
    )
    yield plain("controller_leader", "1 where this process leads, else 0.", float(now.leader))
    yield plain(
        "controller_last_success_timestamp_seconds",
        "When the controller of this process last looked at every gate; 0 is never.",
        now.last_tick_at or 0.0,
    )
    yield plain("fenced_writes_total", "Writes of late controllers that were refused.", now.fenced_writes)
    yield Family(
        "counter",
        "notifications_total",
        "Messages to people by how they ended; told by the process that leads. Shutdown: left to the next leader.",
        ("target", "outcome"),
        _filled(now.notifications, ()),
    )
    yield Family("gauge", "build_info", "1, with the version.", ("version",), [((now.version,), 1.0)])


def _refused(now: MetricsSnapshot) -> list[Row]:
    counts: dict[tuple[str, ...], int] = {(name, method): 0 for name in now.rollouts for method in _UNSAFE}
    for (rollout, method), count in now.side_effects_blocked.items():
        key = (rollout, method if method in _UNSAFE else "other")
        counts[key] = counts.get(key, 0) + count
    return list(counts.items())


def _branch_names(now: MetricsSnapshot) -> list[tuple[str, str]]:
    return list(dict.fromkeys((rollout, branch) for rollout, branch, _mode in now.branches))


def _filled(counts: Mapping[Key, int], keys: Sequence[Key]) -> list[Row]:
    """What was counted, and 0 for every further key."""
    return [*counts.items(), *((key, 0) for key in keys if key not in counts)]


def _by_name(values: Mapping[str, int]) -> list[Row]:
    return [((name,), value) for name, value in values.items()]
