"""The tables. Times are epoch seconds (double precision), money is integer nano-dollars, figures are JSON.

The audit's JSON is stored as text on PostgreSQL (``json``, not ``jsonb``): the hash of a decision covers its exact
numbers.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
_FAST_JSON = JSON().with_variant(JSONB(), "postgresql")
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER


def _table(name: str, *parts: Column[object] | Index | PrimaryKeyConstraint, rowid: bool = True) -> Table:
    """A table, prefixed; with its own primary key as the order of its rows on SQLite if not ``rowid``."""
    return Table(f"rollout_{name}", metadata, *parts, sqlite_with_rowid=rowid)


def _text(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Text, nullable=null)


def _number(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, BigInteger, nullable=null)


def _real(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Double, nullable=null)


# What was decided

meta = _table(
    "meta",  # "revision" and "fenced" count; "secret" is bytes; "told": the decision up to which people were told
    Column("name", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False, server_default="0"),
    Column("secret", LargeBinary),
)

policies = _table(
    "policies",
    _text("rollout"),
    _number("version"),
    Column("code", JSON, nullable=False),  # what the code declares
    Column("applied", JSON, nullable=False),  # field → [value, origin], put on top of it by `rollout apply`
    Column("effective", JSON, nullable=False),
    _real("registered_at"),
    _text("actor"),
    PrimaryKeyConstraint("rollout", "version", name="rollout_policies_pk"),
)

branch_states = _table(
    "branch_states",
    _text("rollout"),
    _text("branch"),
    Column("stage", Integer, nullable=False),
    _real("share"),
    _text("mode"),
    Column("shadow", Boolean, nullable=False),
    _real("entered_at"),
    _number("entry"),
    _number("version"),
    _real("approved", null=True),
    _text("cause"),
    _number("epoch"),  # of the lease under which it was written last; 0: by hand
    Column("account", BigInteger, nullable=False, server_default="1"),
    Column("earlier", Double, nullable=False, server_default="0"),
    PrimaryKeyConstraint("rollout", "branch", name="rollout_branch_states_pk"),
)

decisions = _table(
    "decisions",
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # through all rollouts, without a gap
    _text("rollout"),
    _real("at"),
    _text("action"),
    _text("actor"),
    _text("trigger"),
    _text("reason"),
    Column("moves", JSON, nullable=False),
    Column("findings", JSON, nullable=False),
    _number("policy_version"),
    _text("previous"),
    _text("hash"),
    Index("rollout_decisions_of", "rollout", "number"),
)

gate_states = _table(
    "gate_states",
    _text("rollout"),
    _text("unit"),
    _number("entry"),
    _number("version"),
    _number("closed_second"),
    Column("states", _FAST_JSON, nullable=False),
    Column("account", BigInteger, nullable=False, server_default="1"),
    PrimaryKeyConstraint("rollout", "unit", name="rollout_gate_states_pk"),
)

flags = _table(
    "flags",
    _text("flag"),
    _text("key"),  # "": everybody
    _text("value"),
    _text("reason"),
    _text("actor"),
    _real("at"),
    PrimaryKeyConstraint("flag", "key", name="rollout_flags_pk"),
)

leases = _table(
    "leases",
    Column("name", Text, primary_key=True),
    _text("holder"),
    _number("epoch"),
    _real("expires_at"),
)

# What was observed

batches = _table(
    "batches",
    Column("id", Text, primary_key=True),
    _text("process"),
    _real("at"),
    Index("rollout_batches_at", "at"),
    rowid=False,
)

trials = _table(
    "trials",
    Column("id", Text, primary_key=True),
    _text("rollout"),
    _real("at"),
    _text("mode"),
    _text("outcome"),
    _number("version"),
    _text("route"),
    _text("method"),
    _text("key_hash"),
    Column("control_status", Integer),
    _real("control_s", null=True),
    Column("candidate_status", Integer),
    _real("candidate_s", null=True),
    _text("reason"),
    _text("control_error"),
    _text("candidate_error"),
    Column("labels", _FAST_JSON, nullable=False, server_default="{}"),
    Column("differences", _FAST_JSON, nullable=False),
    Index("rollout_trials_of", "rollout", "id", "at"),  # newest first; how many and how old, without reading a trial
)

branch_runs = _table(
    "branch_runs",
    _text("trial"),
    Column("position", Integer, nullable=False),  # in the trial
    _text("branch"),
    _text("mode"),
    _text("outcome"),
    _real("latency_s", null=True),
    Column("attempts", Integer, nullable=False),
    _number("input_tokens"),
    _number("output_tokens"),
    _number("cost_nano", null=True),
    _text("model"),
    _text("error"),
    Column("reason", Text, nullable=False, server_default=""),  # why it did not begin
    _real("confidence", null=True),
    PrimaryKeyConstraint("trial", "position", name="rollout_branch_runs_pk"),
    rowid=False,
)

blocks = _table(
    "blocks",  # several rows of one key add up
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    _text("rollout"),
    _text("unit"),
    _text("arm"),
    _number("version"),
    _number("entry"),
    _number("second"),
    Column("span", Integer, nullable=False),
    _text("process"),
    Column("late", Integer, nullable=False),  # how many blocks of it came too late to be judged; 0: in time
    Column("figures", _FAST_JSON, nullable=False),
    Index("rollout_blocks_of", "rollout", "unit", "second"),
    Index("rollout_blocks_span", "span", "second"),
)

first_calls = _table(
    "first_calls",  # the subjects
    _text("rollout"),
    _text("unit"),
    _number("version"),
    _number("entry"),
    _text("arm"),
    _text("key_hash"),
    _real("started_at"),
    Column("marks", Integer, nullable=False),
    Column("latency", Integer, nullable=False),
    Column("cost", Integer, nullable=False),
    Column("control_cost", Integer, nullable=False),
    # The hash stands first, or PostgreSQL, until it has statistics, takes this one for a span of time too.
    PrimaryKeyConstraint("key_hash", "rollout", "unit", "version", "entry", "arm", name="rollout_first_calls_pk"),
    Index("rollout_first_calls_started", "rollout", "unit", "version", "entry", "started_at", "arm"),
    rowid=False,
)

mismatches = _table(
    "mismatches",
    _text("rollout"),
    _text("branch"),
    _text("path"),
    _text("kind"),
    _number("count"),
    _number("noise"),
    _real("first_at"),
    _real("last_at"),
    Column("trials", _FAST_JSON, nullable=False),
    Column("example", _FAST_JSON),
    PrimaryKeyConstraint("rollout", "branch", "path", "kind", name="rollout_mismatches_pk"),
)
