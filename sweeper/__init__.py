"""Sweeper: hyperparameter sensitivity under class imbalance."""

__version__ = "0.1.0"
