"""The same calls, counted by one process or by several, put together by a ledger and folded by an account."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rollout import gates
from rollout.domain.evidence import Arm, Block, BlockKey, Figures
from rollout.domain.gates import Stage
from rollout.domain.sequential.account import Account
from rollout.ports import Span
from rollout.testing import memory_backend, sample_batch

#: Counts, histograms, arms and pairs.
GATES = (gates.errors(), gates.latency(), gates.mismatches(at_most=0.01))
STAGE = Stage(unit="orders", share=0.25, target=0.5, steps=5)
PER_SECOND = 40
ERRORS = {"A": 0.01, "B": 0.015}

Kept = dict[tuple[int, Arm], Figures]  # second, arm → what one process counted


async def evidence(seconds: int, processes: int, seed: int) -> list[float]:
    """The account's log E; of each gate what it holds of that, and its log E for the next step. The calls depend on
    ``seconds`` and ``seed`` alone; which process counts a call, and whose counts arrive first, is drawn too.
    """
    taking = Random(f"{seed} {processes}")
    kept: list[Kept] = [{} for _ in range(processes)]
    for second, arm, figures in calls(seconds, Random(seed)):
        taking.choice(kept).setdefault((second, arm), Figures()).merge(figures)
    taking.shuffle(kept)
    ledger = memory_backend().ledger
    for number, counted in enumerate(kept):
        blocks = [Block(_key(*where, f"process {number}"), figures) for where, figures in counted.items()]
        await ledger.append(sample_batch(*blocks))
    account = Account(GATES)
    account.enter(STAGE)
    [closed] = await ledger.blocks_of([Span("profile", STAGE.unit, 1, 1, after=-1, until=seconds)])
    for block in closed:
        account.fold(block, STAGE)
    found = account.findings(STAGE, now=0.0)
    logs = [log for finding in found for log in (finding.log_e, finding.log_promote)]
    return [account.log_e, *(log for log in logs if log is not None)]


def _key(second: int, arm: Arm, process: str) -> BlockKey:
    return BlockKey("profile", STAGE.unit, arm, version=1, entry=1, second=second, process=process)


def calls(seconds: int, dice: Random) -> Iterator[tuple[int, Arm, Figures]]:
    """What is counted of each call: its arm, and one in five as a pair too."""
    for second in range(seconds):
        for _ in range(PER_SECOND):
            arm: Arm = "B" if dice.random() < STAGE.share else "A"
            bad, took = dice.random() < ERRORS[arm], dice.lognormvariate(-2.3, 0.6)
            figures = Figures({"calls": 1, "bad": int(bad)})
            if not bad:
                figures.observe("latency", took)
            yield second, arm, figures
            if dice.random() < 0.2:
                yield second, "P", _pair(bad, took, dice)


def _pair(control_bad: bool, took: float, dice: Random) -> Figures:
    bad, slower = dice.random() < ERRORS["B"], dice.lognormvariate(0.0, 0.2)
    counts = {"pairs": 1, "control_bad": int(control_bad), "candidate_bad": int(bad)}
    if bad != control_bad:
        counts["only_candidate_bad" if bad else "only_control_bad"] = 1
    if bad or control_bad:
        return Figures(counts)
    counts |= {"compared": 1, "mismatched": int(dice.random() < 0.005), "slower:0.1": int(slower > 1.1)}
    figures = Figures(counts)
    figures.observe("control", took)
    figures.observe("candidate", took * slower)
    return figures
