"""Who is scored: of each key the first call and the first pair of a stage, and calls without a key one by one."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout import Branch, Budget, Shadow, gates, record_usage
from rollout.domain.bucketing import BUCKETS, bucket
from rollout.domain.closed import ClosedBlocks
from rollout.domain.evidence import MARKS, Block, Figures, Subject, UnitBlock
from rollout.domain.histogram import bucket_of
from rollout.engine.counting import SeenKeys
from rollout.engine.second import Second
from rollout.testing import FakeFlags, FixedDice
from tests.support.trials import HttpError, Response, World, added_up, answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime

PROMPT = Budget(latency_s=2.0)
USERS = [f"user-{number}" for number in range(100)]


def of(key: str) -> int:
    """The bucket of a key for branch ``a``."""
    return bucket("profile/a", key)


def names(subject: Subject) -> set[str]:
    return {name for bit, name in enumerate(MARKS) if subject.marks >> bit & 1}


def enter(world: World, *, version: int = 1, **changes: Any) -> None:
    """From the next call on, branches stand here."""
    view = world.runtime.view
    assert view is not None
    states = {name: replace(state, **changes) for name, state in view.states.items()}
    world.runtime.decide(replace(view.policy, version=version), states)


def seal(world: World) -> tuple[list[Block], list[Subject]]:
    return world.runtime.tally.seal(everything=True)


def scored(world: World, arms: str = "AB") -> list[Subject]:
    """The subjects of these arms, sealed now."""
    return [subject for subject in seal(world)[1] if subject.arm in arms]


def read(blocks: Sequence[Block], subjects: Sequence[Subject], unit: str = "a") -> UnitBlock:
    """What gates read of a unit, as the ledger puts it together, as if all were of one second."""
    found = ClosedBlocks()
    for block in blocks:
        if block.key.unit == unit:
            found.add(0, block.key.arm, block.figures)
    for one in subjects:
        if one.unit == unit:
            found.score(0, one.arm, one.marks, one.latency, one.cost, one.control_cost)
    return found.by_time()[0]


def counts(figures: Figures, *of: str) -> dict[str, int]:
    return {name: figures[name] for name in of}


def spending(usd: str | None, **more: Any) -> Any:
    """A branch, or control, that records its usage: a cost, one that nobody knows (None), or nothing (``""``)."""

    async def run(_: Any) -> Any:
        if usd != "":
            record_usage(input_tokens=10, usd=usd)
        if "raises" in more:
            raise more["raises"]
        return more.get("part", 1)

    return run


# Once in a stage


async def test_a_key_is_scored_once_in_a_stage_whatever_else_is_decided() -> None:
    async with running(rollout_of(), live={"a": 0.5}) as world:
        for _ in range(3):
            for key in USERS:
                await world.get(key=key)
        await world.settled()
        _, subjects = seal(world)
        assert Counter(one.arm for one in subjects if one.arm != "P") == Counter(
            "B" if of(key) < 5_000 else "A" for key in USERS
        )
        assert len(subjects) == len({(one.arm, one.key_hash) for one in subjects}) == 200
        enter(world)  # a new view of the same stage
        for key in USERS:
            await world.get(key=key)
        await world.settled()
        assert scored(world, "ABP") == []


@pytest.mark.parametrize("again", [{"entry": 2}, {"version": 2}], ids=repr)
async def test_a_stage_entered_anew_and_another_policy_score_every_key_again(again: dict[str, int]) -> None:
    async with running(rollout_of(), live={"a": 0.25}) as world:
        before = [await world.get(key=key) for key in USERS]
        await world.settled()
        first = scored(world, "ABP")
        enter(world, **again)
        assert [await world.get(key=key) for key in USERS] == before
        await world.settled()
        second = scored(world, "ABP")
        assert [(one.arm, one.key_hash) for one in first] == [(one.arm, one.key_hash) for one in second]
        assert {(one.entry, one.version) for one in first} == {(1, 1)}
        assert {(one.entry, one.version) for one in second} == {(again.get("entry", 1), again.get("version", 1))}


async def test_keys_that_were_live_in_an_earlier_stage_are_watched_by_pairs_only() -> None:
    async with running(rollout_of(), live={"a": 0.05}) as world:
        for key in USERS:
            await world.get(key=key)
        await world.settled()
        seal(world)
        enter(world, entry=2, share=0.5, earlier=0.05)
        for key in USERS:
            await world.get(key=key)
        await world.settled()
        found = read(*seal(world))
        assert found.scored_a["calls"] == sum(of(key) >= 5_000 for key in USERS)
        assert found.scored_b["calls"] == sum(500 <= of(key) < 5_000 for key in USERS)
        assert found.b["calls"] == sum(of(key) < 5_000 for key in USERS) > found.scored_b["calls"]
        assert found.scored_p["pairs"] == found.pairs["pairs"] == 100


@pytest.mark.parametrize("declared", [{"sticky": False}, {"key": None}], ids=repr)
async def test_where_nobody_keeps_a_bucket_every_call_counts_in_the_blocks(declared: dict[str, Any]) -> None:
    async with running(rollout_of(**declared), live={"a": 0.5}) as world:
        enter(world, earlier=0.25)
        for _ in range(3):
            for key in USERS:
                await world.get(key=key)
        await world.settled()
        blocks, subjects = seal(world)
        assert subjects == []
        assert not [name for block in blocks for name in block.figures.counts if name.startswith("single:")]
        found = read(blocks, subjects)
        assert found.a["calls"] + found.b["calls"] == found.pairs["pairs"] == found.pairs["compared"] == 300


def test_when_too_many_keys_were_seen_a_stable_half_of_them_goes_on_being_scored() -> None:
    seen = SeenKeys()
    dice = random.Random(1)
    keys = [dice.getrandbits(64) for _ in range(200_001)]
    assert all(seen.first(key) for key in keys)
    assert not any(seen.first(key) for key in keys[:1_000])
    fresh = [dice.getrandbits(64) for _ in range(10_000)]
    taken = [key for key in fresh if seen.first(key)]
    assert all(key < 2**63 for key in taken)
    assert len(taken) == pytest.approx(5_000, abs=300)


# Flags


@pytest.mark.parametrize("instant", [True, False])
@pytest.mark.parametrize("said", ["off", "shadow", "on"])
@pytest.mark.parametrize("share", [0.0, 0.5])
async def test_whose_flag_does_not_follow_the_ramp_is_in_no_evidence(said: str, instant: bool, share: float) -> None:
    """Neither in the arms nor in the pairs, by whichever way these are counted."""
    flags = FakeFlags({"profile": said}, instant=instant)
    for noise, control in ((0.0, None), (0.0, giving(Response(b"{}", 404))), (1.0, None)):
        rollout = rollout_of(control=control, shadow=Shadow(noise=noise))
        async with running(rollout, live={"a": share} if share else None, flags=flags) as world:
            for key in (*USERS[:10], None):
                await world.get(key=key)
            await world.settled()
            blocks, subjects = seal(world)
            assert subjects == []
            assert [block.key.unit for block in blocks if block.figures] == [""]
            assert added_up(blocks)["", "*"]["calls"] == 11


async def test_a_branch_whose_own_flag_does_not_follow_the_ramp_is_in_no_evidence_beside_others() -> None:
    flags = FakeFlags({"a-flag": "shadow"})
    branches = (Branch("a", giving(1), part="$.a", flag="a-flag"), Branch("b", giving(2), part="$.b"))
    async with running(rollout_of(*branches), flags=flags) as world:
        await world.get()
        await world.settled()
        assert world.engine.metrics().branches["profile", "a", "shadow"]["outcome:ok"] == 1
        assert world.engine.metrics().comparisons["profile", "a", "matched"] == 1
        blocks, subjects = seal(world)
        assert {block.key.unit for block in blocks} == {"b", ""}
        assert [one.unit for one in subjects] == ["b"]


async def test_what_a_shadow_of_no_evidence_costs_is_still_spent() -> None:
    flags = FakeFlags({"profile": "shadow"})
    async with running(rollout_of(Branch("a", spending("0.01"), part="$.a")), flags=flags) as world:
        await world.get()
        await world.settled()
        assert world.sealed()["a", "P"].counts == {"spent:a": 10_000_000}


async def test_a_key_is_scored_as_soon_as_its_flag_lets_it_into_an_arm() -> None:
    flags = FakeFlags({"profile": "off"}, instant=False)
    async with running(rollout_of(), live={"a": 0.5}, flags=flags) as world:
        for key in USERS:
            await world.get(key=key)
        flags.set("profile", "auto")
        for key in USERS:
            await world.get(key=key)
        assert len(scored(world)) == 100


async def test_a_key_that_is_in_the_arms_of_one_unit_is_scored_in_those_of_another_later() -> None:
    flags = FakeFlags({"b-flag": "off"}, instant=False)
    branches = (Branch("a", giving(1), part="$.a"), Branch("b", giving(2), part="$.b", flag="b-flag"))
    async with running(rollout_of(*branches), live={"a": 0.5, "b": 0.5}, flags=flags) as world:
        await world.get()
        flags.set("b-flag", "auto")
        await world.get()
        assert [one.unit for one in scored(world)] == ["a", "b"]


# What is said of a call


async def test_of_arm_b_it_is_said_whether_the_unit_ran_in_time_and_what_it_cost() -> None:
    rollout = rollout_of(Branch("a", spending("0.002", part=9), part="$.a"))
    async with running(rollout, live={"a": 1.0}) as world:
        await world.get()
        (one,) = scored(world)
        assert (one.arm, names(one)) == ("B", {"ran", "costed"})
        assert (one.cost, one.control_cost) == (bucket_of(2.0), -1)  # in milli-dollars
        assert one.latency == bucket_of(0.0)


@pytest.mark.parametrize(
    ("branch", "said"),
    [
        (Branch("a", giving(9), part="$.a"), {"ran", "costed"}),
        (Branch("a", giving(9, after_s=0.2), part="$.a", sla_s=0.1), {"ran", "costed", "sla_calls"}),
        (Branch("a", giving(9), part="$.a", sla_s=0.1), {"ran", "costed"}),
        (Branch("a", giving(9), part="$.a", when=lambda call: False, required=False), {"costed"}),
        (Branch("a", spending(None), part="$.a"), {"ran", "unpriced"}),
        (Branch("a", giving(ValueError()), part="$.a"), {"ran", "costed", "bad", "fallbacks"}),
        (Branch("a", spending(None, raises=ValueError()), part="$.a"), {"ran", "unpriced", "bad", "fallbacks"}),
        (Branch("a", giving(ValueError()), part="$.a", required=False), {"ran", "costed", "bad"}),
        (
            Branch("a", giving(9, after_s=5.0), part="$.a", hard_timeout_s=0.3, sla_s=0.2),
            {"ran", "costed", "sla_calls", "bad", "fallbacks"},
        ),
        (
            Branch("a", giving(9, after_s=5.0), part="$.a", soft_timeout_s=0.3, sla_s=0.2, required=False),
            {"ran", "costed", "sla_calls"},
        ),
    ],
)
@pytest.mark.parametrize("keyed", [True, False])
async def test_what_is_said_of_arm_b(branch: Branch, said: set[str], keyed: bool) -> None:
    """The same of a subject, of a call without a key, and of a call where nobody has one."""
    for declared in ({}, {"key": None}) if not keyed else ({},):
        async with running(rollout_of(branch, budget=PROMPT, **declared), live={"a": 1.0}) as world:
            await world.get(key="alice" if keyed else None)
            found = read(*seal(world))
            whole = found.b if declared else found.scored_b
            assert {name for name in MARKS if whole[name]} == said
            assert counts(found.b, "calls", *MARKS) == counts(whole, "calls", *MARKS)
            assert whole["calls"] == 1
            assert whole.histogram("latency").total == (0 if "bad" in said else 1)


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        ("0.003", {"control_costed"}),
        ("0", {"control_costed"}),
        ("", {"control_costed"}),  # it records nothing
        (None, {"control_unpriced"}),
    ],
)
@pytest.mark.parametrize("shares", [{"a": 0.0001}, {"a": 0.0001, "b": 1.0}], ids=["control", "overlay"])
@pytest.mark.parametrize("fails", [False, True])
async def test_of_arm_a_it_is_said_what_control_cost(
    usd: str | None, said: set[str], shares: dict[str, float], fails: bool
) -> None:
    answer = await answering({"a": 1, "b": 2})(None)
    control = spending(usd, part=answer, **({"raises": HttpError(503)} if fails else {}))
    branches = (Branch("a", giving(1), part="$.a"), Branch("b", giving(2), part="$.b"))
    async with running(rollout_of(*branches, control=control), live=shares) as world:
        for key in (USERS[0], None):
            with pytest.raises(HttpError) if fails else nullcontext():
                await world.get(key=key)
        blocks, subjects = seal(world)
        found = read(blocks, subjects)
        assert found.scored_a["calls"] == found.a["calls"] == 2
        assert {name: found.scored_a[name] for name in MARKS if found.scored_a[name]} == dict.fromkeys(
            said | ({"bad"} if fails else set()), 2
        )
        assert counts(found.a, *said) == dict.fromkeys(said, 2)
        dear = {bucket_of(3.0): 2} if usd == "0.003" else {}
        assert found.scored_a.histogram("control_cost") == found.a.histogram("control_cost") == dear
        assert found.a["control_cost_nano"] == (6_000_000 if dear else 0)


async def test_a_live_unit_that_was_not_even_asked_cost_nothing() -> None:
    async with running(rollout_of(), live={"a": 1.0}) as world:
        await world.get(skip="upgrade")
        found = read(*seal(world))
        said = {"calls": 1, "bad": 0, "ran": 0, "costed": 1, "unpriced": 0}
        assert counts(found.b, *said) == counts(found.scored_b, *said) == said


async def test_a_fallback_is_of_those_only_who_were_live() -> None:
    branches = (Branch("a", giving(ValueError()), part="$.a"), Branch("c", giving(3), part="$.c", required=False))
    rollout = rollout_of(*branches, join="replace", control=giving(HttpError(503)))
    async with running(rollout, live={"a": 1.0, "c": 0.0001}) as world:
        with pytest.raises(HttpError):
            await world.get()
        blocks, subjects = seal(world)
        assert {one.unit: (one.arm, "bad" in names(one), "fallbacks" in names(one)) for one in subjects} == {
            "a": ("B", True, True),
            "c": ("A", True, False),
        }
        figures = added_up(blocks)
        assert (figures["a", "B"]["fallbacks"], figures["c", "A"]["fallbacks"]) == (1, 0)


async def test_what_control_cost_outside_of_a_trial_nobody_knows() -> None:
    async with running(rollout_of(shadow=Shadow(sample=0.0)), live={"a": 0.0001}) as world:
        await world.get()
        found = read(*seal(world))
        assert counts(found.scored_a, "calls", "control_costed", "control_unpriced") == {
            "calls": 1,
            "control_costed": 0,
            "control_unpriced": 0,
        }


async def test_a_group_costs_what_its_branches_cost_together_and_nobody_knows_it_if_one_is_unknown() -> None:
    for usd, cost in (("0.002", bucket_of(3.0)), (None, -1)):
        branches = [
            Branch("a", spending("0.001"), part="$.a", salt="one"),
            Branch("b", spending(usd), part="$.b", salt="one"),
        ]
        async with running(rollout_of(*branches, budget=PROMPT), live={"a": 1.0, "b": 1.0}) as world:
            await world.get()
            await world.settled()
            blocks, subjects = seal(world)
            assert {one.arm: one.cost for one in subjects} == {"B": cost, "P": cost}
            figures = added_up(blocks)["a+b", "B"]
            assert counts(figures, "costed", "unpriced") == {"costed": int(cost > 0), "unpriced": int(cost < 0)}
            assert figures["cost_nano"] == (3_000_000 if usd else 1_000_000)


async def test_what_was_cut_has_been_paid_for_all_the_same() -> None:
    async def hanging(_: Any) -> Any:
        record_usage(usd="0.002")
        await asyncio.sleep(60.0)

    async with running(rollout_of(Branch("a", hanging, part="$.a"), budget=PROMPT), live={"a": 1.0}) as world:
        call = asyncio.create_task(world.get())
        await asyncio.sleep(0.5)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        blocks, (one,) = seal(world)
        assert (names(one), one.cost) == ({"bad", "costed"}, bucket_of(2.0))
        assert added_up(blocks)["a", "B"]["cost_nano"] == 2_000_000


# What does not end


@pytest.mark.parametrize("key", ["alice", None])
@pytest.mark.parametrize("share", [1.0, 0.0001], ids=["B", "A"])
async def test_a_call_that_has_not_ended_when_its_second_is_sealed_is_bad_in_both_arms_alike(
    key: str | None, share: float
) -> None:
    rollout = rollout_of(Branch("a", giving(1), part="$.a"), control=answering({"a": 1}, after_s=60.0), budget=PROMPT)
    async with running(rollout, live={"a": share}) as world:
        calls = [asyncio.create_task(world.get(key=key)) for _ in range(3)]
        await asyncio.sleep(world.runtime.tally.settle_s + 1.0)
        found = read(*world.runtime.tally.seal())
        arm, whole = (found.scored_b, found.b) if share == 1.0 else (found.scored_a, found.a)
        once = 1 if key else 3
        assert counts(arm, "calls", "bad", "costed", "control_costed", "ran") == {
            "calls": once, "bad": once, "costed": 0, "control_costed": 0, "ran": 0,
        }  # fmt: skip
        assert arm.histogram("latency") == {}
        assert counts(whole, "calls", "bad") == {"calls": 3, "bad": 3}
        await asyncio.gather(*calls)
        assert world.runtime.tally.late == 3
        await world.settled()
        late = read(*seal(world))
        assert late.scored_a["calls"] == late.scored_b["calls"] == 0
        assert late.pairs["pairs"] == 3  # filed under their own start


@pytest.mark.parametrize("share", [1.0, 0.0001], ids=["B", "A"])
async def test_a_client_that_goes_away_is_bad_in_both_arms_alike(share: float) -> None:
    rollout = rollout_of(Branch("a", giving(1), part="$.a"), control=answering({"a": 1}, after_s=1.0), budget=PROMPT)
    async with running(rollout, live={"a": share}) as world:
        call = asyncio.create_task(world.get())
        await asyncio.sleep(0.5)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        (one,) = scored(world)
        assert names(one) == ({"bad", "ran", "costed"} if share == 1.0 else {"bad", "control_costed"})
        assert one.latency == -1


# Calls without a key


async def test_a_call_without_a_key_is_drawn_and_scored_by_itself_as_often_as_one_with_a_key() -> None:
    """By the bucket that was drawn: live below 5 000, and in the evidence from 2 000 on."""
    drawn = [100, 1_999, 2_000, 4_999, 5_000, 9_999]
    dice = FixedDice(*(number / BUCKETS + 1e-9 for number in drawn))
    async with running(rollout_of(Branch("a", giving(9), part="$.a")), live={"a": 0.5}, dice=dice) as world:
        enter(world, earlier=0.2)
        answers = [(await world.get(key=None)).json()["a"] for _ in drawn]
        assert answers == [9 if number < 5_000 else 1 for number in drawn]
        await world.settled()
        blocks, subjects = seal(world)
        figures = added_up(blocks)
        assert [one for one in subjects if one.arm != "P"] == []
        assert (figures["a", "A"]["calls"], figures["a", "B"]["calls"]) == (2, 4)
        assert (figures["a", "A"]["single:calls"], figures["a", "B"]["single:calls"]) == (2, 2)
        assert figures["a", "B"].histogram("single:latency").total == 2
        assert figures["a", "P"]["single:pairs"] == figures["a", "P"]["pairs"] == 6


async def test_calls_without_a_key_share_no_cell_with_those_that_have_one() -> None:
    async with running(rollout_of(), live={"a": 1.0}) as world:
        for key in (None, "alice", "bob", None, "alice"):
            await world.get(key=key)
        blocks, subjects = seal(world)
        found = read(blocks, subjects)
        assert (found.b["calls"], found.scored_b["calls"]) == (5, 4)
        assert added_up(blocks)["a", "B"]["single:calls"] == 2


async def test_units_draw_apart_and_so_are_scored_apart() -> None:
    branches = (Branch("a", giving(1), part="$.a"), Branch("b", giving(2), part="$.b"))
    async with running(rollout_of(*branches), live={"a": 0.5, "b": 0.5}, dice=FixedDice(0.1, 0.9, 0.3, 0.1)) as world:
        enter(world, earlier=0.2)
        for _ in range(2):  # buckets 1 000 and 9 000, then 3 000 and 1 000
            await world.get(key=None)
        figures = added_up(seal(world)[0])
        assert [figures["a", "B"][name] for name in ("calls", "single:calls")] == [2, 1]
        assert [figures["b", "A"]["single:calls"], figures["b", "B"]["single:calls"]] == [1, 0]


# Pairs


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["shadow", "beside control"])
@pytest.mark.parametrize("part", [1, 9], ids=["clean", "mismatched"])
async def test_the_first_pair_of_a_key_is_scored(share: float, part: int) -> None:
    async with running(rollout_of(Branch("a", giving(part), part="$.a")), live={"a": share}) as world:
        for _ in range(3):
            for key in (*USERS[:5], None):
                await world.get(key=key)
            await world.settled()
        blocks, subjects = seal(world)
        pairs = [one for one in subjects if one.arm == "P"]
        assert len(pairs) == len({one.key_hash for one in pairs}) == 5
        said = {"compared", "ran", "costed", "control_costed"} | ({"mismatched"} if part == 9 else set())
        assert all(names(one) == said for one in pairs)
        found = read(blocks, subjects)
        assert (found.pairs["pairs"], found.pairs["compared"]) == (18, 18)
        assert found.scored_p["pairs"] == found.scored_p["compared"] == 5 + 3
        assert found.scored_p["mismatched"] == (8 if part == 9 else 0)


async def test_a_pair_of_reverse_shadow_is_scored_with_the_costs_of_both_sides() -> None:
    async def control(_: Any) -> Response:
        record_usage(usd="0.004")
        return Response(b'{"a": 1}')

    rollout = rollout_of(
        Branch("a", spending("0.002"), part="$.a"),
        control=control,
        join="replace",
        shadow=Shadow(noise=0.0, reverse=1.0),
    )
    async with running(rollout, live={"a": 1.0}) as world:
        await world.get()
        await world.settled()
        blocks, subjects = seal(world)
        (pair,) = [one for one in subjects if one.arm == "P"]
        assert names(pair) == {"compared", "ran", "costed", "control_costed"}
        assert (pair.cost, pair.control_cost) == (bucket_of(2.0), bucket_of(4.0))
        figures = added_up(blocks)
        assert figures["a", "B"]["cost_nano"] == 2_000_000
        assert figures["a", "P"]["cost_nano"] == 0  # what was live is counted once, in its arm
        assert figures["a", "P"]["control_cost_nano"] == 4_000_000


@pytest.mark.parametrize(
    ("branch", "said"),
    [
        (Branch("a", giving(1, after_s=0.2), part="$.a", sla_s=0.1), {"compared", "ran", "sla_calls", "costed"}),
        (Branch("a", spending("0.002"), part="$.a"), {"compared", "ran", "costed"}),
        (Branch("a", spending(None), part="$.a"), {"compared", "ran", "unpriced"}),
        (Branch("a", giving(ValueError()), part="$.a"), {"ran", "costed", "would_fall_back"}),
        (Branch("a", giving(ValueError()), part="$.a", required=False), {"ran", "costed"}),
        (Branch("a", giving(1), part="$.b.c"), {"ran", "costed"}),
    ],
)
@pytest.mark.parametrize("keyed", [True, False])
async def test_what_is_said_of_a_pair(branch: Branch, said: set[str], keyed: bool) -> None:
    """The same of a subject, of a pair without a key, and of all pairs."""
    async with running(rollout_of(branch)) as world:
        await world.get(key="alice" if keyed else None)
        await world.settled()
        found = read(*seal(world))
        if branch.part == "$.b.c":
            said = {name for name in MARKS if found.pairs[name]}
            assert "control_costed" in said
        assert {name for name in MARKS if found.scored_p[name]} == said | {"control_costed"}
        assert counts(found.pairs, "pairs", *MARKS) == counts(found.scored_p, "pairs", *MARKS)
        assert found.pairs.histogram("cost") == found.scored_p.histogram("cost")


async def test_a_pair_that_says_nothing_does_not_use_up_its_key() -> None:
    wanted = False
    branch = Branch("a", giving(1), part="$.a", when=lambda call: wanted, required=False)
    async with running(rollout_of(branch)) as world:
        await world.get()
        await world.settled()
        found = seal(world)
        assert found[1] == []
        wanted = True
        await world.get()
        await world.settled()
        assert [one.arm for one in scored(world, "P")] == ["P"]


async def test_a_clean_pair_scores_each_unit_of_which_the_key_has_had_none() -> None:
    wanted = False
    branches = (
        Branch("a", giving(1), part="$.a"),
        Branch("b", giving(2), part="$.b", when=lambda call: wanted, required=False),
    )
    async with running(rollout_of(*branches)) as world:
        await world.get()
        await world.settled()
        assert [one.unit for one in scored(world, "P")] == ["a"]
        wanted = True
        await world.get()
        await world.settled()
        assert [one.unit for one in scored(world, "P")] == ["b"]


# Clocks and changes


async def test_what_is_scored_is_of_the_second_of_its_block_whatever_is_done_to_the_clock() -> None:
    """Pairs belong to the second in which their shadow begins, after control has ended."""
    rollout = rollout_of(control=answering({"a": 1}, after_s=2.5), budget=Budget(latency_s=60.0))
    async with running(rollout, live={"a": 0.5}) as world:
        tally = world.runtime.tally
        dice = random.Random(3)
        tasks = []
        for key in USERS:
            tasks.append(asyncio.create_task(world.get(key=key)))
            await asyncio.sleep(0.13)
            tally.offset += dice.choice([0, 0, 0, -0.4, 0.4, -1, 1, -20, 3600, -3600])
        await asyncio.gather(*tasks)
        await world.settled()
        blocks, subjects = seal(world)
        calls, pairs = Counter[int](), Counter[int]()
        for block in blocks:
            calls[block.key.second] += block.figures["calls"] if block.key.unit else 0
            pairs[block.key.second] += block.figures["pairs"]
        assert +calls == Counter(int(one.started_at) for one in subjects if one.arm != "P")
        assert +pairs == Counter(int(one.started_at) for one in subjects if one.arm == "P")
        assert calls.total() == pairs.total() == 100
        assert calls != pairs
        assert tally.late == 0


@given(number=st.integers(0, 2**33), offset=st.floats(-2e9, 2e9), at=st.floats(-0.5, 1.5))
def test_a_second_holds_all_that_is_scored_in_it_to_the_last_bit(number: int, offset: float, at: float) -> None:
    second = Second("profile", number, (), 1, offset=offset)
    for moment in (second.ends - at, math.nextafter(second.ends, -math.inf)):
        assert int(second.epoch(moment)) == number


async def test_no_call_is_counted_in_a_second_that_was_sealed_though_the_clock_shows_it_again() -> None:
    async with running(rollout_of(), live={"a": 0.5}) as world:
        await world.get(key="alice")
        await world.settled()
        seal(world)
        await world.get(key="bob")  # in the same second still
        await asyncio.sleep(30.0)
        world.runtime.tally.offset -= 30.0
        await world.get(key="carol")
        await world.settled()
        blocks, subjects = seal(world)
        assert added_up(blocks)["", "*"]["calls"] == 2
        assert len([one for one in subjects if one.arm != "P"]) == 2


async def test_a_second_that_the_clock_shows_twice_is_sealed_twice_each_when_it_is_due() -> None:
    rollout = rollout_of(control=answering({"a": 1}, after_s=1.9), budget=PROMPT)
    async with running(rollout, live={"a": 0.5}) as world:
        tally = world.runtime.tally
        first = asyncio.create_task(world.get(key="alice"))
        await asyncio.sleep(1.0)
        tally.offset -= 1.0
        await asyncio.sleep(0.9)
        second = asyncio.create_task(world.get(key="bob"))
        await asyncio.sleep(tally.settle_s + 1.0 - world.runtime.time() + 0.01)
        blocks, subjects = tally.seal()
        await asyncio.gather(first, second)
        await world.settled()
        others, other_subjects = seal(world)
        assert tally.late == 0
        assert added_up([*blocks, *others])["", "*"]["bad"] == 0
        assert {one.key_hash for one in subjects} != {one.key_hash for one in other_subjects}


async def test_a_second_that_was_opened_after_the_next_one_is_sealed_when_it_is_due() -> None:
    """A call that had to be captured is counted in the second of its start, though the next one has begun."""

    async def capture(request: Any) -> dict[str, str]:
        user = request.headers["X-User-Id"]
        await asyncio.sleep(0.6 if user == "alice" else 0.0)
        return {"user": user}

    rollout = rollout_of(budget=PROMPT, capture=capture, key=lambda call: call.state["user"])
    async with running(rollout, live={"a": 0.5}) as world:
        tally = world.runtime.tally
        await asyncio.sleep(0.7)
        call = asyncio.create_task(world.get(key="alice"))
        await asyncio.sleep(0.4)
        await world.get(key="bob")
        await call
        await world.settled()
        await asyncio.sleep(1.0 + tally.settle_s - world.runtime.time() + 0.001)
        assert {block.key.second for block in tally.seal()[0]} == {int(tally.offset)}


@pytest.mark.parametrize("key", ["alice", None])
async def test_a_call_belongs_to_the_stage_and_policy_of_its_start(key: str | None) -> None:
    rollout = rollout_of(Branch("a", giving(1), part="$.a"), control=answering({"a": 1}, after_s=1.0), budget=PROMPT)
    async with running(rollout, live={"a": 1.0}) as world:
        call = asyncio.create_task(world.get(key=key))
        await asyncio.sleep(0.5)
        enter(world, entry=2, version=2, share=0.0001, stage=1)
        await call
        await world.settled()
        blocks, subjects = seal(world)
        assert {(block.key.version, block.key.entry) for block in blocks if block.key.unit} == {(1, 1)}
        assert {(one.version, one.entry) for one in subjects} <= {(1, 1)}
        found = read(blocks, subjects)
        assert (found.scored_b["calls"], found.scored_p["pairs"], found.a["calls"]) == (1, 1, 0)


async def test_a_call_that_was_routed_late_is_scored_in_the_stage_of_its_start() -> None:
    class Slow(FakeFlags):
        async def ask(self, *what: Any) -> Any:
            await asyncio.sleep(0.5)
            return await super().ask(*what)

    async with running(rollout_of(), live={"a": 1.0}, flags=Slow(instant=False)) as world:
        call = asyncio.create_task(world.get())
        await asyncio.sleep(0.1)
        enter(world, entry=2, share=0.0001)
        await call
        (one,) = scored(world)
        assert (one.arm, one.entry) == ("B", 1)
        await world.get()
        (one,) = scored(world)
        assert (one.arm, one.entry) == ("A", 2)


@pytest.mark.parametrize("keyed", [True, False])
async def test_no_call_is_counted_under_a_share_by_which_it_was_not_routed(keyed: bool) -> None:
    """The share changes in the middle of a second, and again, with calls under way: each block holds the calls of its
    own stage, split as that stage splits them.
    """
    shares = [0.1, 0.6, 0.3]
    branch = Branch("a", giving(1), part="$.a", max_concurrency=300)
    rollout = rollout_of(branch, control=answering({"a": 1}, after_s=0.2), **({} if keyed else {"sticky": False}))
    async with running(rollout, dice=FixedDice(0.05, 0.2, 0.45, 0.9)) as world:
        calls = []
        for entry, share in enumerate(shares, 1):
            enter(world, entry=entry, share=share, stage=1)
            calls += [asyncio.create_task(world.get(key=key)) for key in USERS]
            await asyncio.sleep(0.05)
        await asyncio.gather(*calls)
        await world.settled()
        blocks, subjects = seal(world)
        for entry, share in enumerate(shares, 1):
            live = sum(of(key) < share * BUCKETS for key in USERS)
            if not keyed:
                live = sum(draw < share for draw in (0.05, 0.2, 0.45, 0.9)) * 25
            split = {block.key.arm: block.figures["calls"] for block in blocks if block.key.entry == entry}
            assert (split["A"], split["B"]) == (100 - live, live)
            of_entry = Counter(one.arm for one in subjects if one.entry == entry)
            assert of_entry == ({"A": 100 - live, "B": live, "P": 100} if keyed else {})


# Slower


@pytest.mark.parametrize("overlaid", [True, False], ids=["short way", "long way"])
async def test_pairs_that_took_longer_than_a_latency_gate_allows_are_counted_by_its_tolerance(overlaid: bool) -> None:
    took = {"a": 0.1, "b": 0.13, "c": 0.3}
    branches = [
        Branch(name, giving(number, after_s=took[name]), part=f"$.{name}", max_concurrency=300)
        for number, name in enumerate("abc", 1)
    ]
    rollout = rollout_of(
        *branches,
        control=answering({"a": 1, "b": 2, "c": 3}, after_s=0.1),
        shadow=Shadow(noise=0.0, concurrency=300),
        gates=[
            gates.latency(q=0.5, worse_by=0.25, mode="sequential"),
            gates.latency(q=0.95, worse_by=0.25, mode="sequential"),
            gates.latency(worse_by=1.0, mode="sequential"),
            gates.latency(worse_by=0.1, mode="threshold"),
            gates.errors(),
        ],
    )
    async with running(rollout) as world:
        world.runtime.overlaid = overlaid
        await asyncio.gather(*(world.get() for _ in range(300)))
        await world.settled()
        figures = world.sealed()
        found = {unit: figures[unit, "P"].starting("slower:") for unit in "abc"}
        assert {unit: {name: count for name, count in one.items() if count} for unit, one in found.items()} == {
            "a": {},
            "b": {"0.25": 300},  # and nothing of the threshold gate, which asks for the quantile
            "c": {"0.25": 300, "1": 300},
        }


async def test_of_a_pair_in_which_one_side_failed_nobody_was_slower() -> None:
    gate = gates.latency(worse_by=0.0, mode="sequential")
    for branch, control in (
        (giving(ValueError(), after_s=0.5), answering({"a": 1})),
        (giving(1, after_s=0.5), answering({"a": 1}, status=500)),
    ):
        async with running(rollout_of(Branch("a", branch, part="$.a"), control=control, gates=[gate])) as world:
            await world.get()
            await world.settled()
            pairs = world.sealed()["a", "P"]
            assert (pairs["pairs"], pairs["slower:0"]) == (1, 0)


# All of it together


class Fate:
    """A control that answers, fails, or never answers, as each call asks for."""

    async def control(self, request: Any) -> Response:
        match request.headers.get("X-Fate"):
            case "raises":
                raise ValueError
            case "hangs":
                await asyncio.sleep(3600)
            case "500":
                return Response(b"{}", 500)
        return Response(b'{"a": 1}')


CALL = st.tuples(
    st.one_of(st.none(), st.integers(0, 30)),
    st.sampled_from(["ok", "ok", "raises", "500", "hangs"]),
    st.sampled_from([0, 1]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    calls=st.lists(CALL, min_size=1, max_size=60),
    said=st.dictionaries(st.integers(0, 30), st.sampled_from(["off", "shadow", "on"]), max_size=8),
    share=st.integers(1, BUCKETS),
    earlier=st.integers(0, BUCKETS),
)
async def test_over_two_processes_each_key_is_scored_once_and_each_other_call_by_its_draw(
    calls: list[tuple[int | None, str, int]], said: dict[int, str], share: int, earlier: int
) -> None:
    earlier = min(earlier, share)
    flags = FakeFlags({("profile", USERS[number]): value for number, value in said.items()})
    rollout = rollout_of(control=Fate().control, shadow=Shadow(sample=0.0))
    async with (
        running(rollout, flags=flags, process="p1", dice=FixedDice(seed=1)) as one,
        running(rollout, flags=flags, process="p2", dice=FixedDice(seed=2)) as two,
    ):
        worlds = (one, two)
        for world in worlds:
            enter(world, stage=1, share=share / BUCKETS, earlier=earlier / BUCKETS)
        tasks = []
        for number, fate, process in calls:
            key = None if number is None else USERS[number]
            tasks.append(asyncio.create_task(worlds[process].get(key=key, headers={"X-Fate": fate})))
            await asyncio.sleep(0.01)
        sealed = [seal(world) for world in worlds]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    blocks = [block for found, _ in sealed for block in found]
    first: dict[str, Subject] = {}
    for _, subjects in sealed:
        assert len({subject.key_hash for subject in subjects}) == len(subjects)
        for subject in subjects:
            known = first.get(subject.key_hash)
            assert known is None or known.arm == subject.arm
            first[subject.key_hash] = subject if known is None else min(known, subject, key=lambda x: x.started_at)
    expected: dict[str, list[str]] = {}  # of each key that is scored: the fate of its first call
    draws = [random.Random(1), random.Random(2)]
    singles = Counter[str]()
    for number, fate, process in calls:
        if number is None:
            drawn = int(draws[process].random() * BUCKETS)
            arm = "B" if drawn < share else "A"
            if drawn >= earlier:
                singles[arm] += 1
                singles[f"{arm} bad"] += fate != "ok"
        elif number not in said and of(USERS[number]) >= earlier:
            expected.setdefault(USERS[number], []).append(fate)
    assert Counter(subject.arm for subject in first.values()) == Counter(
        "B" if of(key) < share else "A" for key in expected
    )
    assert sum("bad" in names(subject) for subject in first.values()) == sum(
        fates[0] != "ok" for fates in expected.values()
    )
    added = added_up(blocks)
    for arm in "AB":
        figures = added.get(("a", arm), Figures())
        assert (figures["single:calls"], figures["single:bad"]) == (singles[arm], singles[f"{arm} bad"])
