"""One database: Sweeper's tables, and beside them Optuna's, which mirror them."""

from sweeper.store.store import Store

__all__ = ["Store"]
