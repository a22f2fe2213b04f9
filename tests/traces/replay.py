"""Users of a real web site, sent up a ramp, and what the account of the branch makes of it.

Arrivals and clients are those of the trace, faster. Each client keeps its bucket, and fails at a rate of its own, which
is the same in both arms unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from random import Random
from typing import Final

from rollout import Ramp, gates
from rollout.domain.bucketing import bucket
from rollout.domain.evidence import UnitBlock
from rollout.domain.judgement import Case
from rollout.domain.lifecycle import Event, moves
from rollout.domain.routing import UnitPlan, plan_units
from rollout.domain.sequential.account import ALLOCATION, Account
from rollout.domain.state import BranchPolicy, BranchState
from rollout.testing import sample_policy
from tests.traces.data import web_requests

BRANCH: Final = "orders"
RAMP: Final = Ramp.parse("shadow 5% 25% 50% 100%", harm=0.02)
STAGES: Final = 3  # those with two arms, of a third of the time each
FASTER: Final = 3_000.0  # 83 hours in 100 seconds
FAILING: Final = 0.1  # of the clients
AT_RATE: Final = 0.3

Rates = Mapping[str, float]  # by client
Second = tuple[int, Sequence[str]]  # and the clients that came, in order


@dataclass(slots=True)
class Outcome:
    """Of a replay. ``log_e``: the logarithm of the most that the account ever held; ``misdrawn``: whether the
    allocation check was ever breached.
    """

    log_e: float = float("-inf")
    misdrawn: bool = False


def error_rates(seed: str) -> Rates:
    """Nine in ten clients never fail; the others do in 30 % of their calls."""
    dice = Random(seed)
    clients = sorted({request.client for request in web_requests()})
    return {client: AT_RATE if dice.random() < FAILING else 0.0 for client in clients}


def replay(rates: Rates, salt: str, worse_by: float = 0.0) -> tuple[Outcome, Outcome]:
    """What accounts make of the same calls: one that counts each key once in a stage, and one that counts every call.

    ``salt``: of the branch; it also decides which calls fail. ``worse_by``: what arm B adds to the error rates.
    """
    dice = Random(salt)
    buckets = {client: bucket(salt, client) for client in rates}
    of_keys, of_calls = _Watcher(salt, keyed=True), _Watcher(salt, keyed=False)
    for seconds in _thirds():
        plan = of_keys.promote()
        of_calls.promote()
        seen: set[str] = set()
        for second, clients in seconds:
            block = UnitBlock(second)
            for client in clients:
                in_b = buckets[client] < plan.limit
                bad = dice.random() < rates[client] + in_b * worse_by
                scored = client not in seen and plan.scores(buckets[client])
                seen.add(client)
                _count(block, in_b=in_b, bad=bad, scored=scored)
            of_keys.fold(block)
            of_calls.fold(block)
    return of_keys.outcome, of_calls.outcome


@cache
def _thirds() -> Sequence[Sequence[Second]]:
    """The seconds in which somebody came, by stage."""
    requests = web_requests()
    each = groupby(requests, key=lambda request: int(request.at_s / FASTER))
    seconds = [(number, [request.client for request in group]) for number, group in each]
    lasts = seconds[-1][0] + 1
    return [list(group) for _, group in groupby(seconds, key=lambda second: second[0] * STAGES // lasts)]


def _count(block: UnitBlock, *, in_b: bool, bad: bool, scored: bool) -> None:
    """A call, in all figures that it belongs to."""
    every, first = (block.b, block.scored_b) if in_b else (block.a, block.scored_a)
    for figures in (every, first) if scored else (every,):
        figures.add("calls")
        figures.add("bad", bad)


class _Watcher:
    """The account of a branch, looked at every second. ``keyed``: whether its calls have keys."""

    def __init__(self, salt: str, *, keyed: bool) -> None:
        self.outcome = Outcome()
        branch = BranchPolicy(name=BRANCH, unit=BRANCH, salt=salt)
        self._policy = sample_policy(branches=(branch,), ramp=RAMP, gates=(gates.errors(),), keyed=keyed)
        self._states = {BRANCH: BranchState(rollout=self._policy.rollout, branch=BRANCH)}
        self._account = Account(self._policy.gates)
        self._enter()

    def promote(self) -> UnitPlan:
        """Up to the next stage; whom it assigns and scores."""
        (move,) = moves(self._policy, self._states, BRANCH, Event.promote)
        self._states = {BRANCH: move.after}
        self._enter()
        (plan,) = plan_units(self._policy, self._states)
        return plan

    def _enter(self) -> None:
        self._stage = Case(policy=self._policy, unit=BRANCH, states=self._states, flags=(), now=0.0).stage
        self._account.enter(self._stage)

    def fold(self, block: UnitBlock) -> None:
        self._account.fold(block, self._stage)
        self.outcome.log_e = max(self.outcome.log_e, self._account.log_e)
        found = self._account.findings(self._stage, float(block.second))
        self.outcome.misdrawn |= any(finding.gate == ALLOCATION for finding in found)
