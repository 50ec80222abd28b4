"""Messages about events: who gets them, and an outbox; events that happen once have a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    nobody = sa.Column("notify", sa.JSON(), nullable=False, server_default="[]")
    op.add_column("sweeper_submission", nobody)
    op.add_column("sweeper_event", sa.Column("key", sa.String(128), nullable=True))
    op.create_index("ix_sweeper_event_key", "sweeper_event", ["key"], unique=True)
    op.create_table(
        "sweeper_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("receiver", sa.String(32), nullable=False),
        sa.Column("sweep", sa.String(512), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sending", sa.Boolean(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["sweeper_event.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "receiver"),
    )
    columns = ["done_at", "next_at"]
    op.create_index("ix_sweeper_message_done_at_next_at", "sweeper_message", columns)
