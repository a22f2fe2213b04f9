"""All sequential gates of a unit: one account, in which the evidence of each gate has an equal share.

    account = Account(policy.gates)
    account.enter(stage)
    account.fold(block, stage)
    findings = account.findings(stage, now)

A unit is rolled back when its account reaches B/α, B being how many units the rollout has: then α holds for the whole
rollout, however often anybody looks (Ville's inequality). The cause that is named is the gate that holds most of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any, Final

from rollout.domain.evidence import Figures, UnitBlock
from rollout.domain.gates import Finding, GateSpec, GateState, Grade, Stage
from rollout.domain.limits.check import percent_text
from rollout.domain.sequential.curve import Curve
from rollout.domain.sequential.gate import SequentialGate
from rollout.domain.sequential.part import Second
from rollout.domain.stats import (
    ALPHA_ALLOCATION,
    ALPHA_ROLLBACK,
    START,
    allocation_log_e,
    log_sum_exp,
    restart_weight,
)

#: The name of the finding on whether calls were drawn as they should.
ALLOCATION: Final = "allocation"
#: Calls of both arms, together, for which seconds are put together.
FEWEST: Final = 20

_LOG_ALLOCATION: Final = log(1 / ALPHA_ALLOCATION)


def log_limit(units: int) -> float:
    """What the logarithm of an account must reach for a rollback, in a rollout of so many units."""
    return log(units / ALPHA_ROLLBACK)


class Account:
    """See the module. Its state is of bounded size; ``load`` of it goes on where ``to_state`` stopped."""

    def __init__(self, specs: Sequence[GateSpec]) -> None:
        self._gates = [SequentialGate(spec) for spec in specs if spec.sequential]
        self._a = Figures()  # not yet compared: there are too few calls, or an arm is missing
        self._b = Figures()
        self._compared = 0  # how often, in this account
        self._updated = 0
        self._keys = [0, 0]  # drawn into each arm in this stage
        self._live = False
        self._funded = 0  # how many live stages put capital on the bets
        self._curve = Curve()
        self._newest: tuple[int, Stage] | None = None  # second that was folded last, and where

    def enter(self, stage: Stage) -> None:
        """A stage begins. What was not compared of the last one is, if both arms have calls."""
        self._curve = self._drawn()
        if self._a["calls"] and self._b["calls"]:
            self._compare(stage)
        elif self._a["calls"]:
            for gate in self._gates:
                gate.learn(self._a)
        self._a, self._b, self._keys = Figures(), Figures(), [0, 0]
        for gate in self._gates:
            if stage.live and not self._live:
                gate.renew()
            gate.enter(stage)
            if stage.live and self._funded < stage.steps:
                gate.fund(START / stage.steps)
        if stage.live and not self._live:
            self._compared = self._updated = 0
        self._funded += stage.live
        self._live = stage.live

    def fold(self, block: UnitBlock, stage: Stage) -> None:
        """One more closed second, in the order of time."""
        a, b, pairs = block.counted(stage.keyed)
        second = Second(a, b, pairs, block.pairs)
        if b["calls"] or block.pairs["pairs"]:
            self._updated += 1
            capital = restart_weight(self._updated)
            for gate in self._gates:
                gate.update(second, stage, capital)
        if stage.live:
            self._keys[0] += a["calls"]
            self._keys[1] += b["calls"]
            self._a.merge(a)
            self._b.merge(b)
            if self._a["calls"] and self._b["calls"] and self._a["calls"] + self._b["calls"] >= FEWEST:
                self._compare(stage)
                self._a, self._b = Figures(), Figures()
        self._curve.note(block.second, self._gates, stage)
        self._newest = (block.second, stage)

    def _compare(self, stage: Stage) -> None:
        self._compared += 1
        capital = restart_weight(self._compared)
        for gate in self._gates:
            gate.compare(self._a, self._b, stage, capital)

    @property
    def log_e(self) -> float:
        """The logarithm of the account."""
        return log_sum_exp(self._holdings())

    def _holdings(self) -> list[float]:
        """The logarithm of what each gate holds of the account."""
        share = log(len(self._gates))
        return [gate.log_e - share for gate in self._gates]

    def findings(self, stage: Stage, now: float) -> list[Finding]:
        """A finding of each gate, and of the draw of calls where it is at fault. ``now``: epoch seconds."""
        limit, holdings = log_limit(stage.units), self._holdings()
        reached = log_sum_exp(holdings) >= limit
        blame = min(limit, max(holdings, default=limit))  # the one that holds most, and all that suffice alone
        found = [
            gate.finding(stage, now, log_e=held, log_limit=limit, blamed=reached and held >= blame)
            for gate, held in zip(self._gates, holdings, strict=True)
        ]
        return [*found, *self._allocation(stage, now)]

    def _allocation(self, stage: Stage, now: float) -> list[Finding]:
        """A breach where calls are not drawn as they should be: a fault of the plumbing, not of the branch."""
        n = sum(self._keys)
        if not n or not 0 < stage.share < 1:
            return []
        shares = (1 - stage.drawn, stage.drawn)
        log_e = allocation_log_e(self._keys, shares)
        if log_e < _LOG_ALLOCATION:
            return []
        noun = "callers" if stage.keyed else "calls"
        observed, wanted = self._keys[1] / n, shares[1]
        why = (
            f"{percent_text(observed)} of {n:,} {noun} that count were drawn, and {percent_text(wanted)} should be: "
            "something between the draw and the count is at fault (a cache, a flag, a bot), so no gate can be trusted"
        )
        return [
            Finding(
                gate=ALLOCATION,
                unit=stage.unit,
                grade=Grade.breach,
                observed=observed,
                limit=wanted,
                n=n,
                why=why,
                unit_name="%",
                at=now,
                bound=True,
                log_e=log_e,
                log_limit=_LOG_ALLOCATION,
            )
        ]

    def _drawn(self) -> Curve:
        """The curve up to the newest second."""
        if self._newest is None:
            return self._curve
        second, stage = self._newest
        return self._curve.until(second, self._gates, stage)

    def to_state(self) -> GateState:
        return {
            "gates": {gate.name: gate.to_state() for gate in self._gates},
            "pending": [self._a.to_json(), self._b.to_json()],
            "counts": [self._compared, self._updated, *self._keys, self._funded],
            "live": self._live,
            "curve": self._drawn().to_json(),
        }

    @classmethod
    def load(cls, specs: Sequence[GateSpec], state: Mapping[str, Any]) -> Account:
        """The account that ``to_state`` stored, of the same gates."""
        account = cls(specs)
        for gate in account._gates:
            gate.restore(state["gates"][gate.name])
        account._a, account._b = (Figures.from_json(one) for one in state["pending"])
        account._compared, account._updated, *account._keys, account._funded = state["counts"]
        account._live = state["live"]
        account._curve = Curve.from_json(state["curve"])
        return account
