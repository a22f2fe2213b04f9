"""What a database URL means: which driver, which options, and how it is shown (never with its password)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from rollout.errors import DatabaseError

CONNECT_S = 5.0
COMMAND_S = 15.0
_SQLITE = ("sqlite", "sqlite+aiosqlite")
_POSTGRES = ("postgresql", "postgres", "postgresql+asyncpg")
_SECRET = ("password", "passfile", "sslkey", "sslpassword")


@dataclass(frozen=True, slots=True)
class Target:
    """A database to open. ``shown``: its URL without the password. ``file``: of SQLite, else None."""

    url: URL
    shown: str
    file: Path | None = None
    connect_args: dict[str, Any] = field(default_factory=dict)

    @property
    def sqlite(self) -> bool:
        return self.file is not None


def target_of(url: str) -> Target:
    """The database that ``url`` names. ``DatabaseError`` names the URL, what is wrong with it, and what to write."""
    shown = masked(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(f'"{shown}" is not a database URL. {_REMEDY}') from error
    if parsed.drivername in _SQLITE:
        return _sqlite(parsed, shown)
    if parsed.drivername in _POSTGRES:
        return _postgres(parsed, shown)
    raise DatabaseError(f'"{shown}" has the scheme "{parsed.drivername}", which is not supported. {_REMEDY}')


_REMEDY = "Write sqlite:///path/to/rollout.db or postgresql://user:password@host:5432/name."


def masked(url: str) -> str:
    """The URL with ``***`` for every password in it, also of a text that is no URL."""
    text = re.sub(r"(://[^:/@\s]*):[^\s]*@", r"\1:***@", str(url))
    return re.sub(rf"([?&](?:{'|'.join(_SECRET)})=)[^&\s]*", r"\1***", text)


def _sqlite(url: URL, shown: str) -> Target:
    if url.host:
        raise DatabaseError(
            f'"{shown}" names the host "{url.host}", but SQLite is a file. Write three slashes: sqlite:///{url.host}'
        )
    if url.database in (None, "", ":memory:") or "mode=memory" in str(url):
        raise DatabaseError(
            f'"{shown}" is a database in memory, which lives in one connection only. '
            "Name a file, as in sqlite:///rollout.db; tests that want none use rollout.testing."
        )
    assert url.database is not None
    if url.query:
        raise DatabaseError(
            f'"{shown}" has the options {", ".join(url.query)}, which SQLite files here do not take. Leave them out.'
        )
    return Target(
        url.set(drivername="sqlite+aiosqlite"),
        shown,
        Path(url.database),
        {"timeout": CONNECT_S, "isolation_level": None},
    )


def _postgres(url: URL, shown: str) -> Target:
    if not url.database:
        raise DatabaseError(
            f'"{shown}" names no database. Add its name after the last slash, as in postgresql://host:5432/name.'
        )
    settings = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "15s"}
    arguments: dict[str, Any] = {"timeout": CONNECT_S, "command_timeout": COMMAND_S, "server_settings": settings}
    kept: dict[str, str | tuple[str, ...]] = {}
    for name, value in url.query.items():
        # What libpq understands, in asyncpg's words: hosted databases hand out such URLs.
        if name == "sslmode":
            arguments["ssl"] = value
        elif name == "connect_timeout":
            arguments["timeout"] = _seconds(value, shown)
        elif name == "application_name":
            settings[name] = str(value)
        elif name in (
            "host",
            "port",
            "user",
            "password",
            "ssl",
            "passfile",
            "prepared_statement_cache_size",
            "options",
        ):
            kept[name] = value
        elif name not in ("channel_binding", "target_session_attrs", "gssencmode"):
            raise DatabaseError(
                f'"{shown}" has the option "{name}", which is not known. Leave it out; known: sslmode, connect_timeout.'
            )
    return Target(url.set(drivername="postgresql+asyncpg", query=kept), shown, None, arguments)


def _seconds(value: str | tuple[str, ...], shown: str) -> float:
    try:
        return max(float(str(value)), 1.0)
    except ValueError:
        raise DatabaseError(f'"{shown}" has connect_timeout={value}; write seconds, as in connect_timeout=5') from None
