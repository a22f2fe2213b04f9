"""Users who call several shops at once, at an even pace whatever comes back, and remember what they were told and when.

Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from rollout.domain.changes import change
from rollout.domain.lifecycle import Event, moves
from rollout.domain.state import Trigger
from rollout.ports import Backend


@dataclass(frozen=True, slots=True)
class Told:
    """One reply. ``by``: control or branch; ``right``: whether the user got what control would have said."""

    at: float
    shop: int
    status: int
    by: str
    right: bool


@dataclass
class Crowd:
    """``failures``: calls without any reply."""

    told: list[Told] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def live(self) -> list[Told]:
        """Replies that a branch had a part in, by time."""
        return sorted((one for one in self.told if one.by == "branch"), key=lambda one: one.at)

    def wrong(self) -> list[Told]:
        """By time."""
        return sorted((one for one in self.told if not one.right), key=lambda one: one.at)


@asynccontextmanager
async def crowd(urls: Sequence[str], per_s: float, at_most_s: float = 120.0) -> AsyncIterator[Crowd]:
    """``per_s`` calls a second to each of these until the block ends, and for at most ``at_most_s`` seconds."""
    found = Crowd()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        calling = [
            asyncio.create_task(_open_loop(found, session, shop, url, per_s, at_most_s))
            for shop, url in enumerate(urls)
        ]
        try:
            yield found
        finally:
            for task in calling:
                task.cancel()
            await asyncio.gather(*calling, return_exceptions=True)


async def _open_loop(
    found: Crowd, session: aiohttp.ClientSession, shop: int, url: str, per_s: float, at_most_s: float
) -> None:
    began, made = time.monotonic(), 0
    under_way: set[asyncio.Task[None]] = set()
    try:
        while (spent := time.monotonic() - began) < at_most_s:
            while made < spent * per_s:
                made += 1
                task = asyncio.create_task(_call(found, session, shop, url, made))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.005)
    finally:
        if under_way:
            await asyncio.wait(under_way, timeout=10)


async def _call(found: Crowd, session: aiohttp.ClientSession, shop: int, url: str, number: int) -> None:
    try:
        async with session.get(f"{url}/profile/{number}", headers={"X-User-Id": f"user-{shop}-{number}"}) as response:
            reply: dict[str, Any] = await response.json()
            orders = reply["orders"]
            right = orders["n"] == len(str(number))
            found.told.append(Told(time.monotonic(), shop, response.status, orders["by"], right))
    except Exception as error:
        found.failures.append(f"{type(error).__name__}: {error}")


async def stats(url: str) -> dict[str, Any]:
    """What a shop counted so far."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/stats") as response:
        said: dict[str, Any] = await response.json()
        return said


async def break_branch(urls: Sequence[str], how: str = "wrong") -> None:
    """Turn the branch bad in every shop."""
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.post(f"{url}/break", params={"how": how}) as response:
                assert response.status == 200


async def put_at(backend: Backend, share: float, branch: str = "orders", rollout: str = "profile") -> None:
    """Move a branch to a share at once, as ``promote --force`` would."""
    snapshot = await backend.state.load()
    policy = snapshot.policies[rollout]
    found = moves(policy, snapshot.states[rollout], branch, Event.promote, to=share)
    person: dict[str, Any] = {"actor": "test", "trigger": Trigger.person, "reason": "because"}
    await backend.state.transition(change(policy, found, Event.promote, at=snapshot.now, **person))


async def until(condition: Any, what: str, within_s: float = 60.0, every_s: float = 0.05) -> Any:
    """Ask again and again until the answer is true; the answer."""
    end = time.monotonic() + within_s
    while not (answer := await condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {within_s:g} s")
        await asyncio.sleep(every_s)
    return answer
