"""Comparison through the engine: the short way of clean trials comes to what the long way does, whatever the parts."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rollout_orjson
from rollout import Branch, Call, Compare, Reply, Usage, gates, record_usage
from rollout.domain.codec import STANDARD, Codec
from rollout.engine import trial as trial_module
from rollout.ports import TrialRecord
from tests.support.trials import Response, World, added_up, answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime

CODECS = {"standard": STANDARD, "orjson": rollout_orjson.codec()}
HUGE = 12345678901234567890123


class Colour(Enum):
    red = "red"


class Tint(StrEnum):
    red = "red"


@dataclass
class Order:
    id: int


def anew(value: Any) -> Any:
    """An equal value that shares nothing with the first, where it is JSON."""
    return json.loads(json.dumps(value))


async def outcome_of(
    control: Any, part: Any, codec: Codec = STANDARD, **compare: Any
) -> tuple[str, list[tuple[str, str]]]:
    """The outcome of a shadow, and the paths and kinds that differ."""
    rollout = rollout_of(
        Branch("a", giving(part), part="$.a"), control=answering({"a": control}), compare=Compare(**compare)
    )
    async with running(rollout, codec=codec) as world:
        await world.get()
        (record,) = await world.trials()
    return record.outcome, [(str(one["path"]), str(one["kind"])) for one in record.differences]


# What is the same, and what only looks so

SAME = [0, 1, 1.5, True, None, "", "é\u2028", [], {}, [1, [2, {"x": None}]], {"a": {"b": 1}}, HUGE, 2**63, -0.0, 1e300]
ALIKE = [
    (1, True),
    (True, 1),
    (0, False),
    (None, 0),
    (None, False),
    (None, ""),
    ("1", 1),
    ([], {}),
    ([1], [True]),
    ({"x": 1}, {"x": True}),
    (None, float("nan")),
    ([None], [float("inf")]),
    (float("nan"), None),
    (HUGE, float(HUGE)),
    ([1, HUGE], [1, float(HUGE)]),
    ("red", Colour.red),
    ("12345678-1234-5678-1234-567812345678", uuid.UUID("12345678123456781234567812345678")),
    ("2026-01-05T12:00:00+00:00", datetime(2026, 1, 5, 12, tzinfo=UTC)),
    ({"id": 7}, Order(7)),
    ("YQ==", b"a"),
    ([1, 2], {1, 2}),
    ("1.5", Decimal("1.5")),
    (1.5, Decimal("1.5")),
    ({"1": 2}, {1: 2, "x": 3}),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", SAME, ids=repr)
async def test_an_equal_part_is_matched(value: Any, codec: str) -> None:
    assert await outcome_of(value, anew(value), CODECS[codec]) == ("matched", [])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("control", "part"), ALIKE, ids=repr)
async def test_what_only_looks_alike_is_mismatched(control: Any, part: Any, codec: str) -> None:
    outcome, differences = await outcome_of(control, part, CODECS[codec])
    assert outcome == "mismatched"
    assert differences


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("control", "part"),
    [
        (1, 1.0),
        (2.0, 2),
        (2**64, float(2**64)),
        (float("nan"), float("nan")),
        ([1, 2], (1, 2)),
        ("red", Tint.red),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
    ids=repr,
)
async def test_what_is_equal_by_value_is_matched(control: Any, part: Any, codec: str) -> None:
    assert (await outcome_of(control, part, CODECS[codec]))[0] == "matched"


@pytest.mark.parametrize("codec", CODECS)
async def test_a_part_that_is_a_reply_inside_of_json_is_mismatched(codec: str) -> None:
    assert (await outcome_of(1, Reply.json(1), CODECS[codec]))[0] == "mismatched"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("hang", [{1: object()}, [[[[object()]]]], {"x": {1, 2}}], ids=["object", "deep", "set"])
async def test_a_part_that_is_no_json_is_told_redacted_and_stored(hang: Any, codec: str) -> None:
    outcome, differences = await outcome_of({"x": 1}, hang, CODECS[codec])
    assert (outcome, bool(differences)) == ("mismatched", True)


async def test_a_part_that_contains_itself_ends_in_an_outcome() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    assert (await outcome_of([1, [1, [1]]], circle))[0] in ("mismatched", "incomparable")


@pytest.mark.parametrize("codec", CODECS)
async def test_ignored_unordered_and_tolerated_differences_are_as_declared(codec: str) -> None:
    of = CODECS[codec]
    assert (await outcome_of({"at": 1}, {"at": 2}, of, ignore=["$.a.at"]))[0] == "ignored"
    assert (await outcome_of([1, 2], [2, 1], of, unordered={"$.a": None}))[0] == "matched"
    assert (await outcome_of(1.0, 1.0000001, of, tolerance={"$.a": 1e-6}))[0] == "matched"
    assert await outcome_of([1, 2], [2, 1], of) == ("mismatched", [("$.a", "order")])


# The short way and the long way

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 1.0, 0.0, -0.0, HUGE, float(HUGE), 2**63, 2**64, float("nan"), float("inf"), "", "a", "1"]),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)),
    max_leaves=6,
)
foreign = st.sampled_from(
    [Order(1), Colour.red, Tint.red, b"a", {1}, (1, 2), uuid.UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)]
)


@st.composite
def sides(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Control's JSON, and the parts of three branches: equal ones mostly, in other objects."""
    control = {name: draw(values) for name in "abc"}
    parts = {}
    for name in "abc":
        kind = draw(st.sampled_from(["same", "same", "same", "alike", "other", "foreign"]))
        if kind == "same":
            parts[name] = anew(control[name])
        elif kind == "alike":
            parts[name] = _alike(control[name])
        else:
            parts[name] = draw(values if kind == "other" else foreign)
    return control, parts


