"""Every mistake of a declaration is found, named with its remedy, and told in one go. What a type checker refuses is
tried too: not everybody runs one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout import (
    Branch,
    Breaker,
    Budget,
    Call,
    Compare,
    DeclarationError,
    Hedge,
    PriceBook,
    Ramp,
    Reserve,
    Retry,
    Rollout,
    Shadow,
    Store,
    gates,
)


async def control(request: object) -> None: ...


async def fetch(call: Call) -> list[int]:
    return [1]


def branch(name: Any = "orders", run: Any = fetch, **fields: Any) -> Branch:
    return Branch(name, run, **{"part": f"$.{name}", **fields})


def rollout(*branches: Any, **fields: Any) -> Rollout:
    return Rollout(**{"name": "profile", "control": control, "branches": branches or (branch(),), **fields})


def told(declared: Rollout) -> list[str]:
    problems = declared.problems()
    for problem in problems:
        assert problem.where.startswith(f'rollout "{declared.name}"')
        assert problem.remedy
        assert "\n" not in str(problem)
    return [str(problem) for problem in problems]


GOOD: list[Rollout] = [
    rollout(),
    rollout(branch("a-b.c_1", part="$.a", sla_s=0.3, hard_timeout_s=1.0, required=False, answers={LookupError: 404})),
    rollout(branch("a"), branch("b", after="a"), branch("c", after=["a", "b"], required=False)),
    rollout(branch("a", part=None), aggregate=lambda call, control, parts: {}),
    rollout(branch("a", effects="write", idempotency=lambda call: "k"), join="replace"),
    rollout(branch("a", required=False), branch("b"), join="replace"),
    rollout(budget=Budget(latency_s=1), methods=["GET", "POST"], effects="safe", key=lambda call: call.key),
    rollout(store=Store(clear=["$.status", "X-Request-Id"], redact=lambda path, value: value)),
    rollout(gates=[gates.latency(q=0.5), gates.latency(q=0.99), gates.cost(usd_per_call="0.01"), gates.sla()]),
    rollout(ramp=Ramp.parse("shadow 5% 100%", soak=0), compare=Compare(ignore=["$.at"])),
]


@pytest.mark.parametrize("declared", GOOD, ids=range(len(GOOD)))
def test_a_good_declaration_has_no_mistake(declared: Rollout) -> None:
    assert told(declared) == []


ONE_MISTAKE: list[tuple[Rollout, str]] = [
    # The rollout
    (rollout(name="2fast"), "the name is not usable"),
    (rollout(name="with space"), "the name is not usable"),
    (rollout(name="x" * 64), "the name is not usable"),
    (rollout(name=None), "the name is not usable"),
    (rollout(control=None), "control is None, not a handler"),
    (rollout(join="merge"), 'join is "merge"'),
    (rollout(aggregate="all"), "aggregate is not callable"),
    (rollout(key="X-User-Id"), "key is 'X-User-Id', not callable"),
    (rollout(context={"a": 1}), "context is {'a': 1}, not callable"),
    (rollout(capture=1), "capture is 1, not callable"),
    (rollout(effects="write"), "effects is 'write'"),
    (rollout(flag=""), "flag is ''"),
    (rollout(flag=7), "flag is 7"),
    (rollout(methods="post"), 'write methods=["POST"]'),
    (rollout(methods=[]), "methods is empty"),
    (rollout(methods=["GET", "post"]), "methods names 'post'"),
    (rollout(max_body=-1), "max_body is -1"),
    (rollout(max_body="1MB"), "max_body is '1MB'"),
    # Branches
    (rollout(branches=[]), "there is no branch"),
    (rollout(branches=branch()), "give a list of Branch(...)"),
    (rollout(branches=None), "branches is None"),
    (rollout(branch(), fetch), 'wrap it: Branch("name"'),
    (rollout(branch("orders"), branch("orders", part="$.other")), 'two branches are called "orders"'),
    (rollout(branch("2nd", part="$.a")), "the name is not usable"),
    (rollout(branch(7, part="$.a")), "the name is not usable"),
    (rollout(branch(run="fetch")), "'fetch' cannot be called"),
    (rollout(branch(max_concurrency=0)), "max_concurrency is 0"),
    (rollout(branch(max_concurrency="many")), "max_concurrency is 'many'"),
    (rollout(branch(when=True)), "when is True, not callable"),
    (rollout(branch(meter=5)), "meter is 5, not callable"),
    (rollout(branch(flag="")), "flag is ''"),
    (rollout(branch(salt=7)), "salt is 7"),
    (rollout(branch(answers={404: LookupError})), "answers maps 404"),
    (rollout(branch(answers={LookupError: 4040})), "to 4040"),
    (rollout(branch(answers=[LookupError])), "map exception classes to HTTP statuses"),
    # Times
    (rollout(branch(sla_s=0)), "sla_s is 0"),
    (rollout(branch(sla_s="300ms")), "sla_s is '300ms'"),
    (rollout(branch(hard_timeout_s=-1)), "hard_timeout_s is -1"),
    (rollout(branch(hard_timeout_s=float("nan"))), "hard_timeout_s is nan"),
    (rollout(branch(hard_timeout_s=2), budget=Budget(latency_s=1)), "above the budget of the call, latency_s=1"),
    (rollout(branch(sla_s=2, hard_timeout_s=1)), "sla_s=2 is above its hard timeout"),
    (rollout(branch(sla_s=2), budget=Budget(latency_s=1)), "sla_s=2 is above its hard timeout"),
    (rollout(branch(hard_timeout_s=2), budget=Budget(latency_s="1s")), "budget.latency_s is '1s'"),  # type: ignore[arg-type]
    (rollout(budget=Budget(latency_s=0)), "budget.latency_s is 0"),
    (rollout(budget=1.5), "write Budget(...)"),
    # What may write
    (rollout(branch(effects="some")), 'effects is "some"'),
    (rollout(branch(effects="write")), 'a write branch stands outside join="replace"'),
    (rollout(branch(required=False), join="replace"), "no required branch"),
    # Where parts belong
    (rollout(branch(part=None)), "does not know where its part belongs"),
    (rollout(branch(part="$.a[*]")), "names more than one place"),
    (rollout(branch(part="$..a")), "names more than one place"),
    (rollout(branch(part="orders")), 'write for example "$.orders"'),
    (rollout(branch(part=7)), "7 is not a path"),
    (rollout(branch("a", part="$.x"), branch("b", part="$.x")), '"a", "b" put their parts at the same place'),
    # What comes after what
    (rollout(branch(after="ghost")), 'comes after "ghost", which does not exist'),
    (rollout(branch(after=7)), "after is 7"),
    (rollout(branch(after="orders")), "circle: orders → orders"),
    (rollout(branch("a", after="b"), branch("b", after="a")), "circle: a → b → a"),
    (
        rollout(branch("c", after="a"), branch("a", after="b"), branch("b", after="a"), branch("d", after="c")),
        "circle: a → b → a",
    ),
    (rollout(branch("a", required=False), branch("b", after="a")), "is required but comes after"),
    # Ramp, comparison, gates
    (rollout(ramp=Ramp.parse("shadow 5% 1%")), "do not rise"),
    (rollout(ramp="shadow 5%"), "write Ramp.parse("),
    (rollout(compare=Compare(ignore=["$["])), "compare"),
    (rollout(compare=None), "write Compare(...)"),
    (rollout(gates=[]), "there is no gate"),
    (rollout(gates=gates.errors()), "give a list: gates=[gates.errors(), ...]"),
    (rollout(gates=[gates.errors]), "call it: gates.errors()"),
    (rollout(gates=[gates.errors(), gates.errors(worse_by=0.5)]), "is declared twice"),
    (rollout(gates=[gates.latency(worse_by=None)]), "it has no limit"),
    (rollout(gates=[gates.errors(worse_by=-0.1)]), "worse_by is -0.1"),
    (rollout(gates=[gates.errors(at_most=5)]), "it is a share of calls"),
    (rollout(gates=[gates.errors(at_most="5%")]), "at_most is '5%'"),  # type: ignore[arg-type]
    (rollout(gates=[gates.errors(window="soon")]), '"soon" is not a duration'),
    (rollout(gates=[gates.errors(window=0)]), "window is 0"),
    (rollout(gates=[gates.errors(minimum=0)]), "minimum is 0"),
    (rollout(gates=[gates.errors(minimum="50")]), "minimum is '50'"),  # type: ignore[arg-type]
    (rollout(gates=[gates.errors(mode="magic")]), 'mode is "magic"'),
    (rollout(gates=[gates.latency(q=95)]), "q is 95"),
    (rollout(gates=[gates.latency(q="p95")]), "q is 'p95'"),  # type: ignore[arg-type]
    (rollout(gates=[gates.cost(usd_per_call="a lot")]), '"a lot" is not an amount of dollars'),
    # Shadow and store
    (rollout(shadow=Shadow(sample=1.5)), "shadow.sample is 1.5"),
    (rollout(shadow=Shadow(noise=float("nan"))), "shadow.noise is nan"),
    (rollout(shadow=Shadow(concurrency=0)), "shadow.concurrency is 0"),
    (rollout(shadow=None), "write Shadow(...)"),
    (rollout(store=Store(sample=True)), "store.sample is True"),
    (rollout(store=Store(ttl_s=0)), "store.ttl_s is 0"),
    (rollout(store=Store(clear=["$["])), 'write for example "$.status"'),
    (rollout(store=Store(clear="$.status")), 'clear=["$.status"]'),
    (rollout(store=Store(redact="all")), "redact is 'all', not callable"),  # type: ignore[arg-type]
    (rollout(store=Store(labels="plan")), "labels is 'plan', not callable"),  # type: ignore[arg-type]
    (rollout(store={}), "write Store(...)"),
]


@pytest.mark.parametrize(("declared", "said"), ONE_MISTAKE, ids=[said for _, said in ONE_MISTAKE])
def test_one_mistake_is_told_once(declared: Rollout, said: str) -> None:
    (problem,) = told(declared)
    assert said in problem


def test_every_mistake_is_told_in_one_go() -> None:
    declared = rollout(
        branch("a", after="b", sla_s=3, hard_timeout_s=2, part="$.x[*]"),
        branch("b", after="a", effects="write", max_concurrency=0),
        branch("a", run=None, part="nowhere"),
        name="not usable",
        control=None,
        join="merge",
        budget=Budget(latency_s=1),
        ramp=Ramp.parse("shadow few 5% 1%", soak="soon"),
        gates=[gates.errors(minimum=0, window="soon"), gates.errors()],
        shadow=Shadow(sample=2, noise=-1),
        store=Store(clear=["$["]),
        key="X-User-Id",
    )
    problems = told(declared)
    assert len(problems) >= 19
    assert len(set(problems)) == len(problems)


def test_a_mistake_names_the_branch_it_is_in() -> None:
    (problem,) = rollout(branch("orders"), branch("tickets", max_concurrency=0)).problems()
    assert problem.where == 'rollout "profile", branch "tickets"'


def test_two_circles_are_two_mistakes() -> None:
    pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c")]
    problems = told(rollout(*(branch(name, after=other) for name, other in pairs)))
    assert ["a → b → a" in problems[0], "c → d → e → c" in problems[1], len(problems)] == [True, True, 2]


def test_the_error_lists_all_mistakes_of_all_rollouts() -> None:
    declared = [rollout(gates=[], max_body=-1), rollout(name="search", join="merge")]
    error = DeclarationError(problem for one in declared for problem in one.problems())
    assert len(error.problems) == 3
    assert str(error).startswith("3 mistakes in what was declared:\n")
    assert str(error).count("→") == 3


JUNK: list[Any] = [None, True, 0, -1, float("nan"), "", "junk", b"junk", [], {}, [None], {"a": 1}, object(), fetch]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_nothing_that_is_declared_makes_the_check_itself_fail(junk: Any) -> None:
    good, one = rollout(), branch()
    fields = [name for name in Rollout.__dataclass_fields__ if name != "_"]
    for name in fields:
        replaced: Callable[..., Rollout] = replace
        told_or_not = replaced(good, **{name: junk}).problems()
        assert isinstance(told_or_not, list)
    for name in (name for name in Branch.__dataclass_fields__ if name != "_"):
        assert isinstance(rollout(replace(one, **{name: junk})).problems(), list)
    for kind, part in ((Shadow, "shadow"), (Store, "store"), (Budget, "budget")):
        for name in kind.__dataclass_fields__:
            assert isinstance(rollout(**{part: kind(**{name: junk})}).problems(), list)


# What follows from a declaration


def test_a_branch_alone_is_a_unit_and_branches_of_one_salt_are_a_group() -> None:
    declared = rollout(branch("a"), branch("b", salt="x"), branch("c"), branch("d", salt="x"))
    assert {name: [one.name for one in unit] for name, unit in declared.units().items()} == {
        "a": ["a"],
        "b+d": ["b", "d"],
        "c": ["c"],
    }


def test_the_required_branches_of_replace_are_one_group() -> None:
    declared = rollout(branch("a"), branch("b"), branch("c", required=False), join="replace")
    assert list(declared.units()) == ["a+b", "c"]
    assert [declared.salt(one) for one in declared.branches] == ["profile", "profile", "profile/c"]


def test_a_hard_timeout_is_never_above_the_budget() -> None:
    declared = rollout(branch("a"), branch("b", hard_timeout_s=0.5), budget=Budget(latency_s=1.5))
    assert [declared.hard_timeout(one) for one in declared.branches] == [1.5, 0.5]
    assert declared.settle_s == pytest.approx(1.6)


def test_the_flag_is_the_name_unless_another_is_given() -> None:
    assert (rollout().flag_key, rollout(flag="fanout").flag_key) == ("profile", "fanout")


# What a fan-out adds: guards, choices, budgets

FIRST = branch("cheap", confidence=lambda part: 0.5)


def second(**fields: Any) -> Branch:
    return branch("dear", **{"part": "$.cheap", "after": "cheap", "escalate_below": 0.9, **fields})


GUARDED: list[Rollout] = [
    rollout(branch(retry=Retry(), hedge=Hedge(), breaker=Breaker(), reserve=Reserve(tokens=5, usd="0.01"))),
    rollout(FIRST, second()),
    rollout(branch(soft_timeout_s=0.5, hard_timeout_s=0.5), budget=Budget(latency_s=0.5, tokens=1, usd=0)),
    rollout(branch("a"), branch("b"), quorum=2, dispatch=lambda call: ["a"], prices=PriceBook({})),
    rollout(branch(reserve=Reserve(tokens=5, usd="0.05", latency_s=1)), budget=Budget(latency_s=1, tokens=5, usd=0.05)),
    rollout(branch(effects="write", retry=Retry(), idempotency=lambda call: "k"), join="replace"),
    rollout(shadow=Shadow(usd_per_day="1.50")),
]


@pytest.mark.parametrize("declared", GUARDED, ids=range(len(GUARDED)))
def test_good_guards_have_no_mistake(declared: Rollout) -> None:
    assert told(declared) == []


ONE_MISTAKE_OF_GUARDS: list[tuple[Rollout, str]] = [
    (rollout(branch(soft_timeout_s=0)), "soft_timeout_s is 0"),
    (rollout(branch(soft_timeout_s=float("nan"))), "soft_timeout_s is nan"),
    (rollout(branch(soft_timeout_s=2, hard_timeout_s=1)), "soft_timeout_s=2 is above its hard timeout, 1"),
    (rollout(branch(soft_timeout_s=2), budget=Budget(latency_s=1)), "soft_timeout_s=2 is above its hard timeout, 1"),
    (rollout(branch(retry=3)), "write retry=Retry(...)"),
    (rollout(branch(retry=Retry(attempts=0))), "retry: attempts is 0"),
    (rollout(branch(hedge=Retry())), "write hedge=Hedge(...)"),
    (rollout(branch(hedge=Hedge(quantile=95))), "hedge: quantile is 95"),
    (rollout(branch(breaker=Breaker)), "write breaker=Breaker(...)"),
    (rollout(branch(breaker=Breaker(failure_rate=50))), "breaker: failure_rate is 50"),
    (rollout(branch(reserve=100)), "write reserve=Reserve(...)"),
    (rollout(branch(reserve=Reserve(tokens=-1))), "reserve: tokens is -1"),
    (rollout(branch(reserve=Reserve(usd="-1"))), "reserve: usd"),
    (rollout(branch(reserve=Reserve(usd=float("nan")))), "reserve: usd"),
    (rollout(branch(reserve=Reserve(tokens=6)), budget=Budget(tokens=5)), "tokens=6 is above the budget of the call"),
    (rollout(branch(reserve=Reserve(usd="0.06")), budget=Budget(usd="0.05")), "usd=0.06 is above the budget"),
    (rollout(branch(reserve=Reserve(latency_s=2)), budget=Budget(latency_s=1)), "latency_s=2 is above the budget"),
    (rollout(branch(effects="write", hedge=Hedge()), join="replace"), "hedge would write twice"),
    (rollout(branch(effects="write", retry=Retry()), join="replace"), "retry may write twice"),
    (rollout(branch(confidence=0.9)), "confidence is 0.9, not callable"),
    (rollout(FIRST, second(escalate_below=90)), "escalate_below is 90"),
    (rollout(FIRST, second(escalate_below=float("nan"))), "escalate_below is nan"),
    (rollout(FIRST, second(after=())), "no first opinion to look at"),
    (rollout(branch("cheap"), second()), '"cheap", which does not say how sure it is'),
    (rollout(FIRST, second(), branch("c", after="dear")), "is required but comes after"),
    (rollout(branch("a"), branch("b"), quorum=3), "quorum is 3 of 2 branches"),
    (rollout(quorum=0), "quorum is 0"),
    (rollout(quorum=True), "quorum is True"),
    (rollout(quorum="most"), "quorum is 'most'"),
    (rollout(dispatch=["orders"]), "dispatch is ['orders'], not callable"),
    (rollout(prices={"gpt": 1}), "write PriceBook("),
    (rollout(budget=Budget(tokens=0)), "tokens is 0"),
    (rollout(budget=Budget(tokens=4e3)), "tokens is 4000.0"),  # type: ignore[arg-type]
    (rollout(budget=Budget(usd="-0.05")), "usd is '-0.05'"),
    (rollout(budget=Budget(usd="five cents")), "usd is 'five cents'"),
    (rollout(budget=Budget(usd=float("inf"))), "usd is inf"),
    (rollout(shadow=Shadow(usd_per_day=-1)), "usd_per_day is -1"),
]


@pytest.mark.parametrize(("declared", "said"), ONE_MISTAKE_OF_GUARDS, ids=[said for _, said in ONE_MISTAKE_OF_GUARDS])
def test_one_mistake_of_a_guard_is_told_once(declared: Rollout, said: str) -> None:
    (problem,) = told(declared)
    assert said in problem
