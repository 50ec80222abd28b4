"""A thread that keeps the lease, whatever the driver's loop is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sweeper.errors import LeaseLost
from sweeper.store.lease import BEAT


class Heartbeat:
    """Beats while entered. `check` raises LeaseLost once another driver has taken over.

    Any other error of a beat is only told: the database may be back for the next one, and
    whether the lease has held is decided by the next write, in the database.
    """

    def __init__(self, beat: Callable[[], None], *, seconds: float = BEAT) -> None:
        self._beat, self._seconds = beat, seconds
        self._stop = threading.Event()
        self._lost: LeaseLost | None = None
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name="sweeper-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=self._seconds)

    def check(self) -> str:
        """Returns while the lease is ours as far as is known: why the last beat failed, if so.

        Raises:
            LeaseLost: another driver has it.
        """
        if self._lost is not None:
            raise self._lost
        return self._last_error

    def _run(self) -> None:
        while not self._stop.wait(self._seconds) and self.step():
            pass

    def step(self) -> bool:
        """Beats once; whether to go on."""
        try:
            self._beat()
            self._last_error = ""
        except LeaseLost as error:
            self._lost = error
            return False
        except Exception as error:  # noqa: BLE001  a driver of the database is foreign code
            self._last_error = f"{type(error).__name__}: {error}"
        return True
