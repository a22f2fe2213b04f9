"""What became of the customers' calls."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counts:
    """What became of some calls. ``faults``: what was wrong or went wrong → how often. ``took_s``: of the last ones."""

    ok: int = 0
    wrong: int = 0
    errors: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=50_000))
    since: float = field(default_factory=time.monotonic)

    def answered(self, took_s: float, status: int, fault: str) -> None:
        """A reply came. ``fault``: what is wrong with it, ``""`` if nothing is; an error where its status says so."""
        self.took_s.append(took_s)
        if not fault:
            self.ok += 1
            return
        self.faults[fault] += 1
        if status == 200:
            self.wrong += 1
        else:
            self.errors += 1

    def failed(self, why: str) -> None:
        """No reply came."""
        self.errors += 1
        self.faults[why] += 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; quantiles in seconds, None where nothing was answered."""
        ranked = sorted(self.took_s)
        sent = self.ok + self.wrong + self.errors
        return {
            "ok": self.ok,
            "wrong": self.wrong,
            "errors": self.errors,
            "per_s": round(sent / max(1e-9, time.monotonic() - self.since), 1),
            "p50_s": _quantile(ranked, 0.5),
            "p95_s": _quantile(ranked, 0.95),
            "faults": dict(self.faults.most_common(5)),
        }


def total(*counts: Mapping[str, Any]) -> dict[str, int]:
    """Several counts, as of ``to_dict``, in one."""
    return {name: sum(count[name] for count in counts) for name in ("ok", "wrong", "errors")}


def _quantile(ranked: list[float], q: float) -> float | None:
    return round(ranked[min(len(ranked) - 1, int(q * len(ranked)))], 4) if ranked else None
