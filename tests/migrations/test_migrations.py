"""The history of the schema: it leads to the tables of the code, once, on both databases, and touches nobody else's."""

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from rollout.domain.state import BranchState
from rollout.errors import DatabaseError, SchemaError
from rollout.ports import GateCheckpoint
from rollout.resources import shipped
from rollout_sql import open_backend, schema
from rollout_sql.database import Database
from rollout_sql.tables import metadata
from rollout_sql.urls import target_of
from tests.support.spans import closed_blocks

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rollout.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def run(url: str, *statements: str) -> list[object]:
    """Run statements; the first column of what the last one returns."""
    database = Database(target_of(url))
    found: list[object] = []
    try:
        async with database.writing() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
                found = list(result.scalars()) if result.returns_rows else []
    finally:
        await database.close()
    return found


# The chain and the tables


async def test_the_chain_leads_to_the_tables_of_the_code(url: str) -> None:
    await schema.upgrade(url)
    assert await schema.check(url) == []


async def test_primary_keys_are_those_of_the_code(url: str) -> None:
    """``check`` does not look at them; their order decides what is found quickly."""

    def primary_keys(connection: Connection) -> dict[str, list[str]]:
        found = inspect(connection)
        return {name: found.get_pk_constraint(name)["constrained_columns"] for name in metadata.tables}

    await schema.upgrade(url)
    database = Database(target_of(url))
    try:
        async with database.reading() as connection:
            stored = await connection.run_sync(primary_keys)
    finally:
        await database.close()
    assert stored == {name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()}


async def test_a_table_that_differs_from_the_code_is_found(url: str) -> None:
    await schema.upgrade(url)
    await run(url, "ALTER TABLE rollout_trials ADD COLUMN extra TEXT")
    (difference,) = await schema.check(url)
    assert "extra" in difference


def test_the_revisions_known_are_those_of_alembic() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")))
    chain = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    assert schema.known() == chain


def test_history_takes_nothing_away() -> None:
    """Expand before, contract after: the last version's code may still run beside the new schema."""
    for file in sorted((shipped("migrations") / "versions").glob("*.py")):
        names = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"drop_table", "drop_column", "rename_table"}, file.name


# Upgrading


async def test_an_upgrade_tells_the_revision_it_led_to(url: str) -> None:
    assert await schema.current(url) is None
    assert await schema.upgrade(url) == schema.known()[-1]
    assert await schema.current(url) == schema.known()[-1]


async def test_a_second_upgrade_finds_nothing_to_do_and_loses_nothing(url: str) -> None:
    await schema.upgrade(url)
    await run(url, "INSERT INTO rollout_leases (name, holder, epoch, expires_at) VALUES ('a', 'b', 1, 0)")
    assert await schema.upgrade(url) == schema.known()[-1]
    assert await run(url, "SELECT holder FROM rollout_leases") == ["b"]


async def test_upgrades_at_the_same_time_wait_for_each_other(url: str) -> None:
    assert await asyncio.gather(*(schema.upgrade(url) for _ in range(3))) == [schema.known()[-1]] * 3
    assert await schema.check(url) == []


