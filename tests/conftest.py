"""Fixtures that every test may ask for, and what holds for the whole suite."""

import gc
import signal
from collections.abc import Generator, Iterator

import pytest

from tests.support.postgres import PostgresServer, running_postgres

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would every process of ours that a test
# interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay until the end. To search them for garbage again and again takes a quarter of
    the time of what makes many objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Keep looptime's plugin away from tests without a loop.

    It asks the policy for the current loop in every test (0.9); where there is none, that makes one which nobody closes
    (Python 3.11) or warns (3.12 and later), and here a warning is an error.
    """
    if pyfuncitem.get_closest_marker("asyncio") is None:
        pyfuncitem.funcargs.pop("event_loop_policy", None)
    return (yield)
