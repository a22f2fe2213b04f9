"""The customers: a process that sends real requests to the shop and checks every reply against the truth.

    python -m rollout_demo.client --base http://127.0.0.1:8080 --seconds 10

Steered (``--steered``), it reads lines of JSON: ``{"do": "use", "base": …}`` sends the calls there, ``{"do": "pause"}``
sends no more and waits for those under way, ``{"do": "count"}`` only counts. Each is answered with the counts since the
last one. It never sends longer than ``--seconds`` or more than ``--calls``, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from rollout_demo.counts import Counts
from rollout_demo.lines import Lines, Message
from rollout_demo.traffic import Visit, visits
from rollout_demo.truth import fault_of, key_of

AT_ONCE: Final = 12  # calls under way; when the machine is busy, later ones wait for their turn instead of piling up
TIMEOUT: Final = ClientTimeout(total=10)


class Customers:
    """The load: open loop up to ``AT_ONCE`` calls under way."""

    def __init__(self, session: ClientSession, base: str, *, rate: float, seed: int) -> None:
        self.base = base
        self.counts = Counts()
        self._session = session
        self._visits = visits(rate, seed)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._open = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    async def come(self, seconds: float, calls: int) -> None:
        """Send calls until the time is over or enough are sent."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        due = loop.time()
        for _ in range(calls):
            visit = next(self._visits)
            due = max(due + visit.gap_s, loop.time() - 0.1)  # after a pause nobody comes twice
            await asyncio.sleep(due - loop.time())
            await self._open.wait()
            await self._room.acquire()
            if loop.time() >= end:
                self._room.release()
                break
            task = asyncio.create_task(self._call(visit))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await self._settled()

    def use(self, base: str) -> None:
        """Send the calls to another address from now on."""
        self.base = base
        self._open.set()

    async def pause(self) -> None:
        """Send no more, and wait for those under way."""
        self._open.clear()
        await self._settled()

    def count(self) -> Counts:
        """The counts so far; new ones begin."""
        counts, self.counts = self.counts, Counts()
        return counts

    async def _settled(self) -> None:
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _call(self, visit: Visit) -> None:
        counts, begun = self.counts, time.monotonic()
        query = {"context": str(visit.context_tokens), "generate": str(visit.generated_tokens)}
        headers = {"X-User-Id": key_of(visit.customer)}
        try:
            address = f"{self.base}/profile/{visit.customer}"
            async with self._session.get(address, params=query, headers=headers) as reply:
                body = await reply.read()
                fault = fault_of(json.loads(body), visit.customer) if reply.status == 200 else f"HTTP {reply.status}"
        except (ClientError, TimeoutError, ValueError) as error:
            counts.failed(type(error).__name__)
        else:
            counts.answered(time.monotonic() - begun, reply.status, fault)
        finally:
            self._room.release()


async def steer(customers: Customers) -> None:
    """Do what the lines say, until there are no more."""
    async with Lines.standard() as lines:
        while (message := await lines.read()) is not None:
            await obey(customers, message)
            lines.write(customers.count().to_dict())


async def obey(customers: Customers, message: Message) -> None:
    match message["do"]:
        case "use":
            customers.use(message["base"])
        case "pause":
            await customers.pause()


async def main(options: argparse.Namespace) -> int:
    """0 when every reply was right."""
    async with ClientSession(connector=TCPConnector(limit=AT_ONCE), timeout=TIMEOUT) as session:
        customers = Customers(session, options.base, rate=options.rate, seed=options.seed)
        load = asyncio.create_task(customers.come(options.seconds, options.calls))
        if options.steered:
            await steer(customers)
            load.cancel()
            await asyncio.wait([load])
            return 0
        customers.use(options.base)
        await load
    counts = customers.count().to_dict()
    print(json.dumps(counts, indent=2))
    return 1 if counts["wrong"] or counts["errors"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rollout_demo.client", description="The demo's customers.")
    parser.add_argument("--base", default="", help="address of the shop")
    parser.add_argument("--rate", type=float, default=100.0, help="mean calls per second (100)")
    parser.add_argument("--seconds", type=float, default=60.0, help="the longest that it sends (60)")
    parser.add_argument("--calls", type=int, default=20_000, help="the most that it sends (20000)")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals, customers and token counts (1)")
    parser.add_argument("--steered", action="store_true", help="read what to do from standard input")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
