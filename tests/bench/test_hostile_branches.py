"""Shadow branches that do their worst, and users who must not notice: the same bytes, and no slower than without us.

Two servers, the wrapped application and the plain one, each a process of its own, are called from a third: both at an
even pace whatever comes back (open loop), with the same times of control (50 to 150 ms, from a seed), so that whatever
else the machine does meets both alike.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.children import child
from tests.support.crowd import stats
from tests.support.hostile import KINDS, Hostile, truth

PER_S = 100.0
CALLS = 10_000
MOST = 1.25
ROOM = 4.0  # in the ordinary tests: a machine that does other things too


@pytest.mark.bench
async def test_users_notice_nothing_of_hostile_shadows_in_ten_thousand_calls(tmp_path: Path) -> None:
    report = await attacked(f"sqlite:///{tmp_path / 'rollout.db'}", CALLS)
    print(f"\n{report}")
    assert report.wrong == []
    assert report.ratio(0.99) <= MOST


async def test_users_get_the_same_bytes_while_shadows_do_their_worst(tmp_path: Path) -> None:
    report = await attacked(f"sqlite:///{tmp_path / 'rollout.db'}", 320, shed=False)
    print(f"\n{report}")
    assert report.wrong == []
    assert report.ratio(0.5) < ROOM
    for kind in KINDS:
        assert report.counts[kind]["drawn"] == 320 / len(KINDS)
        assert report.counts[kind].get("started", 0) > 0
    assert report.outcomes["spends/spends/shadow"] == {"ok": 20, "over_budget": 20}
    assert report.outcomes["trips/trips/shadow"]["short_circuited"] > 0


@dataclass
class Report:
    """Seconds of each call, by kind, wrapped and plain. ``wrong``: what of a wrapped reply was not the plain one's."""

    wrapped: dict[str, list[float]] = field(default_factory=dict)
    plain: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, Any] = field(default_factory=dict)

    def ratio(self, q: float, kinds: Sequence[str] = KINDS) -> float:
        return self._quantile(self.wrapped, q, kinds) / self._quantile(self.plain, q, kinds)

    @staticmethod
    def _quantile(side: dict[str, list[float]], q: float, kinds: Sequence[str]) -> float:
        values = sorted(value for kind in kinds for value in side[kind])
        return values[min(len(values) - 1, int(len(values) * q))]

    def __str__(self) -> str:
        lines = [self._line("all together", KINDS)] + [self._line(kind, [kind]) for kind in KINDS]
        return "\n".join(lines)

    def _line(self, name: str, kinds: Sequence[str]) -> str:
        p99 = [1000 * self._quantile(side, 0.99, kinds) for side in (self.wrapped, self.plain)]
        refused = {
            reason.removeprefix("refused:"): count
            for kind in kinds[:1]
            for reason, count in self.counts[kind].items()
            if reason.startswith("refused:") and len(kinds) == 1
        }
        shed = f", shed: {refused}" if refused else ""
        ratios = f"ratio p50 {self.ratio(0.5, kinds):.2f}, p99 {self.ratio(0.99, kinds):.2f}"
        return f"{name:12} p99 {p99[0]:.0f} ms wrapped, {p99[1]:.0f} ms plain; {ratios}{shed}"


async def attacked(url: str, calls: int, *, shed: bool = True, seed: int = 11) -> Report:
    """``calls`` to each application; call n of both has the same kind, time and number."""
    report = Report({kind: [] for kind in KINDS}, {kind: [] for kind in KINDS})
    dice = random.Random(seed)
    with (
        child("tests.support.hostile", Hostile(database=url, shed=shed)) as ours,
        child("tests.support.hostile", Hostile()) as none,
    ):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number in range(calls):
                    await asyncio.sleep(max(0.0, began + number / PER_S - time.monotonic()))
                    path = f"/{KINDS[number % len(KINDS)]}/{dice.randint(50, 150)}/{number}"
                    for side, where in ((report.wrapped, ours), (report.plain, none)):
                        group.create_task(_call(session, where.url, path, side, report))
        said = await stats(ours.url)
        report.counts, report.outcomes = said["counts"], said["outcomes"]
    return report


async def _call(
    session: aiohttp.ClientSession, url: str, path: str, side: dict[str, list[float]], report: Report
) -> None:
    _, kind, _, number = path.split("/")
    asked = time.perf_counter()
    async with session.get(url + path) as response:
        body = await response.read()
        side[kind].append(time.perf_counter() - asked)
        headers = [response.headers.get(name) for name in ("Content-Type", "X-Number", "ETag", "Content-Length")]
    expected = truth(kind, int(number))
    if response.status != 200 or body != expected:
        report.wrong.append(f"{path}: {response.status}, {len(body)} bytes, not those of control")
    if headers != ["application/json", number, f'"{number}"', str(len(expected))]:
        report.wrong.append(f"{path}: headers {headers}")
