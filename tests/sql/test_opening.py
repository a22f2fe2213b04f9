"""Opening a database: what is made, and what each thing that is wrong says, soon and without a password."""

import asyncio
import os
import shutil
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from rollout.errors import DatabaseError, SchemaError
from rollout.testing import sample_decision
from rollout_sql import open_backend, schema
from tests.support.postgres import PostgresServer


async def refused(url: str, *says: str, create: bool = True, within_s: float = 12.0) -> str:
    """What opening says; it must be said in time, without the password."""
    began = time.monotonic()
    with pytest.raises(DatabaseError) as caught:
        await open_backend(url, create=create)
    assert time.monotonic() - began < within_s
    message = str(caught.value)
    for part in says:
        assert part in message
    if password := urlsplit(url).password:
        assert password not in message
    return message


def file_url(file: Path) -> str:
    return f"sqlite:///{file}"


# SQLite


async def test_a_file_is_made_with_its_tables_at_the_first_start(tmp_path: Path) -> None:
    backend = await open_backend(file_url(tmp_path / "rollout.db"))
    assert (await backend.state.load()).policies == {}
    await backend.close()
    assert await schema.current(file_url(tmp_path / "rollout.db")) == schema.known()[-1]


async def test_a_file_of_the_users_gets_our_tables_beside_theirs(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as theirs:
        theirs.execute("CREATE TABLE users (id INTEGER)")
    theirs.close()
    backend = await open_backend(file_url(file))
    await backend.close()
    assert await schema.current(file_url(file)) == schema.known()[-1]


async def test_the_command_line_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "rollout.db"
    await refused(file_url(file), "There is no database", str(file), "rollout db upgrade", create=False)
    assert not file.exists()


async def test_the_command_line_makes_no_tables(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    file.touch()
    with pytest.raises(SchemaError, match="has none of the tables"):
        await open_backend(file_url(file), create=False)


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    await refused(file_url(tmp_path / "gone" / "rollout.db"), f"the folder {tmp_path / 'gone'} does not exist", "Make")


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("milk, eggs, and a great deal of other things that make this longer than a header" * 20)
    before = file.read_bytes()
    await refused(file_url(file), "is not an SQLite database", "Name another file")
    assert file.read_bytes() == before


async def test_a_folder_in_place_of_the_file_cannot_be_opened(tmp_path: Path) -> None:
    await refused(file_url(tmp_path), "cannot be opened", "Check that the folder exists")


async def test_a_file_that_may_not_be_written_is_read_and_says_so_when_written() -> None:
    with unprivileged_folder() as folder:
        url = file_url(folder / "rollout.db")
        await schema.upgrade(url)
        (folder / "rollout.db").chmod(0o444)
        backend = await open_backend(url)
        assert (await backend.state.load()).policies == {}
        with pytest.raises(DatabaseError, match=r"cannot be written.*Give this user the right"):
            await backend.state.record(sample_decision())
        await backend.close()


async def test_a_file_that_may_not_be_read_is_told() -> None:
    with unprivileged_folder() as folder:
        url = file_url(folder / "rollout.db")
        await schema.upgrade(url)
        (folder / "rollout.db").chmod(0)
        await refused(
            url, "cannot be opened", "Check that the folder exists and that this user may read and write there"
        )


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """A folder of one's own, as a user whom file modes bind: root is nobody for that long."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


async def test_a_file_that_is_locked_for_long_is_told_in_time(tmp_path: Path) -> None:
    file = tmp_path / "rollout.db"
    await schema.upgrade(file_url(file))
    backend = await open_backend(file_url(file))
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(DatabaseError, match="is locked by another process"):
        await backend.state.lease("controller", "a", 10)
    assert time.monotonic() - began < 8
    holder.execute("ROLLBACK")
    holder.close()
    assert await backend.state.lease("controller", "a", 10)
    await backend.close()


# PostgreSQL


def changed(url: str, *, password: str = "", port: int = 0, database: str = "") -> str:
    parts = urlsplit(url)
    where = f"rollout:{password or parts.password}@127.0.0.1:{port or parts.port}"
    return urlunsplit(parts._replace(netloc=where, path=f"/{database}" if database else parts.path))


@pytest.mark.postgres
async def test_postgresql_is_never_migrated_unasked(postgres_url: str) -> None:
    with pytest.raises(SchemaError, match="rollout db upgrade --database-url postgresql://rollout:"):
        await open_backend(postgres_url)
    assert await schema.current(postgres_url) is None
    backend = await open_backend(postgres_url, migrate=True)
    await backend.close()


@pytest.mark.postgres
async def test_a_wrong_password_is_told_and_not_shown(postgres_url: str) -> None:
    await refused(changed(postgres_url, password="s3cret-and-wrong"), "refused the password", "Check user and password")


@pytest.mark.postgres
async def test_a_database_that_does_not_exist_is_told(postgres_url: str) -> None:
    await refused(changed(postgres_url, database="nowhere"), "does not exist", "createdb")


async def test_a_server_that_does_not_run_is_told_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://ann:s3cret@127.0.0.1:{closed.getsockname()[1]}/shop"
        await refused(url, "cannot be reached", "Check that the server runs", within_s=3.0)


async def test_a_server_that_does_not_answer_is_told_in_time() -> None:
    with silent_server() as port:
        await refused(f"postgresql://ann:s3cret@127.0.0.1:{port}/shop?connect_timeout=1", "cannot be reached")


async def test_a_host_that_is_unknown_is_told() -> None:
    await refused("postgresql://ann:s3cret@no-such-host.invalid/shop", "cannot be reached")


@contextmanager
def silent_server() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.postgres
async def test_nothing_is_left_open_after_a_failure(postgres_server: PostgresServer, postgres_url: str) -> None:
    for _ in range(3):
        with pytest.raises(SchemaError):
            await open_backend(postgres_url)
    await asyncio.sleep(0.1)
    open_now = postgres_server.sql(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{urlsplit(postgres_url).path[1:]}'"
    )
    assert open_now == "0"
