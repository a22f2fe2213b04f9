"""What a database URL means, and how it is shown."""

import pytest

from rollout.errors import DatabaseError
from rollout_sql import masked
from rollout_sql.urls import target_of

SECRET = "s3cret"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_postgresql_is_reached_by_asyncpg_whatever_its_scheme_is_called(scheme: str) -> None:
    target = target_of(f"{scheme}://ann:{SECRET}@db.example:5433/shop")
    assert target.url.drivername == "postgresql+asyncpg"
    assert (target.url.host, target.url.port, target.url.database) == ("db.example", 5433, "shop")
    assert target.url.password == SECRET


def test_what_hosted_databases_put_into_their_urls_is_understood() -> None:
    query = "sslmode=require&channel_binding=require&connect_timeout=3&application_name=shop"
    target = target_of(f"postgresql://ann:{SECRET}@db.example/shop?{query}")
    assert dict(target.url.query) == {}
    assert target.connect_args["ssl"] == "require"
    assert target.connect_args["timeout"] == 3.0
    assert target.connect_args["server_settings"]["application_name"] == "shop"


def test_an_sqlite_url_names_a_file() -> None:
    assert str(target_of("sqlite:///rollout.db").file) == "rollout.db"
    assert str(target_of("sqlite:////var/lib/rollout.db").file) == "/var/lib/rollout.db"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://ann:s3cret@host/db", 'has the scheme "mysql"'),
        ("postgresql+psycopg://ann:s3cret@host/db", 'has the scheme "postgresql+psycopg"'),
        ("rollout.db", "is not a database URL"),
        ("", "is not a database URL"),
        ("sqlite://", "is a database in memory"),
        ("sqlite:///:memory:", "is a database in memory"),
        ("sqlite://rollout.db", "Write three slashes: sqlite:///rollout.db"),
        ("sqlite:///rollout.db?mode=ro", "has the options mode"),
        ("postgresql://ann:s3cret@host", "names no database"),
        ("postgresql://ann:s3cret@host/db?colour=red", 'has the option "colour"'),
        ("postgresql://ann:s3cret@host/db?connect_timeout=soon", "has connect_timeout=soon"),
        ("postgresql://ann:s3cret@host:x/db", "is not a database URL"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_what_to_write(url: str, says: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        target_of(url)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert masked(url) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://ann:{SECRET}@host/db", "postgresql://ann:***@host/db"),
        (f"postgresql://ann:{SECRET}@x:{SECRET}@host/db", "postgresql://ann:***@host/db"),
        (f"postgresql://host/db?user=ann&password={SECRET}&x=1", "postgresql://host/db?user=ann&password=***&x=1"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:///rollout.db", "sqlite:///rollout.db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
