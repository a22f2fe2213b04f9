"""The first tables: what was decided (policies, states, audit, leases, flags) and what was observed (trials, blocks …).

Times are epoch seconds, money is integer nano-dollars.
Revision 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FAST_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rollout_batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("rollout_batches_at", "rollout_batches", ["at"], unique=False)
    op.create_table(
        "rollout_blocks",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("second", sa.BigInteger(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("figures", FAST_JSON, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("rollout_blocks_of", "rollout_blocks", ["rollout", "unit", "second"], unique=False)
    op.create_index("rollout_blocks_span", "rollout_blocks", ["span", "second"], unique=False)
    op.create_table(
        "rollout_branch_runs",
        sa.Column("trial", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial", "position", name="rollout_branch_runs_pk"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollout_branch_states",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("entered_at", sa.Double(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("approved", sa.Double(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "branch", name="rollout_branch_states_pk"),
    )
    op.create_table(
        "rollout_decisions",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("moves", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("rollout_decisions_of", "rollout_decisions", ["rollout", "number"], unique=False)
    op.create_table(
        "rollout_flags",
        sa.Column("flag", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("flag", "key", name="rollout_flags_pk"),
    )
    op.create_table(
        "rollout_gate_states",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("closed_second", sa.BigInteger(), nullable=False),
        sa.Column("states", FAST_JSON, nullable=False),
        sa.PrimaryKeyConstraint("rollout", "unit", name="rollout_gate_states_pk"),
    )
    op.create_table(
        "rollout_leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "rollout_meta",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "rollout_mismatches",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("noise", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("trials", FAST_JSON, nullable=False),
        sa.Column("example", FAST_JSON, nullable=True),
        sa.PrimaryKeyConstraint("rollout", "branch", "path", "kind", name="rollout_mismatches_pk"),
    )
    op.create_table(
        "rollout_policies",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.JSON(), nullable=False),
        sa.Column("applied", sa.JSON(), nullable=False),
        sa.Column("effective", sa.JSON(), nullable=False),
        sa.Column("registered_at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "version", name="rollout_policies_pk"),
    )
    op.create_table(
        "rollout_subjects",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("bad", sa.Boolean(), nullable=False),
        sa.Column("latency", sa.Integer(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("rollout", "unit", "entry", "key_hash", name="rollout_subjects_pk"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "rollout_subjects_started", "rollout_subjects", ["rollout", "unit", "entry", "started_at"], unique=False
    )
    op.create_table(
        "rollout_trials",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("control_status", sa.Integer(), nullable=True),
        sa.Column("control_s", sa.Double(), nullable=True),
        sa.Column("candidate_status", sa.Integer(), nullable=True),
        sa.Column("candidate_s", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("control_error", sa.Text(), nullable=False),
        sa.Column("candidate_error", sa.Text(), nullable=False),
        sa.Column("differences", FAST_JSON, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("rollout_trials_of", "rollout_trials", ["rollout", "id", "at"], unique=False)
    meta = sa.table("rollout_meta", sa.column("name", sa.String), sa.column("number", sa.BigInteger))
    op.bulk_insert(meta, [{"name": "revision", "number": 0}, {"name": "fenced", "number": 0}])
