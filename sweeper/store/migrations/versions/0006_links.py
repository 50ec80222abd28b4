"""A token may be a link: it shows one sweep, and nothing else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweeper_token", sa.Column("sweep", sa.String(512), nullable=True))
