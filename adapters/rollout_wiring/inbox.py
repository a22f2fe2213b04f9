"""The inbox of a webhook, in a database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rollout.ports import Inbox


def inbox(database: str, *, migrate: bool | None = None) -> Callable[[], Awaitable[Inbox]]:
    """What opens the inbox in a database when the application starts: ``webhook(…, inbox=inbox("postgresql://…"))``.

    * ``database``: ``sqlite:///file`` (created at start) or ``postgresql://…`` (for several processes or hosts). It may
      be that of ``setup``.
    * ``migrate``: bring the database's schema up to date at start. Default: only a new SQLite file; else it is refused.

    ``DatabaseError`` for an address that cannot be one; the database itself is opened at start.
    """
    from rollout_sql import open_inbox
    from rollout_sql.urls import target_of

    target_of(database)

    async def open_() -> Inbox:
        return await open_inbox(database, migrate=migrate)

    return open_
