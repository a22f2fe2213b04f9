"""The table of the inbox: one row per event, which stays until its time to live is over."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text

from rollout_sql.tables import metadata

inbox = Table(
    "rollout_inbox",
    metadata,
    Column("webhook", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting (under way too), done, dead
    Column("body", LargeBinary, nullable=False),  # empty once it is done
    Column("done", JSON, nullable=False),  # names of the finished steps
    Column("attempt", Integer, nullable=False),  # that is under way, or was the last; 0: none yet
    Column("epoch", BigInteger, nullable=False),  # how often it was taken
    Column("holder", Text, nullable=False),  # who delivers it now, or did when its process ended; "": nobody
    Column("due_at", Double, nullable=False),  # of a waiting one: when it may be taken, which is when a lease ends
    Column("received_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("error", Text, nullable=False),
    PrimaryKeyConstraint("webhook", "id", name="rollout_inbox_pk"),
    Index("rollout_inbox_due", "webhook", "state", "due_at"),
    Index("rollout_inbox_age", "webhook", "received_at"),
)
