"""What each reading command shows on a terminal: a value goes in, something that rich can print comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rollout.domain.checkup import Diagnosis
from rollout.domain.gates import Finding
from rollout.domain.standing import Word
from rollout.domain.state import Decision, FlagOverride, Lease, Mode
from rollout.domain.verdict import Action
from rollout.usecases.look import AuditCheck, PolicyShown, RolloutStatus, Shown, Status
from rollout.usecases.reporting import Costs, Diff
from rollout.usecases.steer import Checked, Steered
from rollout_render import evidence, sentences, tables, words
from rollout_render.terminal import BAD, DATA, GOOD, STYLES, WARN, cell, grade, table, title, unseen, word

BLANK = Text("")


NO_ROLLOUT = "No rollout is registered yet: start the application that declares one."


def status(seen: Status) -> RenderableType:
    """Every rollout with its branches, who decides, and the newest decisions."""
    blocks: list[RenderableType] = [head(seen.at, seen.leader, seen.database)]
    if not seen.rollouts:
        return Group(*blocks, BLANK, cell(NO_ROLLOUT))
    for rollout in seen.rollouts:
        blocks += [BLANK, rollout_block(rollout)]
    if seen.recent:
        blocks += [
            BLANK,
            title("Newest decisions", "and the rollbacks that stand"),
            tables.recent(seen.recent, short=True),
        ]
    return Group(*blocks)


def head(at: float, lease: Lease | None, place: str = "") -> Text:
    """When it was seen, who decides, and where: one line, cut at the edge."""
    line = Text.assemble((words.utc(at), "bold"), "  ", leader(lease, at), "  ", cell(place, "dim"))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def leader(lease: Lease | None, now: float) -> Text:
    if lease is None:
        return Text("no controller decides", style=f"bold {WARN}")
    left = lease.expires_at - now
    return (
        cell(f"controller {lease.holder}", "dim")
        if left > 0
        else cell(f"lease of {lease.holder} is over", f"bold {WARN}")
    )


def rollout_block(rollout: RolloutStatus) -> RenderableType:
    """One rollout: a line about it, then a line for each branch."""
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
    branches = table(("branch", "at", "ramp", "", "why"), rows, stretch="why")
    notes = (Padding.indent(note, 2) for note in flags_noted(rollout))
    return Group(rollout_head(rollout), Padding.indent(branches, 2), *notes)


def rollout_head(rollout: RolloutStatus) -> Text:
    """How a rollout stands as a whole, and its calls of the last minutes."""
    line = Text.assemble(cell(rollout.name, "bold", limit=40), "  ", (rollout.word.text, STYLES[rollout.word]))
    line.no_wrap, line.overflow = True, "ellipsis"
    line.append(f"  {rollout.join} · policy v{rollout.version} · {words.rate(rollout.calls_per_s)} ", style="dim")
    return line.append(words.sparkline(rollout.calls, 24), style=DATA)


def flags_noted(rollout: RolloutStatus) -> Iterator[Text]:
    """What is worth knowing of its flags."""
    if rollout.flag_failures:
        failed = ", ".join(f"{reason} {count:,}" for reason, count in rollout.flag_failures.items())
        yield cell(f"the flag source gives no answer, so control serves: {failed}", BAD)
    if rollout.overrides:
        yield cell(f"flags set by hand: {_overrides(rollout.overrides)}", WARN)


def _overrides(flags: Sequence[FlagOverride]) -> str:
    return ", ".join(f"{flag.flag}={flag.value}{f' for {flag.key}' if flag.key else ''}" for flag in flags[:5])


def show(seen: Shown) -> RenderableType:
    """One rollout in detail."""
    lines: list[RenderableType] = [head(seen.at, seen.leader), BLANK, cell(seen.status.sentence, "bold")]
    units = dict.fromkeys(branch.unit for branch in seen.status.branches if branch.word is Word.rolled_back)
    lines += [cell(told) for unit in units if (told := sentences.failed(unit, seen.errors))]
    lines += [cell(sentences.losses(seen.losses), limit=1_000), BLANK, rollout_block(seen.status)]
    if gates := tables.unique(f for branch in seen.status.branches for f in branch.findings):
        lines += [BLANK, title("Gates"), tables.findings(gates)]
    if any(standing.findings for standing in seen.status.branches) and seen.evidence:
        lines += [BLANK, title("Evidence", evidence.NOTE), evidence.evidence(seen.evidence, seen.status.branches)]
    lines += [BLANK, cell(seen.bound.sentence, "dim", limit=1_000)]
    lines += [BLANK, title("Calls", "since the first block"), tables.funnel(seen.funnel)]
    if seen.mismatches:
        lines += [
            BLANK,
            title("What differs", f"more: rollout diff {seen.status.name}"),
            tables.mismatches(seen.mismatches, seen.policy.version, seen.policy.registered_at),
        ]
    curves = [(unit or "calls", points) for unit, points in seen.curves.items() if points]
    if curves:
        lines += [BLANK, title("Last 30 minutes", "calls; for each unit the share that differed")]
        lines.append(Padding.indent(tables.curves(curves), 2))
    if seen.decisions:
        lines += [
            BLANK,
            title("Newest decisions", f"and the rollbacks that stand; more: rollout history {seen.status.name}"),
            tables.recent(seen.decisions),
        ]
    return Group(*lines)


def diff(seen: Diff) -> RenderableType:
    """What became of each unit's pairs, the paths that differ, then stored pairs."""
    units = [tables.comparisons(seen.comparisons), BLANK] if seen.comparisons and seen.path is None else []
    if not seen.mismatches:
        return Group(cell(f"Nothing differs in {words.count(seen.compared)} compared calls."), *units[:1])
    lines: list[RenderableType] = [
        title(
            f"{seen.rollout}: what differs",
            f"of {words.count(seen.compared)} compared calls since the first",
        ),
        *units,
        tables.mismatches(seen.mismatches, seen.policy_version, seen.policy_at),
        cell(sentences.COLUMNS, "dim"),
    ]
    if hidden := sentences.redacted(seen.examples, seen.path):
        lines.append(cell(hidden, "dim"))
    for example in seen.examples:
        lines += [BLANK, tables.pair(example, seen.path)]
    return Group(*lines)


