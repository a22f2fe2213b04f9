"""A prediction is held against what really happens: a setting is predicted from what was recorded under another, then
it is put in force, the calls are made, and what they came to is measured. In virtual time.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from rollout import Branch, Budget, Call, Compare, Rollout, record_usage
from rollout.domain.state import BranchPolicy, Policy
from rollout.domain.whatif.estimate import Figure
from rollout.domain.whatif.prediction import Prediction
from rollout.domain.whatif.recorded import Past
from rollout.domain.whatif.replay import Beyond, replay
from rollout.domain.whatif.setting import Setting, rules_of
from rollout.errors import Refused, UnknownName
from rollout.ports import Backend, RunRecord, TrialRecord
from rollout.testing import (
    ManualClock,
    memory_backend,
    run_virtual,
    sample_batch,
    sample_policy,
    sample_trial,
    virtual_time,
)
from rollout.usecases.recorded_calls import recorded
from rollout.usecases.whatif import WhatIf, whatif
from tests.support.trials import Request, Response, World, answering, giving, rollout_of, running

CONTROL = {"orders": 1, "tickets": 2, "offers": 3, "summary": 4}
DONE = ("ok", "skipped")
FAILED = ("error", "hard_timeout")

# A shop whose branches are slow together: who calls while a database is busy waits for all of it


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a branch is: its median latency in seconds and how that varies, how often it fails and is wrong, and whether
    it asks a model."""

    takes_s: float
    spread: float
    fails: float = 0.0
    wrong: float = 0.0
    model: bool = False
    required: bool = False
    after: tuple[str, ...] = ()


KINDS = {
    "orders": Kind(takes_s=0.06, spread=0.4, fails=0.005, wrong=0.01, required=True),
    "tickets": Kind(takes_s=0.08, spread=0.5, fails=0.01, wrong=0.03),
    "offers": Kind(takes_s=0.07, spread=0.7),
    "summary": Kind(takes_s=0.12, spread=0.3, wrong=0.02, model=True, after=("tickets",)),
}
AS_IT_IS = Setting()
FIVE = {
    "a soft timeout": Setting(soft_s={"tickets": 0.16}),
    "two soft timeouts": Setting(soft_s={"summary": 0.25, "offers": 0.2}),
    "one branch less": Setting(dropped=frozenset({"offers"})),
    "hard timeouts": Setting(hard_s={"tickets": 0.2, "summary": 0.25}),
    "all at once": Setting(soft_s={"tickets": 0.2}, hard_s={"summary": 0.3}, dropped=frozenset({"offers"})),
}


