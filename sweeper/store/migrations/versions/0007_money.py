"""Money: a limit of an owner, and what the owner has spent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweeper_owner", sa.Column("most_money", sa.Double(), nullable=True))
    spent = sa.Column("money", sa.Double(), nullable=False, server_default="0")
    op.add_column("sweeper_usage", spent)