def cost(seen: Costs) -> RenderableType:
    if not seen.lines:
        return cell("No usage has been recorded: call rollout.record_usage(…) in branches and control, or give meter=.")
    lines: list[RenderableType] = [
        title(f"{seen.rollout}: cost", f"month: 30 days of {words.rate(seen.calls_per_s)}; tokens: mean of a call"),
        tables.costs(seen.lines),
    ]
    if seen.bill is not None:
        lines.insert(1, cell(sentences.bill(seen.bill), "bold", limit=1_000))
    if any(line.unpriced for line in seen.lines):
        lines.append(cell("Calls without a price are unknown, not free: sums are lower bounds.", WARN))
    if seen.models and seen.sample is not None:
        lines += [Text(""), title("By branch and model", sentences.MODELS), tables.models(seen.models)]
        lines.append(cell(sentences.sample(seen.sample), "dim"))
    return Group(*lines)


def history(decisions: Sequence[Decision]) -> RenderableType:
    """The audit of a rollout, newest first, with the findings of each."""
    if not decisions:
        return cell("Nothing of that kind has been decided yet.")
    lines: list[RenderableType] = []
    for d in decisions:
        head = Text.assemble(
            (f"#{d.number:<4}", "dim"),
            (words.utc(d.at), "dim"),
            "  ",
            (cell(d.action).plain, tables.action_style(d.action) or "bold"),
            "  ",
        )
        head.append(f"{cell(d.actor).plain} ({d.trigger.value}) · policy v{d.policy_version}", style="dim")
        lines += [head, Padding.indent(cell(tables.summary(d)), 6)]
        lines += [part for f in d.findings for part in _found(f)]
        if account := evidence.told(d.findings):
            lines.append(Padding.indent(cell(account, "dim"), 6))
    return Group(*lines)


def _found(f: Finding) -> list[RenderableType]:
    """What a gate found then, and below the evidence of that moment."""
    seen = f.why if unseen(f) else f"{words.both_numbers(f)}, n={words.count(f.n)}"
    told = f" {cell(f.unit).plain} {cell(f.gate).plain}: {cell(seen).plain}"
    lines: list[RenderableType] = [Padding.indent(Text.assemble(grade(f), told), 6)]
    return [*lines, Padding.indent(cell(weighed, "dim"), 8)] if (weighed := words.evidence(f)) else lines


