"""Every test here runs over every implementation of the stores. At its end, connections and tasks are counted."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rollout.ports import Backend, Ledger, StateStore
from tests.contract.places import Memory, OpenBackend, Place, Postgres, Sqlite, leftover_tasks
from tests.support.postgres import PostgresServer

PLACES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database that nobody has opened yet."""
    if request.param == "memory":
        return Memory()
    if request.param == "sqlite":
        file = shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path)
        return Sqlite(Path(file))
    postgres: Postgres = request.getfixturevalue("one_postgres")
    postgres.reset()
    return postgres


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty database; copied, because that is quicker than a migration."""
    file = tmp_path_factory.mktemp("empty") / "rollout.db"
    asyncio.run(open_once(Sqlite(file)))
    return file


@pytest.fixture(scope="session")
def one_postgres(postgres_server: PostgresServer) -> Iterator[Postgres]:
    url = postgres_server.create_database()
    postgres = Postgres(postgres_server, url)
    asyncio.run(open_once(postgres))
    postgres.remember()
    yield postgres
    postgres_server.drop_database(url)


async def open_once(place: Place) -> None:
    backend = await place.open()
    await backend.close()


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
