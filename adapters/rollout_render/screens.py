"""What each reading command shows on a terminal: a value goes in, something that rich can print comes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.gates import Finding, Grade
from rollout.domain.report import Example, Field
from rollout.domain.report_values import Cost, Funnel, Mismatch
from rollout.domain.state import Decision, FlagOverride, Lease
from rollout.usecases.look import PolicyShown, RolloutStatus, Shown, Status
from rollout.usecases.reporting import Costs, Diff
from rollout_render import words
from rollout_render.terminal import STYLES, cell, grade, table, title, word

BLANK = Text("")


def status(seen: Status) -> RenderableType:
    """Every rollout with its branches, who decides, and the newest decisions."""
    head = Text.assemble(
        (words.utc(seen.at), "bold"),
        ("  ", ""),
        (cell(seen.database).plain, "dim"),
        ("  ", ""),
        leader(seen.leader, seen.at),
    )
    if not seen.rollouts:
        return Group(head, BLANK, cell("No rollout is registered yet: start the application that declares one."))
    blocks: list[RenderableType] = [head]
    for rollout in seen.rollouts:
        blocks += [BLANK, rollout_block(rollout)]
    if seen.recent:
        blocks += [BLANK, title("Newest decisions"), recent(seen.recent)]
    return Group(*blocks)


def leader(lease: Lease | None, now: float) -> Text:
    if lease is None:
        return Text("no controller decides", style="bold yellow")
    left = lease.expires_at - now
    return (
        cell(f"controller {lease.holder}", "dim")
        if left > 0
        else cell(f"lease of {lease.holder} is over", "bold yellow")
    )


def rollout_block(rollout: RolloutStatus) -> RenderableType:
    """One rollout: a line about it, then a line for each branch."""
    head = Text.assemble((cell(rollout.name).plain, "bold"), "  ", (rollout.word.text, STYLES[rollout.word]))
    head.append(f"  {rollout.join} · policy v{rollout.version} · {words.rate(rollout.calls_per_s)} ", style="dim")
    head.append(words.sparkline(rollout.calls, 24), style="cyan")
    rows = [
        (
            cell(branch.branch),
            cell(branch.at),
            Text(
                words.steps(branch.stage, branch.stages, on=branch.share > 0 or branch.shadow),
                style=STYLES[branch.word],
            ),
            word(branch.word),
            cell(branch.why),
        )
        for branch in rollout.branches
    ]
    lines: list[RenderableType] = [
        head,
        Padding(table(("branch", "at", "ramp", "", "why"), rows, stretch="why"), (0, 0, 0, 2)),
    ]
    if rollout.overrides:
        lines.append(Padding(cell(f"flags set by hand: {_overrides(rollout.overrides)}", "yellow"), (0, 0, 0, 2)))
    return Group(*lines)


def _overrides(flags: Sequence[FlagOverride]) -> str:
    return ", ".join(f"{flag.flag}={flag.value}{f' for {flag.key}' if flag.key else ''}" for flag in flags[:5])


def recent(decisions: Sequence[Decision]) -> RenderableType:
    rows = [
        (
            cell(words.utc(d.at, date=False), "dim"),
            cell(d.rollout),
            cell(d.action, _action_style(d.action)),
            cell(summary(d)),
        )
        for d in decisions
    ]
    made = table(("", "", "", "what"), rows, stretch="what")
    made.show_header = False
    return Padding(made, (0, 0, 0, 2))


def summary(decision: Decision) -> str:
    """What moved, and why."""
    return " · ".join(part for part in (words.moves(decision.moves), decision.reason) if part) or "no move"


def _action_style(action: str) -> str:
    return {"rollback": "bold red", "promote": "green", "complete": "green", "pause": "yellow"}.get(action, "")


def show(seen: Shown) -> RenderableType:
    """One rollout in detail."""
    lines: list[RenderableType] = [rollout_block(seen.status), BLANK, cell(seen.status.sentence, "bold")]
    if gates := unique(f for branch in seen.status.branches for f in branch.findings):
        lines += [
            BLANK,
            title("Gates", "" if any(f.bound for f in gates) else "threshold gates state no error bound"),
            findings(gates),
        ]
    lines += [BLANK, title("Calls", "since the first block"), funnel(seen.funnel)]
    if seen.mismatches:
        lines += [BLANK, title("What differs", f"more: rollout diff {seen.status.name}"), mismatches(seen.mismatches)]
    curves = [(unit or "calls", points) for unit, points in seen.curves.items() if points]
    if curves:
        lines += [BLANK, title("Last 30 minutes", "calls; for each unit the share that differed")]
        lines += [
            cell(
                f"  {name:<20.20} {words.sparkline([p.calls if name == 'calls' else p.mismatched for p in points], 30)}"
            )
            for name, points in curves
        ]
    if seen.decisions:
        lines += [BLANK, title("Newest decisions", f"more: rollout history {seen.status.name}"), recent(seen.decisions)]
    if seen.late_blocks:
        lines += [BLANK, cell(f"{words.count(seen.late_blocks)} blocks came too late to be judged", "yellow")]
    return Group(*lines)


def unique(found: Iterable[Finding]) -> list[Finding]:
    """Each finding once: the branches of a group share theirs."""
    return list({(f.unit, f.gate): f for f in found}.values())


def findings(found: Sequence[Finding]) -> RenderableType:
    """The numbers of every gate; below, the sentence of each that does not pass."""
    rows = [
        (
            cell(f.unit),
            cell(f.gate),
            grade(f.grade),
            words.measured(f.observed, f.unit_name),
            words.measured(f.limit, f.unit_name),
            words.measured(f.baseline, f.unit_name),
            words.count(f.n),
        )
        for f in found
    ]
    columns = ("unit", "gate", "", "observed", "limit", "control", "n")
    whys = [cell(f"  {f.unit} {f.gate}: {f.why}", "dim") for f in found if f.grade is not Grade.passed and f.why]
    return Group(table(columns, rows, right=columns[3:]), *whys)


def funnel(seen: Funnel) -> RenderableType:
    rows = [
        (
            step.name,
            words.count(step.count),
            words.share(step.of_seen),
            cell("; ".join(f"{words.count(n)} {reason}" for reason, n in step.drops.items()), "dim"),
        )
        for step in seen.steps
    ]
    return table(
        ("step", "calls", "of seen", "lost before it"), rows, right=("calls", "of seen"), stretch="lost before it"
    )


def mismatches(found: Sequence[Mismatch]) -> RenderableType:
    rows = [
        (
            cell(m.path, limit=60),
            cell(m.kind),
            cell(m.branch or "(none)"),
            words.count(m.count),
            words.share(m.share),
            words.share(m.noise_share),
        )
        for m in found
    ]
    columns = ("path", "kind", "branch", "calls", "share", "noise")
    return table(columns, rows, right=("calls", "share", "noise"), stretch="path")


def diff(seen: Diff) -> RenderableType:
    """The paths that differ, then stored pairs."""
    if not seen.mismatches:
        return cell(f"Nothing differs in {words.count(seen.compared)} compared calls.")
    lines: list[RenderableType] = [
        title(
            f"{seen.rollout}: what differs",
            f"of {words.count(seen.compared)} compared calls; noise: control against itself",
        ),
        mismatches(seen.mismatches),
    ]
    for example in seen.examples:
        lines += [BLANK, pair(example, seen.path)]
    return Group(*lines)


def pair(example: Example, path: str | None = None) -> RenderableType:
    """One stored pair, redacted."""
    head = title(f"{example.method} {example.route}", f"{words.utc(example.at)} · trial {example.trial}")
    shown = [d for d in example.differences if path is None or d.get("path") == path]
    rows = [
        (
            cell(d.get("path", ""), limit=60),
            cell(d.get("kind", "")),
            _side(d.get("control")),
            _side(d.get("candidate")),
        )
        for d in shown
    ]
    return Group(head, table(("path", "kind", "control", "candidate"), rows, stretch="candidate"))


def _side(value: object) -> Text:
    return cell("absent", "dim") if value is None else cell(value, limit=120)


def cost(seen: Costs) -> RenderableType:
    if not seen.lines:
        return cell("No usage has been recorded: call rollout.record_usage(…) in branches and control, or give meter=.")
    lines: list[RenderableType] = [
        title(f"{seen.rollout}: cost", f"month: 30 days at 100 % of {words.rate(seen.calls_per_s)}"),
        costs(seen.lines),
    ]
    if any(line.unpriced for line in seen.lines):
        lines.append(cell("Runs without a price are unknown, not free: sums are lower bounds.", "yellow"))
    return Group(*lines)


def costs(lines: Sequence[Cost]) -> RenderableType:
    rows = [
        (
            cell(line.unit),
            line.side,
            words.count(line.runs),
            words.count(line.unpriced),
            f"{words.count(line.tokens_in)}/{words.count(line.tokens_out)}",
            words.dollars(line.spent_usd),
            words.dollars(line.per_call_usd),
            words.dollars(line.month_usd),
        )
        for line in lines
    ]
    columns = ("unit", "side", "runs", "no price", "tokens", "so far", "per call", "a month")
    return table(columns, rows, right=columns[2:])


def history(decisions: Sequence[Decision]) -> RenderableType:
    """The audit of a rollout, newest first, with the findings of each."""
    if not decisions:
        return cell("Nothing has been decided yet.")
    lines: list[RenderableType] = []
    for d in decisions:
        head = Text.assemble(
            (f"#{d.number:<4}", "dim"),
            (words.utc(d.at), "dim"),
            "  ",
            (cell(d.action).plain, _action_style(d.action) or "bold"),
            "  ",
        )
        head.append(f"{cell(d.actor).plain} ({d.trigger.value}) · policy v{d.policy_version}", style="dim")
        lines += [head, Padding(cell(summary(d)), (0, 0, 0, 6))]
        lines += [
            Padding(
                Text.assemble(
                    grade(f.grade),
                    f" {cell(f.unit).plain} {cell(f.gate).plain}: {words.both_numbers(f)}, n={words.count(f.n)}",
                ),
                (0, 0, 0, 6),
            )
            for f in d.findings
        ]
    return Group(*lines)


def policy(seen: PolicyShown) -> RenderableType:
    return Group(
        title(f"{seen.rollout}: policy v{seen.version}", f"{seen.versions} versions stored"), fields(seen.fields)
    )


def fields(found: Sequence[Field]) -> RenderableType:
    rows = [(f.name, cell(f.origin, "dim"), cell(words.value(f.value))) for f in found]
    return table(("field", "from", "value"), rows, stretch="value")


def flags(found: Sequence[FlagOverride]) -> RenderableType:
    if not found:
        return cell("No flag is set by hand: every flag answers as its provider says (the toolkit's own: auto).")
    rows = [
        (
            cell(f.flag),
            cell(f.key if f.key is not None else "(everybody)"),
            cell(f.value),
            words.utc(f.at),
            cell(f.actor),
            cell(f.reason),
        )
        for f in found
    ]
    return table(("flag", "key", "value", "since", "by", "reason"), rows, stretch="reason")
