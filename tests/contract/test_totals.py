"""What reports and curves read, and the roll-up that keeps it small without changing a figure."""

import asyncio
import random
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.domain.evidence import Block, Figures
from rollout.domain.report_values import Reporting
from rollout.ports import Backend, Ledger, StateStore, Totals
from rollout.testing import sample_batch, sample_block, sample_policy, sample_trial
from tests.contract.places import OpenBackend
from tests.contract.test_blocks import fold_until
from tests.support.spans import closed_blocks

HOUR, DAY = 3_600, 86_400


def by_key(totals: list[Totals]) -> dict[tuple[str, str, int], Figures]:
    found = {(one.unit, one.arm, one.entry): one.figures for one in totals}
    assert len(found) == len(totals), "a unit, arm and entry occurs once"
    return found


async def test_totals_are_by_unit_arm_and_entry(ledger: Ledger, now: int) -> None:
    await ledger.append(
        sample_batch(
            sample_block(now, "A", {"calls": 1}),
            sample_block(now - 1, "A", {"calls": 2}, version=2, process="p2"),
            sample_block(now, "B", {"calls": 4}),
            sample_block(now, "A", {"calls": 8}, entry=2),
            sample_block(now, "A", {"calls": 16}, unit="tickets"),
            sample_block(now, "*", {"calls": 32}, unit="", entry=0),
            sample_block(now, "A", {"calls": 64}, rollout="search"),
        )
    )
    counts = {key: figures["calls"] for key, figures in by_key(await ledger.totals("profile")).items()}
    assert counts == {
        ("orders", "A", 1): 3,
        ("orders", "B", 1): 4,
        ("orders", "A", 2): 8,
        ("tickets", "A", 1): 16,
        ("", "*", 0): 32,
    }


async def test_totals_of_a_span_leave_the_rest_out(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(*(sample_block(now - back, "A", {"calls": back}) for back in (100, 200, 300))))

    async def calls(since: float | None, until: float | None) -> int:
        return sum(one.figures["calls"] for one in await ledger.totals("profile", since, until))

    assert await calls(now - 250, now - 150) == 200
    assert await calls(now - 250, None) == 300
    assert await calls(None, now - 150) == 500
    assert await calls(now - 50, None) == 0


async def test_two_spans_that_meet_add_up_to_the_whole(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(*(sample_block(now - back, "A", {"calls": 1}) for back in range(5))))
    halves = [*await ledger.totals("profile", None, now - 2), *await ledger.totals("profile", now - 2, None)]
    assert sum(one.figures["calls"] for one in halves) == 5


async def test_a_rollout_that_was_never_called_has_no_totals(ledger: Ledger) -> None:
    assert await ledger.totals("profile") == []


async def test_totals_of_one_version_of_the_policy_leave_the_others_out(ledger: Ledger, now: int) -> None:
    await ledger.append(
        sample_batch(*(sample_block(now, "A", {"calls": 10**version}, version=version) for version in (1, 2)))
    )
    found = [await ledger.totals("profile", now - 1, None, version) for version in (1, 2, 3, None)]
    assert [sum(one.figures["calls"] for one in totals) for totals in found] == [10, 100, 0, 110]


async def test_the_extent_of_calls_is_from_the_first_second_to_the_end_of_the_last(ledger: Ledger, now: int) -> None:
    assert await ledger.extent("profile") is None
    own = [sample_block(now - back, "*", {"calls": 1}, unit="", entry=0) for back in (300, 200, 100)]
    others = [sample_block(now, "A", {"calls": 1}), sample_block(now, "*", {"calls": 1}, rollout="search", unit="")]
    await ledger.append(sample_batch(*own, *others))
    assert await ledger.extent("profile") == (now - 300, now - 99)
    assert await ledger.extent("profile", now - 200.5) == (now - 200, now - 99)
    assert await ledger.extent("profile", now - 99) is None


async def test_the_extent_of_rolled_up_calls_is_that_of_their_minutes(backend: Backend, now: int) -> None:
    await backend.state.register(sample_policy(), "me")
    start = now // HOUR * HOUR - 3 * HOUR
    own = [sample_block(start + second, "*", {"calls": 1}, unit="", entry=0) for second in (70, 130)]
    await backend.ledger.append(sample_batch(*own))
    await backend.ledger.maintain({"profile": sample_policy()})
    found = await backend.ledger.extent("profile")
    assert found is not None
    assert found[0] in (start + 60, start + 70)  # what keeps every second (memory) need not forget
    assert found[1] in (start + 180, start + 131)


