"""Counts the processor cores that this process may use. No torch."""

from __future__ import annotations

import os


def cores() -> int:
    """The cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
