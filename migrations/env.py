"""How alembic reaches the database: for `rollout db …`, and for the `alembic` command in a checkout.

`rollout_sql.schema` hands over a connection that is inside a transaction and holds the lock. The `alembic` command
finds the URL in `-x url=…` or in ROLLOUT_DATABASE_URL. Tables that are not ours are never looked at.
"""

import os

from alembic import context
from sqlalchemy.engine import Connection

from rollout_sql import schema


def main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
    elif context.is_offline_mode():
        schema.configure(context, url=url())
        with context.begin_transaction():
            context.run_migrations()
    else:
        schema.run_in_transaction(url(), migrate)


def migrate(connection: Connection) -> None:
    schema.configure(context, connection=connection)
    context.run_migrations()


def url() -> str:
    named = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True).get("url")
    found = named or os.environ.get("ROLLOUT_DATABASE_URL")
    if not found:
        raise SystemExit("No database is named. Add -x url=sqlite:///rollout.db, or set ROLLOUT_DATABASE_URL.")
    return str(found)


main()
