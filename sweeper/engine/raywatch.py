"""Watches for a Ray that ends before its driver: a local one, or a joined cluster's head.

Ray's client blocks each caller for a minute, ignores signals, and then ends the process without a
message: attempts would stay open and the lease held.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
GRACE_SECONDS = 3.0  # for the main thread to return by itself
HEAD_SECONDS = 15.0  # in which a head may restart; Ray's client ends this process after a minute
ANSWER_SECONDS = 2.0


class Head:
    """Checks whether the head of a joined cluster still accepts connections.

    Args:
        address: of its control service, host:port.
        patience: seconds without a connection before it counts as ended.
    """

    def __init__(self, address: str, *, patience: float = HEAD_SECONDS) -> None:
        host, _, port = address.rpartition(":")
        self._where, self._patience = (host.strip("[]"), int(port)), patience
        self._heard_at = time.monotonic()

    def ended(self) -> str:
        """What has ended; empty while it lives, or may come back."""
        try:
            socket.create_connection(self._where, timeout=ANSWER_SECONDS).close()
        except OSError:
            late = time.monotonic() - self._heard_at > self._patience
            return "the head of the cluster" if late else ""
        self._heard_at = time.monotonic()
        return ""


class Watch:
    """While entered, checks whether Ray still lives.

    Args:
        ended: returns the Ray process that has ended; empty while all live.
        tell: asks the main thread to stop, with the process that has ended.
        take_over: called in the watch's thread if the main thread has not stopped in time. It
            records the results and ends the process.
    """

    def __init__(
        self,
        ended: Callable[[], str],
        *,
        tell: Callable[[str], None],
        take_over: Callable[[], None],
        look: float = LOOK_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._ended, self._tell, self._take_over = ended, tell, take_over
        self._look, self._grace = look, grace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper-ray-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()  # after a take-over, the process ends there

    def _run(self) -> None:
        while not self._over.wait(self._look):
            process = self._ended()
            if process:
                self._tell(process)
                if not self._over.wait(self._grace):
                    self._take_over()
                return