def policy(seen: PolicyShown) -> RenderableType:
    return Group(
        title(f"{seen.rollout}: policy v{seen.version}", f"{seen.versions} versions stored"), tables.fields(seen.fields)
    )


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


def audit(seen: AuditCheck) -> RenderableType:
    if not seen.breaks:
        return cell(f"The audit is whole: {words.count(seen.decisions)} decisions of {seen.rollouts} rollouts.", GOOD)
    rows = [(cell(b.rollout), f"#{b.number}", cell(b.kind), cell(b.what)) for b in seen.breaks]
    return Group(
        cell("The audit is broken: what follows these decisions cannot be trusted.", f"bold {BAD}"),
        table(("rollout", "decision", "kind", "what"), rows, stretch="what"),
    )


def doctor(seen: Diagnosis) -> RenderableType:
    """Each fault as a small letter: what, evidence, remedy."""
    if not seen.faults:
        return cell(f"All well: {len(seen.checked)} checks of {seen.database} found nothing.", GOOD)
    lines: list[RenderableType] = [title(f"{len(seen.faults)} faults", seen.database)]
    for fault in seen.faults:
        whose = f"{fault.rollout}: " if fault.rollout else ""
        lines += [
            BLANK,
            Text.assemble((f"{cell(fault.name).plain}  ", f"bold {BAD}"), cell(f"{whose}{fault.what}")),
            Padding.indent(cell(f"seen: {fault.evidence}", "dim"), 4),
            Padding.indent(cell(f"do: {fault.remedy}"), 4),
        ]
    return Group(*lines)


def check(seen: Sequence[Checked]) -> RenderableType:
    """Whether it is safe to promote; then what would be decided of each unit, and why."""
    lines: list[RenderableType] = [*answers((one.unit, one.mode, one.verdict.action) for one in seen), BLANK]
    for one in seen:
        lines.append(Text.assemble((cell(one.unit).plain, "bold"), "  ", decided(one.mode, one.verdict.action)))
        said = [*one.verdict.reasons, *sentences.stopped(one.rolled_back_at, one.why, figures=bool(one.findings))]
        lines += [Padding.indent(cell(reason), 2) for reason in said]
        if one.findings:
            lines.append(Padding.indent(tables.findings(one.findings, whys=False), 2))
        lines.append(BLANK)
    return Group(*lines, cell("Nothing was changed.", "dim"))


def answers(judged: Iterable[tuple[str, Mode, Action]]) -> Iterator[Text]:
    """Whom it is safe to promote and whom not, a line for each answer. ``judged``: units with what would be decided."""
    said = [(unit, _answer(mode, action)) for unit, mode, action in judged]
    for answer, style in _ANSWERS.items():
        if units := [unit for unit, its in said if its == answer]:
            yield cell(f"{answer}: {', '.join(units)}.", style)


def _answer(mode: Mode, action: Action) -> str:
    match action:
        case Action.rollback | Action.stop_shadow:
            return "Breached"
        case Action.promote:
            return "Safe to promote"
        case Action.complete:
            return "At the end of the ramp"
    return {Mode.rolled_back: "Rolled back", Mode.completed: "Nothing left to promote"}.get(mode, _NOT_NOW)


_NOT_NOW = "Not to be promoted now"
_ANSWERS = {
    "Breached": f"bold {BAD}",
    "Safe to promote": f"bold {GOOD}",
    _NOT_NOW: f"bold {WARN}",
    "Rolled back": f"bold {BAD}",
    "At the end of the ramp": f"bold {GOOD}",
    "Nothing left to promote": f"bold {GOOD}",
}


def decided(mode: Mode, action: Action) -> tuple[str, str]:
    """What would be decided, with its style; of what stands still for good, that it does."""
    if action is Action.hold and mode in (Mode.rolled_back, Mode.completed):
        return mode.text, f"bold {BAD if mode is Mode.rolled_back else GOOD}"
    return action.replace("_", " "), tables.action_style(action) or "bold"


def moved(seen: Steered) -> RenderableType:
    """What a change did."""
    if not seen.changed:
        return cell(f"Nothing changed: {seen.note or 'it stood like that before'}.")
    lines = [(told["branch"], told["from"], told["to"]) for move in seen.moves if (told := move.to_dict())]
    return Group(*(cell(f"{seen.rollout}/{branch}: {before} → {after}") for branch, before, after in lines))