def test_upgrades_of_several_processes_wait_for_each_other(url: str) -> None:
    code = "import asyncio, sys; from rollout_sql import schema; print(asyncio.run(schema.upgrade(sys.argv[1])))"
    running = [subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert said == [schema.known()[-1]] * 3


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(url: str) -> None:
    await run(url, "CREATE TABLE rollout_subjects (mine INTEGER)")  # in the way of the last tables
    with pytest.raises(DatabaseError):
        await schema.upgrade(url)
    assert await schema.current(url) is None
    await run(url, "DROP TABLE rollout_subjects")
    assert await schema.upgrade(url) == schema.known()[-1]


async def test_tables_of_the_user_are_never_touched(url: str) -> None:
    await run(
        url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE rollout_notes (id INTEGER PRIMARY KEY)",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
        "INSERT INTO users VALUES (1, 'ann')",
        "INSERT INTO alembic_version VALUES ('theirs')",
    )
    await schema.upgrade(url)
    assert await schema.check(url) == []
    assert await run(url, "SELECT name FROM users") == ["ann"]
    assert await run(url, "SELECT version_num FROM alembic_version") == ["theirs"]


async def test_an_unknown_revision_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(SchemaError, match=r'no revision "9999". Known: 0001'):
        await schema.upgrade(url, "9999")


# Too old, too new, not there


async def test_a_newer_schema_is_refused_by_everything(url: str) -> None:
    await schema.upgrade(url)
    await run(url, f"UPDATE {schema.VERSION_TABLE} SET version_num = '0999'")
    for attempt in (schema.upgrade(url), open_backend(url), open_backend(url, migrate=True)):
        with pytest.raises(SchemaError, match=rf"revision 0999, newer .* up to {schema.known()[-1]}.*pip install"):
            await attempt


async def test_a_database_without_our_tables_is_refused_with_the_command(url: str) -> None:
    await run(url, "CREATE TABLE users (id INTEGER)")
    with pytest.raises(SchemaError, match=rf"needs revision {schema.known()[-1]}. Run: rollout db upgrade"):
        await open_backend(url, migrate=False)


async def test_an_old_schema_is_refused_with_both_revisions_and_the_command(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = await schema.upgrade(url)
    monkeypatch.setattr(schema, "known", lambda: [at, "0999"])
    with pytest.raises(SchemaError, match=rf"is at revision {at}; this version needs 0999. Run: rollout db upgrade"):
        await open_backend(url)


async def test_a_database_of_the_first_revision_keeps_what_it_has(url: str) -> None:
    await schema.upgrade(url, "0001")
    await run(url, "INSERT INTO rollout_leases (name, holder, epoch, expires_at) VALUES ('a', 'b', 1, 0)")
    assert await schema.upgrade(url) == schema.known()[-1]
    assert await schema.check(url) == []
    assert await run(url, "SELECT holder FROM rollout_leases") == ["b"]


STATE = """INSERT INTO rollout_branch_states
    (rollout, branch, stage, share, mode, shadow, entered_at, entry, version, cause, epoch)
    VALUES ('profile', 'orders', 2, 0.05, 'active', true, 1000.5, 3, 9, '', 4)"""
GATES = """INSERT INTO rollout_gate_states (rollout, unit, entry, version, closed_second, states)
    VALUES ('profile', 'orders', 3, 2, 1100, '{"errors": {"n": 5}}')"""
SUBJECT = """INSERT INTO rollout_subjects (rollout, unit, entry, key_hash, arm, started_at, bad, latency)
    VALUES ('profile', 'orders', 3, '00000000000a11ce', 'B', 1050.5, true, -1)"""


async def test_an_account_of_a_branch_that_is_there_already_begins_with_its_stage(url: str) -> None:
    await schema.upgrade(url, "0002")
    await run(url, STATE, GATES, SUBJECT)

    await schema.upgrade(url)

    assert await schema.check(url) == []
    backend = await open_backend(url)
    try:
        assert (await backend.state.load()).states["profile"]["orders"] == BranchState(
            rollout="profile", branch="orders", stage=2, share=0.05, entered_at=1000.5, entry=3, version=9, account=3
        )
        assert await backend.state.checkpoints() == {
            ("profile", "orders"): GateCheckpoint("profile", "orders", 3, 2, 1100, {"errors": {"n": 5}}, account=3)
        }
        assert await closed_blocks(backend.ledger, "profile", "orders", 3, 2, 0, 2_000) == []
    finally:
        await backend.close()


async def test_the_older_code_may_go_on_writing_beside_the_newer_schema(url: str) -> None:
    await schema.upgrade(url)
    await run(url, STATE, GATES, SUBJECT)
    assert await run(url, "SELECT account FROM rollout_branch_states") == [1]
    assert await run(url, "SELECT earlier FROM rollout_branch_states") == [0.0]


async def test_no_key_of_a_caller_stays_behind_in_the_older_table(url: str) -> None:
    await schema.upgrade(url, "0002")
    await run(url, SUBJECT)
    await schema.upgrade(url)
    assert await run(url, "SELECT count(*) FROM rollout_subjects") == [0]


# SQL for an administrator


async def test_the_sql_of_an_upgrade_can_be_run_by_hand(url: str) -> None:
    script = await schema.sql(url)
    assert "CREATE TABLE rollout_trials" in script
    statements = [part.strip() for part in strip_comments(script).split(";")]
    await run(url, *(part for part in statements if part and part not in ("BEGIN", "COMMIT")))
    assert await schema.current(url) == schema.known()[-1]
    assert await schema.check(url) == []


def strip_comments(script: str) -> str:
    return "\n".join(line for line in script.splitlines() if not line.startswith("--"))


# The command of alembic, in a checkout


def test_alembic_itself_works_in_a_checkout(url: str) -> None:
    def alembic(*arguments: str) -> str:
        command = [sys.executable, "-m", "alembic", "-x", f"url={url}", *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    alembic("upgrade", "head")
    assert "CREATE TABLE rollout_trials" in alembic("upgrade", "head", "--sql")
    alembic("check")
    assert schema.known()[-1] in alembic("current")


def test_alembic_without_a_url_says_how_to_name_one() -> None:
    command = [sys.executable, "-m", "alembic", "current"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, env={"PATH": ""})
    assert done.returncode != 0
    assert "Add -x url=sqlite:///rollout.db, or set ROLLOUT_DATABASE_URL." in done.stderr
