"""A database with Sweeper's tables, and Optuna's tables, which mirror them."""

from sweeper.store.store import Store

__all__ = ["Store"]