def _alike(value: Any) -> Any:
    """A value that compares equal in Python, or is written alike, and is another."""
    match value:
        case bool():
            return int(value)
        case None:
            return float("nan")
        case int() if abs(value) < 2**1000:
            return float(value)
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_alike(one) for one in value]
        case dict():
            return {name: _alike(one) for name, one in value.items()}
    return value


def _without_id(record: TrialRecord) -> TrialRecord:
    """The record with its runs in one order, and the time that is worked out in two ways without the last bits."""
    return replace(
        record,
        id="",
        candidate_s=None if record.candidate_s is None else round(record.candidate_s, 9),
        runs=sorted(record.runs, key=lambda run: run.branch),
        differences=list(record.differences),
    )


@asynccontextmanager
async def both_ways(rollout: Any, codec: Codec) -> AsyncIterator[tuple[World, World]]:
    """The same rollout twice: as it is, and by the long way only."""
    async with running(rollout, codec=codec) as short, running(rollout) as long:
        long.runtime.overlaid = False
        yield short, long


async def call_both(short: World, long: World, key: str | None = "alice") -> None:
    await asyncio.gather(short.get(key=key), long.get(key=key))
    await short.settled()
    await long.settled()


async def compare_ways(short: World, long: World) -> None:
    """Everything that both came to is the same."""
    ours, theirs = await short.trials(), await long.trials()
    assert list(map(_without_id, ours)) == list(map(_without_id, theirs))
    assert _told(short.runtime.all_comparisons()) == _told(long.runtime.all_comparisons())
    assert short.funnel == long.funnel
    blocks, subjects = short.runtime.tally.seal(everything=True)
    other_blocks, other_subjects = long.runtime.tally.seal(everything=True)
    assert added_up(blocks) == added_up(other_blocks)
    assert subjects == other_subjects


def _told(counts: Mapping[Any, int]) -> dict[Any, int]:
    return {name: count for name, count in counts.items() if count}


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    both=sides(),
    waits=st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3]), min_size=4, max_size=4),
    key=st.sampled_from(["alice", None]),
)
@pytest.mark.parametrize("codec", CODECS)
async def test_the_short_way_comes_to_what_the_long_way_does(
    codec: str, both: tuple[dict[str, Any], dict[str, Any]], waits: list[float], key: str | None
) -> None:
    control, parts = both
    branches = [
        Branch(name, giving(parts[name], after_s=wait), part=f"$.{name}", sla_s=0.2)
        for name, wait in zip("abc", waits, strict=False)
    ]
    gate = gates.latency(worse_by=0.5, mode="sequential")
    rollout = rollout_of(*branches, control=answering(control, after_s=waits[3]), gates=[gate])
    async with both_ways(rollout, CODECS[codec]) as (short, long):
        await call_both(short, long, key)
        await compare_ways(short, long)


