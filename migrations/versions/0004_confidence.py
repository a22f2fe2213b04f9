"""How sure a run was of its part, and why one did not begin: what ``whatif`` needs to move a threshold of confidence.

Runs that are there already tell neither, nor do those of the older code that still writes beside this revision.
Revision 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollout_branch_runs", sa.Column("reason", sa.Text(), server_default="", nullable=False))
    op.add_column("rollout_branch_runs", sa.Column("confidence", sa.Double(), nullable=True))
