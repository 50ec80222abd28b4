"""An index of the queue, so that a look at it reads no specs."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = ["owner", "priority", "id", "generation"]
    op.create_index(f"ix_sweeper_submission_{'_'.join(columns)}", "sweeper_submission", columns)
