"""Which test examples each run predicts correctly."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeper_prediction",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["sweeper_run.id"]),
        sa.PrimaryKeyConstraint("run_id"),
    )
