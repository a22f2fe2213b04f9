"""What the user groups calls by, beside each trial. Those that are there already have none, nor have those of the older
code that still writes beside this revision.
Revision 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    labels = sa.JSON().with_variant(JSONB(), "postgresql")
    op.add_column("rollout_trials", sa.Column("labels", labels, server_default="{}", nullable=False))
