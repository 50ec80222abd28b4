"""A local Ray that ends before its driver, as when a service manager ends all processes at once.

Ray's client holds whoever asks it something for a minute, deaf to signals, and then ends the
process without a word: attempts would stay open and the lease held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

LOOK_SECONDS = 1.0
GRACE_SECONDS = 3.0  # in which the main thread may come round by itself


class Watch:
    """While entered, looks whether Ray still lives.

    Args:
        ended: which process of Ray has ended; empty while all live.
        tell: asks the main thread to stop, with the process that has ended.
        take_over: called in the watch's thread when the main one has not stopped in time. It
            records what there is and ends the process.
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
        self._thread.join()  # once it has taken over, the process ends there

    def _run(self) -> None:
        while not self._over.wait(self._look):
            process = self._ended()
            if process:
                self._tell(process)
                if not self._over.wait(self._grace):
                    self._take_over()
                return
