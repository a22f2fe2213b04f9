"""What was recorded of a rollout's calls: how many came while they came, and how often a unit failed, differed …"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from rollout.domain import report_parts
from rollout.domain.evidence import Figures
from rollout.domain.report_parts import Units
from rollout.domain.simulation.recorded import control_calls, recorded
from rollout.domain.state import Policy
from rollout.ports import Backend

#: How far back from the newest one calls count, in seconds.
RECENT_S: Final = 86_400

#: Where a figure comes from. ``older``: from records under older versions of the policy too, because there are too few
#: under the one in force. ``unseen``: of errors, none was recorded, and half of one is taken to have been.
Origin = Literal["given", "recorded", "older", "unseen", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls that were recorded, and from when to when (epoch seconds). The time since the last one is not in it:
    silence tells nothing of how many come when they come.
    """

    calls: int
    since: float
    until: float

    @property
    def per_s(self) -> float | None:
        """Calls a second from the first call to the last one; None of fewer than two."""
        return (self.calls - 1) / (self.until - self.since) if self.calls > 1 else None

    def since_then(self, moment: float) -> float:
        """About how many came after a moment (epoch seconds)."""
        return self.calls * min(1.0, max(0.0, self.until - moment) / (self.until - self.since))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the last day of calls tells. ``in_force``: figures under the policy in force; ``every``: under all.
    ``ever``: under the policy in force too, however old."""

    traffic: Traffic | None
    in_force: Units
    every: Units
    ever: Units

    @classmethod
    async def of(cls, backend: Backend, policy: Policy) -> Rates:
        """Read them, counted back from the newest call, however long ago that was."""
        ledger, name = backend.ledger, policy.rollout
        ever = await ledger.extent(name)
        if ever is None:
            return cls(traffic=None, in_force={}, every={}, ever={})
        begin = ever[1] - RECENT_S
        since, until = await ledger.extent(name, begin) or ever
        every = await ledger.totals(name, begin)
        calls = report_parts.whole(every)["calls"]
        return cls(
            traffic=Traffic(calls=calls, since=since, until=until),
            in_force=report_parts.by_unit(await ledger.totals(name, begin, None, policy.version)),
            every=report_parts.by_unit(every),
            ever=report_parts.by_unit(await ledger.totals(name, version=policy.version)),
        )

    def pairs_of(self, unit: str, entry: int) -> Figures:
        """The pairs of a unit since an entry of a stage, under the policy in force, however long that is ago."""
        return self.ever.get(unit, {}).get("P", {}).get(entry, Figures())

    def known(self, unit: str) -> tuple[dict[str, float], dict[str, Origin]]:
        """The fields of ``Truth`` that there are enough calls for, each with its origin: of the policy in force where
        there are enough under it, else of all.
        """
        newest, every = _known(self.in_force, unit), _known(self.every, unit)
        origins: dict[str, Origin] = {name: "recorded" if name in newest else "older" for name in every}
        if "errors" in origins and self._never_failed(unit, self.in_force if "errors" in newest else self.every):
            origins["errors"] = "unseen"
        return {**every, **newest}, origins

    @staticmethod
    def _never_failed(unit: str, units: Units) -> bool:
        a, pairs = (report_parts.summed(units, unit, arm) for arm in ("A", "P"))
        return control_calls(a, pairs)[1] == 0


def _known(units: Units, unit: str) -> Mapping[str, float]:
    a, b, pairs = (report_parts.summed(units, unit, arm) for arm in ("A", "B", "P"))
    return recorded(a, b, pairs)
