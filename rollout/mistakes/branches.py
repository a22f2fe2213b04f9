"""Every mistake in the branches of a rollout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rollout.domain.breaker import Breaker
from rollout.domain.budget import Reserve
from rollout.domain.hedge import Hedge
from rollout.domain.retry import Retry
from rollout.errors import Problem
from rollout.mistakes.checks import (
    NAME_REMEDY,
    HasBranches,
    is_name,
    is_number,
    is_time,
    is_whole,
    nano_or_none,
    of_flag,
    of_hook,
    path_or_problem,
)

if TYPE_CHECKING:
    from rollout.definition import Branch


def of_branches(rollout: HasBranches, where: str) -> Iterator[Problem]:
    from rollout.definition import Branch  # here, because it imports this package

    branches = [branch for branch in rollout.branches if isinstance(branch, Branch)]
    for stranger in rollout.branches:
        if not isinstance(stranger, Branch):
            yield Problem(where, f"branches holds {stranger!r}", 'wrap it: Branch("name", async_function, part="$.…")')
    if not rollout.branches:
        yield Problem(where, "there is no branch", "declare at least one Branch")
    names = [branch.name for branch in branches]
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield Problem(where, f'two branches are called "{name}"', "give each a name of its own")
    if rollout.join == "replace" and branches and not any(branch.required for branch in branches):
        yield Problem(where, 'join="replace" has no required branch to stand in for control', "make one required")
    for branch in branches:
        at = f'{where}, branch "{branch.name}"'
        yield from _of_branch(branch, at)
        yield from _of_times(branch, rollout, at)
        yield from _of_guards(branch, at)
        yield from _of_second_opinion(branch, branches, at)
        yield from _of_reserve(branch, rollout, at)
        yield from _of_effects(branch, rollout, at)
        yield from _of_part(branch, rollout, at)
    yield from _of_shared_places(branches, rollout, where)
    yield from _of_order([branch for branch in branches if isinstance(branch.name, str)], where)


def _of_branch(branch: Branch, at: str) -> Iterator[Problem]:
    if not is_name(branch.name):
        yield Problem(at, "the name is not usable", NAME_REMEDY)
    if not callable(branch.run):
        yield Problem(at, f"{branch.run!r} cannot be called", "pass an async function Call -> part")
    if not is_whole(branch.max_concurrency) or branch.max_concurrency < 1:
        yield Problem(at, f"max_concurrency is {branch.max_concurrency!r}", "it must be at least 1")
    for name in ("when", "meter", "idempotency", "confidence"):
        yield from of_hook(at, name, getattr(branch, name))
    yield from of_flag(at, branch.flag)
    if branch.salt is not None and not isinstance(branch.salt, str):
        yield Problem(at, f"salt is {branch.salt!r}", "give a text, or leave it out")
    if not isinstance(branch.answers, Mapping):
        yield Problem(at, f"answers is {branch.answers!r}", "map exception classes to HTTP statuses: {NotFound: 404}")
        return
    for error, status in branch.answers.items():
        known = isinstance(error, type) and issubclass(error, BaseException)
        if not known or not is_whole(status) or not 100 <= status <= 599:
            yield Problem(at, f"answers maps {error!r} to {status!r}", "map exception classes to HTTP statuses")


def _of_times(branch: Branch, rollout: HasBranches, at: str) -> Iterator[Problem]:
    sla, hard, budget = branch.sla_s, branch.hard_timeout_s, getattr(rollout.budget, "latency_s", None)
    soft = branch.soft_timeout_s
    for name, value in (("sla_s", sla), ("soft_timeout_s", soft), ("hard_timeout_s", hard)):
        if value is not None and not is_time(value):
            yield Problem(at, f"{name} is {value!r}", "it must be above 0 seconds and finite")
    if is_time(hard) and is_time(budget) and hard > budget:
        yield Problem(
            at,
            f"hard_timeout_s={hard:g} is above the budget of the call, latency_s={budget:g}",
            "lower the timeout or raise Budget(latency_s=…)",
        )
    limits = [value for value in (hard, budget) if is_time(value)]
    if is_time(soft) and limits and soft > min(limits):
        yield Problem(
            at,
            f"soft_timeout_s={soft:g} is above its hard timeout, {min(limits):g}",
            "lower the soft timeout or raise the hard one",
        )
    if is_time(sla) and limits and sla > min(limits):
        yield Problem(at, f"sla_s={sla:g} is above its hard timeout", "lower the SLA or raise the timeout")


def _of_guards(branch: Branch, at: str) -> Iterator[Problem]:
    for name, kind in (("retry", Retry), ("hedge", Hedge), ("breaker", Breaker), ("reserve", Reserve)):
        value = getattr(branch, name)
        if value is None:
            continue
        if not isinstance(value, kind):
            yield Problem(at, f"{name} is {value!r}", f"write {name}={kind.__name__}(...), or leave it out")
            continue
        for mistake in value.problems():
            yield Problem(at, f"{name}: {mistake}", f"see {kind.__name__}")
    if branch.writes and branch.hedge is not None:
        yield Problem(at, "hedge would write twice", "leave hedge out of a write branch")
    if branch.writes and branch.retry is not None and branch.idempotency is None:
        yield Problem(at, "retry may write twice", "give idempotency=, or leave retry out")


def _of_second_opinion(branch: Branch, branches: Sequence[Branch], at: str) -> Iterator[Problem]:
    below = branch.escalate_below
    if below is None:
        return
    if not is_number(below) or not 0 <= below <= 1:
        yield Problem(at, f"escalate_below is {below!r}", "give a confidence in [0, 1], such as 0.9")
    needed = _after(branch)
    first = [other for other in branches if other.name in needed]
    if not needed:
        yield Problem(at, "escalate_below has no first opinion to look at", 'name the branch it comes after: after="…"')
    for other in first:
        if other.confidence is None:
            yield Problem(
                at,
                f'escalate_below looks at "{other.name}", which does not say how sure it is',
                f"give {other.name} confidence=part -> float in [0, 1]",
            )


def _of_reserve(branch: Branch, rollout: HasBranches, at: str) -> Iterator[Problem]:
    reserve, budget = branch.reserve, rollout.budget
    if not isinstance(reserve, Reserve) or reserve.problems():
        return
    limits = (
        ("latency_s", reserve.latency_s, getattr(budget, "latency_s", None)),
        ("tokens", reserve.tokens, getattr(budget, "tokens", None)),
    )
    for name, needed, limit in limits:
        if is_number(limit) and needed > limit:
            yield Problem(
                at,
                f"reserve: {name}={needed:g} is above the budget of the call, {name}={limit:g}, so it can never run",
                f"lower the reservation or raise Budget({name}=…)",
            )
    dollars = nano_or_none(getattr(budget, "usd", None))
    if dollars is not None and reserve.nano > dollars:
        yield Problem(
            at,
            f"reserve: usd={reserve.usd} is above the budget of the call, usd={budget.usd}, so it can never run",
            "lower the reservation or raise Budget(usd=…)",
        )


def _of_effects(branch: Branch, rollout: HasBranches, at: str) -> Iterator[Problem]:
    if branch.effects not in ("safe", "write"):
        yield Problem(at, f'effects is "{branch.effects}"', 'use "safe" or "write"')
    elif branch.writes and rollout.join == "overlay":
        yield Problem(at, 'a write branch stands outside join="replace"', 'use join="replace", or make the branch safe')


def _of_part(branch: Branch, rollout: HasBranches, at: str) -> Iterator[Problem]:
    if branch.part is None:
        if rollout.aggregate is None:
            yield Problem(at, "the overlay does not know where its part belongs", 'give part="$.…", or an aggregate')
        return
    path, problem = path_or_problem(branch.part, at, 'write for example "$.orders"')
    if problem:
        yield problem
    if path and not path.is_plain:
        yield Problem(at, f'part="{branch.part}" names more than one place', "name one place, without [*] and ..")


def _of_shared_places(branches: Sequence[Branch], rollout: HasBranches, where: str) -> Iterator[Problem]:
    # A second opinion is laid over the first, at the same place.
    parts = [branch.part for branch in branches if isinstance(branch.part, str) and branch.escalate_below is None]
    for part in sorted({part for part in parts if parts.count(part) > 1} if rollout.aggregate is None else ()):
        names = ", ".join(f'"{branch.name}"' for branch in branches if branch.part == part)
        yield Problem(where, f'branches {names} put their parts at the same place, "{part}"', "give each a place")


# What comes after what


def is_names(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, Sequence) and all(isinstance(name, str) for name in value))


def _after(branch: Branch) -> tuple[str, ...]:
    """What it comes after; none where that is no list of names, which is a mistake of its own."""
    return branch.depends_on if is_names(branch.after) else ()


def _of_order(branches: Sequence[Branch], where: str) -> Iterator[Problem]:
    after: dict[str, tuple[str, ...]] = {}
    for branch in branches:
        if is_names(branch.after):
            after[branch.name] = _after(branch)
        else:
            at = f'{where}, branch "{branch.name}"'
            yield Problem(at, f"after is {branch.after!r}", 'name branches: after="tickets" or after=["a", "b"]')
            after[branch.name] = ()
    optional = {branch.name for branch in branches if not branch.required or branch.escalate_below is not None}
    for name, needed in after.items():
        at = f'{where}, branch "{name}"'
        for other in needed:
            if other not in after:
                known = ", ".join(after)
                yield Problem(at, f'comes after "{other}", which does not exist', f"name one of {known}")
            elif name not in optional and other in optional:
                what = f'is required but comes after "{other}", which is optional'
                yield Problem(at, what, "make both required or both optional")
    for circle in _circles(after):
        yield Problem(where, f"after= goes in a circle: {' → '.join([*circle, circle[0]])}", "break the circle")


def _circles(after: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Each circle once, from the branch of it that was declared first, along what each comes after."""
    seen: set[str] = set()
    for start in after:
        trail: list[str] = []
        ahead = [(start, 0)]
        while ahead:
            name, depth = ahead.pop()
            del trail[depth:]
            if name in trail:
                yield trail[trail.index(name) :]
                continue
            if name in seen:
                continue
            seen.add(name)
            trail.append(name)
            ahead.extend((other, len(trail)) for other in reversed(after[name]) if other in after)
