"""Fixtures that every test may ask for."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL, shared by all tests. One that takes it away starts its own: `running_postgres()`."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh database of the shared server, dropped afterwards. A connection left open fails the test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
