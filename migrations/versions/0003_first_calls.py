"""First calls, scored by policy version and arm; an account of evidence beside each state.

``rollout_first_calls`` takes the place of ``rollout_subjects``, whose key knows neither arm nor version. What is in the
old table cannot be carried over, so it is emptied: the evidence of the stages under way begins again. The table itself
stays for processes of the older code that still write to it, until a later revision drops it.

The account of a branch that is live already begins with its present stage, and what was live before that is not known
(``earlier`` 0).
Revision 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollout_first_calls",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("marks", sa.Integer(), nullable=False),
        sa.Column("latency", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Integer(), nullable=False),
        sa.Column("control_cost", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "key_hash", "rollout", "unit", "version", "entry", "arm", name="rollout_first_calls_pk"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "rollout_first_calls_started",
        "rollout_first_calls",
        ["rollout", "unit", "version", "entry", "started_at", "arm"],
        unique=False,
    )
    op.execute("DELETE FROM rollout_subjects")
    for table in ("rollout_branch_states", "rollout_gate_states"):
        op.add_column(table, sa.Column("account", sa.BigInteger(), server_default="1", nullable=False))
        op.execute(f"UPDATE {table} SET account = entry")
    op.add_column("rollout_branch_states", sa.Column("earlier", sa.Double(), server_default="0", nullable=False))
