"""The next Sweeper: this one, with a further migration of its schema."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.store import schema

REVISION = "later"
SCRIPT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "later", "{before}"


def upgrade():
    op.add_column("sweeper_sweep", sa.Column("later", sa.Text()))
    {more}
"""


def become_newer(folder: Path, patch: pytest.MonkeyPatch, more: str = "") -> None:
    """Makes this process's Sweeper the next one; other processes stay as they are.

    Args:
        more: what the migration does besides, as a statement.
    """
    scripts = folder / "migrations"
    shutil.copytree(schema.SCRIPTS, scripts)
    script = SCRIPT.format(more=more, before=schema.REVISIONS[-1])
    (scripts / "versions" / "later.py").write_text(script)
    patch.setattr(schema, "SCRIPTS", scripts)
    patch.setattr(schema, "REVISIONS", (*schema.REVISIONS, REVISION))
