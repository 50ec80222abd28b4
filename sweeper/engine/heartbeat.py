"""Renews the lease in a thread, whatever the driver's loop does."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sweeper.errors import DatabaseMoved, LeaseLost
from sweeper.store.lease import BEAT

LAST_SECONDS = 1.0  # for a beat in progress when the launch ends


class Heartbeat:
    """Renews while entered. `check` raises once another driver has the lease or the file is gone.

    Other errors are only reported, from the thread, because the driver's loop may wait for the same
    database. The database may be back for the next beat, and the next write decides whether the
    lease still holds.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        *,
        say: Callable[[str], None] = lambda text: None,
        seconds: float = BEAT,
    ) -> None:
        self._beat, self._say, self._seconds = beat, say, seconds
        self._stop = threading.Event()
        self._lost: LeaseLost | DatabaseMoved | None = None
        self._said = ""  # the last reported reason why beats fail
        self._thread = threading.Thread(target=self._run, name="sweeper-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=LAST_SECONDS)

    def check(self) -> None:
        """Returns if the lease is ours, as far as known.

        Raises:
            LeaseLost: another driver has it.
            DatabaseMoved: the database's file is gone.
        """
        if self._lost is not None:
            raise self._lost

    def _run(self) -> None:
        while not self._stop.wait(self._seconds) and self.step():
            pass

    def step(self) -> bool:
        """Renews once; returns whether to continue."""
        try:
            self._beat()
        except (LeaseLost, DatabaseMoved) as error:
            self._lost = error
            return False
        except Exception as error:  # noqa: BLE001  a driver of the database is foreign code
            self._tell(f"{type(error).__name__}: {error}")
        else:
            self._tell("")
        return True

    def _tell(self, trouble: str) -> None:
        """Reports once that beats fail, with the reason, and once that they work again."""
        if trouble == self._said or self._stop.is_set():
            return
        if trouble:
            self._say(f"the lease could not be renewed, trying again: {trouble}")
        else:
            self._say("the lease is renewed again")
        self._said = trouble
