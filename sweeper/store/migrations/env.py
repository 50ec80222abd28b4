"""Alembic's entry: runs the scripts on the connection, and in the transaction, of the store."""

from __future__ import annotations

from alembic import context

from sweeper.store.schema import VERSION_TABLE
from sweeper.store.tables import StoredTable

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=StoredTable.metadata,
    version_table=VERSION_TABLE,  # `alembic_version` is Optuna's
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