@pytest.mark.parametrize("codec", CODECS)
async def test_both_ways_agree_where_branches_wait_for_each_other_and_were_declared_in_another_order(
    codec: str,
) -> None:
    """Times belong to the branch that took them, whoever began first."""
    branches = [
        Branch("c", giving(3, after_s=0.3), part="$.c", after="b", required=False),
        Branch("b", giving(2, after_s=0.2), part="$.b", after="a"),
        Branch("a", giving(1, after_s=0.1), part="$.a"),
    ]
    async with both_ways(rollout_of(*branches), CODECS[codec]) as (short, long):
        await call_both(short, long)
        (record,) = await short.trials()
        assert {run.branch: run.latency_s for run in record.runs} == pytest.approx(
            {"a": 0.1, "b": 0.2, "c": 0.3}, abs=0.001
        )
        assert record.candidate_s == pytest.approx(0.6, abs=0.001)
        await compare_ways(short, long)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "control",
    [
        answering({"a": 1}),
        answering([1, 2, 3]),
        answering({"a": 1, "b": 2, "c": 3}, status=404),
        answering({"a": 1, "b": 2, "c": 3}, status=503),
        answering({"a": 1, "b": 2, "c": 3}, status=201),
        giving(Response(b"<p>", headers=(("Content-Type", "text/html"),))),
        giving(Response(b"{", headers=(("Content-Type", "application/json"),))),
        giving(Response(b'{"a": 1, "a": 1, "b": 2, "c": 3}')),
        giving(Response(b'\xef\xbb\xbf{"a": 1, "b": 2, "c": 3}')),
        giving(Response(b'{"a": 1, "b": 2, "c": "\xff"}')),
    ],
)
async def test_both_ways_agree_on_any_reply_of_control(control: Any, codec: str) -> None:
    branches = [Branch(name, giving(number), part=f"$.{name}") for number, name in enumerate("abc", 1)]
    async with both_ways(rollout_of(*branches, control=control), CODECS[codec]) as (short, long):
        await call_both(short, long)
        await compare_ways(short, long)


async def used(call: Call) -> Any:
    record_usage(input_tokens=3, usd="0.01")
    return 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "branch",
    [
        Branch("a", used, part="$.a"),
        Branch("a", giving(1), part="$.a", meter=lambda part: Usage(1, 2, 3)),
        Branch("a", giving(1), part="$.a", when=lambda call: False),
        Branch("a", giving(ValueError("x")), part="$.a"),
        Branch("a", giving(ValueError("x")), part="$.a", required=False),
        Branch("a", giving(ValueError("x")), part="$.a", answers={ValueError: 404}),
        Branch("a", giving(1, after_s=5), part="$.a", hard_timeout_s=0.1),
        Branch("a", giving(1, after_s=0.3), part="$.a", sla_s=0.1),
        Branch("a", giving(1), part="$.other"),
        Branch("a", giving({"a": 1, "b": 2, "c": 3}), part="$"),
        Branch("a", giving(1), part='$["a"]'),
    ],
)
async def test_both_ways_agree_on_any_end_of_a_branch(branch: Branch, codec: str) -> None:
    rollout = rollout_of(branch, Branch("b", giving(2), part="$.b"))
    async with both_ways(rollout, CODECS[codec]) as (short, long):
        await call_both(short, long)
        await compare_ways(short, long)


@pytest.mark.parametrize("codec", CODECS)
async def test_both_ways_agree_on_a_group_of_which_several_branches_are_slower_than_control(codec: str) -> None:
    branches = [
        Branch("a", giving(1, after_s=0.3), part="$.a", salt="together"),
        Branch("b", giving(2, after_s=0.2), part="$.b", salt="together"),
        Branch("c", giving(3, after_s=0.4), part="$.c"),
    ]
    rollout = rollout_of(*branches, control=answering({"a": 1, "b": 2, "c": 3}, after_s=0.1))
    async with both_ways(rollout, CODECS[codec]) as (short, long):
        await call_both(short, long)
        await compare_ways(short, long)


async def test_both_ways_agree_on_the_cost_of_control() -> None:
    async def control(_: Any) -> Response:
        record_usage(input_tokens=5, usd="0.02")
        return Response(b'{"a": 1}')

    async with both_ways(rollout_of(control=control), STANDARD) as (short, long):
        await call_both(short, long)
        assert short.sealed()["a", "P"]["control_cost_nano"] == 20_000_000
    async with both_ways(rollout_of(control=control), STANDARD) as (short, long):
        await call_both(short, long)
        await compare_ways(short, long)


async def test_the_short_way_is_really_taken_where_all_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Any) -> None:
        raise AssertionError("the long way was taken")

    monkeypatch.setattr(trial_module, "conclude", never)
    async with running(rollout_of(), codec=rollout_orjson.codec()) as world:
        await world.get()
        assert [trial.outcome for trial in await world.trials()] == ["matched"]
        assert not world.funnel.starting("fault:")