async def test_a_series_has_the_figures_of_each_step_by_arm(ledger: Ledger, now: int) -> None:
    start = now // 60 * 60 - 300
    await ledger.append(
        sample_batch(
            sample_block(start, "A", {"calls": 1}, latencies=[0.1]),
            sample_block(start + 59, "A", {"calls": 2}, entry=2),
            sample_block(start + 59, "B", {"calls": 4}),
            sample_block(start + 120, "A", {"calls": 8}),
            sample_block(start + 120, "A", {"calls": 16}, unit="tickets"),
            sample_block(start - 1, "A", {"calls": 32}),
        )
    )
    series = await ledger.series("profile", "orders", start, start + 300, 60)
    counts = {
        second: {arm: figures["calls"] for arm, figures in arms.items() if figures} for second, arms in series if arms
    }
    assert counts == {start: {"A": 3, "B": 4}, start + 120: {"A": 8}}
    assert [second for second, _ in series] == sorted(second for second, _ in series)


# Roll-up

AGES = st.one_of(st.integers(1, 200), st.integers(HOUR - 120, HOUR + 300), st.integers(DAY - 4_000, DAY + 9_000))
OLD_BLOCKS = st.lists(
    st.tuples(
        AGES,
        st.sampled_from(["A", "B", "P"]),
        st.sampled_from(["orders", "tickets"]),
        st.integers(1, 2),  # entry
        st.integers(1, 2),  # version
        st.sampled_from(["p1", "p2"]),
        st.dictionaries(st.sampled_from(["calls", "bad", "cost_nano"]), st.integers(1, 10**12)),
        st.lists(st.floats(1e-6, 1_000.0), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


@given(blocks=OLD_BLOCKS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_rolling_up_changes_no_figure(ledger: Ledger, now: int, blocks: list[tuple]) -> None:  # type: ignore[type-arg]
    rollout = uuid4().hex
    batch = sample_batch(
        *(
            sample_block(
                now - age,
                arm,
                Figures(counts),
                latencies=latencies,
                unit=unit,
                entry=entry,
                version=version,
                process=process,
                rollout=rollout,
            )
            for age, arm, unit, entry, version, process, counts, latencies in blocks
        )
    )
    await ledger.append(batch)
    before = by_key(await ledger.totals(rollout))

    for _ in range(2):
        await ledger.maintain({rollout: sample_policy(rollout)})
        assert by_key(await ledger.totals(rollout)) == before


async def test_rolling_up_leaves_the_last_hour_as_it_is(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(*(sample_block(now - back) for back in (10, 11, HOUR + 200))))
    await ledger.maintain({"profile": sample_policy()})
    assert [block.second for block in await closed_blocks(ledger, "profile", "orders", 1, 1, now - 60, now)] == [
        now - 11,
        now - 10,
    ]


async def test_rolled_up_blocks_stay_in_their_minute_and_hour(ledger: Ledger, now: int) -> None:
    minute, hour = (now - 2 * HOUR) // 60 * 60, (now - 3 * DAY) // HOUR * HOUR
    await ledger.append(
        sample_batch(*(sample_block(start + offset) for start in (minute, hour) for offset in (0, 30, 59)))
    )
    await ledger.maintain({"profile": sample_policy()})
    for start, span in ((minute, 60), (hour, HOUR)):
        totals = await ledger.totals("profile", start, start + span)
        assert [one.figures["calls"] for one in totals] == [3]


async def test_how_many_blocks_were_late_outlives_the_roll_up(ledger: Ledger, state: StateStore, now: int) -> None:
    await fold_until(state, now - 5)
    late = [sample_block(now - age, process=process) for age in (10, 2 * HOUR, 2 * DAY) for process in ("p1", "p2")]
    await ledger.append(sample_batch(*late))
    await ledger.maintain({"profile": sample_policy()})
    assert await ledger.late("profile") == 6


async def test_a_batch_that_comes_after_its_minute_was_rolled_up_adds_to_it(ledger: Ledger, now: int) -> None:
    for process in ("p1", "p2"):
        await ledger.append(sample_batch(sample_block(now - 2 * DAY, process=process)))
        await ledger.maintain({"profile": sample_policy()})
    (total,) = await ledger.totals("profile")
    assert total.figures["calls"] == 2


async def test_rolling_up_while_others_write_and_roll_up_too_loses_nothing(
    backend: Backend, open_backend: OpenBackend, now: int
) -> None:
    ledgers = [backend.ledger, (await open_backend()).ledger, (await open_backend()).ledger]
    policies = {"profile": sample_policy()}

    async def write(ledger: Ledger, process: str) -> None:
        for age in (10, HOUR + 100, 2 * HOUR, 2 * DAY, 2 * DAY + 1) * 3:
            await ledger.append(sample_batch(sample_block(now - age, "A", {"calls": 1}, process=process)))

    async def maintain(ledger: Ledger) -> None:
        for _ in range(4):
            await ledger.maintain(policies)

    writers = [write(ledger, f"p{n}") for n, ledger in enumerate(ledgers)]
    await asyncio.gather(*writers, *(maintain(ledger) for ledger in ledgers))

    (total,) = await backend.ledger.totals("profile")
    assert total.figures["calls"] == 45


# Trials go with time


async def test_trials_older_than_their_time_to_live_are_dropped(ledger: Ledger, now: int) -> None:
    await ledger.append(
        sample_batch(
            sample_trial(1, at=now - 7_200.0), sample_trial(2, at=now - 60.0), sample_trial(3, "search", at=1.0)
        )
    )
    await ledger.maintain({"profile": sample_policy(ttl_s=3_600.0)})
    assert [trial.id[-1] for trial in await ledger.trials("profile")] == ["2"]
    assert (await ledger.stored("search"))[0] == 1


async def test_above_the_most_that_may_be_stored_the_oldest_trials_are_dropped(ledger: Ledger, now: int) -> None:
    numbers = list(range(1, 8))
    random.Random(7).shuffle(numbers)
    await ledger.append(sample_batch(*(sample_trial(n, at=now - 60.0 + n) for n in numbers)))
    await ledger.maintain({"profile": sample_policy(max_trials=3)})
    assert [trial.id[-1] for trial in await ledger.trials("profile")] == ["7", "6", "5"]


async def test_a_batch_that_was_just_written_is_still_known_after_maintenance(ledger: Ledger, now: int) -> None:
    batch = sample_batch(sample_block(now))
    await ledger.append(batch)
    await ledger.maintain({"profile": sample_policy()})
    await ledger.append(batch)
    (total,) = await ledger.totals("profile")
    assert total.figures["calls"] == 1


async def test_maintaining_an_empty_database_does_nothing(ledger: Ledger) -> None:
    done = await ledger.maintain({})
    assert all(count == 0 for count in done.values())


# Who counted


async def test_the_processes_that_counted_of_late_are_told_with_their_seconds(ledger: Ledger, now: int) -> None:
    def counted(second: int, process: str, **changes: Any) -> Block:
        return sample_block(second, "*", unit="", entry=0, process=process, **changes)

    await ledger.append(
        sample_batch(
            counted(now - 30, "p1"),
            counted(now - 10, "p1"),
            counted(now - 10, "p1", version=2),
            counted(now - 20, "p2"),
            counted(now - 90, "p3"),
            counted(now - 5, "p4", rollout="search"),
            sample_block(now - 5, "A", process="p5"),
        )
    )
    assert await ledger.processes("profile", now - 60) == [
        Reporting(process="p1", seconds=2, first=now - 30, last=now - 10),
        Reporting(process="p2", seconds=1, first=now - 20, last=now - 20),
    ]
    assert await ledger.processes("nothing", now - 60) == []


async def test_blocks_that_were_rolled_up_name_no_process(ledger: Ledger, now: int) -> None:
    await ledger.append(sample_batch(*(sample_block(now - age, "*", unit="", entry=0) for age in (10, 2 * HOUR))))
    while (await ledger.maintain({}))["blocks_rolled_up"]:
        pass
    assert [(one.first, one.last) for one in await ledger.processes("profile", 0)] == [(now - 10, now - 10)]
