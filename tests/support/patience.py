"""Limits that end what hangs. No test passes or fails by how quick the machine is.

A test that something is *not* waited for lets that something take for ever, and counts on these
limits to end the test if it is waited for after all.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

HANG = 300.0  # seconds: far more than anything here takes on one slow, busy core
FOR_EVER = 1e6  # seconds: what must not be waited for
MOMENT = 1.0  # seconds in which something may happen, and need not


def eventually(
    condition: Callable[[], object],
    why: str,
    *,
    process: subprocess.Popen[str] | None = None,
) -> None:
    """Waits until the condition holds, at most as long as the process lives."""
    until = time.monotonic() + HANG
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, why
        time.sleep(0.05)
