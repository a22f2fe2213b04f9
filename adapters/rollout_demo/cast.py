"""Everything that takes part: services and model here, the shop and its customers as processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from rollout_demo.audit import Unmet
from rollout_demo.fanout import Pace
from rollout_demo.lines import Child, Message
from rollout_demo.model import Model
from rollout_demo.services import Tickets, make


class Cast:
    """``folder``: for the services' databases and the logs. ``database``: the URL that the shop's rollout writes to.
    ``rate``: calls a second that the customers try."""

    def __init__(self, folder: Path, database: str, rollout: str, *, rate: float, pace: Pace) -> None:
        self.folder = folder
        self.database = database
        self.rollout = rollout
        self.rate = rate
        self.pace = pace
        self.address = ""
        self.tickets: Tickets
        self._addresses: dict[str, str] = {}
        self._shops: dict[int, Child] = {}
        self._customers: Child

    async def enter(self, stack: AsyncExitStack, *, seconds: float, calls: int) -> None:
        """Start everybody; nobody does anything yet. ``seconds``, ``calls``: the most that the customers ever send.

        They leave in the opposite order: first the customers, then the shop, then its services.
        """
        model, services = Model(), make(self.folder)
        self.tickets = services[1]
        for service in services:
            await service.start(stack)
            self._addresses[service.kind.name] = service.address
        await model.start(stack)
        self._addresses["model"] = model.address
        for revision in (1, 2):
            self._shops[revision] = await self._child(stack, "rollout_demo.shop", f"shop-{revision}")
        bounds = ("--rate", str(self.rate), "--seconds", str(seconds), "--calls", str(calls))
        self._customers = await self._child(stack, "rollout_demo.client", "customers", "--steered", *bounds)

    async def _child(self, stack: AsyncExitStack, module: str, name: str, *arguments: str) -> Child:
        child = await Child.start(module, *arguments, log=self.folder / f"{name}.log")
        stack.push_async_callback(child.stop)
        return child

    async def open_shop(self, revision: int) -> None:
        """Start serving a revision, and send the customers there."""
        order = {
            "addresses": self._addresses,
            "database": self.database,
            "rollout": self.rollout,
            "revision": revision,
            "pace": asdict(self.pace),
        }
        self.address = (await self._shops[revision].ask(order, timeout_s=30))["address"]
        await self._customers.ask({"do": "use", "base": self.address})

    async def close_shop(self, revision: int) -> Message:
        """Have the customers wait, and stop a revision as a deployment does. What the customers have counted."""
        counts = await self._customers.ask({"do": "pause"})
        if code := await self._shops[revision].stop():
            raise Unmet(f"the shop of revision {revision} ended with {code}; see {self._shops[revision].log}")
        return counts

    async def count(self) -> Message:
        """What the customers have counted since they were asked last."""
        return await self._customers.ask({"do": "count"})

    async def command(self, *arguments: str) -> str:
        """What the ``rollout`` command says. ``Unmet`` if it fails; that something holds or was rolled back is none."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rollout", *arguments),
            env={**os.environ, "ROLLOUT_DATABASE_URL": self.database},  # not an argument: it may hold a password
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, errors = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode not in (0, 3, 4):
            raise Unmet(f"rollout {' '.join(arguments)} ended with {process.returncode}: {errors.decode().strip()}")
        return out.decode()