class Shop:
    """``seed``: of everything that happens; the calls of one seed are the same whatever is in force."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def dice(self, call: Any, name: str = "") -> Random:
        return Random(f"{self._seed} {call.headers['X-Call']} {name}")

    async def wait(self, call: Any, name: str, takes_s: float, spread: float) -> Random:
        load, dice = self.dice(call).gauss(0, 0.4), self.dice(call, name)
        await asyncio.sleep(takes_s * math.exp(load + dice.gauss(0, spread)))
        return dice

    async def control(self, request: Request) -> Response:
        await self.wait(request, "control", 0.12, 0.2)
        return Response(json.dumps(CONTROL).encode())

    def branch(self, name: str, kind: Kind) -> Callable[[Call], Awaitable[Any]]:
        async def run(call: Call) -> Any:
            dice = await self.wait(call, name, kind.takes_s, kind.spread)
            if dice.random() < kind.fails:
                raise ValueError(name)
            if kind.model:
                words = dice.randrange(400, 600)
                record_usage(input_tokens=words, output_tokens=50, usd=f"{words * 1e-5:.5f}", model="some")
            return "wrong" if dice.random() < kind.wrong else CONTROL[name]

        return run

    def declared(self, setting: Setting, join: str = "overlay") -> Rollout:
        """The rollout with the setting in force."""
        dropped = set(setting.dropped)
        branches = [
            Branch(
                name,
                self.branch(name, kind),
                part=f"$.{name}",
                required=kind.required,
                after=kind.after,
                soft_timeout_s=setting.soft_s.get(name),
                hard_timeout_s=setting.hard_s.get(name, 1.5),
            )
            for name, kind in KINDS.items()
            if name not in dropped
        ]
        return rollout_of(*branches, control=self.control, budget=Budget(latency_s=2.0), join=join)


@dataclass
class Measured:
    """What calls came to, from their trials and from what users waited, without any replay."""

    trials: Sequence[TrialRecord]
    waited: Sequence[float]

    def p95(self, values: Sequence[float]) -> float:
        return sorted(values)[math.ceil(0.95 * len(values)) - 1]

    @property
    def shadow_p95(self) -> float:
        """Of whoever has to wait for control and the fan-out."""
        return self.p95([max(trial.control_s or 0.0, ended(trial)) for trial in self.trials])

    def mean(self, of: Callable[[TrialRecord], float]) -> float:
        return sum(map(of, self.trials)) / len(self.trials)

    @property
    def complete(self) -> float:
        return self.mean(lambda trial: all(run.outcome in DONE for run in trial.runs))

    @property
    def parts(self) -> float:
        return self.mean(lambda trial: sum(run.outcome == "ok" for run in trial.runs))

    @property
    def nano(self) -> float:
        return self.mean(lambda trial: sum(run.cost_nano or 0 for run in trial.runs))

    @property
    def tokens(self) -> float:
        return self.mean(lambda trial: sum(run.input_tokens + run.output_tokens for run in trial.runs))

    @property
    def mismatched(self) -> float:
        compared = [trial for trial in self.trials if fatal(trial) is None]
        return sum(trial.outcome == "mismatched" for trial in compared) / len(compared)


def ended(trial: TrialRecord) -> float:
    """When the candidate was made, or failed: the runs after one another, as the graph has them."""
    at: dict[str, float] = {}
    for run in sorted(trial.runs, key=lambda run: len(KINDS[run.branch].after)):
        at[run.branch] = max((at.get(name, 0.0) for name in KINDS[run.branch].after), default=0.0) + (
            run.latency_s or 0
        )
    failed = fatal(trial)
    return max(at.values()) if failed is None else at[failed]


def fatal(trial: TrialRecord) -> str | None:
    return next((run.branch for run in trial.runs if KINDS[run.branch].required and run.outcome in FAILED), None)


async def made(declared: Rollout, count: int, *, live: Mapping[str, float] | None = None) -> tuple[Measured, World]:
    """So many calls of different users, ten a second."""
    loop = asyncio.get_running_loop()
    waited: list[float] = []

    async def visit(number: int) -> None:
        begun = loop.time()
        await world.get(key=f"user-{number}", headers={"X-Call": str(number)})
        waited.append(loop.time() - begun)

    async with running(declared, live=live) as world, asyncio.TaskGroup() as visits:
        for number in range(count):
            visits.create_task(visit(number))
            await asyncio.sleep(0.1)
        await asyncio.sleep(5.0)
        return Measured(await world.trials(), waited), world


def predicted_of(shop: Shop, settings: Collection[Setting], count: int) -> list[Prediction]:
    """What is predicted from so many calls that were recorded as things are."""

    async def predictions() -> list[Prediction]:
        _, world = await made(shop.declared(AS_IT_IS), count)
        found = [await asked(world.backend, setting) for setting in settings]
        assert all(one.sample.calls == count and not one.unanswered for one in found)
        return [one.predicted for one in found if one.predicted is not None]

    return run_virtual(predictions())


async def asked(backend: Backend, setting: Setting = AS_IT_IS, **options: Any) -> WhatIf:
    return await whatif(backend, "profile", setting, clock=time.perf_counter, **options)


def off(predicted: Figure, measured: float) -> float:
    """How far a prediction is off, relative to what was measured."""
    assert predicted.value is not None
    return abs(predicted.value / measured - 1)


def test_five_settings_come_to_what_was_predicted_for_the_same_calls() -> None:
    shop = Shop(1)
    for setting, predicted in zip(FIVE.values(), predicted_of(shop, FIVE.values(), 400), strict=True):
        measured, _ = run_virtual(made(shop.declared(setting), 400))
        assert off(predicted.user.p95, measured.shadow_p95) < 0.001, setting
        assert predicted.complete.value == pytest.approx(measured.complete)
        assert predicted.parts.value == pytest.approx(measured.parts)
        assert predicted.nano.value == pytest.approx(measured.nano)
        assert predicted.tokens.value == pytest.approx(measured.tokens)
        assert predicted.mismatched is not None
        assert predicted.mismatched.value == pytest.approx(measured.mismatched)


@pytest.mark.soak
def test_five_settings_come_to_what_was_predicted_from_other_calls() -> None:
    """On 2 000 calls each: the p95 within 10 %, completeness and cost within 3 %, and mostly inside their intervals."""
    inside = Counter[bool]()
    told = predicted_of(Shop(1), FIVE.values(), 2_000)
    for name, setting, predicted in zip(FIVE, FIVE.values(), told, strict=True):
        measured, _ = run_virtual(made(Shop(2).declared(setting), 2_000))
        print(f"\n{name}")
        for what, figure, value, most in (
            ("p95", predicted.user.p95, measured.shadow_p95, 0.10),
            ("complete", predicted.complete, measured.complete, 0.03),
            ("cost", predicted.nano, measured.nano, 0.03),
        ):
            print(f"  {what:9} predicted {figure.value:12.4f}  measured {value:12.4f}  off {off(figure, value):.2%}")
            assert off(figure, value) < most, f"{what} of {name}"
            inside[figure.low <= value <= (figure.high or math.inf)] += 1
    assert inside[True] >= 11


def test_what_users_wait_for_once_live_is_what_was_predicted() -> None:
    shop, setting = Shop(1), Setting(soft_s={"tickets": 0.1, "offers": 0.1, "summary": 0.1}, live=True)
    in_shadow, predicted = predicted_of(shop, [replace(setting, live=False), setting], 300)
    measured, _ = run_virtual(made(shop.declared(setting), 300, live=dict.fromkeys(KINDS, 1.0)))
    assert off(predicted.user.p95, measured.p95(measured.waited)) < 0.001
    assert predicted.complete.value == pytest.approx(measured.complete)
    assert predicted.parts.value == pytest.approx(measured.parts)
    assert (in_shadow.complete.value or 0) < (predicted.complete.value or 0), "control leaves them more time"


def test_branches_that_stand_in_for_control_are_predicted_too() -> None:
    shop, setting = Shop(3), Setting(hard_s={"orders": 0.1}, soft_s={"offers": 0.1})

    async def both() -> tuple[WhatIf, float]:
        _, world = await made(shop.declared(Setting(), "replace"), 300)
        found = await asked(world.backend, setting)
        measured, _ = await made(shop.declared(setting, "replace"), 300, live=dict.fromkeys(KINDS, 1.0))
        return found, measured.p95(measured.waited)

    found, waited = run_virtual(both())
    assert found.predicted is not None
    assert off(found.predicted.user.p95, waited) < 0.02
    assert (found.predicted.fell_back.value or 0) > 0.05
    assert found.predicted.mismatched is not None
    assert found.predicted.mismatched.value is None, "nothing stands where a part is missing"
    assert [one.remedy for one in found.unanswered] == ["Run this setting in shadow; what differs is recorded then."]


# Second opinions


def staged(below: float) -> Rollout:
    """A cheap opinion, and a dear one where that is not sure; each call is as sure every time."""

    async def cheap(call: Call) -> Any:
        await asyncio.sleep(0.1)
        record_usage(usd="0.001")
        return {"answer": 1, "sure": Random(call.headers["X-Call"]).random()}

    async def dear(call: Call) -> Any:
        await asyncio.sleep(0.3)
        record_usage(usd="0.02")
        return {"answer": 1}

    return rollout_of(
        Branch("cheap", cheap, part="$.a", confidence=lambda part: float(part["sure"])),
        Branch("dear", dear, part="$.a", after="cheap", escalate_below=below, required=False),
        control=answering({"a": {"answer": 1}}, after_s=0.2),
        compare=Compare(ignore=["$.a.sure"]),
    )


@pytest.mark.looptime
async def test_a_lower_confidence_comes_to_what_was_predicted() -> None:
    _, world = await made(staged(0.9), 300)
    found = await asked(world.backend, Setting(confidence={"dear": 0.5}))
    measured, _ = await made(staged(0.5), 300)
    assert found.predicted is not None
    assert found.predicted.nano.value == pytest.approx(measured.nano)
    assert found.predicted.parts.value == pytest.approx(measured.parts)
    assert found.predicted.complete.value == pytest.approx(measured.complete)
    assert found.in_force.nano.value != found.predicted.nano.value


@pytest.mark.looptime
async def test_a_confidence_that_was_never_explored_is_unknown_with_what_to_record() -> None:
    _, world = await made(staged(0.5), 100)
    found = await asked(world.backend, Setting(confidence={"dear": 0.9}))
    assert found.predicted is not None
    assert found.in_force.nano.value is not None
    assert found.predicted.nano.value is None
    assert found.predicted.user.p95.value is None, "nobody knows how long it would take"
    told = {one.branch: one for one in found.unanswered}["dear"]
    assert 30 <= told.calls <= 50
    assert told.remedy == "Record it in shadow with escalate_below=0.9 or more, and ask again."


@pytest.mark.looptime
async def test_a_trial_tells_how_sure_a_run_was_and_why_another_did_not_begin() -> None:
    measured, _ = await made(staged(0.5), 20)
    for trial in measured.trials:
        cheap, dear = trial.runs
        assert cheap.confidence is not None
        assert dear.confidence is None
        assert dear.reason == ("confident" if cheap.confidence >= 0.5 else "")


# Call by call, over graphs, latencies and timeouts of every kind


def drawn(dice: Random) -> tuple[list[dict[str, Any]], float]:
    """Branches of a call, with how long each takes, and how long control does."""
    branches: list[dict[str, Any]] = []
    for number, name in enumerate("abcd"[: dice.randint(2, 4)]):
        after = tuple(one["name"] for one in branches if dice.random() < 0.35)
        required = dice.random() < 0.5 and all(one["required"] for one in branches if one["name"] in after)
        takes_s = dice.choice([0.05, 0.1, 0.2, 0.3, 0.45, 0.7]) + number / 1_000 + dice.random() / 2_500
        fails = dice.random() < 0.12
        branches.append({"name": name, "required": required, "after": after, "takes_s": takes_s, "fails": fails})
    return branches, dice.choice([0.05, 0.25, 0.6])


def asked_of(dice: Random, branches: Sequence[Mapping[str, Any]]) -> Setting:
    soft_s = {one["name"]: dice.choice([0.06, 0.15, 0.25, 0.4]) for one in branches if not one["required"]}
    soft_s = {name: value for name, value in soft_s.items() if dice.random() < 0.6}
    hard_s = {
        one["name"]: max(soft_s.get(one["name"], 0.0), dice.choice([0.081, 0.22, 0.5]))
        for one in branches
        if dice.random() < 0.4
    }
    return Setting(soft_s=soft_s, hard_s=hard_s)


def small(branches: Sequence[Mapping[str, Any]], control_s: float, setting: Setting) -> Rollout:
    value = {"a": 1, "b": 2, "c": 3, "d": 4}
    declared = [
        Branch(
            one["name"],
            giving(ValueError() if one["fails"] else value[one["name"]], after_s=one["takes_s"]),
            part=f"$.{one['name']}",
            required=one["required"],
            after=one["after"],
            soft_timeout_s=setting.soft_s.get(one["name"]),
            hard_timeout_s=setting.hard_s.get(one["name"], 0.9),
        )
        for one in branches
    ]
    return rollout_of(*declared, control=answering(value, after_s=control_s), budget=Budget(latency_s=1.0))


async def one_call(declared: Rollout, live: bool = False) -> tuple[TrialRecord, float, Policy]:
    """Its trial, and how long the user waited."""
    async with running(declared, live={branch.name: 1.0 for branch in declared.branches} if live else None) as world:
        begun = asyncio.get_running_loop().time()
        await world.get()
        waited = asyncio.get_running_loop().time() - begun
        (trial,) = await world.trials()
        assert world.engine.snapshot is not None
        return trial, waited, world.engine.snapshot.policies["profile"]


def parts_of(trial: TrialRecord) -> int:
    return sum(run.outcome == "ok" for run in trial.runs)


@pytest.mark.parametrize("seed", range(40))
def test_any_call_under_any_timeouts_is_what_its_replay_says(seed: int) -> None:
    dice = Random(seed)
    branches, control_s = drawn(dice)
    setting = asked_of(dice, branches)
    with virtual_time() as time_of:
        before, _, policy = time_of.run(one_call(small(branches, control_s, AS_IT_IS)))
        shadow, _, _ = time_of.run(one_call(small(branches, control_s, setting)))
        live, waited, _ = time_of.run(one_call(small(branches, control_s, setting), live=True))
    call = recorded(before)
    past = Past.of([call])
    found = [replay(call, rules_of(policy, setting, past), beyond) for beyond in Beyond]
    assert min(one.parts for one in found) <= parts_of(shadow) <= max(one.parts for one in found)
    if not found[0].doubts:
        assert found[0].complete == all(run.outcome in DONE for run in shadow.runs)
    users = [replay(call, rules_of(policy, replace(setting, live=True), past), beyond) for beyond in Beyond]
    assert min(one.user_s for one in users) - 0.002 <= waited <= max(one.user_s for one in users) + 0.002
    if not users[0].fell_back:
        assert min(one.parts for one in users) <= parts_of(live) <= max(one.parts for one in users)


# Which trials


HOUR = 3_600.0
NOON = 1_767_614_400.0


def trial_of(number: int, *, at: float | None = None, **changes: Any) -> TrialRecord:
    runs = changes.pop("runs", None) or [
        RunRecord("orders", "shadow", "ok", 0.05 + number % 10 / 100, cost_nano=0),
        RunRecord("tickets", "shadow", "ok", 0.1 + number % 7 / 50, cost_nano=0),
    ]
    return sample_trial(number, at=NOON + number if at is None else at, runs=runs, **changes)


def shop_policy(*, soft_s: float | None = None, **changes: Any) -> Policy:
    """``soft_s``: the soft timeout of tickets."""
    tickets = BranchPolicy(
        name="tickets", unit="tickets", salt="tickets", part="$.tickets", required=False, soft_timeout_s=soft_s
    )
    orders = BranchPolicy(name="orders", unit="orders", salt="orders", part="$.orders")
    branches = [replace(branch, hard_timeout_s=1.0) for branch in (orders, tickets)]
    return sample_policy(branches=branches, latency_s=1.5, **changes)


async def filled(*trials: TrialRecord, policy: Policy | None = None) -> Backend:
    backend = memory_backend(ManualClock(wall=NOON + HOUR))
    await backend.state.register(policy or shop_policy(), "p1")
    await backend.ledger.append(sample_batch(*trials))
    return backend


async def test_trials_are_read_in_pages_the_newest_first_and_no_more_than_wanted() -> None:
    backend = await filled(*(trial_of(number) for number in range(1, 2_501)))
    sample = (await asked(backend)).sample
    assert (sample.calls, sample.read, sample.stored) == (2_500, 2_500, 2_500)
    assert (sample.first_at, sample.last_at) == (NOON + 1, NOON + 2_500)
    newest = (await asked(backend, most=1_200)).sample
    assert (newest.calls, newest.read, newest.stored, newest.first_at) == (1_200, 1_200, 2_500, NOON + 1_301)
    recent = (await asked(backend, since=NOON + 2_000)).sample
    assert (recent.calls, recent.read, recent.first_at) == (501, 501, NOON + 2_000)


async def test_who_waits_is_told_how_far_it_is() -> None:
    told: list[float] = []
    await asked(await filled(*(trial_of(number) for number in range(1, 2_501))), progress=told.append)
    assert told == sorted(told)
    assert len(set(told)) >= 6
    assert (told[0] < 0.3, told[-1]) == (True, 1.0)


async def test_trials_that_are_all_of_an_older_shape_are_told_with_what_to_do() -> None:
    backend = await filled(*(trial_of(number) for number in range(1, 4)), policy=shop_policy(revision="1"))
    longer = shop_policy(revision="2")
    await backend.state.register(replace(longer, latency_s=9.0), "p2")
    with pytest.raises(
        Refused, match=r"None of the 3 trials of profile can be replayed: 3 of another policy\. Let it run"
    ):
        await asked(backend)


async def test_what_cannot_be_replayed_is_left_out_and_told() -> None:
    cut = [RunRecord("orders", "shadow", "shutdown", 0.1), RunRecord("tickets", "shadow", "ok", 0.1)]
    backend = await filled(
        trial_of(1), trial_of(2), trial_of(3, mode="live"), trial_of(4, runs=cut), trial_of(5, version=9)
    )
    sample = (await asked(backend)).sample
    assert (sample.calls, sample.read) == (2, 5)
    assert sample.left_out == {"of another policy": 1, "broken off": 1, "partly live": 1}


async def test_trials_of_an_earlier_version_count_while_the_branches_run_in_the_same_order() -> None:
    backend = await filled(trial_of(1))
    await backend.state.apply("profile", {"shadow.sample": 0.5}, "spec", "ann")
    assert (await asked(backend)).sample.calls == 1
    await backend.state.apply("profile", {"budget.latency_s": 1.2}, "spec", "ann")
    with pytest.raises(Refused, match="None of the 1 trials of profile can be replayed: 1 of another policy"):
        await asked(backend)


async def test_matched_trials_of_which_only_some_are_stored_count_for_the_others() -> None:
    matched = [trial_of(number) for number in range(1, 11)]
    differs = [{"path": "$.tickets", "kind": "value", "branch": "tickets", "control": 1, "candidate": 2}]
    wrong = trial_of(11, outcome="mismatched", differences=differs)
    backend = await filled(*matched, wrong, policy=shop_policy(store_sample=0.1))
    found = await asked(backend)
    assert found.sample.kept == 0.1
    assert found.in_force.mismatched is not None
    assert found.in_force.mismatched.low <= 1 / 101 <= (found.in_force.mismatched.high or 0)
    backend = await filled(wrong, policy=shop_policy(store_sample=0.0))
    with pytest.raises(Refused, match=r"store.sample is 0.*Store some of the others too"):
        await asked(backend)


async def test_without_a_trial_nothing_is_said_but_what_to_do() -> None:
    backend = await filled()
    with pytest.raises(Refused, match=r"No trial of profile is stored in that time\. Let it run in shadow"):
        await asked(backend)
    with pytest.raises(UnknownName, match='Did you mean "profile"'):
        await whatif(backend, "profil", Setting(), clock=time.perf_counter)


async def test_a_difference_that_no_branch_explains_stays_whatever_is_dropped() -> None:
    full = [{"path": f"$.tickets[{number}]", "branch": "tickets"} for number in range(20)]
    for trial in (
        trial_of(1, outcome="mismatched", reason="aggregate: error"),
        trial_of(1, outcome="mismatched", differences=full),
    ):
        found = await asked(await filled(trial), Setting(dropped=frozenset({"tickets"})))
        assert found.predicted is not None
        assert found.predicted.mismatched is not None
        assert found.predicted.mismatched.value == 1.0


# What is answered


async def test_nothing_asked_is_things_as_they_are_with_the_frontier() -> None:
    found = await asked(await filled(*(trial_of(number) for number in range(1, 200))))
    assert found.predicted == found.in_force
    assert found.frontier is not None
    assert found.frontier.branches == ("tickets",)
    assert (found.dropped, found.absent, found.unanswered) == ([], [], ())
    assert found.took_s > 0


async def test_a_branch_that_never_ran_is_unknown_with_what_to_record() -> None:
    alone = [RunRecord("orders", "shadow", "ok", 0.05, cost_nano=0)]
    backend = await filled(*(trial_of(number, runs=alone) for number in range(1, 10)))
    found = await asked(backend, Setting(soft_s={"tickets": 0.2}))
    assert (found.predicted, found.frontier, found.absent) == (None, None, ["tickets"])
    (told,) = found.unanswered
    assert (told.branch, told.calls, told.remedy) == (
        "tickets", 9, "Let tickets run in shadow for a while, and ask again.",
    )  # fmt: skip


async def test_a_longer_timeout_than_in_force_is_unknown_where_runs_were_cut() -> None:
    cut = [RunRecord("orders", "shadow", "ok", 0.05, cost_nano=0), RunRecord("tickets", "shadow", "soft_timeout", 0.25)]
    trials = [trial_of(number, runs=cut if number % 2 else None) for number in range(1, 101)]
    backend = await filled(*trials, policy=shop_policy(soft_s=0.25))
    found = await asked(backend, Setting(soft_s={"tickets": 0.5}))
    assert found.predicted is not None
    assert (found.predicted.user.p95.value, found.predicted.complete.value) == (None, None)
    assert (found.predicted.complete.low, found.predicted.complete.high) == (0.5, 1.0)
    assert found.in_force.complete.value == 0.5
    first = found.unanswered[0]
    assert (first.branch, first.calls) == ("tickets", 50)
    assert first.remedy == "Record it in shadow with its soft timeout at 500ms or more, and ask again."


async def test_a_confidence_of_which_nobody_wrote_anything_down_is_unknown() -> None:
    first = RunRecord("cheap", "shadow", "ok", 0.1, cost_nano=10)
    dear = RunRecord("dear", "shadow", "ok", 0.3, cost_nano=700), RunRecord("dear", "shadow", "skipped", 0.0)
    staged = sample_policy(
        branches=[
            BranchPolicy(name="cheap", unit="cheap", salt="c", part="$.a"),
            BranchPolicy(name="dear", unit="dear", salt="d", part="$.a", after=("cheap",), required=False),
        ]
    )
    trials = [trial_of(number, runs=[first, dear[number % 2]]) for number in range(1, 101)]
    found = await asked(await filled(*trials, policy=staged), Setting(confidence={"dear": 0.8}))
    assert found.predicted is not None
    assert (found.in_force.nano.value, found.predicted.nano.value) == (360.0, None)
    assert found.unanswered[0].why.startswith("no recorded run of cheap tells how sure it was")
