"""The demo's services, running."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout_demo.model import Model
from rollout_demo.monolith import application
from rollout_demo.services import Tickets, make, serve


@dataclass
class Street:
    """Everything around the shop, and the shop as it was."""

    addresses: dict[str, str]
    tickets: Tickets
    monolith: str


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    async with AsyncExitStack() as stack:
        services, model = make(tmp_path), Model()
        for service in services:
            await service.start(stack)
        await model.start(stack)
        addresses = {service.kind.name: service.address for service in services} | {"model": model.address}
        yield Street(addresses, services[1], await serve(application(addresses), stack))
