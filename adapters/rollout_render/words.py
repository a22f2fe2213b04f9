"""Numbers and times as people read them, the same in a terminal, a text report and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import exp, isinf, log, log10
from typing import Any

from rollout.domain.cost import NANO, usd_text
from rollout.domain.durations import duration_text
from rollout.domain.gates import Finding, Grade
from rollout.domain.lifecycle import ALLOCATION
from rollout.domain.outcomes import RunOutcome
from rollout.domain.report_values import FanOutTime, Latency, Outcomes
from rollout.domain.standing import Standing, Word
from rollout.domain.state import Mode

UNKNOWN = "–"
#: How a run without a part ended, after a number.
ENDINGS = {
    RunOutcome.answered: "answered",
    RunOutcome.error: "errors",
    RunOutcome.soft_timeout: "soft timeouts",
    RunOutcome.hard_timeout: "hard timeouts",
    RunOutcome.rejected: "rejected",
    RunOutcome.short_circuited: "short-circuited",
    RunOutcome.over_budget: "over budget",
    RunOutcome.skipped: "skipped",
    RunOutcome.cancelled: "cancelled",
    RunOutcome.shutdown: "cut by shutdown",
}
_SPARKS = "▁▂▃▄▅▆▇█"
_MOST_AGAINST, _MOST_FOR = 1_000_000, 1_000


def latency_cells(line: Latency) -> tuple[str, ...]:
    """A row of a table of latencies, after its unit: of what, which side, p50, p95, p99, calls, failed."""
    times = (seconds(line.p50_s), seconds(line.p95_s), seconds(line.p99_s))
    return line.basis, line.side, *times, count(line.calls), count(line.failed)


def count(number: float | None) -> str:
    """``12345`` → ``"12,345"``."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def share(value: float | None) -> str:
    """``0.0123`` → ``"1.23%"``: three significant digits, never an exponent; a share that is not quite 0 or 100 %
    does not read so."""
    if value is None:
        return UNKNOWN
    if value in (0.0, 1.0):
        return f"{value * 100:.0f}%"
    if value < 0.00001:
        return "<0.001%"
    if 0.9995 <= value < 1:
        return f"{min(value, 0.99999) * 100:.3f}%"
    digits = max(0, 2 - int(log10(value * 100) // 1)) if value < 1 else 0
    text = f"{value * 100:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def seconds(value: float | None) -> str:
    """``0.0421`` → ``"42.1 ms"``; infinite (a quantile that falls among failed calls) → ``"failed"``."""
    if value is None:
        return UNKNOWN
    if isinf(value):
        return "failed"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms" if value < 0.0995 else f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s" if value < 100 else duration_text(value)


def signed(value: float | None) -> str:
    """A difference of seconds: ``"+12.0 ms"``, ``"−3.1 ms"``, ``"0"``."""
    if value is None:
        return UNKNOWN
    return f"{'+' if value > 0 else '−'}{seconds(abs(value))}" if value else "0"


def points(value: float | None) -> str:
    """A difference of shares: ``"+1.2%"``, ``"−0.04%"``, ``"0"``."""
    if value is None:
        return UNKNOWN
    return f"{'+' if value > 0 else '−'}{share(abs(value))}" if value else "0"


def between(low: float | None, high: float | None, told: Callable[[float | None], str] = share) -> str:
    """An interval: ``"0.1% to 0.4%"``; ``""`` where there is none."""
    return "" if low is None or high is None else f"{told(low)} to {told(high)}"


def dollars(value: Decimal | None) -> str:
    """``"$0.0042"``; None is ``"unknown"``."""
    if value is None:
        return "unknown"
    return f"${value:,.0f}" if value >= 1_000 else usd_text(float(value) * NANO)


def rate(value: float | None) -> str:
    """Calls per second."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"


def utc(at: float | None, *, date: bool = True) -> str:
    """``"2026-11-20 12:45:17Z"``; UTC, always told by the Z."""
    if at is None or at <= 0:
        return UNKNOWN
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%SZ" if date else "%H:%M:%SZ")


def ago(at: float | None, now: float) -> str:
    """``"3m20s ago"``."""
    return UNKNOWN if not at else f"{duration_text(max(0.0, now - at))} ago" if now - at >= 1 else "just now"


def measured(value: float | None, unit_name: str) -> str:
    """A number of a finding in its own unit."""
    if value is None:
        return UNKNOWN
    if unit_name == "%":
        return share(value)
    if unit_name == "s":
        return seconds(value)
    if unit_name == "nano$":
        return "infinite" if isinf(value) else usd_text(value)
    return f"{value:.4g}{f' {unit_name}' if unit_name else ''}"


def odds(log_e: float | None) -> str:
    """Evidence, a natural logarithm, as odds: ``"12 : 1"`` against the null, ``"1 : 12"`` for it. What is beyond a
    million to one, or one to a thousand, is not told apart."""
    if log_e is None:
        return UNKNOWN
    most = _MOST_FOR if log_e < 0 else _MOST_AGAINST
    times = exp(min(abs(log_e), log(most)))
    number = f"{times:.1f}".removesuffix(".0") if times < 9.95 else f"{float(f'{times:.3g}'):,.0f}"
    if abs(log_e) > log(most):
        number = f">{most:,}"
    return f"1 : {number}" if log_e < 0 and number != "1" else f"{number} : 1"


def way(log_e: float | None, limit: float | None) -> float | None:
    """How far evidence is on its way to a boundary, both as logarithms: in [0, 1], 1 only where it is reached."""
    if log_e is None or not limit:
        return None
    return 1.0 if log_e >= limit else min(0.99, max(0.0, log_e / limit))


def step(finding: Finding) -> str:
    """How far the evidence for the next step is: ``"63%"``, ``"shown"``, or that there is no step."""
    found = way(finding.log_promote, finding.log_promote_limit)
    return "no step left" if found is None else "shown" if found == 1.0 else f"{found:.0%}"


def evidence(finding: Finding) -> str:
    """``"evidence 1 : 12, step 63% shown"``; that a threshold gate has none, if it has not."""
    if finding.log_e is None:
        return "" if finding.bound else "no error bound"
    if finding.gate == ALLOCATION:
        return f"evidence {odds(finding.log_e)}, a fault at {odds(finding.log_limit)}"
    shown = step(finding)
    return f"evidence {odds(finding.log_e)}" + {
        "no step left": "",
        "shown": ", step shown",
    }.get(shown, f", step {shown} shown")


def missing(finding: Finding) -> str:
    """What evidence the next step still needs: ``"about 3,100 callers"``; ``""`` where it needs none."""
    if finding.grade is Grade.error:
        return "cannot judge"
    if finding.grade is Grade.breach or way(finding.log_promote, finding.log_promote_limit) in (None, 1.0):
        return ""
    if finding.more_calls is not None:
        return f"about {finding.more_calls:,} {finding.counted}"
    return "never at this rate" if finding.n else "nothing seen yet"


def both_numbers(finding: Finding) -> str:
    """``"5.1% against at most 1.2% (control 0.2%)"``."""
    observed, limit = measured(finding.observed, finding.unit_name), measured(finding.limit, finding.unit_name)
    if finding.gate == ALLOCATION:
        return f"{observed} of the calls were drawn, {limit} should be"
    if finding.observed is not None and isinf(finding.observed):
        observed = "beyond every answer (too many failed)"
    text = observed if finding.limit is None else f"{observed} against at most {limit}"
    if finding.baseline is not None:
        text += f" (control {measured(finding.baseline, finding.unit_name)})"
    return text


def why(finding: Finding) -> str:
    """The sentence of a finding. That a threshold states no error bound is said once, above the table."""
    return finding.why.removesuffix(" (no error bound)")


def moves(items: Sequence[Mapping[str, str]]) -> str:
    """``"orders 5% → 25%"``, one after the other; ``"orders completed at 100%"`` where it stays where it is."""
    return ", ".join(map(_move, items))


def _move(move: Mapping[str, str]) -> str:
    branch, before, after = (move.get(name, "") for name in ("branch", "from", "to"))
    at, _, became = after.partition(", ")
    return f"{branch} {became} at {at}" if became and at == before else f"{branch} {before} → {after}"


def sparkline(values: Sequence[float | int | None], width: int = 36, *, top: float | None = None) -> str:
    """Values as bars of text; a gap where nothing is known. Newest at the right. ``top``: what a full bar stands for,
    for several of one scale; left out, the largest that is finite."""
    shown = list(values)[-width:]
    top = largest(shown) if top is None else top
    return "".join(" " if value is None else _bar(value, top) for value in shown)


def largest(values: Iterable[float | int | None]) -> float:
    """The largest that is known and finite; 0 where none is."""
    return max((value for value in values if value is not None and not isinf(value)), default=0.0)


def _bar(value: float, top: float) -> str:
    if isinf(value):
        return _SPARKS[-1]
    return _SPARKS[min(7, int(value / top * 7.999))] if value and top else "·"


def climb(values: Sequence[float | None], limit: float) -> str:
    """Evidence over time as bars of text, of logarithms: a full bar is at the boundary, a dot is no evidence."""
    bars = ""
    for value in values:
        found = way(value, limit)
        bars += " " if found is None else "·" if not found else _SPARKS[int(found * 7)]
    return bars


def meter(part: float, width: int = 10) -> str:
    """A part in [0, 1] as a bar: what is there at all shows, and only the whole is full."""
    return ("█" * max(int(part * width), part > 0)).ljust(width, "░")


def ahead(branch: Standing, now: float, evidence_per_s: float | None) -> str:
    """What comes next, and when: ``"next 50% in about 12m, deadline in 2h"``; ``""`` where nothing does. ``now``: epoch
    seconds, database's clock. ``evidence_per_s``: as of a ``RolloutStatus``."""
    parts = []
    if branch.mode is Mode.active and branch.next:
        left_s = _left(branch, evidence_per_s)
        soon = "" if left_s is None else " in about " + duration_text(left_s) if left_s else " now"
        parts.append(f"next {branch.next}{soon}")
    if branch.deadline_at is not None and branch.deadline_at > now:
        parts.append(f"deadline in {duration_text(branch.deadline_at - now)}")
    return ", ".join(parts)


def _left(branch: Standing, evidence_per_s: float | None) -> float | None:
    """Seconds to the next step as far as soak and evidence decide; None where something else does, or nobody knows."""
    if branch.word is Word.ready:
        return 0.0
    if branch.word not in (Word.soaking, Word.holding):
        return None
    if any(finding.grade in (Grade.error, Grade.breach) for finding in branch.findings):
        return None
    doubts = [finding.more_calls for finding in branch.findings if finding.grade is Grade.doubt]
    known = [calls for calls in doubts if calls is not None]
    if len(known) < len(doubts):
        return None
    if not known:
        return branch.left_s
    return max(branch.left_s, max(known) / evidence_per_s) if evidence_per_s else None


def steps(stage: int, stages: int, *, on: bool = True) -> str:
    """The ramp as boxes: those reached are full."""
    reached = stage + 1 if on else 0
    return "■" * min(reached, stages) + "□" * max(0, stages - reached)


def other_ends(line: Outcomes) -> dict[str, tuple[int, str]]:
    """How the runs ended that have no part: only what there is, each with its reasons."""
    return {
        heading: (number, reasons(line.reasons.get(outcome, {})))
        for outcome, heading in ENDINGS.items()
        if (number := line.ended[outcome])
    }


def besides(line: Outcomes) -> dict[str, int]:
    """What is known of runs besides how they ended: only what there is."""
    found = {
        "retried": line.retried,
        "hedged": line.hedged,
        "SLA missed": line.sla_missed,
        "orphaned now": line.orphaned or 0,
    }
    return {name: number for name, number in found.items() if number}


def reasons(found: Mapping[str, int]) -> str:
    """``{"when": 8, "dispatch": 2}`` → ``"8 when, 2 dispatch"``."""
    return ", ".join(f"{number:,} {reason}" for reason, number in found.items())


def fan_out_time(found: FanOutTime) -> str:
    """``"180 ms of work in 95 ms: 1.9 ×"``."""
    text = f"{seconds(found.work_s)} of work in {seconds(found.path_s)}"
    return text if found.times is None else f"{text}: {found.times:.1f} ×"


def stored(thing: Any) -> str:
    """One side of a difference as it was stored: in clear, or what a redacted value may tell: its type, size and
    hash."""
    if thing is None:
        return "absent"
    if isinstance(thing, str):
        return thing
    return ", ".join(pieces(thing)) if _is_told_of(thing) else json.dumps(thing, ensure_ascii=False, default=str)


def pieces(thing: Mapping[str, Any]) -> list[str]:
    """What a redacted value may tell, one by one."""
    kind = str(thing["type"])
    found = [_SAID.get(kind, kind)]
    if "length" in thing:
        found.append(f"{thing['length']} characters")
    if "size" in thing:
        found.append(f"size {thing['size']}")
    if "hash" in thing:
        found.append(f"#{str(thing['hash'])[:8]}")
    if "shown" in thing:
        found.append(json.dumps(thing["shown"], ensure_ascii=False, default=str))
    return found


def is_redacted(thing: Any) -> bool:
    """Whether the value itself is not there; of nothing and of null there is nothing to hide."""
    return _is_told_of(thing) and thing["type"] not in ("missing", "null")


def _is_told_of(thing: Any) -> bool:
    return isinstance(thing, Mapping) and {"type"} <= set(thing) <= _REDACTED


_REDACTED = {"type", "hash", "length", "size", "shown"}
_SAID = {"missing": "absent", "denied": "withheld", "dropped": "dropped: the redactor raised", "other": "no JSON"}


def value(thing: Any) -> str:
    """A field of a policy on one line."""
    if isinstance(thing, bool):
        return "yes" if thing else "no"
    if isinstance(thing, Mapping) and "kind" in thing:
        return _gate(thing)
    if isinstance(thing, Mapping):
        return " ".join(f"{name}={value(item)}" for name, item in thing.items())
    if isinstance(thing, Sequence) and not isinstance(thing, str):
        return "; ".join(value(item) for item in thing) or "none"
    if isinstance(thing, float):
        return f"{thing:g}"
    return str(thing) if thing not in (None, "") else "none"


_LIMITED = {"latency": "s", "cost": "nano$"}  # kind of a gate → in what its limit is, as of a finding; else shares


def _gate(gate: Mapping[str, Any]) -> str:
    """``"errors, worse by at most 1%, threshold over 1m of at least 50 calls"``."""
    name = gate["kind"] if gate.get("q") is None else f"{gate['kind']} p{gate['q'] * 100:g}"
    limits = []
    if gate.get("at_most") is not None:
        limits.append(f"at most {measured(gate['at_most'], _LIMITED.get(gate['kind'], '%'))}")
    if gate.get("worse_by") is not None:
        limits.append(f"worse by at most {share(gate['worse_by'])}")
    if gate.get("beyond_noise"):
        limits.append("beyond noise")
    mode = str(gate["mode"])
    if mode == "threshold":
        mode += f" over {duration_text(gate['window_s'])} of at least {gate['minimum']} calls"
    return ", ".join([name, *limits, mode])
