"""Every test here runs over every implementation of the stores. At its end, connections and tasks are counted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollout.ports import Backend, Ledger, StateStore
from tests.contract.places import Memory, OpenBackend, Place, Postgres, Sqlite, leftover_tasks

PLACES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database that nobody has opened yet."""
    if request.param == "memory":
        return Memory()
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    return Postgres(request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_url"))


@pytest.fixture
async def open_backend(place: Place) -> AsyncIterator[OpenBackend]:
    """Opens one more process on the same database; all are closed at the end."""
    opened: list[Backend] = []

    async def one_more() -> Backend:
        opened.append(await place.open())
        return opened[-1]

    yield one_more
    for backend in opened:
        await backend.close()
    assert not await leftover_tasks()
    assert place.connections() == 0


@pytest.fixture
async def backend(open_backend: OpenBackend) -> Backend:
    return await open_backend()


@pytest.fixture
def state(backend: Backend) -> StateStore:
    return backend.state


@pytest.fixture
def ledger(backend: Backend) -> Ledger:
    return backend.ledger


@pytest.fixture
async def now(state: StateStore) -> int:
    """The second that the database's clock shows at the start of the test."""
    return int(await state.now())
