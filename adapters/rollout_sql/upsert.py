"""INSERT … ON CONFLICT in the dialect of the connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, Table
from sqlalchemy.dialects.postgresql import insert as insert_postgres
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(
    table: Table, connection: AsyncConnection, rows: Sequence[dict[str, Any]], *, keep: bool = False
) -> Executable:
    """Insert rows; one whose primary key is there already replaces it, or leaves it as it is if ``keep``."""
    insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgres
    statement = insert(table).values(list(rows))
    key = [column.name for column in table.primary_key]
    if keep:
        return statement.on_conflict_do_nothing(index_elements=key)
    given = {name: statement.excluded[name] for name in rows[0] if name not in key}
    return statement.on_conflict_do_update(index_elements=key, set_=given)
