"""What real conversations with a language model cost, and how soon a branch that is dearer is found.

Half of the conversations go to the branch, and the account of its one gate, ``gates.cost(worse_by=0)``, is looked at
every second of the trace. Counted are the conversations of both arms until it reaches 1/0.05.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import inf, log
from random import Random
from statistics import median
from typing import Final

from rollout import gates
from rollout.domain.evidence import UnitBlock
from rollout.domain.gates import Stage
from rollout.domain.histogram import bucket_of
from rollout.domain.sequential.account import Account
from tests.traces.data import Conversation, conversations, needs_traces

pytestmark = needs_traces

STAGE: Final = Stage(unit="answer", share=0.5, target=1.0, earlier=0.25, harm=0.02, steps=4)
ALPHA: Final = 0.05
USD_READ, USD_WRITTEN = 0.15e-6, 0.60e-6  # a token of a small model
MOST: Final = 2_000  # conversations of a try
TRIES: Final = 100


def found_after(seed: int, dearer: float) -> float:
    """After how many conversations, from a random one of the trace on, a branch that costs ``dearer`` times as much is
    found; infinite if it is not.
    """
    account, seen = Account([gates.cost(worse_by=0.0)]), 0
    account.enter(STAGE)
    for block in seconds(Random(seed), dearer):
        account.fold(block, STAGE)
        seen += block.a["calls"] + block.b["calls"]
        if account.log_e >= log(1 / ALPHA):
            return seen
    return inf


def seconds(dice: Random, dearer: float) -> Iterator[UnitBlock]:
    begin = dice.randrange(len(conversations()) - MOST)
    trace = conversations()[begin : begin + MOST]
    for second, group in groupby(trace, key=lambda conversation: int(conversation.at_s)):
        block = UnitBlock(second)
        for conversation in group:
            count(block, conversation, dearer if dice.random() < STAGE.share else None)
        yield block


def count(block: UnitBlock, conversation: Conversation, dearer: float | None) -> None:
    """Of arm A if ``dearer`` is None. Costs are counted by buckets of milli-dollars."""
    usd = conversation.context_tokens * USD_READ + conversation.generated_tokens * USD_WRITTEN
    if dearer is None:
        figures, known, cost = block.a, "control_costed", "control_cost"
    else:
        figures, known, cost = block.b, "costed", "cost"
    figures.add("calls")
    figures.add(known)
    figures.histogram(cost).merge({bucket_of(1_000 * usd * (dearer or 1.0)): 1})


def test_a_branch_that_is_30_percent_dearer_is_found_in_some_250_conversations() -> None:
    tries = sorted(found_after(seed, 1.3) for seed in range(TRIES))
    assert 150 <= median(tries) <= 300
    assert tries[int(0.9 * TRIES)] <= 700


def test_a_branch_that_costs_the_same_is_left_alone() -> None:
    found = sum(found_after(seed, 1.0) < inf for seed in range(TRIES))
    assert found / TRIES <= ALPHA


def test_a_branch_that_is_cheaper_is_left_alone() -> None:
    assert all(found_after(seed, 0.8) == inf for seed in range(10))
