"""Blocks that wait: the newest by the second, older ones by the minute, every count kept."""

from collections import Counter

from rollout.engine.waiting import MINUTES, RECENT, BlockQueue
from rollout.testing import sample_block


def test_what_is_recent_comes_out_as_it_went_in() -> None:
    queue = BlockQueue()
    queue.extend([sample_block(second) for second in range(RECENT)])
    assert [block.key.second for block in queue.take(RECENT)] == list(range(RECENT))
    assert len(queue) == 0


def test_a_long_outage_costs_resolution_and_no_count() -> None:
    queue = BlockQueue()
    for second in range(4 * 3600):
        arms = [sample_block(second, arm, {"calls": 3}, latencies=[0.1]) for arm in ("A", "B")]
        queue.extend(arms)
    assert len(queue) < RECENT + 2 * 4 * 60 + 2
    calls: Counter[str] = Counter()
    while taken := queue.take(500):
        for block in taken:
            calls[block.key.arm] += block.figures["calls"]
            assert block.figures.histogram("latency").total == block.figures["calls"] // 3
            assert block.key.span in (1, 60)
            assert block.key.span == 1 or block.key.second % 60 == 0
    assert calls == {"A": 3 * 4 * 3600, "B": 3 * 4 * 3600}
    assert queue.dropped == 0


def test_only_equal_keys_are_added_up() -> None:
    queue = BlockQueue()
    queue.extend([sample_block(1, entry=1), sample_block(1, entry=2), sample_block(1, unit="tickets")])
    queue.extend([sample_block(60) for _ in range(RECENT)])
    kept = [block.key for block in queue.take(3)]
    assert [(key.unit, key.entry, key.second, key.span) for key in kept] == [
        ("orders", 1, 0, 60),
        ("orders", 2, 0, 60),
        ("tickets", 1, 0, 60),
    ]


def test_beyond_the_bound_the_oldest_go_and_are_counted() -> None:
    queue = BlockQueue()
    queue.extend([sample_block(60 * minute) for minute in range(MINUTES + RECENT + 7)])
    assert len(queue) == MINUTES + RECENT
    assert queue.dropped == 7
    assert queue.take(1)[0].key.second == 7 * 60
