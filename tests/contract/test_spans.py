"""The blocks of many units at once: each unit's own, whatever else is asked for or stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.domain.evidence import Arm, Figures, Subject, UnitBlock, marks_of, score
from rollout.domain.histogram import Histogram
from rollout.ports import Ledger, Span
from rollout.testing import sample_batch, sample_block, sample_subject


def span(after: int, until: int, *, rollout: str = "profile", unit: str = "orders", version: int = 1) -> Span:
    return Span(rollout, unit, 1, version, after, until)


async def test_nothing_is_asked_for(ledger: Ledger) -> None:
    assert await ledger.blocks_of([]) == []


async def test_each_span_gets_its_own_blocks_in_the_order_asked_for(ledger: Ledger, now: int) -> None:
    await ledger.append(
        sample_batch(
            sample_block(now - 2, "A", {"calls": 2}, unit="orders"),
            sample_block(now - 3, "A", {"calls": 3}, unit="orders"),
            sample_block(now - 3, "B", {"calls": 7}, unit="tickets"),
            sample_block(now - 3, "B", {"calls": 9}, unit="tickets", rollout="search"),
        )
    )
    wanted = [
        span(now - 9, now, unit="tickets"),
        span(now - 9, now, unit="nobody's"),
        span(now - 9, now, unit="orders"),
        span(now - 9, now, unit="tickets", rollout="search"),
        span(now - 9, now, unit="tickets", version=2),
    ]
    found = await ledger.blocks_of(wanted)
    calls = [[block.a["calls"] + block.b["calls"] for block in blocks] for blocks in found]
    assert calls == [[7], [], [3, 2], [9], []]


async def test_units_may_ask_for_spans_that_differ_and_for_one_twice(ledger: Ledger, now: int) -> None:
    units = ("orders", "tickets")
    await ledger.append(sample_batch(*(sample_block(now - back, unit=unit) for back in range(6) for unit in units)))
    wanted = [
        span(now - 3, now - 1),
        span(now - 6, now - 5, unit="tickets"),
        span(now - 3, now - 1),
        span(now, now - 3),
    ]
    found = await ledger.blocks_of(wanted)
    assert [[now - block.second for block in blocks] for blocks in found] == [[2, 1], [5], [2, 1], []]


async def test_the_blocks_of_one_span_are_its_readers_own(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(sample_block(now, "A", {"calls": 1}, latencies=[0.1])))
    twice = [span(now - 1, now), span(now - 1, now)]
    (first,), (second,) = await ledger.blocks_of(twice)
    first.a.merge(second.a)
    assert await ledger.blocks_of(twice) == [[second], [second]]


@pytest.mark.parametrize("name", ["it's", 'a "b"', "ünï→", "100%", ":x", "\\u0041", "a\nb"])
async def test_any_name_of_a_unit_will_do(ledger: Ledger, now: int, name: str) -> None:
    await ledger.append(
        sample_batch(
            sample_block(now, "A", unit=name, rollout=name), sample_subject("a", now, "A", unit=name, rollout=name)
        )
    )
    ((block,),) = await ledger.blocks_of([span(now - 1, now, unit=name, rollout=name)])
    assert (block.a["calls"], block.scored_a["calls"]) == (1, 1)


async def test_the_blocks_of_many_units_are_found_at_once(ledger: Ledger, now: int) -> None:
    units = [f"u{number}" for number in range(600)]
    busy = units[::3]
    await ledger.append(
        sample_batch(
            *(sample_block(now, "B", unit=unit) for unit in busy),
            *(sample_subject("a", now + 0.5, "B", unit=unit) for unit in busy),
        )
    )
    found = await ledger.blocks_of([span(now - 1, now, unit=unit) for unit in units])
    assert [unit for unit, blocks in zip(units, found, strict=True) if blocks] == busy
    assert {block.scored_b["calls"] for blocks in found for block in blocks} == {1}


# Against what it ought to be, told in the plainest way


@dataclass
class Told:
    """What was written of one second, arm, unit and version."""

    unit: str
    version: int
    arm: Arm
    second: int
    calls: int
    single: int
    keys: Sequence[tuple[str, int]] = field(default_factory=list)  # hash and latency


TOLD = st.builds(
    Told,
    st.sampled_from(["orders", "tickets"]),
    st.sampled_from([1, 2]),
    st.sampled_from(["A", "B", "P"]),
    st.integers(0, 5),
    st.integers(0, 2),
    st.integers(0, 2),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 2)), max_size=2),
)
ASKED = st.lists(
    st.tuples(st.sampled_from(["orders", "tickets"]), st.sampled_from([1, 2]), st.integers(-1, 6), st.integers(-1, 6)),
    max_size=6,
)


@given(told=st.lists(TOLD, max_size=12), asked=ASKED)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_read_is_what_was_written(
    ledger: Ledger, told: list[Told], asked: list[tuple[str, int, int, int]]
) -> None:
    rollout = uuid4().hex
    subjects = [one for number, part in enumerate(told) for one in subjects_of(rollout, part, number)]
    for part in told:
        counts = Figures({"calls": part.calls, "single:calls": part.single}, {"single:cost": Histogram({3: 1})})
        block = sample_block(part.second, part.arm, counts, rollout=rollout, unit=part.unit, version=part.version)
        await ledger.append(sample_batch(block))
    await ledger.append(sample_batch(*subjects))

    spans = [span(after, until, rollout=rollout, unit=unit, version=version) for unit, version, after, until in asked]
    expected = [expected_of(one, told, subjects) for one in spans]

    assert await ledger.blocks_of(spans) == expected
    alone = [closed for one in spans for closed in await ledger.blocks_of([one])]
    assert alone == expected


def subjects_of(rollout: str, told: Told, number: int) -> list[Subject]:
    """Each begins at a moment of its own: which of two at the same moment counts is left open."""
    return [
        sample_subject(
            key_hash,
            told.second + (number * 4 + place) / 100,
            told.arm,
            bad=latency < 0,
            latency=latency,
            rollout=rollout,
            unit=told.unit,
            version=told.version,
        )
        for place, (key_hash, latency) in enumerate(told.keys)
    ]


def expected_of(wanted: Span, told: Sequence[Told], subjects: Sequence[Subject]) -> list[UnitBlock]:
    blocks: dict[int, UnitBlock] = {}
    for part in told:
        if (part.unit, part.version) == (wanted.unit, wanted.version) and wanted.after < part.second <= wanted.until:
            block = blocks.setdefault(part.second, UnitBlock(part.second))
            mine, scored = sides(block, part.arm)
            for name, count in (("calls", part.calls), ("single:calls", part.single)):
                mine.add(name, count)
            mine.histogram("single:cost").merge({3: 1})
            scored.add("calls", part.single)
            scored.histogram("cost").merge({3: 1})
    first: dict[tuple[str, int, Arm, str], Subject] = {}
    for one in sorted(subjects, key=lambda one: one.started_at):
        first.setdefault((one.unit, one.version, one.arm, one.key_hash), one)
    for one in first.values():
        second = int(one.started_at)
        if (one.unit, one.version) == (wanted.unit, wanted.version) and wanted.after < second <= wanted.until:
            _, scored = sides(blocks.setdefault(second, UnitBlock(second)), one.arm)
            score(scored, one.arm, marks_of("bad") if one.marks else 0, one.latency, -1, -1)
    return [blocks[second] for second in sorted(blocks)]


def sides(block: UnitBlock, arm: Arm) -> tuple[Figures, Figures]:
    return {"A": (block.a, block.scored_a), "B": (block.b, block.scored_b), "P": (block.pairs, block.scored_p)}[arm]
