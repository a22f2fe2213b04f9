"""The ledger, the state store and the inbox over SQLAlchemy: SQLite and PostgreSQL.

    backend = await open_backend("sqlite:///rollout.db")
    snapshot = await backend.state.load()
    await backend.close()

``schema`` holds what ``rollout db`` does: ``upgrade``, ``current``, ``check`` and ``sql``.
"""

from rollout_sql import schema
from rollout_sql.backend import open_backend
from rollout_sql.inbox import open_inbox
from rollout_sql.urls import masked

__all__ = ["masked", "open_backend", "open_inbox", "schema"]
